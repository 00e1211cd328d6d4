"""Every operator under torch.func: the derivatives are autograd's, and a map is its calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from ssm_backends import NotSupportedError, load
from ssm_conformance.cases import catalogue
from ssm_conformance.checks.subject import Subject
from ssm_torch import causal_conv1d_update, discretize_bilinear

BACKEND = load("torch", "cpu")
CASES = {
    case.op: case
    for case in catalogue("full")
    if case.check == "gradient" and case.dtype == "float64" and case.recipe.name == "typical"
    if case.variant == "" and case.op in BACKEND.ops
}
"""One call of each operator that has a gradient."""
KERNELS = ("selective_scan", "ssd")
"""Operators that are not made of PyTorch's own."""

Numbers = tuple[Tensor, ...]


def parts(op: str) -> tuple[Callable[..., Tensor], Numbers, Tensor]:
    """All outputs of the call in one, as a function of what has a gradient; its inputs; and a cotangent."""
    case = CASES[op]
    arrays = next(arrays for arrays in BACKEND.adapters if arrays.name == "torch")
    subject = Subject(case, BACKEND, BACKEND.implementations(op)[0], arrays)
    given = dict(subject.call.inputs)
    names = [name for name in subject.wrt if name in given]

    def function(*numbers: Tensor) -> Tensor:
        found: Any = subject.op.fn(**{**given, **dict(zip(names, numbers, strict=True))})
        outputs = [found] if isinstance(found, Tensor) else found
        return torch.cat(
            [x.real.flatten() for x in outputs] + [x.imag.flatten() for x in outputs if x.is_complex()]
        )

    numbers = tuple(given[name].detach() for name in names)
    torch.manual_seed(0)
    return function, numbers, torch.randn(function(*numbers).shape, dtype=torch.float64)


def gradients(function: Callable[..., Tensor], numbers: Numbers, w: Tensor) -> Numbers:
    """By autograd; zero where nothing depends on an input."""
    leaves = [x.clone().requires_grad_() for x in numbers]
    found = torch.autograd.grad(function(*leaves) @ w, leaves, allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(numbers, found, strict=True))


def loss(function: Callable[..., Tensor], w: Tensor, numbers: Numbers) -> Tensor:
    """What is differentiated."""
    return function(*numbers) @ w


# The same operations in another order, in float64: a term that is lost, or is another call's, is of order 1.
close: Callable[..., None] = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("op", CASES)
def test_gradients_are_autograd_s(op: str) -> None:
    function, numbers, w = parts(op)
    close(torch.func.grad(partial(loss, function, w))(numbers), gradients(function, numbers, w))


@pytest.mark.parametrize("op", CASES)
def test_a_map_is_its_calls_and_a_map_of_gradients_theirs(op: str) -> None:
    function, numbers, w = parts(op)
    batch = tuple(torch.stack([x, x * 0.75]) for x in numbers)
    second = tuple(x * 0.75 for x in numbers)
    close(torch.func.vmap(function)(*batch), torch.stack([function(*numbers), function(*second)]))
    found = torch.func.vmap(torch.func.grad(partial(loss, function, w)))(batch)
    wanted = zip(gradients(function, numbers, w), gradients(function, second, w), strict=True)
    close(found, tuple(map(torch.stack, wanted)))


@pytest.mark.parametrize("op", CASES)
def test_a_map_over_one_input_leaves_the_others(op: str) -> None:
    function, (first, *others), _ = parts(op)
    along = (0, *[None] * len(others))
    found = torch.func.vmap(function, in_dims=along)(torch.stack([first * 0.75, first]), *others)
    close(found[1], function(first, *others))


@pytest.mark.parametrize("op", [op for op in CASES if op not in KERNELS])
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # PyTorch's, of its own
def test_forward_mode_and_the_backward_pass_agree(op: str) -> None:
    function, numbers, w = parts(op)
    tangents = tuple(torch.randn_like(x) for x in numbers)
    _, tangent = torch.func.jvp(function, numbers, tangents)
    pairs = zip(gradients(function, numbers, w), tangents, strict=True)
    close(tangent @ w, torch.stack([(g.conj() * x).real.sum() for g, x in pairs]).sum())


@pytest.mark.parametrize("op", [op for op in CASES if op not in KERNELS])
def test_many_cotangents_at_once_are_each_its_own(op: str) -> None:
    function, numbers, w = parts(op)
    leaves = [x.clone().requires_grad_() for x in numbers]
    found = torch.autograd.grad(
        function(*leaves), leaves, torch.stack([0 * w, w]), is_grads_batched=True, allow_unused=True
    )
    for one, wanted in zip(found, gradients(function, numbers, w), strict=True):
        close(torch.zeros_like(wanted) if one is None else one[1], wanted)


@pytest.mark.parametrize("op", KERNELS)
def test_a_kernel_takes_one_cotangent_at_a_time_and_says_so(op: str) -> None:
    function, numbers, w = parts(op)
    leaves = [x.clone().requires_grad_() for x in numbers]
    with pytest.raises(
        NotSupportedError, match=r"one cotangent at a time; got many at once.*torch\.func\.vmap"
    ):
        torch.autograd.grad(function(*leaves), leaves, torch.stack([w, w]), is_grads_batched=True)


@pytest.mark.parametrize("op", [op for op in CASES if op not in KERNELS])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # PyTorch's, of its own
def test_no_tangent_is_lost_in_a_graph(op: str) -> None:
    function, numbers, _ = parts(op)
    tangents = tuple(torch.randn_like(x) for x in numbers)

    def derivative(*numbers: Tensor) -> Tensor:
        return torch.func.jvp(function, numbers, tangents)[1]

    torch._dynamo.reset()
    close(torch.compile(derivative, backend="eager")(*numbers), derivative(*numbers))


LOOPS = ("hippo_legs_compress", "lssl", "s4_kernel", "s5")


@pytest.mark.parametrize("op", LOOPS)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # PyTorch's, of its own
def test_a_gradient_is_taken_in_a_graph(op: str) -> None:
    function, numbers, w = parts(op)
    torch._dynamo.reset()
    taken = torch.compile(torch.func.grad(partial(loss, function, w)), backend="eager")
    close(taken(numbers), gradients(function, numbers, w))


SINGULAR, POOL = torch.rand(3, 2, dtype=torch.float64), torch.rand(4, 3, 2, dtype=torch.float64)


def bilinear(A: Tensor) -> Tensor:
    """A rule whose numbers the host looks at."""
    B, delta = torch.ones(3, 2, 1, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    return torch.cat([x.flatten() for x in discretize_bilinear(-A, B, delta, diagonal=True)])


def slots(pool: Tensor) -> Tensor:
    """A step of three rows, one of which is skipped."""
    x = torch.ones(3, 3, dtype=torch.float64)
    y, new = causal_conv1d_update(x, pool, pool[0], state_indices=torch.tensor([2, -1, 0]))
    return torch.cat([y.flatten(), new.flatten()])


@pytest.mark.parametrize(("function", "x"), [(bilinear, SINGULAR), (slots, POOL)])
@pytest.mark.parametrize("record", ["compile", "make_fx"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # PyTorch's, of its own
def test_what_the_host_looks_at_has_every_derivative_in_a_record(
    function: Callable[[Tensor], Tensor], x: Tensor, record: str
) -> None:
    torch._dynamo.reset()
    for derivative in (
        lambda x: torch.func.jvp(function, (x,), (x,))[1],
        torch.func.grad(lambda x: function(x).square().sum()),
    ):
        recorded = (
            torch.compile(derivative, backend="eager") if record == "compile" else make_fx(derivative)(x / 2)
        )
        close(recorded(x), derivative(x))
