"""Triton's interpreter made quick.

It combines a scan or a reduction element by element; here, all rows at once. And at each call of a function
it looks through the whole language for what to put its own in place of, which the launch has done. For each
number it works out types and shapes that it has worked out before; here, each is made once.
"""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import triton.language as tl
from triton.language.semantic import TritonSemantic
from triton.runtime import interpreter

OWN_SCAN, OWN_REDUCE = interpreter.ScanOps.generic_scan, interpreter.ReduceOps.generic_reduce
OWN_CALL = interpreter.InterpretedFunction.__call__
OWN_KIND, OWN_BLOCK, OWN_TENSOR = interpreter._get_np_dtype, tl.block_type.__init__, tl.tensor.__init__
OWN_TUPLE, OWN_BROADCAST = tl.tuple.__init__, TritonSemantic.broadcast_impl_value

KINDS: dict[str, np.dtype[Any]] = {}
BLOCKS: dict[tuple[str, tuple[int, ...]], dict[str, Any]] = {}
SHAPES: dict[tuple[int, ...], tuple[Any, Any]] = {}


def slices(ops: Any, items: Any, axis: int) -> list[np.ndarray[Any, Any]]:
    """What has been combined up to each step of the axis, which comes first; the steps in their order."""
    kinds = [item.dtype for item in items]
    given = [np.moveaxis(item.handle.data, axis, 0) for item in items]
    out = [x.copy() for x in given]
    for i in range(1, len(out[0])):
        before = (ops.to_tensor(x[i - 1], kind) for x, kind in zip(out, kinds, strict=True))
        now = (ops.to_tensor(x[i], kind) for x, kind in zip(given, kinds, strict=True))
        both = ops.combine_fn.fn(*before, *now)
        for x, item in zip(out, both if isinstance(both, tuple) else (both,), strict=True):
            x[i] = np.reshape(item.handle.data, x[i].shape)
    return out


def scan(self: Any, items: Any) -> list[Any]:
    """``ScanOps.generic_scan``, of the same bits."""
    parts = (np.moveaxis(x, 0, self.axis) for x in slices(self, items, self.axis))
    return [self.to_tensor(x, item.dtype) for x, item in zip(parts, items, strict=True)]


def reduce(self: Any, items: Any) -> list[Any]:
    """``ReduceOps.generic_reduce``, of the same bits; of all axes at once, Triton's own."""
    if self.axis is None:
        return list(OWN_REDUCE(self, items))
    parts = [x[-1] for x in slices(self, items, self.axis)]
    if self.keep_dims:
        parts = [np.expand_dims(x, self.axis) for x in parts]
    return [self.to_tensor(x, item.dtype) for x, item in zip(parts, items, strict=True)]


def call(self: Any, *arguments: Any, **named: Any) -> Any:
    """A function that a kernel calls; one of Triton's own sees the language under another name."""
    if self.fn.__globals__.get("tl") is not tl:
        interpreter._patch_lang(self.fn)
    return self.rewrite()(*arguments, **named)


def kind_of(kind: Any) -> np.dtype[Any]:
    """``_get_np_dtype``."""
    element = kind.scalar
    if element.name not in KINDS:
        KINDS[element.name] = OWN_KIND(element)
    return KINDS[element.name]


def block(self: Any, element: Any, shape: Any) -> None:
    """``block_type``, whose attributes nobody changes."""
    key = element.name, tuple(getattr(size, "value", size) for size in shape)
    if key not in BLOCKS:
        OWN_BLOCK(self, element, shape)
        BLOCKS[key] = dict(vars(self))
    vars(self).update(BLOCKS[key])


def tensor(self: Any, handle: Any, kind: Any) -> None:
    """``tensor``, whose shape nobody changes."""
    sizes = tuple(kind.shape) if kind.is_block() else ()
    if sizes not in SHAPES:
        SHAPES[sizes] = tl.tuple([tl.constexpr(size) for size in sizes]), tl.constexpr(prod(sizes))
    self.shape, self.numel = SHAPES[sizes]
    self.handle, self.type, self.dtype = handle, kind, kind.scalar


def values_alone(self: Any, values: Any, kind: Any = None) -> None:
    """``tuple``, whose type is made when it is asked for."""
    if kind is None:
        self.values = list(values)
    else:
        OWN_TUPLE(self, values, kind)


def broadcast(self: Any, left: Any, right: Any) -> tuple[Any, Any]:
    """``broadcast_impl_value``, which compares two equal shapes at length."""
    one, other = left.type, right.type
    if one.is_block() and other.is_block() and one.shape.values == other.shape.values:
        return left, right
    both: tuple[Any, Any] = OWN_BROADCAST(self, left, right)
    return both


REPLACED = {
    (interpreter.InterpretedFunction, "__call__"): (OWN_CALL, call),
    (interpreter.ScanOps, "generic_scan"): (OWN_SCAN, scan),
    (interpreter.ReduceOps, "generic_reduce"): (OWN_REDUCE, reduce),
    (interpreter, "_get_np_dtype"): (OWN_KIND, kind_of),
    (tl.block_type, "__init__"): (OWN_BLOCK, block),
    (tl.tensor, "__init__"): (OWN_TENSOR, tensor),
    (tl.tuple, "__init__"): (OWN_TUPLE, values_alone),
    (TritonSemantic, "broadcast_impl_value"): (OWN_BROADCAST, broadcast),
}
"""Of what, by which name: Triton's own, and what stands in its place."""


def install() -> None:
    """From here on, in this process."""
    for (owner, name), (_, quick) in REPLACED.items():
        setattr(owner, name, quick)
    later = cached_property(lambda self: tl.core._type_for_tuple_values(self.values))
    later.__set_name__(tl.tuple, "type")
    tl.tuple.type = later  # Triton's own constructor still sets it
