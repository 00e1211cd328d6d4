"""The scan as an operator of PyTorch: its schema, its fake kernel, its gradient, and the plugin's claims."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ssm_backends import NotSupportedError, UnavailableError
from ssm_triton import causal_conv1d, selective_scan, selective_state_update, ssd, ssm_backend
from ssm_triton.scan import scan, scan_backward

from .problems import problem


def _arguments(device: str) -> tuple[object, ...]:
    x = problem(device, b=1, d=3, l=3, n=2)
    B, C = x["B"][:, None], x["C"][:, None]
    rest = [x[k] for k in ("D", "z", "delta_bias", "initial_state")]
    return x["u"], x["delta"], x["A"], B, C, *rest, None, None, True, False, True, 32


@pytest.mark.parametrize("check", ["test_schema", "test_faketensor"])
def test_the_operators_keep_torchs_contract(device: str, check: str) -> None:
    arguments = _arguments(device)
    torch.library.opcheck(scan, arguments, test_utils=check)
    y, last, saved = scan(*arguments)
    torch.library.opcheck(
        scan_backward, (torch.ones_like(y), torch.ones_like(last), saved, *arguments[:-2]), test_utils=check
    )


def test_a_call_that_kept_nothing_has_its_gradient(device: str) -> None:
    """So it is in a graph that was recorded without gradients, and is differentiated after all."""
    u, *others = _arguments(device)
    leaf = u.requires_grad_()
    gradients = []
    for save in (0, others[-1]):
        y, last, _ = scan(leaf, *others[:-1], save)
        gradients.append(torch.autograd.grad(y.square().sum() + last.sum(), leaf)[0])
    assert torch.equal(*gradients)


@pytest.mark.parametrize("op", ["scan", "causal_conv1d"])
def test_what_a_hook_hands_back_may_lie_in_another_order(device: str, op: str) -> None:
    if op == "scan":
        function: Any = selective_scan
        call = problem(device, b=1, d=3, l=35, n=2)
    else:
        function, (x, weight) = causal_conv1d, (torch.randn(1, 3, 5), torch.randn(3, 2))
        call = {"x": x.to(device), "weight": weight.to(device)}
    leaves = [x.requires_grad_() for x in call.values() if torch.is_tensor(x)]
    gradients = []
    for moved in (lambda x: x, lambda x: x.mT.contiguous().mT if x.ndim > 1 else x):
        with torch.autograd.graph.saved_tensors_hooks(moved, lambda x: x):
            y = function(**call)
        gradients.append(torch.autograd.grad(y.sum(), leaves))
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_a_second_derivative_is_refused_by_name(device: str) -> None:
    u, *others = _arguments(device)
    leaf = u.requires_grad_()
    (gradient,) = torch.autograd.grad(scan(leaf, *others)[0].square().sum(), leaf, create_graph=True)
    with pytest.raises(NotSupportedError, match=r"^selective_scan of this backend has one derivative"):
        gradient.sum().backward()


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("op", ["scan", "ssd", "causal_conv1d"])
def test_of_arrays_without_numbers_the_shapes_are_found(op: str, recorded: bool) -> None:
    function: Any = {"scan": selective_scan, "ssd": ssd, "causal_conv1d": causal_conv1d}[op]
    if op == "scan":
        x = problem("cpu", b=1, d=3, l=5, n=2)
        given = [x[name] for name in ("u", "delta", "A", "B", "C")]
    elif op == "ssd":
        given = list(_few_heads("cpu"))
    else:
        given = [torch.randn(1, 3, 5), torch.randn(3, 2)]
    leaves = [x.to("meta").requires_grad_(recorded) for x in given]
    y = function(*leaves)
    assert y.is_meta
    assert y.shape == given[0].shape
    if recorded:
        found = torch.autograd.grad(y.sum(), leaves)
        assert [x.shape for x in found] == [x.shape for x in given]


def _few_heads(device: str) -> tuple[torch.Tensor, ...]:
    x, B = torch.ones(1, 3, 1, 2, device=device), torch.ones(1, 3, 1, 2, device=device)
    return x, torch.ones(1, 3, 1, device=device), -torch.ones(1, device=device), B, B


@pytest.mark.parametrize("op", ["scan", "ssd", "causal_conv1d"])
def test_a_gradient_of_torch_func_is_autograd_s(device: str, op: str) -> None:
    """For each example of a batch too, as a map of gradients."""
    x = problem(device, b=1, d=2, l=3, n=2)
    given: dict[str, tuple[Any, tuple[torch.Tensor, ...]]] = {
        "scan": (selective_scan, tuple(x[name] for name in ("u", "delta", "A", "B", "C"))),
        "ssd": (ssd, _few_heads(device)),
        "causal_conv1d": (causal_conv1d, (x["u"], torch.ones(2, 3, device=device))),
    }
    function, (first, *rest) = given[op]

    def loss(v: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = function(v, *rest).square().sum()
        return total

    leaves = torch.stack([first, 2 * first]).requires_grad_()
    (wanted,) = torch.autograd.grad(loss(leaves[0]) + loss(leaves[1]), leaves)
    assert torch.equal(torch.func.vmap(torch.func.grad(loss))(leaves.detach()), wanted)


def test_the_plugin_claims_gradients_and_fused_memory(device: str) -> None:
    backend = ssm_backend(device)
    for op in backend.implementations("selective_scan"):
        assert op.memory == "fused"
        assert op.gradients == "all"
        assert op.is_deterministic("backward")


def test_a_device_that_it_cannot_serve(device: str) -> None:
    with pytest.raises(UnavailableError, match="GPU"):
        ssm_backend("meta")


class Seen(TorchDispatchMode):
    """The names of the operators that a mode is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def step_of(call: dict[str, Any]) -> dict[str, Any]:
    """The first step of a scan."""
    at = {name: x[..., 0] if name in ("u", "delta", "z", "B", "C") else x for name, x in call.items()}
    return at | {"state": at.pop("initial_state").clone()}


@pytest.mark.parametrize("inplace", [False, True])
def test_a_mode_sees_the_operators_and_the_results_are_those_without(device: str, inplace: bool) -> None:
    call = problem(device)
    plain = selective_scan(**call), *selective_state_update(**step_of(call), inplace=inplace)
    with Seen() as seen:
        watched = selective_scan(**call), *selective_state_update(**step_of(call), inplace=inplace)
    assert {name for name in seen.names if "ssm_triton" in name} == {
        "ssm_triton.scan.default",
        "ssm_triton.step_inplace.default" if inplace else "ssm_triton.step.default",
    }
    assert all(map(torch.equal, plain, watched))


def test_what_is_only_noted_as_conjugated_is_read_so(device: str) -> None:
    call = problem(device, complex_=True)
    noted = call | {name: call[name].conj() for name in ("A", "B", "C", "initial_state")}
    done = {name: x.resolve_conj() if isinstance(x, torch.Tensor) else x for name, x in noted.items()}
    assert torch.equal(selective_scan(**noted), selective_scan(**done))
    for found, wanted in zip(*(selective_state_update(**step_of(x)) for x in (noted, done)), strict=True):
        assert torch.equal(found, wanted)


def test_kernels_are_launched_on_the_device_of_their_inputs(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers of a model may lie on several GPUs, of which one is the current one."""
    entered = []
    guard = torch.cuda.device_of

    def noted(x: torch.Tensor) -> Any:
        entered.append(x.device.type)
        return guard(x)

    monkeypatch.setattr(torch.cuda, "device_of", noted)
    call = problem(device)
    selective_state_update(**step_of(call))
    leaf = call["u"].clone().requires_grad_()
    selective_scan(**call | {"u": leaf}).sum().backward()
    causal_conv1d(leaf, call["A"]).sum().backward()
    assert entered == [device] * 5


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU at most")
def test_inputs_may_lie_on_another_gpu_than_the_current_one(device: str) -> None:
    def gradient(where: str) -> torch.Tensor:
        call = {k: x.to(where) if isinstance(x, torch.Tensor) else x for k, x in problem(device).items()}
        selective_state_update(**step_of(call))
        leaf = call["u"].requires_grad_()
        found = selective_scan(**call).sum() + causal_conv1d(leaf, call["A"]).sum()
        return torch.autograd.grad(found, leaf)[0]

    with torch.cuda.device(0):
        assert torch.equal(gradient("cuda:1").cpu(), gradient("cuda:0").cpu())
