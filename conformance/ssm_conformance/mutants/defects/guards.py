"""Mutants that read, or write, what lies around an array: past a tile, a vector, a slot.

What they read is masked too late, by a product with zero. They read no further than the memory that an array
is a view of: what lies beyond it is another's, or nobody's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.lib.stride_tricks import as_strided

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant

Read = Callable[[Array], Array]


def _ends(x: Array) -> tuple[int, int]:
    """Bytes of the memory that an array is a view of, in front of it and behind it."""
    owner = x
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    (low, high), (first, last) = byte_bounds(owner), byte_bounds(x)
    return first - low, high - last


def _beyond(x: Array, dim: int, count: int) -> Array:
    """The array, and zero times so many elements more along a dimension."""
    if not count or not x.size or _ends(x)[1] < count * x.strides[dim]:
        return x
    shape = tuple(size + count if i == dim % x.ndim else size for i, size in enumerate(x.shape))
    more = np.take(as_strided(x, shape, x.strides), range(x.shape[dim], shape[dim]), axis=dim)
    return np.asarray(x + 0 * more.sum(dim, keepdims=True))


def _tile(x: Array, dim: int, tile: int) -> Array:
    """Past the first tile of a dimension, the last one is read whole."""
    return _beyond(x, dim, -x.shape[dim] % tile if x.shape[dim] > tile else 0)


def _vectors(x: Array) -> Array:
    """Where rows begin at aligned addresses, whole vectors of four are read."""
    aligned = all(address % 16 == 0 for address in (x.ctypes.data, *x.strides[:-1]))
    return _beyond(x, -1, -x.shape[-1] % 4) if aligned and x.strides[-1] == x.itemsize else x


def _misread(given: Mapping[str, Any], wrong: Mapping[str, Read]) -> dict[str, Any]:
    """Some of the arrays, as they are read."""
    return {
        name: wrong[name](x) if name in wrong and isinstance(x, np.ndarray) else x
        for name, x in given.items()
    }


class _Scan(Honest):
    def __init__(self, **wrong: Read) -> None:
        self.wrong = wrong

    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_misread(given, self.wrong))


class _BackwardOfScan(Honest):
    """The backward pass alone, in an input or in a cotangent."""

    def __init__(self, **wrong: Read) -> None:
        self.wrong = wrong

    def vjp(self, cotangents: Any, *args: Any, **given: Any) -> dict[str, Any]:
        read = _misread(cotangents, self.wrong)
        return super().vjp(read, *args, **_misread(given, self.wrong))


class _Dual(Dual):
    def __init__(self, **wrong: Read) -> None:
        self.wrong = wrong

    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_misread(given, self.wrong))


class _Convolution(ShortConvolution):
    def __init__(self, **wrong: Read) -> None:
        self.wrong = wrong

    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_misread(given, self.wrong))


class _Step(Step):
    def __init__(self, **wrong: Read) -> None:
        super().__init__(Honest())
        self.wrong = wrong

    def __call__(self, **given: Any) -> tuple[Any, Any]:
        return super().__call__(**_misread(given, self.wrong))


def _write_slot_before(state: Any, state_indices: Any) -> None:
    """Zeros where slot −1 would lie, for each row that names it."""
    room = isinstance(state, np.ndarray) and _ends(state)[0] >= state.strides[0]
    if room and state_indices is not None and state_indices.min() < 0:
        down = state[::-1]
        as_strided(down, (len(down) + 1, *down.shape[1:]), down.strides)[-1] = 0


class _SlotBeforeWritten(Step):
    def __call__(self, *, state: Any, state_indices: Any = None, inplace: bool = False, **given: Any) -> Any:
        if inplace:
            _write_slot_before(state, state_indices)
        return super().__call__(state=state, state_indices=state_indices, inplace=inplace, **given)


class _SlotBeforeWrittenByConvolution(ShortConvolutionStep):
    def __call__(self, *, state: Any, state_indices: Any = None, inplace: bool = False, **given: Any) -> Any:
        if inplace:
            _write_slot_before(state, state_indices)
        return super().__call__(state=state, state_indices=state_indices, inplace=inplace, **given)


def _mutant(name: str, summary: str, case: str, kernel: Any) -> Mutant:
    return Mutant(name, None, summary, f"robustness/guarded-{case}", kernel, only=("float32",))


_chunk, _warp = partial(_tile, dim=-1, tile=64), partial(_tile, dim=-1, tile=16)
GUARDS: Final = (
    _mutant(
        "last-chunk-unmasked", "Past a chunk of 64 steps, the last one of u is read whole.", "length-65",
        _Scan(u=_chunk),
    ),
    _mutant(
        "last-chunk-of-cotangent-unmasked",
        "Past a chunk of 256 steps, the last one of the cotangent of y is read whole.", "length-257",
        _BackwardOfScan(y=partial(_tile, dim=-1, tile=256)),
    ),
    _mutant(
        "last-chunk-unmasked-backward",
        "Past a chunk of 64 steps, the backward pass reads the last one of delta whole.", "length-129",
        _BackwardOfScan(delta=_chunk),
    ),
    _mutant(
        "last-channels-unmasked", "Past a tile of 32 channels, the last one of D is read whole.", "width-33",
        _Scan(D=partial(_tile, dim=0, tile=32)),
    ),
    _mutant(
        "last-states-unmasked", "Past a tile of 16 states, the last one of A is read whole.", "states-17",
        _Scan(A=_warp),
    ),
    _mutant(
        "last-vector-unmasked", "u is read in vectors of four where its rows are aligned.", "typical",
        _Scan(u=_vectors),
    ),
    _mutant(
        "ssd-last-chunk-unmasked", "Past a chunk of 64 steps, the last one of x is read whole.", "length-65",
        _Dual(x=partial(_tile, dim=1, tile=64)),
    ),
    _mutant(
        "ssd-last-states-unmasked", "Past a tile of 64 states, the last one of C is read whole.",
        "states-129", _Dual(C=_chunk),
    ),
    _mutant(
        "conv1d-last-block-unmasked", "Past a block of 128 steps, the last one of x is read whole.",
        "length-129", _Convolution(x=partial(_tile, dim=-1, tile=128)),
    ),
    _mutant(
        "step-last-channels-unmasked", "Past a tile of 64 channels, the last one of u is read whole.",
        "width-65", _Step(u=_chunk),
    ),
    _mutant(
        "step-writes-slot-before", "In place, a skipped row writes what lies in front of the pool.",
        "pool-inplace-skipping", _SlotBeforeWritten(Honest()),
    ),
    _mutant(
        "conv1d-step-writes-slot-before", "In place, a skipped row writes what lies in front of the pool.",
        "pool-inplace-skipping", _SlotBeforeWrittenByConvolution(),
    ),
)  # fmt: skip
"""Defects around an array."""
