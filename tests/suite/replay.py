"""A captured graph without a GPU: the operators of one run, recorded below autograd, and run again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WARM_UP = 3


class Recorder(TorchDispatchMode):
    """The operators of a run, and what they found in memory: a capture runs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.seen: set[int] = set()
        self.found: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for x in tensors((args, kwargs)):
            if x.untyped_storage().data_ptr() not in self.seen:
                self.found.append((x.detach(), x.detach().clone()))
                self.seen.add(x.untyped_storage().data_ptr())
        out = func(*args, **kwargs)
        self.seen |= {x.untyped_storage().data_ptr() for x in tensors(out)}
        self.calls.append((func, args, kwargs, out))
        return out


def tensors(tree: Any) -> list[torch.Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, torch.Tensor)]


def capture(run: Callable[[], dict[str, Any]]) -> tuple[Callable[[], None], dict[str, Any]]:
    """How to replay a run, and the arrays that every replay writes."""
    for _ in range(WARM_UP):
        run()
    recorder = Recorder()
    with recorder:
        results = run()

    def restore() -> None:
        for x, before in recorder.found:
            x.copy_(before)

    def replay() -> None:
        for func, args, kwargs, out in recorder.calls:
            for kept, new in zip(tensors(out), tensors(func(*args, **kwargs)), strict=True):
                if kept.data_ptr() != new.data_ptr():
                    kept.copy_(new)

    with torch.no_grad():
        restore()
    return torch.no_grad()(replay), results
