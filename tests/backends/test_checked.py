"""A backend's function validates for who calls it, and not again for the front door, which has."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

import ssm_backends
from ssm_backends import ArgumentError, ShapeError, checked, load, once
from ssm_backends.checked import unchecked

from .test_front_door import scan_inputs


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    monkeypatch.setattr(checked, "validate_once", lambda op, also, **inputs: asked.append(op))
    return asked


def test_the_front_door_alone_validates_what_comes_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llvmlite")
    asked = counted(monkeypatch)
    inputs = scan_inputs()
    (op,) = load("cpu", "cpu").implementations("selective_scan")
    y = ssm_backends.selective_scan(**inputs, backend="cpu")
    assert not asked
    assert torch.equal(op.fn(**inputs), y)
    assert asked == ["selective_scan"]


def test_a_function_keeps_its_signature_and_takes_its_arguments_in_any_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scan(u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any = None) -> Any:
        return u

    asked = counted(monkeypatch)
    whole = checked.checked("selective_scan")(scan)
    assert inspect.signature(whole) == inspect.signature(scan)
    assert whole(1, 2, 3, B=4, C=5) == 1
    assert asked == ["selective_scan"]
    assert unchecked(whole) is scan
    assert unchecked(scan) is scan


def test_what_is_not_valid_is_refused_however_it_is_given() -> None:
    pytest.importorskip("llvmlite")
    fn = load("cpu", "cpu").implementations("selective_scan")[0].fn
    u, delta, A, B, C = scan_inputs().values()
    with pytest.raises(ShapeError, match=r"^`A` must"):
        fn(u, delta, A[:1], B, C=C)
    with pytest.raises(ArgumentError, match=r"^`C` is required"):
        fn(u, delta, A, B)


class Own(torch.Tensor):
    pass


class Brief(float):
    """A number of which little is shown."""

    def __repr__(self) -> str:
        return "1.2…"


APART: dict[str, Any] = {
    "a tensor": torch.ones(2, 3),
    "of another shape": torch.ones(3, 2),
    "of another dtype": torch.ones(2, 3, dtype=torch.float64),
    "elsewhere": torch.ones(2, 3, device="meta"),
    "sparse": torch.ones(2, 3).to_sparse(),
    "to be differentiated": torch.ones(2, 3, requires_grad=True),
    "a subclass": torch.ones(2, 3).as_subclass(Own),
    "NumPy's": np.ones((2, 3)),
    "NumPy's of float32": np.ones((2, 3), np.float32),
    "masked": np.ma.ones((2, 3)),
    "a dtype": np.float32,
    "a flag": True,
    "a number": 1,
    "a float": 1.0,
    "a number shown in brief": Brief(1.25),
    "another": Brief(1.26),
    "a scalar of NumPy": np.float64(1),
    "another of NumPy": np.float64(2),
    "a flag of NumPy": np.True_,
    "a word": "1",
    "a word of NumPy": np.str_("1"),
    "nothing": None,
    "a pair": (0.0, 1.0),
}


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of nested tensors
@pytest.mark.parametrize("layouts", [(), (torch.strided,), (torch.jagged,), (torch.strided, torch.jagged)])
def test_arguments_that_are_judged_differently_are_of_different_kinds(layouts: tuple[Any, ...]) -> None:
    nested = [torch.nested.nested_tensor([torch.ones(3), torch.ones(2)], layout=each) for each in layouts]
    kinds = once.metadata([*APART.values(), *nested])
    assert len(set(kinds)) == len(APART) + len(nested)


def test_a_parameter_is_a_tensor() -> None:
    x = torch.ones(2, 3)
    one, other = once.metadata([x, torch.nn.Parameter(x, requires_grad=False)])
    assert one == other
