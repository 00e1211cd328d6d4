"""One step of a Mamba block, as a decoder takes it: the block at length one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import ArrayLike

from ssm_spec._at_length_one import AtLengthOne
from ssm_spec._calls import arguments_of, operator
from ssm_spec._mamba._adjoint_bounds import mamba_block_vjp_bounds
from ssm_spec._mamba._block import mamba_block, mamba_block_vjp
from ssm_spec._mamba._bounds import mamba_block_bounds
from ssm_spec._mamba._stages import PARAMETERS
from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec._validate import Dimensions, Float, as_real_array

DIFFERENTIABLE = ("x", "conv_state", "ssm_state", *PARAMETERS)


@operator
def mamba_step(
    x: ArrayLike,
    conv_state: ArrayLike,
    ssm_state: ArrayLike,
    in_proj: ArrayLike,
    conv1d_weight: ArrayLike,
    conv1d_bias: ArrayLike | None,
    x_proj: ArrayLike,
    dt_proj_weight: ArrayLike,
    dt_proj_bias: ArrayLike,
    A_log: ArrayLike,
    D: ArrayLike,
    out_proj: ArrayLike,
) -> tuple[Float, Float, Float]:
    """One step of `mamba_block`, from its two states; the parameters are the block's.

    Gu and Dao, "Mamba" (2023), section 3.4 and figure 3; `Mamba.step` of its code.

    (C1) l steps equal one `mamba_block` of length l, both states included.

    Parameters
    ----------
    x
        (b, e), real.
    conv_state, ssm_state
        (b, d, w − 1), newest last, and (b, d, n), real; neither is written.

    Returns
    -------
    y, (b, e) float64, and the new states, float64.
    """
    given = (in_proj, conv1d_weight, conv1d_bias, x_proj, dt_proj_weight, dt_proj_bias, A_log, D, out_proj)
    parameters = dict(zip(PARAMETERS, given, strict=True))
    found = mamba_block(**_read(x, conv_state, ssm_state, **parameters), return_states=True)
    assert isinstance(found, tuple)
    y, conv, ssm = found
    return y[:, 0], conv, ssm


@arguments_of(mamba_step)
def mamba_step_vjp(
    cotangents: Mapping[str, ArrayLike | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Float]:
    """Gradients of ⟨cotangents, outputs⟩; the arguments are those of `mamba_step`.

    Parameters
    ----------
    cotangents
        "y": (b, e), "conv_state": (b, d, w − 1), "ssm_state": (b, d, n); None or missing means zero.
    wrt
        Names of inputs; by default every differentiable one that was given.
    inputs
        The arguments of `mamba_step`.

    Returns
    -------
    For each name the gradient, float64, in the input's shape.
    """
    return _STEP.vjp(mamba_block_vjp, cotangents, wrt, inputs)


@arguments_of(mamba_step)
def mamba_step_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to "y", "conv_state" and "ssm_state".

    Parameters
    ----------
    arithmetic
        The facts about the implementation, as for `mamba_block_bounds`.
    inputs
        The arguments of `mamba_step`.
    """
    return _STEP.bounds(mamba_block_bounds, inputs, arithmetic)


@arguments_of(mamba_step)
def mamba_step_vjp_bounds(
    cotangents: Mapping[str, ArrayLike | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to the gradients of `mamba_step_vjp`.

    Parameters
    ----------
    cotangents, wrt, inputs
        As for `mamba_step_vjp`.
    arithmetic
        The facts about the implementation, as for `mamba_block_bounds`.
    """
    return _STEP.vjp_bounds(mamba_block_vjp_bounds, cotangents, wrt, inputs, arithmetic)


def _read(x: object, conv_state: object, ssm_state: object, **parameters: Any) -> dict[str, Any]:
    """Check what differs from the block, which checks the rest, and pose the step as one of length one."""
    dims = Dimensions()
    x_ = as_real_array("x", x)
    dims.match("x", x_, "b e")
    states = {"conv_state": conv_state, "ssm_state": ssm_state}
    given = {name: as_real_array(name, state) for name, state in states.items()}
    return {"x": x_[:, None], **given, **parameters}


_STEP = AtLengthOne(
    read=_read,
    differentiable=DIFFERENTIABLE,
    time={"x": 1, "y": 1},
    outputs={"y": "x", "conv_state": "conv_state", "ssm_state": "ssm_state"},
)
