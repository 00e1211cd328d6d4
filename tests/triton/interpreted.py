"""Triton's interpreter made quick.

It combines a scan or a reduction element by element; here, all rows at once. And at each call of a function
it looks through the whole language for what to put its own in place of, which the launch has done.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter

OWN_SCAN, OWN_REDUCE = interpreter.ScanOps.generic_scan, interpreter.ReduceOps.generic_reduce
OWN_CALL = interpreter.InterpretedFunction.__call__


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


def install() -> None:
    """From here on, in this process."""
    interpreter.InterpretedFunction.__call__ = call
    interpreter.ScanOps.generic_scan = scan
    interpreter.ReduceOps.generic_reduce = reduce
