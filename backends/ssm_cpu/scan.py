"""The selective scan for NumPy arrays and PyTorch tensors, and its gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssm_backends.checked import checked
from ssm_cpu._checked import check_library
from ssm_cpu._inputs import Inputs
from ssm_cpu._launch import run_backward, run_forward
from ssm_cpu._library import NUMPY, library_of


@checked("selective_scan", check_library)
def selective_scan(
    u: Any,
    delta: Any,
    A: Any,
    B: Any,
    C: Any,
    D: Any = None,
    z: Any = None,
    delta_bias: Any = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    initial_state: Any = None,
    seq_idx: Any = None,
    cu_seqlens: Any = None,
    b_discretization: str = "euler",
) -> Any:
    """h_t = exp(Δ_t A) h_{t−1} + b̄_t u_t; y_t = (γ Re Σ_n C_t h_t + D u_t) silu(z_t).

    Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023), eq. (2)
    and (4). γ is 2 for complex A, 1 for real. All arrays are NumPy's, or all are PyTorch tensors on the
    CPU, which are differentiated by autograd; none is copied or written.

    Parameters
    ----------
    u, delta, z
        (b, d, l), any strides; float64, float32, float16 or (PyTorch) bfloat16. delta and z: u's
        dtype or float32.
    A
        (d, n), float32 or float64, real or complex.
    B, C
        (d, n), (b, n, l) or (b, g, n, l); u's dtype or float32, complex only with complex A.
    D, delta_bias
        (d,), A's real dtype.
    delta_softplus
        Δ = log(1 + exp(delta + delta_bias)) instead of delta + delta_bias.
    return_last_state
        Return (y, last state).
    initial_state
        (b, d, n), or (s, d, n) with `cu_seqlens`; A's dtype.
    seq_idx
        (b, l), int32 or int64: the state is reset exactly where it changes along l.
    cu_seqlens
        (s + 1,), int32: offsets of packed sequences, from 0 to l; needs b = 1.
    b_discretization
        "euler": b̄ = ΔB; "zoh": b̄ = expm1(ΔA)/A · B.

    Returns
    -------
    y (b, d, l) in u's dtype; with `return_last_state` also the state after the last step, A's dtype.

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        Naming the argument, the rule, and what was given; before any work.
    NotSupportedError
        If forward mode would differentiate it, or a gradient its gradient.
    """
    library = library_of(u)
    arrays = (u, delta, A, B, C, D, z, delta_bias, initial_state, seq_idx, cu_seqlens)
    zoh = b_discretization == "zoh"
    if library is not NUMPY:
        from ssm_cpu._operator import scan

        y, last = scan(arrays, softplus=delta_softplus, zoh=zoh, last=return_last_state)
    else:
        x = Inputs.of(library, arrays, softplus=delta_softplus, zoh=zoh)
        y, last, _ = run_forward(x, last=return_last_state, save=False)
    return (y, last) if return_last_state else y


def selective_scan_forward(
    *,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    b_discretization: str = "euler",
    **arrays: Any,
) -> tuple[Any, Any]:
    """The scan, and what :func:`selective_scan_vjp` needs of it: the contract's ``forward``.

    Parameters
    ----------
    delta_softplus, return_last_state, b_discretization, **arrays
        As :func:`selective_scan` takes them, taken as valid.

    Returns
    -------
    What :func:`selective_scan` returns; and one state in 64 steps, or None for PyTorch, where autograd
    keeps them.
    """
    if library_of(arrays["u"]) is not NUMPY:
        flags = {"delta_softplus": delta_softplus, "return_last_state": return_last_state}
        return selective_scan(**arrays, **flags, b_discretization=b_discretization), None
    x = _numpy_inputs(arrays, delta_softplus, b_discretization)
    y, last, saved = run_forward(x, last=return_last_state, save=True)
    return ((y, last) if return_last_state else y), saved


def selective_scan_vjp(
    cotangents: Mapping[str, Any],
    wrt: tuple[str, ...],
    saved: Any,
    *,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    b_discretization: str = "euler",
    **arrays: Any,
) -> dict[str, Any]:
    """Gradients of one call: the contract's ``vjp``. PyTorch tensors go through autograd.

    Parameters
    ----------
    cotangents
        "y" (b, d, l) and "last_state" (r, d, n), or None.
    wrt
        Names of the inputs.
    saved
        What :func:`selective_scan_forward` gave.
    delta_softplus, return_last_state, b_discretization, **arrays
        As :func:`selective_scan` takes them, taken as valid.

    Returns
    -------
    Name → gradient, with the shape and dtype of the input.
    """
    dy, dlast = cotangents["y"], cotangents["last_state"]
    if library_of(arrays["u"]) is not NUMPY:
        from ssm_cpu._operator import gradients

        flags = {"delta_softplus": delta_softplus, "b_discretization": b_discretization}
        return gradients(selective_scan, dy, dlast, wrt, arrays | flags)
    x = _numpy_inputs(arrays, delta_softplus, b_discretization)
    found = run_backward(x, saved, dy, dlast)
    return {name: found[name] for name in wrt}


def _numpy_inputs(arrays: Mapping[str, Any], softplus: bool, rule: str) -> Inputs:
    return Inputs(library=NUMPY, softplus=softplus, zoh=rule == "zoh", **arrays)
