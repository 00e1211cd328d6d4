"""Who sees an operator of PyTorch's, and who its computation alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import ssm_backends
import ssm_torch

PROFILED = {"torch": "ssm_torch_selective_scan", "cpu": "ssm_cpu_scan"}
OPERATORS = {"torch": "ssm_torch::selective_scan", "cpu": "ssm_cpu::scan"}


class Seen(TorchDispatchMode):
    """What a mode is shown, of all that is called within."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(function.name())
        return function(*args, **(kwargs or {}))


class Shown(TorchFunctionMode):
    """What a mode of functions is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.functions: list[Any] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.functions.append(function)
        return function(*args, **(kwargs or {}))


def leaves() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    given = {"u": draw(2, 6, 9), "delta": draw(2, 6, 9).abs(), "A": -draw(6, 4).exp()}
    given |= {"B": draw(2, 4, 9), "C": draw(2, 4, 9)}
    return {name: x.requires_grad_() for name, x in given.items()}


def scan(given: dict[str, Tensor], backend: str) -> Tensor:
    y: Tensor = ssm_backends.selective_scan(**given, backend=backend)
    return y


@pytest.mark.parametrize("backend", PROFILED)
def test_autograd_alone_sees_a_function_of_the_operators_name(backend: str) -> None:
    with torch.profiler.profile() as profile:
        y = scan(leaves(), backend)
        y.sum().backward()
    keys = {event.key for event in profile.key_averages()}
    assert PROFILED[backend] in keys
    assert not any(key.startswith(OPERATORS[backend]) for key in keys)
    assert type(y.grad_fn).__name__ == PROFILED[backend] + "Backward"


@pytest.mark.parametrize("backend", PROFILED)
def test_a_mode_sees_both_operators_and_the_same_numbers_come_out(backend: str) -> None:
    alone, within = leaves(), leaves()
    with Seen() as mode:
        scan(within, backend).square().sum().backward()
    scan(alone, backend).square().sum().backward()
    assert {OPERATORS[backend], OPERATORS[backend] + "_backward"} <= set(mode.names)
    for name, x in alone.items():
        assert torch.equal(x.grad, within[name].grad), name


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("backend", PROFILED)
def test_a_mode_of_functions_sees_the_operator_and_nothing_of_its_computation(
    backend: str, learn: bool
) -> None:
    with torch.set_grad_enabled(learn), Shown() as mode:
        scan(leaves(), backend)
    names = [str(function) for function in mode.functions]
    assert OPERATORS[backend].replace("::", ".") + ".default" in names
    assert not {torch.empty_like, torch.mul, torch.exp} & set(mode.functions)


@pytest.mark.parametrize("backend", PROFILED)
def test_a_default_device_is_no_reason_for_an_operator(backend: str) -> None:
    given = leaves()
    with torch.device("meta"), torch.profiler.profile() as profile:
        y = scan(given, backend)
        y.sum().backward()
    assert y.device.type == "cpu"
    assert not any(event.key.startswith(OPERATORS[backend]) for event in profile.key_averages())


@pytest.mark.parametrize("backend", PROFILED)
def test_outputs_may_be_written_to_and_inputs_may_not(backend: str) -> None:
    given = leaves()
    y = scan(given, backend)
    y.add_(1).mul_(2)
    (found,) = torch.autograd.grad(y.sum(), given["u"])
    again = leaves()
    (wanted,) = torch.autograd.grad(((scan(again, backend) + 1) * 2).sum(), again["u"])
    assert torch.equal(found, wanted)
    y = scan(given, backend)
    with torch.no_grad():
        given["B"].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("recorded", [False, True])
def test_of_arrays_without_numbers_the_shapes_are_found(recorded: bool) -> None:
    given = {name: x.detach().to("meta").requires_grad_(recorded) for name, x in leaves().items()}
    y = ssm_torch.selective_scan(**given)
    assert y.is_meta
    assert y.shape == given["u"].shape
    if recorded:
        found = torch.autograd.grad(y.sum(), list(given.values()))
        assert [x.shape for x in found] == [x.shape for x in given.values()]


@pytest.mark.parametrize("backend", PROFILED)
def test_where_new_arrays_go_by_default_does_not_matter(backend: str) -> None:
    found = []
    for place in ("cpu", "meta"):
        given = leaves()
        with torch.device(place):
            y = scan(given, backend)
            found.append([y, *torch.autograd.grad(y, list(given.values()), torch.ones_like(y))])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
