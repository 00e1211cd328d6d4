"""Where a step writes the new state, and whether it goes past PyTorch's dispatcher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """The ways to launch one step.

    Attributes
    ----------
    run, operator
        From a state and an array for the new one, past the dispatcher and as PyTorch's operator.
    over, operator_over
        Over the state.
    """

    run: Callable[..., Tensor]
    operator: Callable[..., Tensor]
    over: Callable[..., Tensor]
    operator_over: Callable[..., Tensor]

    def __call__(
        self, state: Tensor, rest: tuple[Any, ...], *, direct: bool, pooled: bool, inplace: bool
    ) -> tuple[Tensor, Tensor]:
        """The output and the new state; `pooled` says whether slots may be left alone."""
        if not inplace:
            new = state.clone() if pooled else torch.empty_like(state)
            return (self.run if direct else self.operator)(state, new, *rest), new
        if state.is_neg() or state.is_conj():  # an operator that writes cannot resolve what it writes
            written = state.resolve_conj().resolve_neg()
            y = self.operator_over(written, *rest)
            return y, state.copy_(written)
        if not direct:
            return self.operator_over(state, *rest), state
        y = self.over(state, *rest)
        if not state.is_inference():  # autograd refuses a gradient that has saved what was there before
            torch.autograd.graph.increment_version(state)
        return y, state
