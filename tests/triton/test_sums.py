"""The launch that adds up partial sums, also as it is compiled for sizes of one: they become constants."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ssm_triton._gradients import Gradients
from ssm_triton._inputs import Inputs
from ssm_triton._plan import BackwardPlan

from .apart import printed

COMPILE = r"""
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from ssm_triton._sums import sum_pieces

flags = dict(CONST_B=False, CONST_C=True, HAS_D=True, HAS_BIAS=True, N=4, STEP=1, T=16, J=32, CHANNELS=128)
pointers = dict.fromkeys("dB dC dA dD dbias B_out C_out A_out D_out bias_out".split(), "*fp32")
signature, constants = {}, {}
for k, p in enumerate(sum_pieces.params):
    one = p.name not in pointers and not p.do_not_specialize
    signature[p.name] = pointers.get(p.name, "constexpr" if one else "i32")
    if one:
        constants[(k,)] = flags.get(p.name, 1)
compile(ASTSource(sum_pieces, signature, constants), target=GPUTarget("cuda", 90, 32))
"""


def test_compiles_for_sizes_of_one(tmp_path: Path) -> None:
    printed(COMPILE, tmp_path)


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("constant", [False, True])
def test_adds_up_every_piece(device: str, constant: bool, complex_: bool) -> None:
    b, d, length, n, groups, count = 2, 6, 19, 5, 2, 6
    dtype = torch.complex128 if complex_ else torch.float64
    draw = torch.Generator(device).manual_seed(3)

    def piece(*size: int, kind: torch.dtype = dtype) -> torch.Tensor:
        return torch.randn(size, generator=draw, device=device, dtype=kind)

    B = piece(d, n) if constant else piece(b, groups, n, length)
    u = piece(b, d, length, kind=torch.float64)
    x = Inputs(u, u, piece(d, n), B, piece(b, groups, n, length), D=u[0, :, 0], delta_bias=u[1, :, 0])
    plan = BackwardPlan(4, 2, 1, 1, 4, 8, 8, 2, 16)
    out = Gradients.empty(x, x.shape, plan, count)
    for array in (*out.whole.values(), *out.slices, *out.parts.values()):
        array.copy_(piece(*array.shape, kind=array.dtype))
    sums = out.gathered(x, x.shape)
    # float64, at most six summands of order one: a lost one is of order one.
    close = {"rtol": 1e-13, "atol": 1e-13}
    for name, slices in zip("BC", out.slices, strict=True):
        if name == "B" and constant:
            expected = slices.sum(0).t()
        else:
            expected = slices.unflatten(0, (groups, -1)).sum(1).permute(1, 0, 3, 2)[:, :, :n]
        torch.testing.assert_close(sums[name], expected, **close)
    torch.testing.assert_close(sums["A"], out.parts["A"].sum(0).t(), **close)
    for name in ("D", "delta_bias"):
        torch.testing.assert_close(sums[name], out.parts[name].sum(0), **close)
