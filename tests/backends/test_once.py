"""A kind of call that was valid is not asked again; another one is, however much they are alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from ssm_backends import ArgumentError, ShapeError, once, validate
from ssm_backends.once import validate_once


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The operators that are validated, of which nothing is remembered."""
    names: list[str] = []

    def noted(op: str, **inputs: Any) -> Any:
        names.append(op)
        return validate(op, **inputs)

    monkeypatch.setattr(once, "validate", noted)
    once._VALID.clear()
    yield names
    once._VALID.clear()


def test_a_kind_is_asked_once_and_what_is_not_valid_every_time(asked: list[str]) -> None:
    for _ in range(2):
        validate_once("hippo_legs", n=3)
        with pytest.raises(ArgumentError):
            validate_once("hippo_legs", n=0)
    assert asked == ["hippo_legs"] * 3


def test_an_operator_with_the_same_arguments_is_another_kind(asked: list[str]) -> None:
    for name in ("hippo_legs", "hippo_lagt") * 2:
        validate_once(name, n=3)
    assert asked == ["hippo_legs", "hippo_lagt"]


def test_an_argument_of_another_name_is_another_kind(asked: list[str]) -> None:
    x, matrix = np.ones((1, 2, 5)), np.ones((1, 3, 5))
    given: dict[str, Any] = {"u": x, "delta": x, "A": -np.ones((2, 3)), "B": matrix, "C": matrix}
    validate_once("selective_scan", **given, z=x)
    with pytest.raises(ShapeError, match="`initial_state`"):
        validate_once("selective_scan", **given, initial_state=x)
    assert len(asked) == 2


@pytest.mark.usefixtures("asked")
def test_what_else_is_asked_is_a_part_of_the_kind_and_may_refuse() -> None:
    seen: list[Mapping[str, Any]] = []

    def refuse(inputs: Mapping[str, Any]) -> None:
        seen.append(inputs)
        raise ArgumentError("`n` must be even")

    validate_once("hippo_legs", n=3)
    for _ in range(2):
        with pytest.raises(ArgumentError, match="even"):
            validate_once("hippo_legs", refuse, n=3)
    assert seen == [{"n": 3}] * 2


def test_so_many_kinds_are_remembered_and_no_more(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "MOST", 2)
    for n in (1, 2, 3, 4):
        validate_once("hippo_legs", n=n)
        assert len(once._VALID) <= 2
    assert len(asked) == 4


def test_what_has_no_hash_is_not_remembered() -> None:
    assert once.can_be_remembered(("n", 3))
    assert not once.can_be_remembered(("n", []))
