"""Matrix products in the dtypes of their operands, whatever ``torch.autocast`` says."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def not_cast_down(function: Callable[P, R]) -> Callable[P, R]:
    """The function with autocast off inside: its products would lose the digits of float32 inputs."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        tensor = next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        with torch.autocast(tensor.device.type, enabled=False):
            return function(*args, **kwargs)

    return call
