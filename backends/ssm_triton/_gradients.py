"""What the backward pass fills: the gradients, and the partial sums that become them in a fixed order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm_triton._inputs import FUSED, Inputs, grouped
from ssm_triton._lanes_plan import LanesPlan
from ssm_triton._plan import BackwardPlan, Shape
from ssm_triton._sums import sum_pieces
from ssm_triton.launching import launch

NAMES = ("B", "C", "A", "D", "delta_bias")
FEW_SUMS = 1024
"""Programs of sums over time below which each takes fewer steps and more slices at once."""


@dataclass(frozen=True)
class Gradients:
    """The arrays of one backward pass.

    Attributes
    ----------
    whole
        Gradients that the kernel writes itself, by name: u, delta, z, initial_state.
    slices
        Of dB and dC: (slices, b, l, N) each, or (parts, n, d) if constant in time.
    parts
        Of A (parts, n, d), D and delta_bias (parts, d): one part for each row and segment.
    count
        Slices: of the programs of one row and segment, each serves one or a few.
    N
        States, padded.
    """

    whole: dict[str, Tensor]
    slices: tuple[Tensor, Tensor]
    parts: dict[str, Tensor]
    count: int
    N: int

    @classmethod
    def empty(cls, x: Inputs, shape: Shape, plan: BackwardPlan | LanesPlan, count: int) -> Gradients:
        """Room for all of them."""

        def room(*size: int) -> Tensor:
            return x.A.new_empty(size)

        whole = {
            name: torch.empty_like(given)
            for name in ("u", "delta", "z")
            if (given := getattr(x, name)) is not None
        }
        if x.initial_state is not None:
            whole["initial_state"] = room(*x.initial_state.shape)
        number = shape.rows * plan.segments
        dB, dC = (
            room(count, shape.batch, shape.length, plan.N) if groups else room(number, shape.n, shape.dim)
            for groups in (shape.groups_B, shape.groups_C)
        )
        parts = {"A": room(number, shape.n, shape.dim)}
        for name in ("D", "delta_bias"):
            if getattr(x, name) is not None:
                parts[name] = x.A.new_empty((number, shape.dim), dtype=x.A.dtype.to_real())
        return cls(whole, (dB, dC), parts, count, plan.N)

    def gathered(self, x: Inputs, shape: Shape) -> dict[str, Tensor]:
        """The gradient of every input that was given, by name."""
        pieces = {"B": self.slices[0], "C": self.slices[1]} | self.parts
        sums = {"B": torch.empty_like(x.B), "C": torch.empty_like(x.C), "A": torch.empty_like(x.A)}
        for name in ("D", "delta_bias"):
            if name in pieces:
                sums[name] = pieces[name].new_empty(shape.dim)
        if x.A.is_complex():
            for k in range(2):
                halves = [{name: _part(y, k) for name, y in of.items()} for of in (pieces, sums)]
                _sum(x, shape, self.N, *halves, real=not k)
        else:
            _sum(x, shape, self.N, pieces, sums)
        return self.whole | sums


def _part(x: Tensor, k: int) -> Tensor:
    return torch.view_as_real(x)[..., k] if x.is_complex() else x


def _tile(steps: int, N: int) -> tuple[int, int]:
    """Steps of a program that adds up slices of dB or dC, and slices at a time."""
    T = min(max(256 // N, 4), 16)
    if steps >= FEW_SUMS * T:
        return T, max(64 // N, 1)
    return min(max(128 // N, 4), 8), max(128 // N, 1)


def _sum(
    x: Inputs, shape: Shape, N: int, pieces: dict[str, Tensor], sums: dict[str, Tensor], *,
    real: bool = True,
) -> None:  # fmt: skip
    """Fill the sums, or the real or imaginary part of those that are complex."""
    groups = (shape.groups_B, shape.groups_C)
    T, J = _tile(shape.batch * shape.length * sum(groups), N)
    channels = max(256 // N, 1)
    spans = -(-shape.length // T) * shape.batch
    counts = [len(pieces[name]) // max(g, 1) for name, g in zip("BC", groups, strict=True)]
    programs = [spans * g for g in groups]
    whole = sum(programs) + -(-shape.dim // channels)
    if not whole:
        return
    launch(
        sum_pieces, (whole,),
        [of.get(name) for of in (pieces, sums) for name in NAMES],
        [*programs, shape.batch, shape.length, shape.dim, shape.n, *counts, *(max(g, 1) for g in groups),
         len(pieces["A"]), *grouped(sums["B"]), *grouped(sums["C"])],
        CONST_B=not groups[0], CONST_C=not groups[1],
        HAS_D="D" in sums and real, HAS_BIAS="delta_bias" in sums and real,
        N=N, STEP=1 + x.A.is_complex(), T=T, J=J, CHANNELS=channels, num_warps=4, enable_fp_fusion=FUSED,
    )  # fmt: skip
