"""What a page says of a cell, of the worst element, and of elements by their ratio."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

from ssm_conformance.reports.declared import Declaration, declarations
from ssm_conformance.reports.headroom import BARS, Headroom, headroom
from ssm_conformance.reports.matrix import Cell
from ssm_conformance.reports.pages import cell_text, first_line, rest_of, row_text, where_text
from ssm_conformance.verdict import EDGES, OutputRatio, Verdict


def verdict(*outputs: OutputRatio, **details: Any) -> Verdict:
    return Verdict("a", "h3", "float32", "value", "fail", outputs=outputs, details=details)


@pytest.mark.parametrize(
    ("counts", "worst", "text"),
    [
        ({}, None, ""),
        ({"not_claimed": 2}, None, "–"),
        ({"unavailable": 1}, None, "unverified"),
        ({"unavailable": 1, "not_claimed": 2}, None, "unverified"),
        ({"error": 2}, None, "0/2"),
        ({"pass": 3, "error": 1}, None, "3/4"),
        ({"pass": 3, "fail": 1, "not_claimed": 5}, 2.0, "3/4 · 2.00"),
        ({"pass": 1}, 0.0, "1/1 · 0.00"),
    ],
)
def test_a_cell_is_what_passed_of_what_was_judged(counts: Any, worst: float | None, text: str) -> None:
    assert cell_text(Cell(Counter(counts), worst=worst)) == text


def test_the_worst_element_is_that_of_the_worst_output_and_nan_is_worst() -> None:
    small, large = OutputRatio("y", 2.0, (0, 3)), OutputRatio("z", 5.0, (1,))
    nan, scalar = OutputRatio("h", math.nan, (7,)), OutputRatio("s", 9.0, ())
    assert where_text(verdict()) == ""
    assert where_text(verdict(OutputRatio("y", 0.0, None))) == ""
    assert where_text(verdict(small, large)) == where_text(verdict(large, small)) == "z[1]"
    assert where_text(verdict(large, nan)) == where_text(verdict(nan, large)) == "h[7]"
    assert where_text(verdict(scalar, small)) == "s"


def test_a_message_fits_a_row_and_is_parted_from_its_detail() -> None:
    assert row_text("a | b\n  c") == "a \\| b c"
    assert (first_line("a\nb\nc"), rest_of("a\nb\nc")) == ("a", "b\nc")
    assert (first_line("a"), rest_of("a")) == ("a", "")


def test_elements_are_counted_by_operator_and_any_that_is_there_shows() -> None:
    few = [0] * (len(EDGES) + 1)
    few[0], few[-1] = 800, 1
    found = headroom([verdict(headroom=few, excused=2), verdict(headroom=few, excused=3), verdict()])
    assert list(found) == ["h3"]
    entry = found["h3"]
    assert (entry.judged, entry.excused) == (1602, 5)
    assert entry.bars == BARS[-1] + BARS[0] * (len(EDGES) - 1) + BARS[1]
    assert entry.share(EDGES[0]) == entry.share(1.0) == 1600 / 1602
    assert headroom([verdict(headroom=[0] * len(few), excused=4)]) == {}
    assert (Headroom().share(1.0), set(Headroom().bars)) == (0.0, {BARS[0]})


@pytest.mark.parametrize(
    ("ratios", "outcome", "unnecessary"),
    [
        ([(0.5, 2.0), (0.5, 0.5), (3.0, 4.0)], "1 of 3 cases pass by it", False),
        ([(0.5, math.nan)], "1 of 1 cases pass by it", False),
        ([(0.5, 0.4), (0.3, 0.5)], "it narrows the bound", False),
        ([(math.nan, math.nan)], "no case passes by it alone", False),
        ([(3.0, 4.0), (0.2, 0.3)], "no case passes by it alone", False),
        ([(0.2, 0.3)], "unnecessary, for every case passes without it", True),
        ([(0.2, 0.2)], "unnecessary, for it changes nothing", True),
    ],
)
def test_what_a_declaration_is_worth(ratios: Any, outcome: str, unnecessary: bool) -> None:
    found = Declaration("h3", "evaluation fft")
    for ratio, without in ratios:
        found.add(ratio, without)
    assert (found.outcome, found.unnecessary) == (outcome, unnecessary)


def test_dtypes_of_one_outcome_are_told_together() -> None:
    def declared(dtype: str, ratio: float | None, without: float) -> Verdict:
        details = {"declared": {"evaluation": "fft"}, "ratio_undeclared": without}
        return Verdict("a", "h3", dtype, "value", "pass", ratio=ratio, details=details)

    by_it = [declared("float32", 0.5, 2.0), declared("float32", 0.5, 3.0), declared("float64", 0.4, 7.0)]
    idle, unmeasured = declared("float16", 0.5, 0.5), declared("float16", None, 0.5)
    needed, unnecessary = declarations([*by_it, idle, unmeasured, verdict()])
    assert (needed.dtypes, needed.needed, needed.cases) == (["float32", "float64"], 3, 3)
    assert (needed.worst, needed.without) == (0.5, 7.0)
    assert (unnecessary.dtypes, unnecessary.cases, unnecessary.moved) == (["float16"], 1, 0)
