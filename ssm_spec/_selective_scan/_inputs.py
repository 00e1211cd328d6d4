"""The arguments of the selective scan: checked, made exact, and laid out with time first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._errors import DomainError, DTypeError, ShapeError
from ssm_spec._selective_scan._sequences import Sequences, from_cu_seqlens, from_seq_idx, whole
from ssm_spec._validate import (
    Dimensions,
    as_array,
    as_choice,
    as_index_array,
    as_real_array,
    at_least_one,
    refuse_half,
)

Array = NDArray[Any]
Float = NDArray[np.float64]

DISCRETIZATIONS = ("euler", "zoh")
DIFFERENTIABLE = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")


@dataclass(frozen=True, eq=False)
class Projection:
    """B or C as a function of time and channel.

    Attributes
    ----------
    array
        (l, n, b, g), or (1, n, 1, d) if constant.
    groups
        (d,): the group of each channel, in ascending order.
    rank
        The rank of the argument: 2 constant, 3 one group, 4 several.
    """

    array: Array
    groups: NDArray[np.int64]
    rank: int

    @property
    def constant(self) -> bool:
        """Whether it is the same at every time and batch row."""
        return self.rank == 2

    def at(self, span: slice) -> Array:
        """Its value for each channel, (l or 1, n, b or 1, d or 1)."""
        array = self.array if self.constant else self.array[span]
        return array if array.shape[-1] == 1 else array[..., self.groups]

    def restrict(self, batch: slice, channels: slice) -> Projection:
        """The same for some rows and channels."""
        array = self.array if self.constant else self.array[:, :, batch]
        return Projection(array, self.groups[channels], self.rank)

    def as_given(self, array: Array) -> Array:
        """Turn an array of `array`'s layout into the argument's shape."""
        if self.constant:
            return array[0, :, 0].T
        return array[..., 0].transpose(2, 1, 0) if self.rank == 3 else array.transpose(2, 3, 1, 0)


@dataclass(frozen=True, eq=False)
class Scan:
    """The arguments with time first: u, delta, z (l, b, d); A (n, 1, d); states (n, s, d)."""

    u: Float
    delta: Float
    A: Array
    B: Projection
    C: Projection
    D: Float | None
    z: Float | None
    delta_bias: Float | None
    initial_state: Array | None
    sequences: Sequences
    softplus: bool
    zoh: bool

    @property
    def gamma(self) -> float:
        """γ: 2 for complex A (one of each conjugate pair is kept), else 1."""
        return 2.0 if self.complex else 1.0

    @property
    def complex(self) -> bool:
        """Whether the state is complex."""
        return self.A.dtype.kind == "c"

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """b, d, l, n."""
        l, b, d = self.u.shape
        return b, d, l, self.A.shape[0]

    def block(self, batch: slice, channels: slice) -> Scan:
        """The scan of some batch rows and channels; no other ones take part in it."""
        return replace(
            self,
            u=self.u[:, batch, channels],
            delta=self.delta[:, batch, channels],
            A=self.A[..., channels],
            B=self.B.restrict(batch, channels),
            C=self.C.restrict(batch, channels),
            D=None if self.D is None else self.D[channels],
            z=None if self.z is None else self.z[:, batch, channels],
            delta_bias=None if self.delta_bias is None else self.delta_bias[channels],
            initial_state=None if self.initial_state is None else self.initial_state[..., channels],
            sequences=self.sequences.rows(batch),
        )


def read(
    u: object,
    delta: object,
    A: object,
    B: object,
    C: object,
    D: object = None,
    z: object = None,
    delta_bias: object = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    initial_state: object = None,
    seq_idx: object = None,
    cu_seqlens: object = None,
    b_discretization: str = "euler",
) -> Scan:
    """Check the arguments of `selective_scan` against its rules and lay them out with time first."""
    del return_last_state  # every caller takes what it needs
    dims = Dimensions()
    u_, delta_ = as_real_array("u", u), as_real_array("delta", delta)
    dims.match("u", u_, "b d l")
    dims.match("delta", delta_, "b d l")
    A_ = _decay_rates(A, dims)
    complex_ = A_.dtype.kind == "c"
    sequences = _sequences(seq_idx, cu_seqlens, dims)
    rule = as_choice("b_discretization", b_discretization, DISCRETIZATIONS)
    return Scan(
        u=_time_first(u_),
        delta=_time_first(delta_),
        A=np.ascontiguousarray(A_.T)[:, None],
        B=_projection("B", B, complex_, dims),
        C=_projection("C", C, complex_, dims),
        D=_per_channel("D", D, dims),
        z=_optional_stream("z", z, dims),
        delta_bias=_per_channel("delta_bias", delta_bias, dims),
        initial_state=_initial_state(initial_state, complex_, dims, packed=cu_seqlens is not None),
        sequences=sequences,
        softplus=bool(delta_softplus),
        zoh=rule == "zoh",
    )


def _time_first(array: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(array, -1, 0))


def _decay_rates(A: object, dims: Dimensions) -> Array:
    array = as_array("A", A)
    refuse_half("A", A)
    dims.match("A", array, "d n")
    at_least_one("A", "n", dims["n"])
    return array


def _like_state(name: str, value: object, complex_: bool) -> Array:
    array = as_array(name, value)
    if complex_:
        return array.astype(np.complex128, copy=False)
    if array.dtype.kind == "c":
        raise DTypeError(f"`{name}` must be real where `A` is real; got {np.asarray(value).dtype}")
    return array


def _projection(name: str, value: object, complex_: bool, dims: Dimensions) -> Projection:
    array = _like_state(name, value, complex_)
    dims.match(name, array, "d n", "b n l", "b g n l", free="g")  # B and C may differ in g
    d = dims["d"]
    if array.ndim == 2:
        return Projection(np.ascontiguousarray(array.T)[None, :, None], np.arange(d), 2)
    if array.ndim == 3:
        return Projection(np.ascontiguousarray(array.transpose(2, 1, 0))[..., None], np.zeros(d, np.int64), 3)
    g = array.shape[1]
    at_least_one(name, "g", g)
    if d % g:
        raise ShapeError(f"`{name}` must have a number of groups that divides d = {d}; got g = {g}")
    groups = np.arange(d) // max(d // g, 1)
    return Projection(np.ascontiguousarray(array.transpose(3, 2, 0, 1)), groups, 4)


def _per_channel(name: str, value: object, dims: Dimensions) -> Float | None:
    if value is None:
        return None
    array = as_real_array(name, value)
    dims.match(name, array, "d")
    return array


def _optional_stream(name: str, value: object, dims: Dimensions) -> Float | None:
    if value is None:
        return None
    array = as_real_array(name, value)
    dims.match(name, array, "b d l")
    return _time_first(array)


def _initial_state(value: object, complex_: bool, dims: Dimensions, *, packed: bool) -> Array | None:
    if value is None:
        return None
    array = _like_state("initial_state", value, complex_)
    dims.match("initial_state", array, "s d n" if packed else "b d n")
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def _sequences(seq_idx: object, cu_seqlens: object, dims: Dimensions) -> Sequences:
    if cu_seqlens is not None:
        if seq_idx is not None:
            raise DomainError("`cu_seqlens` must not be given together with `seq_idx`; got both")
        return from_cu_seqlens(_offsets(cu_seqlens, dims))
    if seq_idx is None:
        return whole(dims["b"], dims["l"])
    indices = as_index_array("seq_idx", seq_idx)
    dims.match("seq_idx", indices, "b l")
    return from_seq_idx(indices)


def _offsets(cu_seqlens: object, dims: Dimensions) -> NDArray[np.int64]:
    offsets = as_index_array("cu_seqlens", cu_seqlens)
    if offsets.ndim != 1 or len(offsets) == 0:
        raise ShapeError(f"`cu_seqlens` must have shape (s + 1,); got {offsets.shape}")
    if dims["b"] != 1:
        raise ShapeError(f"`u` must have b = 1 where `cu_seqlens` packs sequences; got b = {dims['b']}")
    l = dims["l"]
    if offsets[0] != 0 or offsets[-1] != l or (np.diff(offsets) < 0).any():
        raise DomainError(f"`cu_seqlens` must rise from 0 to l = {l}, never falling; got {offsets.tolist()}")
    dims.bind("s", len(offsets) - 1, "cu_seqlens")
    return offsets
