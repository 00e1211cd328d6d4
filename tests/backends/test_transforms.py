"""PyTorch's transforms of a call: right, or refused by name; never a derivative that is lost."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

import ssm_backends
from ssm_backends import NotSupportedError
from ssm_backends.transforms import is_bare, may_be_differentiated

from .mamba_calls import randn

os.environ.setdefault("SSM_CPU_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"ssm_cpu_tests_{os.getuid()}"))

FORWARD: dict[str, Callable[[Any, Tensor], Any]] = {
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (torch.ones_like(x),)),
    "jacfwd": lambda f, x: torch.func.jacfwd(lambda v: f(v).sum())(x),
    "linearize": lambda f, x: torch.func.linearize(f, x)[1](torch.ones_like(x)),
    "jvp of vmap": lambda f, x: torch.func.jvp(torch.func.vmap(f), (x[None],), (torch.ones_like(x)[None],)),
    "vmap of jvp": lambda f, x: torch.func.vmap(lambda v: torch.func.jvp(f, (v,), (v,))[1])(x[None]),
    "outer of two": lambda f, x: torch.func.jvp(
        lambda w: torch.func.jvp(lambda v: f(w) * v.sum(), (x,), (x,))[0], (x,), (x,)
    ),
    "dual": lambda f, x: f(forward_ad.make_dual(x, torch.ones_like(x))),
    "compiled": lambda f, x: torch.compile(
        lambda v: torch.func.jvp(f, (v,), (torch.ones_like(v),))[1], backend="eager"
    )(x),
}
BACKWARD: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "grad": lambda f, x: torch.func.grad(lambda v: f(v).square().sum())(x),
    "jacrev": lambda f, x: torch.func.jacrev(lambda v: f(v).square().sum())(x),
    "vjp": lambda f, x: torch.func.vjp(f, x)[1](2 * f(x))[0],
    "grad of vmap": lambda f, x: torch.func.grad(lambda v: torch.func.vmap(f)(v).square().sum())(x[None])[0],
    "vmap of grad": lambda f, x: torch.func.vmap(torch.func.grad(lambda v: f(v).square().sum()))(
        torch.stack([0 * x, x])
    )[1],
    "make_fx": lambda f, x: make_fx(torch.func.grad(lambda v: f(v).square().sum()))(0 * x)(x),
    "compiled": lambda f, x: torch.compile(
        torch.func.grad(lambda v: f(v).square().sum()), backend="aot_eager"
    )(x),
}


def scan(backend: str) -> tuple[str, Any, Tensor]:
    """The name of an input, the scan as a function of it alone, and its value."""
    B, C = randn(2, 4, 70, seed=2), randn(2, 4, 70, seed=3)
    delta, A = randn(2, 6, 70, seed=1), -randn(6, 4, seed=4).exp()

    def function(u: Tensor) -> Tensor:
        return ssm_backends.selective_scan(u, delta, A, B, C, delta_softplus=True, backend=backend)

    return "u", function, randn(2, 6, 70)


def heads(backend: str) -> tuple[str, Any, Tensor]:
    """The same of SSD."""
    dt, A = randn(2, 70, 2, seed=1), -randn(2, seed=4).exp()
    B, C = randn(2, 70, 1, 4, seed=2), randn(2, 70, 1, 4, seed=3)

    def function(x: Tensor) -> Tensor:
        return ssm_backends.ssd(x, dt, A, B, C, dt_softplus=True, backend=backend)

    return "x", function, randn(2, 70, 2, 3)


def step(backend: str) -> tuple[str, Any, Tensor]:
    """The same of one step."""
    state, delta, A = randn(2, 6, 4), randn(2, 6, seed=1), -randn(6, 4, seed=4).exp()
    B, C = randn(2, 4, seed=2), randn(2, 4, seed=3)

    def function(u: Tensor) -> Tensor:
        return ssm_backends.selective_state_update(state, u, delta, A, B, C, backend=backend)[0]

    return "u", function, randn(2, 6)


def calls(*pairs: tuple[Any, str]) -> pytest.MarkDecorator:
    found = [pytest.param(make, backend, id=f"{make.__name__}-{backend}") for make, backend in pairs]
    return pytest.mark.parametrize(("make", "backend"), found)


@pytest.fixture(autouse=True)
def compiler(request: pytest.FixtureRequest) -> None:
    """What compiles the scan for CPUs is an extra."""
    if "-cpu" in request.node.name:
        pytest.importorskip("llvmlite")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # PyTorch's, of its own
@pytest.mark.parametrize("mode", FORWARD)
@calls((scan, "torch"), (scan, "cpu"), (heads, "torch"), (step, "cpu"))
def test_a_tangent_is_not_lost(make: Any, backend: str, mode: str) -> None:
    name, function, x = make(backend)
    torch._dynamo.reset()
    message = rf"^`{name}` must (come without a tangent: .* has no derivative in forward mode|be read where)"
    level = forward_ad.dual_level() if mode == "dual" else nullcontext()
    with level, pytest.raises(NotSupportedError, match=message):
        FORWARD[mode](function, x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's, of its own forward mode
@pytest.mark.parametrize("mode", ["dual", "jvp", "jvp of autograd"])
@calls((scan, "torch"), (scan, "cpu"), (heads, "torch"))
def test_a_tangent_of_a_cotangent_is_not_lost(make: Any, backend: str, mode: str) -> None:
    _, function, x = make(backend)
    y = function(x.requires_grad_())
    ones = torch.ones_like(y)
    ways = {
        "dual": lambda: torch.autograd.grad(y, x, forward_ad.make_dual(ones, ones)),
        "jvp": lambda: torch.func.jvp(torch.func.vjp(function, x)[1], (ones,), (ones,)),
        "jvp of autograd": lambda: torch.func.jvp(
            lambda v: torch.autograd.grad(y, x, v)[0], (ones,), (ones,)
        ),
    }
    level = forward_ad.dual_level() if mode == "dual" else nullcontext()
    message = "^`grad_outputs` must come without a tangent: a backward pass of this backend has no derivative"
    with level, pytest.raises(NotSupportedError, match=message):
        ways[mode]()


@calls((scan, "torch"), (scan, "cpu"), (heads, "torch"))
def test_a_backward_pass_where_nothing_has_a_tangent_is_served(make: Any, backend: str) -> None:
    _, function, x = make(backend)
    y = function(x.requires_grad_())
    (wanted,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    with forward_ad.dual_level():
        assert torch.equal(torch.autograd.grad(y.sum(), x)[0], wanted)


def test_a_step_of_pytorchs_operations_has_a_tangent() -> None:
    _, function, x = step("torch")
    found = torch.func.jvp(function, (x,), (torch.ones_like(x),))[1]
    h = 1e-2  # y is affine in u: the difference has no error but rounding's, 2⁻²⁴ · |y| / h
    torch.testing.assert_close(found, (function(x + h) - function(x - h)) / (2 * h), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mode", BACKWARD)
@calls((scan, "torch"), (scan, "cpu"), (heads, "torch"))
def test_a_gradient_of_torch_func_is_autograd_s(make: Any, backend: str, mode: str) -> None:
    _, function, x = make(backend)
    torch._dynamo.reset()
    found = BACKWARD[mode](function, x)
    x.requires_grad_()
    assert torch.equal(found, torch.autograd.grad(function(x).square().sum(), x)[0])


def test_a_gradient_may_be_asked_for_of_what_stands_behind_a_tensor() -> None:
    x, seen = torch.ones(2, 3), list[bool]()

    def asked(v: Tensor) -> Tensor:
        seen.append(may_be_differentiated("scan", {"u": v, "z": None}))
        return v.sum()

    leaf = torch.ones(2, 3, requires_grad=True)
    for y in (x, leaf):
        asked(y)
        torch.func.vmap(asked)(y)
        torch.func.functionalize(asked)(y)
    assert seen == [False, False, False, True, True, True]
    seen.clear()
    torch.func.grad(lambda v: torch.func.vmap(asked)(v).sum())(x)
    torch.func.vmap(torch.func.grad(asked))(x)
    with torch.no_grad():
        asked(leaf)
        torch.func.vmap(asked)(leaf)
    assert seen == [True, True, False, False]


@calls((scan, "torch"), (scan, "cpu"), (heads, "torch"))
def test_a_gradient_of_what_torch_func_differentiates_goes_on_outside(make: Any, backend: str) -> None:
    """Of what does not depend on the call: its own would be a second derivative."""
    _, function, x = make(backend)
    weight = torch.ones_like(x).requires_grad_()
    inner = torch.func.grad(lambda v: function(v).square().sum())(x)
    (inner * weight).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, inner)


@calls((scan, "torch"), (scan, "cpu"), (heads, "torch"))
def test_a_second_derivative_is_refused_by_name(make: Any, backend: str) -> None:
    _, function, x = make(backend)
    leaf = x.requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf).square().sum(), leaf, create_graph=True)
    operator = "ssd" if make is heads else "selective_scan"
    message = rf"^{operator} of this backend has one derivative, its backward pass; got .*create_graph=True$"
    with pytest.raises(NotSupportedError, match=message):
        gradient.square().sum().backward()
    once = torch.func.grad(lambda v: function(v).square().sum())
    with pytest.raises(NotSupportedError, match=message):
        torch.func.grad(lambda v: once(v).sum())(x.detach())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")  # of the trace
def test_a_call_that_nobody_follows_may_pass_by_the_dispatcher() -> None:
    class Own(Tensor):
        pass

    x, seen = torch.ones(2, 3), list[bool]()

    def asked(v: Tensor) -> Tensor:
        seen.append(is_bare((v, x, None)))
        return v.sum()

    for plain in (x, torch.nn.Parameter(x)):
        asked(plain)
    assert seen == [True, True]
    asked(x.as_subclass(Own))
    torch.func.vmap(asked)(x)
    torch.func.functionalize(asked)(x)
    torch.func.grad(lambda w: asked(x) + w.sum())(x)
    with FakeTensorMode(allow_non_fake_inputs=True):
        asked(x)
    torch.jit.trace(asked, (x,), check_trace=False)
    assert seen[2:] == [False] * 6


@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize("backend", ["torch", "cpu"])
def test_many_cotangents_of_one_output_alone_are_refused_by_name(backend: str, output: int) -> None:
    u, delta, matrix = randn(2, 6, 9).requires_grad_(), randn(2, 6, 9, seed=1).abs(), randn(2, 4, 9, seed=2)
    given = {"delta": delta, "A": -randn(6, 4, seed=3).exp(), "B": matrix, "C": matrix}
    y = ssm_backends.selective_scan(u, **given, return_last_state=True, backend=backend)[output]
    with pytest.raises(NotSupportedError, match="one cotangent at a time; got many at once"):
        torch.autograd.grad(y, u, torch.ones(3, *y.shape), is_grads_batched=True)


@pytest.mark.parametrize("compiled", [False, True])
@calls((scan, "torch"), (scan, "cpu"), (heads, "torch"))
def test_a_map_of_calls_is_the_calls(make: Any, backend: str, compiled: bool) -> None:
    """And keeps what autograd asks for afterwards, which no call within it sees."""
    _, function, x = make(backend)
    mapped = torch.func.vmap(function)
    if compiled:
        torch._dynamo.reset()
        mapped = torch.compile(mapped, fullgraph=True, backend="aot_eager")
    xs = torch.stack([x, 2 * x]).requires_grad_()
    found, wanted = mapped(xs), torch.stack([function(v) for v in xs])
    assert torch.equal(found, wanted)
    gradients = (torch.autograd.grad(y.square().sum(), xs)[0] for y in (found, wanted))
    assert torch.equal(*gradients)


@calls((scan, "torch"), (scan, "cpu"), (heads, "torch"))
def test_a_map_of_no_calls_is_refused_by_name(make: Any, backend: str) -> None:
    _, function, x = make(backend)
    with pytest.raises(NotSupportedError, match=r"one at least; got a batch of 0$"):
        torch.func.vmap(function)(x[None][:0])


@calls((scan, "torch"), (scan, "cpu"), (heads, "torch"))
def test_what_a_transform_does_not_follow_is_served(make: Any, backend: str) -> None:
    _, function, x = make(backend)
    weight = torch.func.grad(lambda w, v: (function(v) * w).sum())(x, x)
    assert torch.equal(weight, function(x))
    assert torch.equal(torch.func.functionalize(function)(x), function(x))


@calls((scan, "torch"), (scan, "cpu"), (heads, "torch"))
def test_a_trace_is_of_the_call_and_not_of_its_numbers(make: Any, backend: str) -> None:
    _, function, x = make(backend)
    assert torch.equal(make_fx(function)(x)(2 * x), function(2 * x))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert function(mode.from_tensor(x)).shape == x.shape


@pytest.mark.parametrize("record", ["make_fx", "export"])
@calls((scan, "torch"), (scan, "cpu"), (heads, "torch"))
def test_what_was_recorded_without_gradients_has_them_after_all(make: Any, backend: str, record: str) -> None:
    """Nothing was kept for the backward pass: it must not read what is not there."""
    _, function, x = make(backend)

    class Recorded(torch.nn.Module):
        def forward(self, v: Tensor) -> Tensor:
            return function(v)

    with torch.no_grad():
        recorded = (
            make_fx(function)(x) if record == "make_fx" else torch.export.export(Recorded(), (x,)).module()
        )
    x.requires_grad_()
    gradients = (torch.autograd.grad(f(x).square().sum(), x)[0] for f in (recorded, function))
    assert torch.equal(*gradients)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")  # of the trace
@pytest.mark.parametrize("learn", [False, True])
@calls((scan, "torch"), (scan, "cpu"), (heads, "torch"), (step, "torch"))
def test_torch_jit_records_the_call_and_not_its_numbers(make: Any, backend: str, learn: bool) -> None:
    _, function, x = make(backend)
    with torch.set_grad_enabled(learn):
        traced = torch.jit.trace(function, (x.requires_grad_(learn),))
    assert torch.equal(traced(2 * x), function(2 * x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")  # of the trace
@pytest.mark.parametrize("kind", ["vmap", "functionalize", "make_fx", "fake", "torch.jit"])
@calls((step, "cpu"))
def test_a_kernel_that_pytorch_does_not_see_says_so(make: Any, backend: str, kind: str) -> None:
    _, function, x = make(backend)
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    ways = {
        "vmap": lambda: torch.func.vmap(function)(x[None]),
        "functionalize": lambda: torch.func.functionalize(function)(x),
        "make_fx": lambda: make_fx(function)(x),
        "fake": lambda: function(fake.from_tensor(x)),
        "torch.jit": lambda: torch.jit.trace(function, (x,)),
    }
    with pytest.raises(
        NotSupportedError, match=r"^`\w+` must be read where it lies in memory: .*; got a tensor"
    ):
        ways[kind]()
