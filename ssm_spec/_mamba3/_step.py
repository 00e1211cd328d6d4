"""One step of Mamba-3's recurrence, as a decoder takes it: the recurrence at length one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ssm_spec._at_length_one import AtLengthOne
from ssm_spec._calls import arguments_of, operator
from ssm_spec._mamba3._adjoint import mamba3_siso_vjp
from ssm_spec._mamba3._adjoint_bounds import mamba3_siso_vjp_bounds
from ssm_spec._mamba3._bounds import mamba3_siso_bounds
from ssm_spec._mamba3._inputs import STATES
from ssm_spec._mamba3._siso import mamba3_siso
from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec._validate import Dimensions, Float, as_real_array

DIFFERENTIABLE = (
    *STATES,
    *("q", "k", "v", "adt", "dt", "trap", "q_bias", "k_bias", "angles", "D", "z"),
)
_PATTERNS = {"q": "b g n", "k": "b g n", "v": "b h p", "angles": "b h a", "z": "b h p"}
_PER_HEAD = ("adt", "dt", "trap")


@operator
def mamba3_siso_step(
    angle_state: ArrayLike,
    ssm_state: ArrayLike,
    k_state: ArrayLike,
    v_state: ArrayLike,
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    adt: ArrayLike,
    dt: ArrayLike,
    trap: ArrayLike,
    q_bias: ArrayLike,
    k_bias: ArrayLike,
    angles: ArrayLike,
    D: ArrayLike | None = None,
    z: ArrayLike | None = None,
) -> tuple[Float, Float, Float, Float, Float]:
    """One step of `mamba3_siso` from its four states.

    (C1) l steps equal one `mamba3_siso` of length l, its states included.

    Parameters
    ----------
    angle_state, ssm_state, k_state, v_state
        (b, h, a), (b, h, p, n), (b, h, n), (b, h, p), real; none is written.
    q, k
        (b, g, n), real.
    v, z
        (b, h, p), real.
    adt, dt, trap
        (b, h), real.
    q_bias, k_bias
        (h, n), real.
    angles
        (b, h, a), real.
    D
        (h,), real.

    Returns
    -------
    y, (b, h, p) float64, and the four new states, float64.
    """
    inputs = _read(
        angle_state=angle_state,
        ssm_state=ssm_state,
        k_state=k_state,
        v_state=v_state,
        q=q,
        k=k,
        v=v,
        adt=adt,
        dt=dt,
        trap=trap,
        q_bias=q_bias,
        k_bias=k_bias,
        angles=angles,
        D=D,
        z=z,
    )
    found = mamba3_siso(**inputs, return_final_states=True)
    assert isinstance(found, tuple)
    y, *states = found
    angle, ssm, key, value = states
    return y[:, 0], angle, ssm, key, value


@arguments_of(mamba3_siso_step)
def mamba3_siso_step_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to "y" and the four states.

    Parameters
    ----------
    arithmetic
        The facts about the implementation.
    inputs
        The arguments of `mamba3_siso_step`.
    """
    return _STEP.bounds(mamba3_siso_bounds, inputs, arithmetic)


@arguments_of(mamba3_siso_step)
def mamba3_siso_step_vjp(
    cotangents: Mapping[str, ArrayLike | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Float]:
    """Gradients of ⟨cotangents, outputs⟩; the arguments are those of `mamba3_siso_step`.

    Parameters
    ----------
    cotangents
        "y": (b, h, p), "angle_state": (b, h, a), "ssm_state": (b, h, p, n), "k_state": (b, h, n),
        "v_state": (b, h, p); None or missing means zero.
    wrt
        Names of inputs; by default every differentiable one that was given.
    inputs
        The arguments of `mamba3_siso_step`.

    Returns
    -------
    For each name the gradient, float64, in the input's shape.
    """
    return _STEP.vjp(mamba3_siso_vjp, cotangents, wrt, inputs)


@arguments_of(mamba3_siso_step)
def mamba3_siso_step_vjp_bounds(
    cotangents: Mapping[str, ArrayLike | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to the gradients of `mamba3_siso_step_vjp`.

    Parameters
    ----------
    cotangents, wrt, inputs
        As for `mamba3_siso_step_vjp`.
    arithmetic
        The facts about the implementation.
    """
    return _STEP.vjp_bounds(mamba3_siso_vjp_bounds, cotangents, wrt, inputs, arithmetic)


def _read(**inputs: Any) -> dict[str, Any]:
    """Check what differs from the recurrence, and pose the step as one of length one."""
    dims, step = Dimensions(), dict(inputs)
    for name in STATES:
        step[name] = as_real_array(name, step[name])
    for name in (*_PATTERNS, *_PER_HEAD):
        if name != "z" or step.get(name) is not None:
            array = as_real_array(name, step[name])
            dims.match(name, array, _PATTERNS.get(name, "b h"))
            step[name] = array[..., None] if name in _PER_HEAD else np.expand_dims(array, 1)
    return step


_STEP = AtLengthOne(
    read=_read,
    differentiable=DIFFERENTIABLE,
    time={**dict.fromkeys((*_PATTERNS, "y"), 1), **dict.fromkeys(_PER_HEAD, -1)},
    outputs={"y": "v", **{name: name for name in STATES}},
)
