"""A verdict crosses processes and files unchanged."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from ssm_conformance.engine.target import LoadError
from ssm_conformance.verdict import OutputRatio, Verdict, plain


def test_a_verdict_survives_strict_json() -> None:
    verdict = Verdict(
        "op/value/float32/x",
        "op",
        "float32",
        "value",
        "fail",
        ratio=math.inf,
        outputs=(OutputRatio("y", math.inf, (0, 3)), OutputRatio("last_state", 0.25, None)),
        message="y is wrong",
        expected="known",
        rerun="ssm-spec conform x --case op/value/float32/x",
        seconds=0.5,
        details={"worst": {"bound": 1e-7}},
    )
    text = json.dumps(verdict.to_json(), allow_nan=False)
    assert Verdict.from_json(json.loads(text)) == verdict


def test_nan_is_a_string_in_json_and_a_number_again_after_it() -> None:
    verdict = Verdict("a/value/b/c", "a", "b", "value", "fail", ratio=math.nan)
    data = verdict.to_json()
    assert data["ratio"] == "nan"
    back = Verdict.from_json(data).ratio
    assert back is not None
    assert math.isnan(back)


def test_details_become_plain_data() -> None:
    details = {"a": np.float32(1.5), "b": (np.int64(2), -math.inf), 3: {"x"}, "c": 1j, "d": np.arange(2)}
    assert plain("ü\ud800") == "ü\\ud800"
    assert plain(details) == {"a": 1.5, "b": [2, "-inf"], "3": ["x"], "c": "1j", "d": [0, 1]}


def test_control_characters_are_shown_and_not_obeyed() -> None:
    text = "\x1b]0;title\x07\x1b[2J\x00 a\tb\nc\x9b1m"
    shown = "\\x1b]0;title\\x07\\x1b[2J\\x00 a\tb\nc\\x9b1m"
    assert plain(text) == shown
    assert Verdict("a/b/c/d", "a", "c", "b", "fail", message=text).message == shown
    assert str(LoadError("plugin", text)) == shown


def test_an_unknown_status_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`status` must be one of pass, fail.*got 'ok'"):
        Verdict("a/b/c/d", "a", "c", "b", "ok")  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize(
    ("status", "expected", "unexpected"),
    [("pass", None, False), ("pass", "known", True), ("fail", None, True), ("fail", "known", False),
     ("error", None, False), ("error", "known", False), ("not_claimed", None, False)],
)  # fmt: skip
def test_what_speaks_against_a_backend(status: str, expected: str | None, unexpected: bool) -> None:
    verdict = Verdict("a/b/c/d", "a", "c", "b", status, expected=expected)  # type: ignore[arg-type]  # a parameter
    assert verdict.unexpected is unexpected
