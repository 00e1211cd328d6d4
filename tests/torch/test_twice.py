"""Gradients of gradients: PyTorch's own numerical check, in float64."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from ssm_torch import s5
from ssm_torch.scan import linear_recurrence


@pytest.mark.parametrize("complex_", [False, True])
def test_the_recurrence_is_differentiated_twice(complex_: bool) -> None:
    torch.manual_seed(0)
    dtype = torch.complex128 if complex_ else torch.float64
    a, x = (torch.randn(4, 2, dtype=dtype, requires_grad=True) for _ in range(2))
    initial = torch.randn(2, dtype=dtype, requires_grad=True)
    assert torch.autograd.gradcheck(linear_recurrence, (a, x, initial))
    assert torch.autograd.gradgradcheck(linear_recurrence, (a, x, initial))


def test_both_ways_back_are_one_gradient() -> None:
    torch.manual_seed(0)
    shapes = ((5, 3), (5, 3), (3,))
    leaves = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    plain, kept = (
        torch.autograd.grad(linear_recurrence(*leaves).square().sum(), leaves, create_graph=again)
        for again in (False, True)
    )
    for one, other in zip(plain, kept, strict=True):
        # Five steps of float64 in two orders; a lost term is of order 1.
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast_leaves_float32_alone(half: torch.dtype) -> None:
    torch.manual_seed(0)
    u, delta, A = torch.randn(2, 3, 7), torch.rand(4), -torch.rand(4)
    B, C = torch.randn(4, 3), torch.randn(3, 4)
    with torch.autocast("cpu", dtype=half):
        inside = s5(u, delta, A, B, C)
    assert torch.equal(inside, s5(u, delta, A, B, C))
