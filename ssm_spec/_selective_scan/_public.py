"""The selective scan as users call it: arguments in the papers' shapes, float64 or complex128 out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_spec._calls import arguments_of, operator
from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec._selective_scan._adjoint import Cotangents, gradients
from ssm_spec._selective_scan._adjoint_bounds import gradient_bounds
from ssm_spec._selective_scan._bounds import Worst, output_bounds
from ssm_spec._selective_scan._inputs import DIFFERENTIABLE, Scan, read
from ssm_spec._selective_scan._value import run
from ssm_spec._validate import as_cotangent, check_cotangent_names, differentiated

Array = NDArray[Any]

OUTPUTS = ("y", "last_state")


@operator
def selective_scan(
    u: ArrayLike,
    delta: ArrayLike,
    A: ArrayLike,
    B: ArrayLike,
    C: ArrayLike,
    D: ArrayLike | None = None,
    z: ArrayLike | None = None,
    delta_bias: ArrayLike | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    initial_state: ArrayLike | None = None,
    seq_idx: ArrayLike | None = None,
    cu_seqlens: ArrayLike | None = None,
    b_discretization: str = "euler",
) -> Array | tuple[Array, Array]:
    """h_t = exp(Δ_t A) h_{t−1} + b̄_t u_t; y_t = (γ Re Σ_n C_t h_t + D u_t) · silu(z_t).

    Δ = delta + delta_bias, through softplus if `delta_softplus`. b̄ = ΔB ("euler") or
    expm1(ΔA)/A · B ("zoh"). γ is 2 for complex A, 1 for real.
    Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023),
    eq. (2) and (4), algorithm 2; the names and defaults of its `selective_scan_fn`.

    Parameters
    ----------
    u, delta, z
        (b, d, l), real.
    A
        (d, n), real or complex, at least single precision.
    B, C
        (d, n), (b, n, l) or (b, g, n, l), real, or complex where A is. Channel i belongs
        to group i // (d / g); B's g and C's g may differ.
    D, delta_bias
        (d,), real.
    delta_softplus
        Δ = log(1 + exp(delta + delta_bias)) instead of delta + delta_bias.
    initial_state
        (b, d, n), or (s, d, n) with `cu_seqlens`; real, or complex where A is. Default zero.
    seq_idx
        (b, l), integers: a sequence starts where the number changes.
    cu_seqlens
        (s + 1,), integers that rise from 0 to l: the bounds of s sequences in one row (b = 1).
    b_discretization
        "euler" or "zoh".

    Returns
    -------
    y, (b, d, l) float64; with `return_last_state` also the last state, (b, d, n) or (s, d, n),
    float64, or complex128 where A is complex.
    """
    scan = read(
        u,
        delta,
        A,
        B,
        C,
        D,
        z,
        delta_bias,
        delta_softplus,
        initial_state=initial_state,
        seq_idx=seq_idx,
        cu_seqlens=cu_seqlens,
        b_discretization=b_discretization,
    )
    with np.errstate(all="ignore"):  # infinities and NaN follow the rules of IEEE 754, silently
        y, last = run(scan)
    y = stream(y)
    return (y, _state(last)) if return_last_state else y


@arguments_of(selective_scan)
def selective_scan_vjp(
    cotangents: Mapping[str, ArrayLike | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Gradients of L = Re⟨cotangents, outputs⟩ by the analytic adjoint.

    λ_t = γ q_t conj(C_t) + conj(a_{t+1}) λ_{t+1}, cut where a sequence ends, where the last
    state's cotangent enters.

    Parameters
    ----------
    cotangents
        "y": (b, d, l), "last_state": its shape; None or missing means zero.
    wrt
        Names of inputs; by default every differentiable one that was given.
    inputs
        The arguments of `selective_scan`.

    Returns
    -------
    For each name, ∂L/∂Re + i ∂L/∂Im in the input's shape; the real part for a real input.
    """
    scan = read(**inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    with np.errstate(all="ignore"):
        found = gradients(scan, read_cotangents(scan, cotangents))
    return {name: as_given(scan, inputs, name, found[name]) for name in names}


@arguments_of(selective_scan)
def selective_scan_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to "y" and "last_state".

    Parameters
    ----------
    arithmetic
        The facts about the implementation.
    inputs
        The arguments of `selective_scan`; `return_last_state` changes nothing.

    Returns
    -------
    For each output its value, bound, the oracle's own bound, and where it is judged.
    """
    scan = read(**inputs)
    with np.errstate(all="ignore"):
        y, last = run(scan)
        found = output_bounds(scan, arithmetic)
        return {
            "y": _bounded(y, found["y"], arithmetic, stream),
            "last_state": _bounded(last, found["last_state"], arithmetic, _state),
        }


@arguments_of(selective_scan)
def selective_scan_vjp_bounds(
    cotangents: Mapping[str, ArrayLike | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to the gradients of `selective_scan_vjp`.

    Parameters
    ----------
    cotangents, wrt, inputs
        As for `selective_scan_vjp`.
    arithmetic
        The facts about the implementation.

    Returns
    -------
    For each gradient its value, bound, the oracle's own bound, and where it is judged.
    """
    scan = read(**inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    given = read_cotangents(scan, cotangents)
    with np.errstate(all="ignore"):
        values = gradients(scan, given)
        worst = gradient_bounds(scan, given, names, arithmetic)
        return {
            name: _bounded(values[name], worst[name], arithmetic, _layout(scan, inputs, name))
            for name in names
        }


def _bounded(value: Array, worst: Worst, arithmetic: Arithmetic, layout: Callable[[Array], Array]) -> Bounded:
    judged = worst.judged(value, arithmetic.largest)
    return Bounded(layout(value), layout(worst.bound), layout(worst.own), layout(judged))


def _layout(scan: Scan, inputs: Mapping[str, Any], name: str) -> Callable[[Array], Array]:
    return lambda array: as_given(scan, inputs, name, array)


def _state(array: Array) -> Array:
    """(n, s, d) to (s, d, n)."""
    return array.transpose(1, 2, 0)


def stream(array: Array) -> Array:
    """(l, b, d) to (b, d, l)."""
    return np.ascontiguousarray(np.moveaxis(array, 0, -1))


def read_cotangents(scan: Scan, cotangents: Mapping[str, object]) -> Cotangents:
    """Check the cotangents and lay them out with time first."""
    check_cotangent_names(cotangents, OUTPUTS)
    b, d, l, n = scan.sizes
    y = as_cotangent(cotangents, "y", (b, d, l))
    last = as_cotangent(cotangents, "last_state", (scan.sequences.slots, d, n), complex_=scan.complex)
    return Cotangents(
        np.zeros((l, b, d)) if y is None else np.ascontiguousarray(np.moveaxis(y, -1, 0)),
        None if last is None else np.ascontiguousarray(last.transpose(2, 0, 1)),
    )


def as_given(scan: Scan, inputs: Mapping[str, Any], name: str, array: Array) -> Array:
    """Bring one gradient, or its bound, from `Scan`'s layout to the shape of the input."""
    if name in ("u", "delta", "z"):
        return stream(array)
    if name == "A":
        return array[:, 0].T
    if name == "initial_state":
        array = _state(array)
    elif name in ("B", "C"):
        array = (scan.B if name == "B" else scan.C).as_given(array)
    return array if np.iscomplexobj(inputs[name]) else array.real
