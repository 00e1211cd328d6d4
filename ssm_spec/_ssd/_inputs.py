"""The arguments of SSD: checked, the step sizes made, and the rest laid out as a selective scan.

A head of width p is p channels that share Δ and one decay rate: what remains after Δ is made
is the selective scan of h·p channels, channel i of head i // p.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._errors import DomainError, ShapeError
from ssm_spec._functions import sigmoid, softplus
from ssm_spec._selective_scan._inputs import Projection, Scan
from ssm_spec._selective_scan._sequences import from_seq_idx, whole
from ssm_spec._validate import Dimensions, Float, as_index_array, as_real_array, at_least_one, refuse_half

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Steps:
    """Δ = clamp(softplus(dt + dt_bias)) on its way, each (l, b, h).

    Attributes
    ----------
    raw, free, step
        dt + dt_bias; the same after softplus, if asked for; after the clamp.
    biased, softplus
        Whether there is a bias, and a softplus.
    low, high
        The limits of the clamp.
    """

    raw: Float
    free: Float
    step: Float
    biased: bool
    softplus: bool
    low: float
    high: float

    @property
    def slope(self) -> Float:
        """∂Δ/∂dt: σ or 1, and 0 outside the limits; 1 times it at a limit."""
        return np.where(self.inside, self.free_slope, 0.0)

    @property
    def free_slope(self) -> Float:
        """The slope of `free` in `raw`."""
        return sigmoid(self.raw) if self.softplus else np.ones_like(self.raw)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Where the clamp changes nothing."""
        return (self.free >= self.low) & (self.free <= self.high)


@dataclass(frozen=True, eq=False)
class Ssd:
    """SSD as steps and a scan.

    Attributes
    ----------
    steps, rates
        Δ and how it is made, (l, b, h); A, (h,).
    scan
        The selective scan of h·p channels, with Δ as it is in `steps`.
    shape
        b, l, h, p.
    d_per_head
        Whether D was given as (h,).
    """

    steps: Steps
    rates: Float
    scan: Scan
    shape: tuple[int, int, int, int]
    d_per_head: bool

    def to_stream(self, array: Float) -> Float:
        """(b, l, h, p) to (l, b, h·p)."""
        b, l, h, p = self.shape
        return np.ascontiguousarray(array.transpose(1, 0, 2, 3)).reshape(l, b, h * p)

    def from_stream(self, array: Array) -> Array:
        """(l, b, h·p) to (b, l, h, p)."""
        b, l, h, p = self.shape
        return array.reshape(l, b, h, p).transpose(1, 0, 2, 3)

    def to_states(self, array: Float) -> Float:
        """(b, h, p, n) to (n, b, h·p)."""
        return _to_states(array)

    def from_states(self, array: Array) -> Array:
        """(n, b, h·p) to (b, h, p, n)."""
        b, _, h, p = self.shape
        return array.reshape(array.shape[0], b, h, p).transpose(1, 2, 3, 0)


def read(
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
    return_final_states: bool = False,
    *,
    initial_states: object = None,
    seq_idx: object = None,
) -> Ssd:
    """Check the arguments of `ssd` against its rules and lay them out with time first."""
    del return_final_states  # every caller takes what it needs
    dims = Dimensions()
    x_, dt_ = as_real_array("x", x), as_real_array("dt", dt)
    dims.match("x", x_, "b l h p")
    dims.match("dt", dt_, "b l h")
    b, l, h, p = (dims[letter] for letter in "blhp")
    A_ = _decay_rates(A, dims)
    B_, C_ = _projection("B", B, dims), _projection("C", C, dims)
    n = B_.array.shape[1]
    D_ = _optional("D", D, dims, "h", "h p")
    bias = _optional("dt_bias", dt_bias, dims, "h")
    z_ = _optional("z", z, dims, "b l h p")
    states = _optional("initial_states", initial_states, dims, "b h p n")
    sequences = whole(b, l)
    if seq_idx is not None:
        indices = as_index_array("seq_idx", seq_idx)
        dims.match("seq_idx", indices, "b l")
        sequences = from_seq_idx(indices)
    steps = _steps(dt_, bias, bool(dt_softplus), *_limits(dt_limit))
    scan = Scan(
        u=_to_stream(x_),
        delta=np.repeat(steps.step, p, axis=-1),
        A=np.ascontiguousarray(np.broadcast_to(np.repeat(A_, p), (n, 1, h * p))),
        B=B_.spread(h, p),
        C=C_.spread(h, p),
        D=None if D_ is None else np.ascontiguousarray(_per_channel(D_, h, p)),
        z=None if z_ is None else _to_stream(z_),
        delta_bias=None,
        initial_state=None if states is None else _to_states(states),
        sequences=sequences,
        softplus=False,
        zoh=False,
    )
    return Ssd(steps, A_, scan, (b, l, h, p), D_ is None or D_.ndim == 1)


@dataclass(frozen=True, eq=False)
class _Groups:
    """B or C as (l, n, b, g)."""

    array: Float

    def spread(self, h: int, p: int) -> Projection:
        """Head i belongs to group i // (h/g), and so do its channels."""
        g = self.array.shape[-1]
        heads = np.arange(h) // max(h // g, 1)
        return Projection(self.array, np.repeat(heads, p), 4)


def _projection(name: str, value: object, dims: Dimensions) -> _Groups:
    array = as_real_array(name, value)
    dims.match(name, array, "b l g n")
    g, n, h = dims["g"], dims["n"], dims["h"]
    at_least_one(name, "g", g)
    at_least_one(name, "n", n)
    if h % g:
        raise ShapeError(f"`{name}` must have a number of groups that divides h = {h}; got g = {g}")
    return _Groups(np.ascontiguousarray(array.transpose(1, 3, 0, 2)))


def _decay_rates(A: object, dims: Dimensions) -> Float:
    array = as_real_array("A", A)
    refuse_half("A", A)
    dims.match("A", array, "h")
    return array


def _optional(name: str, value: object, dims: Dimensions, *patterns: str) -> Float | None:
    if value is None:
        return None
    array = as_real_array(name, value)
    dims.match(name, array, *patterns)
    return array


def _limits(dt_limit: object) -> tuple[float, float]:
    """Two real numbers, the lower first."""
    if isinstance(dt_limit, tuple | list) and len(dt_limit) == 2:
        numbers = all(isinstance(x, float | int | np.floating) for x in dt_limit)
        if numbers and dt_limit[0] <= dt_limit[1]:  # a NaN fails this too
            return float(dt_limit[0]), float(dt_limit[1])
    raise DomainError(f"`dt_limit` must be a pair of numbers (low, high) with low <= high; got {dt_limit!r}")


def _steps(dt: Float, bias: Float | None, soft: bool, low: float, high: float) -> Steps:
    """Δ = clamp(softplus(dt + dt_bias), low, high), the clamp always. (l, b, h)."""
    raw = np.ascontiguousarray(dt.swapaxes(0, 1))
    with np.errstate(all="ignore"):
        raw = raw if bias is None else raw + bias
        free = softplus(raw) if soft else raw
        return Steps(raw, free, np.clip(free, low, high), bias is not None, soft, low, high)


def _per_channel(D: Float, h: int, p: int) -> Float:
    return np.broadcast_to(D if D.ndim == 2 else D[:, None], (h, p)).reshape(h * p)


def _to_stream(array: Float) -> Float:
    b, l, h, p = array.shape
    return np.ascontiguousarray(array.transpose(1, 0, 2, 3)).reshape(l, b, h * p)


def _to_states(array: Float) -> Float:
    b, h, p, n = array.shape
    return np.ascontiguousarray(array.transpose(3, 0, 1, 2)).reshape(n, b, h * p)
