"""The gradients of a call, filled and summed block by block in a fixed order."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_torch.blockwise.problem import Problem
from ssm_torch.blockwise.sums import real


class Gradients:
    """One for each input, in its own shape; those of parameters are summed in the compute type."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        given = {"u": problem.u, "delta": problem.delta, "z": problem.z}
        self._streams = {
            name: torch.empty_like(x, memory_format=torch.contiguous_format)
            for name, x in given.items()
            if x is not None
        }
        self._modes = torch.zeros_like(problem.modes)
        self._channels = {
            name: problem.u.new_zeros(problem.u.shape[1], dtype=problem.compute) for name in ("D", "bias")
        }
        self._matrices = {name: self._room(x) for name, x in (("B", problem.B), ("C", problem.C))}
        self.initial_state = problem.A.new_empty((problem.rows, *problem.A.shape))

    def _room(self, x: Tensor) -> Tensor:
        """For a constant matrix in the states' layout, where it is summed, else in its own."""
        if x.ndim == 2:
            return torch.zeros_like(self._modes)
        return torch.empty_like(x, memory_format=torch.contiguous_format)

    def place(self, name: str, batch: slice, time: slice) -> Tensor:
        """Where a chunk (b, d, t) of the gradient of u, delta or z goes."""
        return self._streams[name][batch, :, time]

    def add_step(self, x: Tensor) -> None:
        """A chunk (b, d, t) of the gradient of delta, which is that of delta_bias too."""
        if self._problem.delta_bias is not None:
            self._channels["bias"] += x.sum((0, 2))

    def add_feedthrough(self, x: Tensor) -> None:
        """A chunk q u (b, d, t)."""
        self._channels["D"] += x.sum((0, 2))

    def add_modes(self, x: Tensor) -> None:
        """A block (t, b, g, n, p) of the terms of dA."""
        self._modes += x.sum((0, 1))

    def add_matrix(self, name: str, x: Tensor) -> None:
        """A block (t, b, g, n, p) of the terms of dB, or of conj(dC), where it is constant."""
        self._matrices[name] += x.sum((0, 1)) if name == "B" else x.sum((0, 1)).conj()

    def write_matrix(self, name: str, rows: Tensor, batch: slice, time: slice) -> None:
        """A chunk (t, b, g, n) of dB, or of conj(dC), where it varies; groups that share a row are summed."""
        own, total = getattr(self._problem, name), self._matrices[name]
        if own.ndim == 2:
            return
        grouped = total.unsqueeze(1) if own.ndim == 3 else total
        shared = rows.view(*rows.shape[:2], grouped.shape[1], -1, rows.shape[3])
        summed = shared.squeeze(3) if shared.shape[3] == 1 else shared.sum(3)
        summed = summed if name == "B" else summed.conj()
        found = summed if own.is_complex() else real(summed)
        self._problem.order(time.stop - time.start).restore(found, grouped[batch, :, :, time])

    def as_inputs(self) -> dict[str, Tensor]:
        """Name → gradient with its input's shape and dtype; a real input gets the real part."""
        problem = self._problem
        given = {"A": self._modes} | {
            name: total for name, total in self._matrices.items() if getattr(problem, name).ndim == 2
        }
        by_channel = {name: problem.by_channel(x) for name, x in given.items()}
        per_channel = {"D": self._channels["D"], "delta_bias": self._channels["bias"]}
        whole = (
            self._streams | self._matrices | by_channel | per_channel | {"initial_state": self.initial_state}
        )
        return {
            name: _like(x, getattr(problem, name))
            for name, x in whole.items()
            if getattr(problem, name) is not None
        }


def _like(gradient: Tensor, x: Tensor) -> Tensor:
    part = gradient if x.is_complex() else real(gradient)
    return part.to(x.dtype).contiguous()
