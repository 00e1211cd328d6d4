"""Inputs of which some were not given, and the gradients beside them: an operator returns no None."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def like_given(inputs: Sequence[Tensor | None]) -> list[Tensor]:
    """One contiguous array without numbers for each input that was given: what a fake kernel returns."""
    return [torch.empty_like(x, memory_format=torch.contiguous_format) for x in inputs if x is not None]


def beside(inputs: Sequence[Tensor | None], gradients: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients of the inputs that were given, in their places, and None in the others."""
    rest = iter(gradients)
    return [None if x is None else next(rest) for x in inputs]


def may_be_differentiated(*inputs: Tensor | None) -> bool:
    """Whether a gradient of one of them may be asked for."""
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)
