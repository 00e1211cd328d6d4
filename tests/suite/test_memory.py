"""The fit recovers the law that made the numbers, and holds it against the claim."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ssm_backends import Backend, MemoryUse, NumpyArrays, Op
from ssm_conformance.case import Case
from ssm_conformance.cases import catalogue
from ssm_conformance.checks import growth as question
from ssm_conformance.checks.growth import _at, _complaint, _use
from ssm_conformance.checks.subject import Subject
from ssm_conformance.memory import Fit, fit, grid

POINTS = grid({"b": 1, "d": 16, "l": 128, "n": 8, "g": 2})


def peaks(c0: float, bdl: float, bdn: float, bdln: float, bgnl: float) -> list[int]:
    return [
        int(
            c0
            + bdl * p["b"] * p["d"] * p["l"]
            + bdn * p["b"] * p["d"] * p["n"]
            + bdln * p["b"] * p["d"] * p["l"] * p["n"]
            + bgnl * p["b"] * p["g"] * p["n"] * p["l"]
        )
        for p in POINTS
    ]


@pytest.mark.parametrize("states", [0.0, 0.5, 4.0, 28.0])
def test_the_growth_with_states_is_recovered(states: float) -> None:
    law = fit(POINTS, peaks(4096, 12, 4, states, 8))
    assert law.states == pytest.approx(states, abs=0.02)
    assert law.residual < 0.01


def test_every_term_is_told_from_the_others() -> None:
    law = fit(POINTS, peaks(100, 8, 40, 2, 16))
    assert list(law.coefficients.values()) == pytest.approx([100, 8, 40, 2, 16], rel=0.05)


def test_a_law_outside_the_model_shows_in_the_residual() -> None:
    quadratic = [p["l"] ** 2 * 64 for p in POINTS]
    assert fit(POINTS, quadratic).residual > 0.3


def test_the_grid_varies_each_size_alone_by_four_and_all_by_two() -> None:
    b, d, l, n = 1, 3, 5, 7
    points = [(b, d, l, n), (4 * b, d, l, n), (b, 4 * d, l, n), (b, d, 4 * l, n), (b, d, l, 4 * n),
              (b, d, 2 * l, n), (2 * b, 2 * d, 2 * l, 2 * n)]  # fmt: skip
    assert grid({"b": b, "d": d, "l": l, "n": n}) == [dict(zip("bdln", at, strict=True)) for at in points]


def test_a_call_that_takes_no_memory_has_a_law_too() -> None:
    assert fit(POINTS, [0] * len(POINTS)).states < 1e-3


def law(states: float) -> Fit:
    coefficients = {"1": 1024.0, "b d l": 12.0, "b d n": 0.0, "b d l n": states, "b g n l": 0.5}
    return Fit(coefficients, 0.0123)


def test_a_law_is_told_term_by_term() -> None:
    told = "1.02e+03 + 12·b·d·l + 0·b·d·n + 4·b·d·l·n + 0.5·b·g·n·l bytes, within 1.2%"
    assert str(law(4.0)) == told


@pytest.mark.parametrize(
    ("claimed", "states", "element", "fits"),
    [("fused", 0.5, 4, True), ("fused", 0.51, 4, False), ("fused", 1.0, 8, True), ("fused", 1.01, 8, False),
     ("materialised", 100.0, 4, True)],
)  # fmt: skip
def test_a_fused_pass_may_keep_one_state_in_eight(
    claimed: str, states: float, element: int, fits: bool
) -> None:
    told = _complaint(claimed, "backward", law(states), element)
    assert (told == "") == fits
    if not fits:
        assert told.startswith("the backward pass is claimed fused: at most")


GROWTH = [case for case in catalogue("full") if case.method == "growth" and case.dtype == "float32"]


def asked(case: Case) -> Subject:
    features = tuple(case.operator.features)
    op = Op(lambda **_: None, dtypes=("float32",), features=features)
    backend = Backend(name="x", version="0", arrays=NumpyArrays(), ops={case.op: op})
    return Subject(case, backend, op, backend.adapters[0])


@pytest.mark.parametrize("case", GROWTH, ids=lambda case: case.id)
def test_a_call_of_the_grid_has_the_options_of_the_case(case: Case) -> None:
    there = _at(asked(case), {"b": 2, "d": 8, "l": 16, "n": 3, "g": 2})
    assert set(there.case.recipe.inputs) == set(case.recipe.inputs)
    assert there.call.features - {"grouped"} == case.call().features - {"grouped"}
    assert {there.call.sizes[size] for size in "bln"} == {2, 16, 3}


@pytest.mark.parametrize(("name", "states"), [("forward-growth", 2.0), ("forward-growth-complex-zoh", 1.0)])
def test_a_complex_state_is_twice_as_large(monkeypatch: pytest.MonkeyPatch, name: str, states: float) -> None:
    def eight_bytes_a_state(subject: Subject, _: Any) -> int:
        return 8 * int(np.prod([subject.call.sizes[size] for size in "bdln"]))

    monkeypatch.setattr(sys.modules[question.__module__], "_use", eight_bytes_a_state)
    (case,) = (case for case in GROWTH if case.id == f"selective_scan/memory/float32/{name}")
    assert question(asked(case)).details["states_in"] == pytest.approx(states)


def in_phases(sizes: dict[str, int]) -> int:
    """The larger of two phases, and what a thread holds of n; nothing grows with b·d·l·n."""
    b, n, l, g = (sizes[size] for size in "bnlg")
    return max(16 * b * g * n * l, 250_000) + 2000 * n


def materialised(sizes: dict[str, int]) -> int:
    """The same, and a state of each step."""
    return in_phases(sizes) + 4 * int(np.prod([sizes[size] for size in "bdln"]))


@pytest.mark.parametrize(("peak", "grids", "passes"), [(in_phases, 2, True), (materialised, 2, False)])
def test_a_loose_fit_is_settled_at_larger_sizes(
    monkeypatch: pytest.MonkeyPatch, peak: Any, grids: int, passes: bool
) -> None:
    (case,) = (case for case in GROWTH if case.id == "selective_scan/memory/float32/forward-growth")
    begun = []

    def use(subject: Subject, _: Any) -> int:
        sizes = {size: subject.call.sizes[size] for size in "bdln"} | {"g": subject.call.sizes["g_B"]}
        begun.append(sizes["l"])
        return int(peak(sizes))

    monkeypatch.setattr(sys.modules[question.__module__], "_use", use)
    features = (*case.operator.features,)
    op = Op(lambda **_: None, dtypes=("float32",), features=features, memory="fused")
    subject = asked(case)
    found = question(Subject(case, subject.backend, op, subject.arrays))
    assert found.passed == passes
    assert max(begun) == 4 * 256 * 2 ** (grids - 1)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_results_are_not_counted(direction: Any) -> None:
    results = {"u": np.zeros(4), "A": np.zeros(2)}
    subject: Any = SimpleNamespace(
        call=SimpleNamespace(inputs={}),
        cotangents=results,
        op=SimpleNamespace(fn=lambda: tuple(results.values())),
        backward=lambda call: lambda: results,
        arrays=SimpleNamespace(peak_memory=lambda run: (run(), MemoryUse(peak=100, held=0))),
    )
    assert _use(subject, direction) == 100 - 48
