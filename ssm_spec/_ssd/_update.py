"""One step of SSD, as a decoder takes it: SSD at length one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ssm_spec._at_length_one import AtLengthOne
from ssm_spec._calls import arguments_of, operator
from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec._ssd._public import ssd, ssd_bounds, ssd_vjp, ssd_vjp_bounds
from ssm_spec._validate import Dimensions, Float, as_real_array

OUTPUTS = ("y", "state")
DIFFERENTIABLE = ("state", "x", "dt", "A", "B", "C", "D", "z", "dt_bias")


@operator
def ssd_update(
    state: ArrayLike,
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
) -> tuple[Float, Float]:
    """S = exp(ΔA) S⁻ + Δ x Bᵀ; y = (S C + D x) · silu(z): one step of `ssd`.

    Dao and Gu, "Transformers are SSMs" (2024), eq. (2) with scalar A.

    (C1) l steps equal one `ssd` of length l: the same limits of Δ, and its final state.

    Parameters
    ----------
    state
        (b, h, p, n), real; it is not written.
    x, z
        (b, h, p), real.
    dt
        (b, h), real.
    A, dt_bias
        (h,), real; A at least single precision.
    B, C
        (b, g, n), real.
    D
        (h,) or (h, p), real.
    dt_softplus
        Δ = log(1 + exp(dt + dt_bias)) instead of dt + dt_bias.
    dt_limit
        (low, high), low <= high.

    Returns
    -------
    y, (b, h, p) float64, and the new state, (b, h, p, n) float64.
    """
    both = ssd(**_read(state, x, dt, A, B, C, D, z, dt_bias, dt_softplus, dt_limit), return_final_states=True)
    assert isinstance(both, tuple)
    y, final = both
    return y[:, 0], final


@arguments_of(ssd_update)
def ssd_update_vjp(
    cotangents: Mapping[str, ArrayLike | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Float]:
    """Gradients of ⟨cotangents, outputs⟩; the arguments are those of `ssd_update`.

    Parameters
    ----------
    cotangents
        "y": (b, h, p), "state": (b, h, p, n); None or missing means zero.
    wrt
        Names of inputs; by default every differentiable one that was given.
    inputs
        The arguments of `ssd_update`.

    Returns
    -------
    For each name the gradient, float64, in the input's shape.
    """
    return _STEP.vjp(ssd_vjp, cotangents, wrt, inputs)


@arguments_of(ssd_update)
def ssd_update_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to "y" and "state".

    Parameters
    ----------
    arithmetic
        The facts about the implementation.
    inputs
        The arguments of `ssd_update`.
    """
    return _STEP.bounds(ssd_bounds, inputs, arithmetic)


@arguments_of(ssd_update)
def ssd_update_vjp_bounds(
    cotangents: Mapping[str, ArrayLike | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to the gradients of `ssd_update_vjp`.

    Parameters
    ----------
    cotangents, wrt, inputs
        As for `ssd_update_vjp`.
    arithmetic
        The facts about the implementation.
    """
    return _STEP.vjp_bounds(ssd_vjp_bounds, cotangents, wrt, inputs, arithmetic)


def _read(
    state: object,
    x: object,
    dt: object,
    A: object,
    B: object,
    C: object,
    D: object = None,
    z: object = None,
    dt_bias: object = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
) -> dict[str, Any]:
    """Check what differs from `ssd`, and pose the step as one of length one."""
    dims = Dimensions()
    streams = {"x": x, "dt": dt, "B": B, "C": C} | ({} if z is None else {"z": z})
    patterns = {"x": "b h p", "dt": "b h", "B": "b g n", "C": "b g n", "z": "b h p"}
    arrays = {name: as_real_array(name, value) for name, value in streams.items()}
    for name, array in arrays.items():
        dims.match(name, array, patterns[name])
    state_ = as_real_array("state", state)
    dims.match("state", state_, "b h p n")
    step = {name: np.expand_dims(array, 1) for name, array in arrays.items()}
    constants = {"A": A, "D": D, "dt_bias": dt_bias, "dt_softplus": dt_softplus, "dt_limit": dt_limit}
    return step | constants | {"initial_states": state_}


_STEP = AtLengthOne(
    read=_read,
    differentiable=DIFFERENTIABLE,
    time=dict.fromkeys(("x", "dt", "B", "C", "z", "y"), 1),
    outputs={"y": "x", "state": "state"},
    inputs_over_time={"state": "initial_states"},
    outputs_over_time={"state": "final_states"},
)
