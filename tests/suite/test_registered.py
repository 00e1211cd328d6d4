"""The operators that a call registers with PyTorch are checked as they are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")


from ssm_conformance.cases import find_case
from ssm_conformance.checks.registered import registered
from ssm_conformance.checks.subject import Subject
from ssm_conformance.mutants.kernels.pytorch import TorchScan

from .asking import ask, scanning


@torch.library.custom_op("ssm_tests::turned", mutates_args=())
def turned(x: torch.Tensor) -> torch.Tensor:
    """Its fake kernel is wrong for matrices."""
    return x.clone()


@turned.register_fake
def _(x):
    return torch.empty_like(x) if x.ndim == 3 else x.new_empty(x.shape[::-1])


@torch.library.custom_op("ssm_tests::doubled", mutates_args=())
def doubled(x: torch.Tensor, write: bool) -> torch.Tensor:
    """Its schema does not say what a flag makes it do."""
    return (x.mul_(2) if write else x).clone()


@doubled.register_fake
def _(x, write):
    return torch.empty_like(x)


turned.register_autograd(lambda ctx, g: g.clone())
doubled.register_autograd(lambda ctx, g: (g.clone(), None))


def kinds(*used: Any) -> Callable[..., tuple[torch.Tensor, ...]]:
    """A scan whose output, and then A, go through the operators."""

    def fn(**inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, *rest = TorchScan()(**inputs)
        used[0](y)
        used[-1](inputs["A"].clone())
        return (y, *rest)

    return fn


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (kinds(turned), "the operator ssm_tests::turned fails opcheck's test_faketensor"),
        (
            kinds(lambda x: doubled(x, False), lambda x: doubled(x, True)),
            "the operator ssm_tests::doubled fails opcheck's test_schema",
        ),
    ],
)
def test_an_operator_is_checked_with_every_kind_of_arguments(fn: Any, message: str) -> None:
    found = ask(scanning(fn, features=("compile",)), "compiled")
    assert found.status == "fail"
    assert found.message.startswith(message)


def test_a_label_for_the_profiler_is_no_operator_of_its_own() -> None:
    def labelled(**inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.profiler.record_function("scan"):
            return TorchScan()(**inputs)

    subject = scanning(labelled, features=("compile",))
    case = find_case("selective_scan/property/float32/compiled-typical")
    held = Subject(case, subject, subject.implementations(case.op)[0], subject.adapters[0])
    assert registered(held) == ""
