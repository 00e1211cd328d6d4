"""What the backward pass fills: the gradients, and the partial sums that become them in a fixed order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm_triton._inputs import FUSED, Inputs
from ssm_triton._plan import BackwardPlan, LanesPlan, Shape
from ssm_triton._slices import sum_slices

SLICE_STEPS = 16


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
    """

    whole: dict[str, Tensor]
    slices: tuple[Tensor, Tensor]
    parts: dict[str, Tensor]
    count: int

    @classmethod
    def empty(cls, x: Inputs, shape: Shape, plan: BackwardPlan | LanesPlan, count: int) -> Gradients:
        """Room for all of them."""

        def room(*size: int, dtype: torch.dtype = x.A.dtype) -> Tensor:
            return torch.empty(size, dtype=dtype, device=x.u.device)

        whole = {
            name: torch.empty_like(given)
            for name in ("u", "delta", "z")
            if (given := getattr(x, name)) is not None
        }
        if x.initial_state is not None:
            whole["initial_state"] = room(shape.rows, shape.dim, shape.n)
        number = shape.rows * plan.segments
        dB, dC = (
            room(count, shape.batch, shape.length, plan.N) if groups else room(number, shape.n, shape.dim)
            for groups in (shape.groups_B, shape.groups_C)
        )
        parts = {"A": room(number, shape.n, shape.dim)}
        for name in ("D", "delta_bias"):
            if getattr(x, name) is not None:
                parts[name] = room(number, shape.dim, dtype=x.A.dtype.to_real())
        return cls(whole, (dB, dC), parts, count)

    def gathered(self, x: Inputs, shape: Shape) -> dict[str, Tensor]:
        """The gradient of every input that was given, by name."""
        out = dict(self.whole)
        for name, given, pieces, groups in (
            ("B", x.B, self.slices[0], shape.groups_B),
            ("C", x.C, self.slices[1], shape.groups_C),
        ):
            if groups:
                out[name] = _gather(given, pieces, self.count // groups, shape)
            else:
                out[name] = pieces.sum(0).t().contiguous()
        out["A"] = self.parts["A"].sum(0).t().contiguous()
        return out | {name: self.parts[name].sum(0) for name in ("D", "delta_bias") if name in self.parts}


def _gather(given: Tensor, slices: Tensor, count: int, shape: Shape) -> Tensor:
    out = torch.empty_like(given)
    spans = -(-shape.length // SLICE_STEPS)
    programs = spans * given.shape[1] * shape.batch
    pairs = [(slices, out)]
    if given.is_complex():
        pairs = [(torch.view_as_real(slices)[..., k], torch.view_as_real(out)[..., k]) for k in range(2)]
    N = slices.shape[-1]
    for piece, part in pairs if programs else ():
        sum_slices[(programs,)](
            piece, part, count, shape.batch, shape.length, shape.n, spans, given.shape[1], *part.stride(),
            T=SLICE_STEPS, N=N, J=max(128 // N, 1), STEP=len(pairs),
            num_warps=4, enable_fp_fusion=FUSED,
        )  # fmt: skip
    return out
