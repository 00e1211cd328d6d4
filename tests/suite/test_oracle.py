"""The oracle is asked once for what many questions need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ssm_conformance.checks import oracle
from ssm_conformance.checks.oracle import Answer, once
from ssm_spec import Arithmetic, Bounded

Asked = list[str]


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "_said", type(oracle._said)())


def _ask(asked: Asked, name: str = "", size: int = 3) -> Callable[[], Answer]:
    def ask() -> Answer:
        asked.append(name)
        x = np.ones(size)
        return {"y": Bounded(x, x, x, x > 0)}

    return ask


def test_the_same_question_is_asked_once() -> None:
    asked: Asked = []
    x = np.arange(6.0).reshape(2, 3)
    first = once(("op", Arithmetic()), {"x": x, "flag": True}, _ask(asked))
    again = once(("op", Arithmetic()), {"flag": True, "x": x.copy()}, _ask(asked))
    assert len(asked) == 1
    assert again is first
    with pytest.raises(ValueError, match="read-only"):
        first["y"].value[0] = 2.0


@pytest.mark.parametrize(
    "other",
    [
        (("op", Arithmetic()), {"x": np.arange(6.0).reshape(3, 2)}),
        (("op", Arithmetic()), {"x": np.arange(6).reshape(2, 3)}),
        (("op", Arithmetic()), {"x": np.arange(6.0).reshape(2, 3) + 1e-15}),
        (("op", Arithmetic()), {"z": np.arange(6.0).reshape(2, 3)}),
        (("op", Arithmetic()), {"x": np.arange(6.0).reshape(2, 3), "flag": True}),
        (("op", Arithmetic(compute="float64", io="float64")), {"x": np.arange(6.0).reshape(2, 3)}),
        (("other", Arithmetic()), {"x": np.arange(6.0).reshape(2, 3)}),
    ],
)
def test_another_question_is_asked(other: tuple[tuple[object, ...], dict[str, object]]) -> None:
    asked: Asked = []
    once(("op", Arithmetic()), {"x": np.arange(6.0).reshape(2, 3)}, _ask(asked))
    once(*other, _ask(asked))
    assert len(asked) == 2


def test_what_was_not_asked_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "ROOM", 1000)
    asked: Asked = []
    for name in ("a", "b", "a", "c", "a", "b"):
        once((name,), {}, _ask(asked, name, size=16))  # 400 bytes: there is room for two
    assert asked == ["a", "b", "c", "b"]
