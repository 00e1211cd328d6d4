"""SSD as users call it: arguments in Mamba-2's shapes, float64 out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_spec._calls import arguments_of, operator
from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec._selective_scan._adjoint import Cotangents, gradients
from ssm_spec._selective_scan._bounds import Worst
from ssm_spec._selective_scan._value import run
from ssm_spec._ssd._adjoint_bounds import gradient_bounds
from ssm_spec._ssd._bounds import output_bounds
from ssm_spec._ssd._inputs import Ssd, read
from ssm_spec._validate import Float, as_cotangent, check_cotangent_names, differentiated

Array = NDArray[Any]

OUTPUTS = ("y", "final_states")
DIFFERENTIABLE = ("x", "dt", "A", "B", "C", "D", "z", "dt_bias", "initial_states")


@operator
def ssd(
    x: ArrayLike,
    dt: ArrayLike,
    A: ArrayLike,
    B: ArrayLike,
    C: ArrayLike,
    D: ArrayLike | None = None,
    z: ArrayLike | None = None,
    dt_bias: ArrayLike | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    return_final_states: bool = False,
    *,
    initial_states: ArrayLike | None = None,
    seq_idx: ArrayLike | None = None,
) -> Float | tuple[Float, Float]:
    """S_t = exp(Δ_t A) S_{t−1} + Δ_t x_t B_tᵀ; y_t = (S_t C_t + D x_t) · silu(z_t), for each head.

    Dao and Gu, "Transformers are SSMs" (2024), eq. (2) with scalar A (section 5), in the recurrent
    form; the names are those of its code, `mamba_chunk_scan_combined`. The dual form is `ssd_chunked`.

    (C1) Δ = dt + dt_bias, through softplus if `dt_softplus`, then always clamped to `dt_limit`.
    (C2) The clamp's slope is 1 at a limit, 0 beyond it.
    (C3) Head i belongs to group i // (h/g); B and C have the same g, which divides h.
    (C4) D is (h,), one number a head, or (h, p).
    (C5) A reset is where seq_idx[t] ≠ seq_idx[t−1]; `initial_states` belong to the sequence at
         t = 0, the final states to the one at l − 1. At l = 0 they are the initial ones.
    (C6) There is no norm; the gate comes last and reaches no state.

    Parameters
    ----------
    x, z
        (b, l, h, p), real.
    dt
        (b, l, h), real.
    A, dt_bias
        (h,), real; A at least single precision.
    B, C
        (b, l, g, n), real.
    D
        (h,) or (h, p), real.
    dt_softplus
        Δ = log(1 + exp(dt + dt_bias)) instead of dt + dt_bias.
    dt_limit
        (low, high), low <= high; infinities are allowed.
    initial_states
        (b, h, p, n), real. Default zero.
    seq_idx
        (b, l), integers.

    Returns
    -------
    y, (b, l, h, p) float64; with `return_final_states` also the states, (b, h, p, n) float64.
    """
    given = read(
        x,
        dt,
        A,
        B,
        C,
        D,
        z,
        dt_bias,
        dt_softplus,
        dt_limit,
        initial_states=initial_states,
        seq_idx=seq_idx,
    )
    with np.errstate(all="ignore"):  # infinities and NaN follow the rules of IEEE 754, silently
        y, final = run(given.scan)
    y = np.ascontiguousarray(given.from_stream(y))
    return (y, given.from_states(final)) if return_final_states else y


@arguments_of(ssd)
def ssd_vjp(
    cotangents: Mapping[str, ArrayLike | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Float]:
    """Gradients of ⟨cotangents, outputs⟩ by the analytic adjoint of the selective scan, summed over heads.

    Parameters
    ----------
    cotangents
        "y": (b, l, h, p), "final_states": (b, h, p, n); None or missing means zero.
    wrt
        Names of inputs; by default every differentiable one that was given.
    inputs
        The arguments of `ssd`.

    Returns
    -------
    For each name the gradient, float64, in the input's shape.
    """
    given, names = read(**inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    with np.errstate(all="ignore"):
        found = _gradients(given, read_cotangents(given, cotangents))
    return {name: found[name] for name in names}


@arguments_of(ssd)
def ssd_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to "y" and "final_states".

    Parameters
    ----------
    arithmetic
        The facts about the implementation. "matmul_chunk" is the dual form; `operands` says to
        what its matrix products round.
    inputs
        The arguments of `ssd`; `return_final_states` changes nothing.

    Returns
    -------
    For each output its value, bound, the oracle's own bound, and where it is judged.
    """
    given = read(**inputs)
    with np.errstate(all="ignore"):
        y, final = run(given.scan)
        found = output_bounds(given, arithmetic)
        bounded = {
            "y": _bounded(y, found["y"], arithmetic),
            "final_states": _bounded(final, found["final_states"], arithmetic),
        }
    layouts = {"y": given.from_stream, "final_states": given.from_states}
    return {name: part.map(layouts[name]) for name, part in bounded.items()}


@arguments_of(ssd)
def ssd_vjp_bounds(
    cotangents: Mapping[str, ArrayLike | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to the gradients of `ssd_vjp`.

    Parameters
    ----------
    cotangents, wrt, inputs
        As for `ssd_vjp`.
    arithmetic
        The facts about the implementation, as for `ssd_bounds`.

    Returns
    -------
    For each gradient its value, bound, the oracle's own bound, and where it is judged.
    """
    given, names = read(**inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    cotangents_ = read_cotangents(given, cotangents)
    with np.errstate(all="ignore"):
        values = _gradients(given, cotangents_)
        worst = gradient_bounds(given, cotangents_, names, arithmetic)
        return {name: _bounded(values[name], worst[name], arithmetic) for name in names}


def _gradients(given: Ssd, cotangents: Cotangents) -> dict[str, Float]:
    found = gradients(given.scan, cotangents)
    b, l, h, p = given.shape
    d_dt = given.steps.slope * found["delta"].reshape(l, b, h, p).sum(axis=-1)
    dD = found["D"].reshape(h, p)
    return {
        "x": given.from_stream(found["u"]),
        "dt": d_dt.swapaxes(0, 1),
        "A": found["A"].reshape(given.scan.sizes[3], h, p).sum(axis=(0, 2)),
        "B": found["B"].transpose(2, 0, 3, 1),
        "C": found["C"].transpose(2, 0, 3, 1),
        "D": dD.sum(axis=-1) if given.d_per_head else dD,
        "z": given.from_stream(found["z"]),
        "dt_bias": d_dt.sum(axis=(0, 1)),
        "initial_states": given.from_states(found["initial_state"]),
    }


def read_cotangents(given: Ssd, cotangents: Mapping[str, object]) -> Cotangents:
    """Check the cotangents and lay them out as the scan's."""
    check_cotangent_names(cotangents, OUTPUTS)
    b, l, h, p = given.shape
    y = as_cotangent(cotangents, "y", given.shape)
    final = as_cotangent(cotangents, "final_states", (b, h, p, given.scan.sizes[3]))
    return Cotangents(
        np.zeros((l, b, h * p)) if y is None else given.to_stream(y),
        None if final is None else given.to_states(final),
    )


def _bounded(value: Float, worst: Worst, arithmetic: Arithmetic) -> Bounded:
    return Bounded(value, worst.bound, worst.own, worst.judged(value, arithmetic.largest))
