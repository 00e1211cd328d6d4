"""One step of SSD, as a decoder takes it: SSD at length one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_spec._calls import arguments_of, operator
from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec._ssd._public import ssd, ssd_bounds, ssd_vjp, ssd_vjp_bounds
from ssm_spec._validate import (
    Dimensions,
    Float,
    as_cotangent,
    as_real_array,
    check_cotangent_names,
    differentiated,
)

Array = NDArray[Any]

OUTPUTS = ("y", "state")
DIFFERENTIABLE = ("state", "x", "dt", "A", "B", "C", "D", "z", "dt_bias")
_IN_SSD = {"state": "initial_states"}
_STREAMED = ("x", "dt", "B", "C", "z")


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
    step, names = _read(**inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    found = ssd_vjp(_cotangents(step, cotangents), [_IN_SSD.get(name, name) for name in names], **step)
    return {name: _as_given(name, found[_IN_SSD.get(name, name)]) for name in names}


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
    found = ssd_bounds(arithmetic=arithmetic, **_read(**inputs))
    return {"y": found["y"].map(lambda part: part[:, 0]), "state": found["final_states"]}


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
    step, names = _read(**inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    found = ssd_vjp_bounds(
        _cotangents(step, cotangents),
        [_IN_SSD.get(name, name) for name in names],
        arithmetic=arithmetic,
        **step,
    )
    return {name: found[_IN_SSD.get(name, name)].map(partial(_as_given, name)) for name in names}


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


def _cotangents(step: Mapping[str, Any], cotangents: Mapping[str, object]) -> dict[str, Float | None]:
    check_cotangent_names(cotangents, OUTPUTS)
    b, _, h, p = step["x"].shape
    y = as_cotangent(cotangents, "y", (b, h, p))
    state = as_cotangent(cotangents, "state", step["initial_states"].shape)
    return {"y": None if y is None else y[:, None], "final_states": state}


def _as_given(name: str, array: Array) -> Array:
    """Bring what `ssd` calls by that name to the step's shape."""
    return array[:, 0] if name in _STREAMED else array
