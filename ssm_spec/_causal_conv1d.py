"""The short causal convolution of Mamba, one filter a channel: value, gradient, and the single step.

    p_t = bias + Σ_j w_j x_{t−w+1+j},  y = p or silu(p)      (Mamba, arXiv:2312.00752, section 3.4 and fig. 3)

Below, "the line" is the initial state followed by x: (b, d, w − 1 + l); the taps of time t are its
elements t … t + w − 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_spec._calls import arguments_of, operator
from ssm_spec._errors import DomainError
from ssm_spec._selective_scan._adjoint import gate_slope
from ssm_spec._selective_scan._value import gate
from ssm_spec._validate import (
    Dimensions,
    Float,
    as_cotangent,
    as_index_array,
    as_real_array,
    at_least_one,
    check_cotangent_names,
    differentiated,
)

OUTPUTS = ("y", "last_state")
DIFFERENTIABLE = ("x", "weight", "bias", "initial_state")
ACTIVATIONS = (None, "silu", "swish")


@operator
def causal_conv1d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    activation: str | None = None,
    *,
    initial_state: ArrayLike | None = None,
    seq_idx: ArrayLike | None = None,
    return_last_state: bool = False,
) -> Float | tuple[Float, Float]:
    """y_t = bias + Σ_j w_j x_{t−w+1+j}, then silu if asked for; depthwise and causal.

    Gu and Dao, "Mamba" (2023), section 3.4; names and defaults of the package causal-conv1d.

    (C1) Left of t = 0 stands `initial_state`, newest last; zeros if it is not given.
    (C2) A reset is where seq_idx[t] ≠ seq_idx[t−1]; nothing from before it is read after it.
    (C3) The last state holds the last w − 1 inputs of the sequence at l − 1, newest last, those
         of `initial_state` included where l < w − 1, zeros where the sequence is younger: a call
         that goes on from it equals one call for both.
    (C4) w = 1 has an empty state; l = 0 returns the initial state.

    Parameters
    ----------
    x
        (b, d, l), real.
    weight
        (d, w), real, w >= 1: w_{w−1} multiplies the newest input.
    bias
        (d,), real.
    activation
        None, or "silu" (also called "swish").
    initial_state
        (b, d, w − 1), real.
    seq_idx
        (b, l), integers.

    Returns
    -------
    y, (b, d, l) float64; with `return_last_state` also the last state, (b, d, w − 1) float64.
    """
    conv = read(x, weight, bias, activation, initial_state=initial_state, seq_idx=seq_idx)
    with np.errstate(all="ignore"):  # infinities and NaN follow the rules of IEEE 754, silently
        p = conv.before_activation()
        y = gate(p) if conv.silu else p
    return (y, conv.last_state()) if return_last_state else y


@arguments_of(causal_conv1d)
def causal_conv1d_vjp(
    cotangents: Mapping[str, ArrayLike | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Float]:
    """Gradients: with q = r silu'(p), dx_s = Σ_j w_j q_{s+w−1−j} and dw_j = Σ q_t x_{t−w+1+j}.

    Parameters
    ----------
    cotangents
        "y": (b, d, l), "last_state": (b, d, w − 1); None or missing means zero.
    wrt
        Names of inputs; by default every differentiable one that was given.
    inputs
        The arguments of `causal_conv1d`.

    Returns
    -------
    For each name the gradient, float64, in the input's shape.
    """
    conv, names = read(**inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    r, last = read_cotangents(conv, cotangents)
    with np.errstate(all="ignore"):
        q = r * gate_slope(conv.before_activation()) if conv.silu else r
        line = conv.spread(q, conv.weight)
        line[..., conv.length :] += conv.seen_last(last)
        found = {
            "x": line[..., conv.width - 1 :],
            "weight": conv.weigh(q, conv.line),
            "bias": q.sum(axis=(0, 2)),
            "initial_state": line[..., : conv.width - 1],
        }
    return {name: found[name] for name in names}


@dataclass(frozen=True, eq=False)
class Conv:
    """The arguments, checked: the line (b, d, w − 1 + l), weight (d, w), bias (d,) or None.

    `first` (b, l + 1): the first element of the line that is of the sequence of each time, the
    last entry being for the state that is handed on.
    """

    line: Float
    weight: Float
    bias: Float | None
    first: NDArray[np.int64]
    silu: bool

    @property
    def width(self) -> int:
        """w."""
        return int(self.weight.shape[1])

    @property
    def length(self) -> int:
        """l."""
        return int(self.line.shape[2]) - self.width + 1

    def taps(self, line: Float) -> Iterator[tuple[int, Float]]:
        """For each tap, what it reads at every time, (b, d, l): selected zeros across a reset."""
        times = np.arange(self.length)
        for j in range(self.width):
            seen = times + j >= self.first[:, None, :-1]
            yield j, np.where(seen, line[..., j : j + self.length], 0.0)

    def correlate(self, line: Float, weight: Float) -> Float:
        """Σ_j w_j line_{t+j}, oldest first. (b, d, l)."""
        total = np.zeros((*line.shape[:2], self.length))
        for j, read_by_tap in self.taps(line):
            total += weight[:, j, None] * read_by_tap
        return total

    def spread(self, q: Float, weight: Float) -> Float:
        """The adjoint of `correlate` in the line. (b, d, w − 1 + l)."""
        line = np.zeros_like(self.line)
        times = np.arange(self.length)
        for j in range(self.width):
            seen = times + j >= self.first[:, None, :-1]
            line[..., j : j + self.length] += np.where(seen, weight[:, j, None] * q, 0.0)
        return line

    def weigh(self, q: Float, line: Float) -> Float:
        """The adjoint of `correlate` in the weight. (d, w)."""
        out = np.zeros_like(self.weight)
        for j, read_by_tap in self.taps(line):
            out[:, j] = (q * read_by_tap).sum(axis=(0, 2))
        return out

    def before_activation(self) -> Float:
        """p. (b, d, l)."""
        p = self.correlate(self.line, self.weight)
        return p if self.bias is None else p + self.bias[:, None]

    def seen_last(self, state: Float) -> Float:
        """The state that is handed on, zero where it is of an earlier sequence. (b, d, w − 1)."""
        seen = self.length + np.arange(self.width - 1) >= self.first[:, None, -1:]
        return np.where(seen, state, 0.0)

    def last_state(self) -> Float:
        """The last w − 1 elements of the line."""
        return self.seen_last(self.line[..., self.length :])


def read(
    x: object,
    weight: object,
    bias: object = None,
    activation: object = None,
    *,
    initial_state: object = None,
    seq_idx: object = None,
    return_last_state: bool = False,
) -> Conv:
    """Check the arguments of `causal_conv1d` against its rules."""
    del return_last_state  # every caller takes what it needs
    dims = Dimensions()
    x_, weight_ = as_real_array("x", x), as_real_array("weight", weight)
    dims.match("x", x_, "b d l")
    dims.match("weight", weight_, "d w")
    at_least_one("weight", "w", dims["w"])
    bias_ = None if bias is None else as_real_array("bias", bias)
    if bias_ is not None:
        dims.match("bias", bias_, "d")
    if not isinstance(activation, str | None) or activation not in ACTIVATIONS:
        raise DomainError(f"`activation` must be one of {ACTIVATIONS}; got {activation!r}")
    b, d, l, w = (dims[letter] for letter in "bdlw")
    before = np.zeros((b, d, w - 1))
    if initial_state is not None:
        before = as_real_array("initial_state", initial_state)
        dims.bind("w−1", w - 1, "weight")
        dims.match("initial_state", before, "b d w−1")
    first = np.zeros((b, l + 1), dtype=np.int64)
    if seq_idx is not None:
        indices = as_index_array("seq_idx", seq_idx)
        dims.match("seq_idx", indices, "b l")
        first = _first_of_sequence(indices, w)
    return Conv(np.concatenate([before, x_], axis=-1), weight_, bias_, first, activation is not None)


def _first_of_sequence(seq_idx: NDArray[np.int64], w: int) -> NDArray[np.int64]:
    """`Conv.first` from seq_idx (b, l): a sequence that starts at t > 0 begins at element t + w − 1."""
    b, l = seq_idx.shape
    first = np.zeros((b, l + 1), dtype=np.int64)
    reset = seq_idx[:, 1:] != seq_idx[:, :-1]
    first[:, 1:l][reset] = (np.broadcast_to(np.arange(1, max(l, 1)), reset.shape) + w - 1)[reset]
    rising: NDArray[np.int64] = np.maximum.accumulate(first, axis=1)
    return rising


def read_cotangents(conv: Conv, cotangents: Mapping[str, object]) -> tuple[Float, Float]:
    """The cotangents of y and of the last state, zeros where they are not given."""
    check_cotangent_names(cotangents, OUTPUTS)
    b, d = conv.line.shape[:2]
    shapes = ((b, d, conv.length), (b, d, conv.width - 1))
    y, last = (as_cotangent(cotangents, name, shape) for name, shape in zip(OUTPUTS, shapes, strict=True))
    return (np.zeros(shapes[0]) if y is None else y), (np.zeros(shapes[1]) if last is None else last)
