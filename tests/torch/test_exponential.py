"""The gradient of the matrix exponential: of every order, in every mode, at every scale of its cotangent."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ssm_torch import discretize_zoh
from ssm_torch.exponential import exponential

TWO = pytest.mark.parametrize("s", [(), (3,)], ids=["one", "several"])


def draw(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(size, dtype=dtype, generator=torch.Generator().manual_seed(sum(size)))


def gradient(X: Tensor, G: Tensor) -> Tensor:
    X = X.clone().requires_grad_()
    return torch.autograd.grad(exponential(X), X, G)[0]


@TWO
@pytest.mark.parametrize("power", [-90, -16, 16, 90])
def test_a_cotangent_s_scale_is_the_gradient_s_to_the_last_bit(s: tuple[int, ...], power: int) -> None:
    X, G = draw(*s, 8, 8), draw(*s, 8, 8)
    assert torch.equal(gradient(X, 2.0**power * G), 2.0**power * gradient(X, G))


def test_a_loss_that_is_scaled_loses_no_bit_of_a_hold_s_gradient() -> None:
    """As mixed precision scales it, by 2¹⁶ and more."""
    found = {}
    for scale in (1.0, 2.0**16):
        A, B, delta = (x.requires_grad_() for x in (draw(5, 8, 8), draw(5, 8, 2), draw(5).abs()))
        loss = scale * sum(x.square().sum() for x in discretize_zoh(A, B, delta))
        found[scale] = [x / scale for x in torch.autograd.grad(loss, (A, B, delta))]
    assert all(map(torch.equal, *found.values()))


def test_cotangents_at_the_ends_of_the_range() -> None:
    X = torch.zeros(2, 2, 2)
    for G in (torch.zeros(2, 2, 2), torch.full((2, 2, 2), 2.0**126), torch.full((2, 2, 2), 2.0**-149)):
        assert torch.equal(gradient(X, G), G)
    X[1, 0, 0] = torch.nan  # of one matrix alone
    assert torch.equal(gradient(X, torch.ones(2, 2, 2))[0], torch.ones(2, 2))
    G = torch.ones(2, 2, 2)
    G[1] = torch.inf
    found = gradient(torch.zeros(2, 2, 2), G)
    assert torch.equal(found[0], torch.ones(2, 2))
    assert not found[1].isfinite().any()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # by PyTorch's own forward mode
@TWO
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_derivatives_in_every_mode(s: tuple[int, ...], dtype: torch.dtype) -> None:
    X = draw(*s, 3, 3, dtype=dtype).requires_grad_()
    assert torch.autograd.gradcheck(exponential, X, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(exponential, X)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's, of its own tracing
def test_transforms_and_graphs_give_the_same_gradient() -> None:
    X, G = draw(3, 4, 4), draw(3, 4, 4)

    def loss(X: Tensor, G: Tensor) -> Tensor:
        return (exponential(X) * G).sum()

    expected = gradient(X, G)
    assert torch.equal(torch.func.grad(loss)(X, G), expected)
    assert torch.equal(torch.func.vmap(torch.func.grad(loss))(X, G), expected)
    compiled = torch.compile(exponential, fullgraph=True, backend="aot_eager")
    given = X.clone().requires_grad_()
    assert torch.equal(torch.autograd.grad(compiled(given), given, G)[0], expected)
