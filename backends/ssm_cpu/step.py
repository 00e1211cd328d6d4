"""The decode step for NumPy arrays and PyTorch tensors: in place or not, over rows or over slots."""

from __future__ import annotations

from typing import Any

from ssm_backends.checked import checked
from ssm_backends.slots import check_slots
from ssm_backends.transforms import refuse_transforms
from ssm_backends.writable import check_writable, read_first
from ssm_cpu._checked import check_library
from ssm_cpu._launch import run_step
from ssm_cpu._library import NUMPY, library_of


@checked("selective_state_update", check_library)
def selective_state_update(
    state: Any,
    u: Any,
    delta: Any,
    A: Any,
    B: Any,
    C: Any,
    D: Any = None,
    z: Any = None,
    delta_bias: Any = None,
    delta_softplus: bool = False,
    *,
    b_discretization: str = "euler",
    state_indices: Any = None,
    inplace: bool = False,
) -> tuple[Any, Any]:
    """One step of :func:`ssm_cpu.selective_scan`: h ← exp(ΔA) h + b̄ u, y = (γ Re Σ_n C h + D u) silu(z).

    It has no gradient: the scan over one step does.

    Parameters
    ----------
    state
        (b, d, n), or a pool (slots, d, n) with `state_indices`; A's dtype, float16 or bfloat16.
    u, delta, z
        (b, d); float64, float32, float16 or bfloat16. delta and z: u's dtype or float32.
    A
        (d, n), float32 or float64, real or complex.
    B, C
        (b, n) or (b, g, n); u's dtype or float32, complex only with complex A.
    D, delta_bias
        (d,), A's real dtype.
    delta_softplus
        Δ = log(1 + exp(delta + delta_bias)).
    b_discretization
        "euler" or "zoh".
    state_indices
        (b,), int32 or int64: each row's slot in the pool; −1 skips the row, and its y is 0.
    inplace
        Write the new state over `state`. Others of the arrays may lie in its memory: all are read first.

    Returns
    -------
    (y, new state): y (b, d) in u's dtype; the state in its own dtype, `state` itself if `inplace`.

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        Naming the argument, the rule, and what was given; before any work.
    NotSupportedError
        If a transform of PyTorch stands between a tensor and its numbers.
    """
    if inplace:
        check_writable("state", state)
    library = library_of(u)
    streams = {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "z": z, "delta_bias": delta_bias}
    if library is not NUMPY:
        given = {"state": state, **streams, "state_indices": state_indices}
        refuse_transforms("selective_state_update", {name: x for name, x in given.items() if x is not None})
    if state_indices is not None:
        check_slots(state_indices.tolist(), len(state))
    new = state if inplace else library.empty_like(state) if state_indices is None else library.copy(state)
    written = library.plain(new)
    rest = [*map(library.plain, streams.values()), state_indices]
    if inplace:
        rest = read_first(written, rest)
    arrays = (library.plain(state), written, *rest)
    y = run_step(library, arrays, softplus=delta_softplus, zoh=b_discretization == "zoh")
    if inplace:
        library.written(state)
    if library.words(written)[0] != library.words(new)[0]:  # `state` holds its numbers conjugated or negated
        new.copy_(written)
    return y, new
