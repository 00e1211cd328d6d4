"""One step of the short causal convolution, as a decoder takes it: the convolution at length one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import ArrayLike

from ssm_spec._at_length_one import AtLengthOne
from ssm_spec._calls import arguments_of, operator
from ssm_spec._causal_conv1d import causal_conv1d, causal_conv1d_vjp
from ssm_spec._causal_conv1d_bounds import causal_conv1d_bounds, causal_conv1d_vjp_bounds
from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec._validate import Dimensions, Float, as_real_array, at_least_one

OUTPUTS = ("y", "state")
DIFFERENTIABLE = ("x", "state", "weight", "bias")


@operator
def causal_conv1d_update(
    x: ArrayLike,
    state: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    activation: str | None = None,
) -> tuple[Float, Float]:
    """y = bias + Σ_{j<w−1} w_j state_j + w_{w−1} x, then silu if asked for; x enters the state.

    (C1) l steps equal one `causal_conv1d` of length l, its last state included.

    Parameters
    ----------
    x
        (b, d), real.
    state
        (b, d, w − 1), real, newest last; it is not written.
    weight
        (d, w), real, w >= 1.
    bias
        (d,), real.
    activation
        None, or "silu" (also called "swish").

    Returns
    -------
    y, (b, d) float64, and the new state, (b, d, w − 1) float64.
    """
    both = causal_conv1d(**_read(x, state, weight, bias, activation), return_last_state=True)
    assert isinstance(both, tuple)
    y, last = both
    return y[..., 0], last


@arguments_of(causal_conv1d_update)
def causal_conv1d_update_vjp(
    cotangents: Mapping[str, ArrayLike | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Float]:
    """Gradients of ⟨cotangents, outputs⟩; the arguments are those of `causal_conv1d_update`.

    Parameters
    ----------
    cotangents
        "y": (b, d), "state": (b, d, w − 1); None or missing means zero.
    wrt
        Names of inputs; by default every differentiable one that was given.
    inputs
        The arguments of `causal_conv1d_update`.

    Returns
    -------
    For each name the gradient, float64, in the input's shape.
    """
    return _STEP.vjp(causal_conv1d_vjp, cotangents, wrt, inputs)


@arguments_of(causal_conv1d_update)
def causal_conv1d_update_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to "y" and "state".

    Parameters
    ----------
    arithmetic
        The facts about the implementation.
    inputs
        The arguments of `causal_conv1d_update`.
    """
    return _STEP.bounds(causal_conv1d_bounds, inputs, arithmetic)


@arguments_of(causal_conv1d_update)
def causal_conv1d_update_vjp_bounds(
    cotangents: Mapping[str, ArrayLike | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to the gradients of `causal_conv1d_update_vjp`.

    Parameters
    ----------
    cotangents, wrt, inputs
        As for `causal_conv1d_update_vjp`.
    arithmetic
        The facts about the implementation.
    """
    return _STEP.vjp_bounds(causal_conv1d_vjp_bounds, cotangents, wrt, inputs, arithmetic)


def _read(
    x: object, state: object, weight: object, bias: object = None, activation: object = None
) -> dict[str, Any]:
    """Check what differs from the convolution, and pose the step as one of length one."""
    dims = Dimensions()
    x_, state_, weight_ = (
        as_real_array(name, value) for name, value in (("x", x), ("state", state), ("weight", weight))
    )
    dims.match("x", x_, "b d")
    dims.match("weight", weight_, "d w")
    at_least_one("weight", "w", dims["w"])
    dims.bind("w−1", dims["w"] - 1, "weight")
    dims.match("state", state_, "b d w−1")
    return {
        "x": x_[..., None],
        "weight": weight_,
        "bias": bias,
        "activation": activation,
        "initial_state": state_,
    }


_STEP = AtLengthOne(
    read=_read,
    differentiable=DIFFERENTIABLE,
    time={"x": -1, "y": -1},
    outputs={"y": "x", "state": "state"},
    inputs_over_time={"state": "initial_state"},
    outputs_over_time={"state": "last_state"},
)
