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
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant

Read = Callable[[Array], Array]
Mishandle = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""What is passed by name → what is seen of it."""


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


def _misread(**reads: Read) -> Mishandle:
    """Some of the arrays, as they are read."""
    return lambda given: {
        name: reads[name](x) if name in reads and isinstance(x, np.ndarray) else x
        for name, x in given.items()
    }


def _slot_before_written(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Zeros where slot −1 would lie, if a row names it and the step writes in place."""
    state, indices = given["state"], given.get("state_indices")
    skipping = given.get("inplace") and indices is not None and indices.min() < 0
    if skipping and isinstance(state, np.ndarray) and _ends(state)[0] >= state.strides[0]:
        down = state[::-1]
        as_strided(down, (len(down) + 1, *down.shape[1:]), down.strides)[-1] = 0
    return given


class _Mishandled(Kernel):
    """In front of an honest implementation: what happens to its arguments before it has them.

    Parameters
    ----------
    mishandle
        The arguments → those that it gets.
    *parts
        What the honest implementation is made of.
    """

    def __init__(self, mishandle: Mishandle, *parts: Any) -> None:
        super().__init__(*parts)
        self.mishandle = mishandle

    def __call__(self, **given: Any) -> Any:
        return super().__call__(**self.mishandle(given))  # type: ignore[safe-super]  # of the kernel beside it


class _Scan(_Mishandled, Honest):
    pass


class _Dual(_Mishandled, Dual):
    pass


class _Convolution(_Mishandled, ShortConvolution):
    pass


class _Step(_Mishandled, Step):
    pass


class _ConvolutionStep(_Mishandled, ShortConvolutionStep):
    pass


class _BackwardOfScan(Honest):
    """The backward pass alone, in an input or in a cotangent."""

    def __init__(self, mishandle: Mishandle) -> None:
        self.mishandle = mishandle

    def vjp(self, cotangents: Any, *args: Any, **given: Any) -> dict[str, Any]:
        return super().vjp(self.mishandle(cotangents), *args, **self.mishandle(given))


def _mutant(name: str, summary: str, case: str, kernel: Any) -> Mutant:
    return Mutant(name, None, summary, f"robustness/guarded-{case}", kernel, only=("float32",))


_chunk, _warp = partial(_tile, dim=-1, tile=64), partial(_tile, dim=-1, tile=16)
GUARDS: Final = (
    _mutant(
        "last-chunk-unmasked", "Past a chunk of 64 steps, the last one of u is read whole.", "length-65",
        _Scan(_misread(u=_chunk)),
    ),
    _mutant(
        "last-chunk-of-cotangent-unmasked",
        "Past a chunk of 256 steps, the last one of the cotangent of y is read whole.", "length-257",
        _BackwardOfScan(_misread(y=partial(_tile, dim=-1, tile=256))),
    ),
    _mutant(
        "last-chunk-unmasked-backward",
        "Past a chunk of 64 steps, the backward pass reads the last one of delta whole.", "length-129",
        _BackwardOfScan(_misread(delta=_chunk)),
    ),
    _mutant(
        "last-channels-unmasked", "Past a tile of 32 channels, the last one of D is read whole.", "width-33",
        _Scan(_misread(D=partial(_tile, dim=0, tile=32))),
    ),
    _mutant(
        "last-states-unmasked", "Past a tile of 16 states, the last one of A is read whole.", "states-17",
        _Scan(_misread(A=_warp)),
    ),
    _mutant(
        "last-vector-unmasked", "u is read in vectors of four where its rows are aligned.", "typical",
        _Scan(_misread(u=_vectors)),
    ),
    _mutant(
        "ssd-last-chunk-unmasked", "Past a chunk of 64 steps, the last one of x is read whole.", "length-65",
        _Dual(_misread(x=partial(_tile, dim=1, tile=64))),
    ),
    _mutant(
        "ssd-last-states-unmasked", "Past a tile of 64 states, the last one of C is read whole.",
        "states-129", _Dual(_misread(C=_chunk)),
    ),
    _mutant(
        "conv1d-last-block-unmasked", "Past a block of 128 steps, the last one of x is read whole.",
        "length-129", _Convolution(_misread(x=partial(_tile, dim=-1, tile=128))),
    ),
    _mutant(
        "step-last-channels-unmasked", "Past a tile of 64 channels, the last one of u is read whole.",
        "width-65", _Step(_misread(u=_chunk), Honest()),
    ),
    _mutant(
        "step-writes-slot-before", "In place, a skipped row writes what lies in front of the pool.",
        "pool-inplace-skipping", _Step(_slot_before_written, Honest()),
    ),
    _mutant(
        "conv1d-step-writes-slot-before", "In place, a skipped row writes what lies in front of the pool.",
        "pool-inplace-skipping", _ConvolutionStep(_slot_before_written),
    ),
)  # fmt: skip
"""Defects around an array."""
