"""One step of the short causal convolution, as a decoder takes it: the convolution at length one.

Its states are of its own rows or in a pool, and may hold more inputs than the filter reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ssm_spec._calls import arguments_of, operator
from ssm_spec._causal_conv1d import causal_conv1d, causal_conv1d_vjp
from ssm_spec._causal_conv1d_bounds import causal_conv1d_bounds, causal_conv1d_vjp_bounds
from ssm_spec._errors import ShapeError
from ssm_spec._pool import Taken, participants, written
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._validate import (
    Array,
    Dimensions,
    Float,
    as_cotangent,
    as_real_array,
    at_least_one,
    check_cotangent_names,
    differentiated,
)

OUTPUTS = ("y", "state")
DIFFERENTIABLE = ("x", "state", "weight", "bias")


@operator
def causal_conv1d_update(
    x: ArrayLike,
    state: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    activation: str | None = None,
    *,
    state_indices: ArrayLike | None = None,
    inplace: bool = False,
) -> tuple[Float, Array]:
    """y = bias + Σ_{j<w−1} w_j state_{k−w+1+j} + w_{w−1} x, then silu if asked for; x enters the state.

    (C1) l steps equal one `causal_conv1d` of length l, its last state included.
    (C2) A state holds k >= w − 1 inputs, newest last. The step shifts them all by one, and x is the newest;
         the k − w + 1 oldest ones are handed on and not read.
    (C3) With `state_indices` the states lie in a pool, and −1 skips a row, whose y is 0.

    Parameters
    ----------
    x
        (b, d), real.
    state
        (b, d, k), or a pool (slots, d, k) with `state_indices`; real, k >= w − 1, newest last.
    weight
        (d, w), real, w >= 1.
    bias
        (d,), real.
    activation
        None, or "silu" (also called "swish").
    state_indices
        (b,), integers: the slot of each row, each at most once; −1 skips the row, whose y is 0.
    inplace
        Write the new state into `state`, rounded to its dtype, and return that array.

    Returns
    -------
    y, (b, d) float64, and the new state in the shape of `state`; slots that no row names keep theirs.
    """
    step = _read(x, state, weight, bias, activation, state_indices)
    place = written(state) if inplace else None
    found = causal_conv1d(**step.conv)
    assert isinstance(found, np.ndarray)
    y = step.taken.to_rows(found[..., 0])
    if place is None:
        return y, step.taken.to_slots(step.line[..., 1:], step.state)
    with np.errstate(all="ignore"):  # what a narrower state cannot hold becomes an infinity
        place[step.taken.slots] = step.line[..., 1:]
    return y, place


@arguments_of(causal_conv1d_update)
def causal_conv1d_update_vjp(
    cotangents: Mapping[str, ArrayLike | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Float]:
    """Gradients of ⟨cotangents, outputs⟩; slots that no row names hand their cotangent through.

    Parameters
    ----------
    cotangents
        "y": (b, d), "state": the state's shape; None or missing means zero.
    wrt
        Names of inputs; by default every differentiable one that was given.
    inputs
        The arguments of `causal_conv1d_update`; `inplace` changes nothing here.

    Returns
    -------
    For each name the gradient, float64, in the input's shape.
    """
    step, names = _read_inputs(inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    given, passed = step.cotangents(cotangents)
    found = causal_conv1d_vjp(given, **step.conv)
    line = step.of_line(found["initial_state"], found["x"])
    line[..., 1 : step.unread + 1] += step.handed_on(passed)
    return {name: step.as_given(name, line, found, passed) for name in names}


@arguments_of(causal_conv1d_update)
def causal_conv1d_update_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to "y" and "state"; a state is copied, not computed.

    Parameters
    ----------
    arithmetic
        The facts about the implementation.
    inputs
        The arguments of `causal_conv1d_update`; `inplace` changes nothing here.

    Returns
    -------
    For each output its value, bound, the oracle's own bound, and where it is judged; slots left alone have
    bound 0, and what is copied may lose what flushing loses.
    """
    step = _read_inputs(inputs)
    y = causal_conv1d_bounds(arithmetic=arithmetic, **step.conv)["y"]
    new, untouched = step.line[..., 1:], np.zeros(step.state.shape)
    value = step.taken.to_slots(new, step.state)
    return {
        "y": y.map(lambda part: step.taken.to_rows(part[..., 0])),
        "state": Bounded(
            value,
            step.taken.to_slots(np.full(new.shape, arithmetic.eta), untouched),
            untouched,
            np.isfinite(value),
        ),
    }


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

    Returns
    -------
    For each gradient its value, bound, the oracle's own bound, and where it is judged; of the state, the
    bound of a slot left alone is what flushing may lose of its cotangent.
    """
    step, names = _read_inputs(inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    given, passed = step.cotangents(cotangents)
    found = causal_conv1d_vjp_bounds(given, arithmetic=arithmetic, **step.conv)
    line = _line_bounds(step, found, step.handed_on(passed), arithmetic)
    alone = Bounded(
        passed, np.full(passed.shape, arithmetic.eta), np.zeros(passed.shape), np.isfinite(passed)
    )

    def as_given(name: str, part: str) -> Array:
        parts = {key: getattr(bounded, part) for key, bounded in found.items()}
        return step.as_given(name, getattr(line, part), parts, getattr(alone, part))

    return {name: Bounded(*(as_given(name, part) for part in _PARTS)) for name in names}


_PARTS = ("value", "bound", "own", "judged")


def _line_bounds(
    step: _Step, found: Mapping[str, Bounded], handed_on: Float, arithmetic: Arithmetic
) -> Bounded:
    """The line's gradient: what the convolution finds, and what the state's cotangent adds before it.

    They meet in one element, the oldest that the filter reads: there they are added, elsewhere one is copied.
    """
    before, x = found["initial_state"], found["x"]
    value, bound, own, judged = (step.of_line(getattr(before, part), getattr(x, part)) for part in _PARTS)
    there = slice(1, step.unread + 1)
    rounded = np.arange(step.unread) == step.unread - 1
    value[..., there] += handed_on
    for kind, error in ((arithmetic, bound), (ORACLE, own)):
        sums = np.abs(value[..., there]) + error[..., there]
        error[..., there] += np.where(rounded, kind.u * sums, 0.0)
    bound[..., there] += arithmetic.eta * (1.0 + rounded)
    judged[..., there] &= np.abs(value[..., there]) + bound[..., there] < arithmetic.largest
    return Bounded(value, bound, own, judged)


@dataclass(frozen=True, eq=False)
class _Step:
    """A step as a convolution of length one over the rows that take part.

    Attributes
    ----------
    state
        All states, those of other rows included.
    taken
        The rows that take part, and their places in `state`.
    line
        (rows, d, k + 1): their states, followed by x.
    unread
        How many inputs of a state the filter does not read, k − w + 1.
    conv
        The arguments of the convolution.
    """

    state: Float
    taken: Taken
    line: Float
    unread: int
    conv: dict[str, Any]

    def cotangents(self, cotangents: Mapping[str, object]) -> tuple[dict[str, Float | None], Float]:
        """The convolution's cotangents, and the state's, which slots left alone hand through."""
        check_cotangent_names(cotangents, OUTPUTS)
        y = as_cotangent(cotangents, "y", (self.taken.batch, self.line.shape[1]))
        last = as_cotangent(cotangents, "state", self.state.shape)
        given = {
            "y": None if y is None else y[self.taken.rows, :, None],
            "last_state": None if last is None else last[self.taken.slots][..., self.unread :],
        }
        return given, np.zeros_like(self.state) if last is None else last

    def handed_on(self, passed: Float) -> Float:
        """Of the state's cotangent, what belongs to inputs that are only handed on, (rows, d, k − w + 1)."""
        part: Float = passed[self.taken.slots][..., : self.unread]
        return part

    def of_line(self, before: Array, x: Array) -> Array:
        """What the line has of what the convolution finds: zero, or True, where it reads nothing."""
        unread = np.full((*x.shape[:2], self.unread), before.dtype == np.bool_, dtype=before.dtype)
        return np.concatenate([unread, before, x], axis=-1)

    def as_given(self, name: str, line: Array, found: Mapping[str, Array], passed: Array) -> Array:
        """One gradient, or its bound, in the shape of the step's input: from the line's, or as it is."""
        if name == "x":
            return self.taken.to_rows(line[..., -1])
        return self.taken.to_slots(line[..., :-1], passed) if name == "state" else found[name]


def _read(
    x: object,
    state: object,
    weight: object,
    bias: object = None,
    activation: object = None,
    state_indices: object = None,
) -> _Step:
    """Check what differs from the convolution, and pose the step as one of length one."""
    dims = Dimensions()
    x_, state_, weight_ = (
        as_real_array(name, value) for name, value in (("x", x), ("state", state), ("weight", weight))
    )
    dims.match("x", x_, "b d")
    dims.match("weight", weight_, "d w")
    at_least_one("weight", "w", dims["w"])
    dims.match("state", state_, "b d k" if state_indices is None else "slots d k")
    unread = dims["k"] - dims["w"] + 1
    if unread < 0:
        raise ShapeError(
            f"`state` must hold k >= w − 1 inputs with w = {dims['w']}, from `weight`; got {state_.shape}"
        )
    taken = participants(state_indices, dims)
    new = x_[taken.rows][..., None]
    line = np.concatenate([state_[taken.slots], new], axis=-1)
    conv = {
        "x": new,
        "weight": weight_,
        "bias": bias,
        "activation": activation,
        "initial_state": line[..., unread:-1],
    }
    return _Step(state_, taken, line, unread, conv)


def _read_inputs(inputs: Mapping[str, Any]) -> _Step:
    return _read(**{name: value for name, value in inputs.items() if name != "inplace"})
