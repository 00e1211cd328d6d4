"""The gradients of a call, filled and summed stretch by stretch in a fixed order."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_torch.duality.problem import Problem, Stretch
from ssm_torch.duality.terms import Steps


class Gradients:
    """One for each input, in its own shape; those of parameters are summed in the compute type."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        given = {name: getattr(problem, name) for name in ("x", "dt", "B", "C", "z")}
        self._streams = {
            name: torch.zeros_like(x, memory_format=torch.contiguous_format)
            for name, x in given.items()
            if x is not None
        }
        _, _, h, p = problem.x.shape
        n = problem.B.shape[3]
        room = problem.A.new_zeros
        self._rates, self._bias = (room(h, dtype=problem.compute) for _ in range(2))
        self._skip = room((h, p), dtype=problem.compute)
        self.initial_states = room((problem.x.shape[0], h, p, n), dtype=problem.compute)

    def write(self, name: str, gradient: Tensor, at: Stretch) -> None:
        """A stretch (b, k, g, q, r, p) of the gradient of x or z."""
        self._problem.stream(self._streams[name], at).copy_(gradient)

    def write_matrix(self, name: str, gradient: Tensor, at: Stretch) -> None:
        """A stretch (b, k, g, q, n) of the gradient of B or C."""
        self._problem.matrix(self._streams[name], at).copy_(gradient)

    def add_steps(self, gradient: Tensor, steps: Steps, at: Stretch) -> None:
        """A stretch (b, k, g, r, q) of the gradient of Δ: through the limits, softplus and the bias."""
        problem = self._problem
        inside = (steps.free >= problem.low) & (steps.free <= problem.high)
        slope = torch.sigmoid(steps.raw) if problem.softplus else 1.0
        gradient = torch.where(inside, gradient * slope, 0)
        problem.per_head(self._streams["dt"], at).copy_(gradient)
        self._bias += gradient.sum((0, 1, 4)).flatten()

    def add_rates(self, gradient: Tensor) -> None:
        """A stretch (b, k, g, r, q) of the terms of dA."""
        self._rates += gradient.sum((0, 1, 4)).flatten()

    def add_skip(self, gradient: Tensor) -> None:
        """A stretch (b, k, g, q, r, p) of the terms of dD."""
        self._skip += gradient.sum((0, 1, 3)).flatten(0, 1)

    def as_inputs(self) -> dict[str, Tensor]:
        """Name → gradient with its input's shape and dtype."""
        problem = self._problem
        per_head = problem.D is not None and problem.D.ndim == 1
        whole = self._streams | {
            "A": self._rates,
            "D": self._skip.sum(-1) if per_head else self._skip,
            "dt_bias": self._bias,
            "initial_states": self.initial_states,
        }
        return {
            name: x.to(getattr(problem, name).dtype)
            for name, x in whole.items()
            if getattr(problem, name) is not None
        }
