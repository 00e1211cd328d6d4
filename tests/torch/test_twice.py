"""Gradients of gradients: PyTorch's own numerical check, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from ssm_torch import s5
from ssm_torch.dense import dense_recurrence
from ssm_torch.scan import linear_recurrence


@pytest.mark.parametrize("complex_", [False, True])
def test_the_recurrence_is_differentiated_twice(complex_: bool) -> None:
    torch.manual_seed(0)
    dtype = torch.complex128 if complex_ else torch.float64
    a, x = (torch.randn(4, 2, dtype=dtype, requires_grad=True) for _ in range(2))
    initial = torch.randn(2, dtype=dtype, requires_grad=True)
    assert torch.autograd.gradcheck(linear_recurrence, (a, x, initial))
    assert torch.autograd.gradgradcheck(linear_recurrence, (a, x, initial))


@pytest.mark.parametrize("complex_", [False, True])
def test_a_dense_recurrence_is_differentiated_twice(complex_: bool) -> None:
    leaves = dense_leaves(torch.complex128 if complex_ else torch.float64)
    assert torch.autograd.gradcheck(dense_recurrence, leaves, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(dense_recurrence, leaves)


@pytest.mark.parametrize("dims", [(0, 0, 0), (None, 0, 0), (0, None, None), (None, None, 0), (2, 1, 1)])
def test_a_dense_recurrence_is_mapped_over_any_of_its_inputs(dims: tuple[int | None, ...]) -> None:
    inputs = [
        leaf.detach() if dim is None else torch.randn(5, *leaf.shape, dtype=leaf.dtype).movedim(0, dim)
        for leaf, dim in zip(dense_leaves(torch.float64), dims, strict=True)
    ]
    mapped = torch.func.vmap(dense_recurrence, in_dims=dims)(*inputs)
    for k, one in enumerate(mapped):
        alone = [x if dim is None else x.select(dim, k) for x, dim in zip(inputs, dims, strict=True)]
        # Four steps of float64 in products of two shapes; another row or system is of order 1.
        torch.testing.assert_close(one, dense_recurrence(*alone), rtol=1e-13, atol=1e-13)


def dense_leaves(dtype: torch.dtype) -> list[torch.Tensor]:
    """A, x and the initial state, of two systems and two rows."""
    torch.manual_seed(0)
    shapes = ((2, 3, 3), (4, 2, 2, 3), (2, 2, 3))
    return [torch.randn(*shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("recurrence", [linear_recurrence, dense_recurrence])
def test_both_ways_back_are_one_gradient(recurrence: Callable[..., torch.Tensor]) -> None:
    torch.manual_seed(0)
    shapes = {linear_recurrence: ((5, 3), (5, 3), (3,)), dense_recurrence: ((3, 3), (5, 2, 3), (2, 3))}
    leaves = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes[recurrence]]
    plain, kept = (
        torch.autograd.grad(recurrence(*leaves).square().sum(), leaves, create_graph=again)
        for again in (False, True)
    )
    for one, other in zip(plain, kept, strict=True):
        # Five steps of float64 in two orders; a lost term is of order 1.
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("recurrence", [linear_recurrence, dense_recurrence])
def test_what_is_not_finite_does_not_go_back_past_its_step(recurrence: Callable[..., torch.Tensor]) -> None:
    dense = recurrence is dense_recurrence
    a = torch.full((2, 2) if dense else (3, 2), torch.inf, dtype=torch.float64)
    x, initial = torch.zeros((3, 1, 2) if dense else (3, 2), dtype=torch.float64), a.new_zeros(2)
    x.requires_grad_()
    for again in (False, True):
        (dx,) = torch.autograd.grad(recurrence(a, x, initial)[-1].sum(), x, create_graph=again)
        assert dx[-1].equal(torch.ones_like(dx[-1]))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast_leaves_float32_alone(half: torch.dtype) -> None:
    torch.manual_seed(0)
    u, delta, A = torch.randn(2, 3, 7), torch.rand(4), -torch.rand(4)
    B, C = torch.randn(4, 3), torch.randn(3, 4)
    with torch.autocast("cpu", dtype=half):
        inside = s5(u, delta, A, B, C)
    assert torch.equal(inside, s5(u, delta, A, B, C))


def test_no_steps_are_differentiated_twice() -> None:
    a, x, initial = (torch.ones(*s, requires_grad=True) for s in ((0, 2), (0, 2), (2,)))
    h = linear_recurrence(a, x, initial)
    first = torch.autograd.grad(h.sum(), (a, x, initial), create_graph=True)
    assert [g.shape for g in first] == [(0, 2), (0, 2), (2,)]
    assert torch.equal(first[2], torch.zeros(2))
    taken = torch.func.grad(lambda initial: linear_recurrence(a, x, initial).sum())(initial)
    assert torch.equal(taken, torch.zeros(2))
