"""What is counted and compared in a bench: the least work, turns, medians, ratios, growth."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ssm_conformance.bench import (
    PASSES,
    Problem,
    Row,
    Shape,
)
from ssm_conformance.bench.ceilings import Ceilings
from ssm_conformance.bench.clock import FEWEST, Times, on_cpu, repeats_for
from ssm_conformance.bench.problem import growth
from ssm_conformance.bench.results import _row, geometric_mean, times_faster

SMALL = Shape(1, 2, 4, 3)
CEILINGS = Ceilings(1e9, 1e6, ("a copy", "a loop"))


def test_the_least_work_is_counted_from_the_arrays() -> None:
    """u, delta, z read, y written; B, C; A, D, delta_bias; then for the gradient all again, and dy."""
    b, d, l, n = 2, 3, 5, 4
    streams, matrices, parameters = 2 * b * d * l, 2 * 2 * b * n * l, 4 * (d * n + 2 * d)
    forward = Problem("forward", Shape(b, d, l, n), "bfloat16")
    assert forward.bytes == 4 * streams + matrices + parameters
    assert forward.exponentials == b * d * l * n
    both = Problem("both", Shape(b, d, l, n), "bfloat16")
    assert both.bytes == 11 * streams + 3 * matrices + 3 * parameters
    assert both.exponentials == 2 * b * d * l * n
    step = Problem("step", Shape(b, d, 1, n), "float32")
    read = sum(x.nbytes // 2 for x in step.inputs(0).values() if isinstance(x, np.ndarray))
    assert step.bytes == read + 4 * (b * d + b * d * n)


def test_a_model_is_timed_as_it_starts_so_that_no_state_grows_without_end() -> None:
    for pass_ in PASSES:
        inputs = Problem(pass_, Shape(1, 64, 1, 3), "float32").inputs(0)
        assert inputs["A"].tolist() == [[-1, -2, -3]] * 64
        steps = np.log1p(np.exp(inputs["delta_bias"]))
        assert np.all((steps > 0.9e-3) & (steps < 1.1e-1))
        assert steps.max() > 10 * steps.min()


def test_the_floor_is_the_larger_of_the_two() -> None:
    assert CEILINGS.floor(int(1e9), 1) == 1
    assert CEILINGS.floor(1, int(2e6)) == 2
    assert Ceilings(1e9, None, ("", "")).floor(int(3e9), int(1e12)) == 3


def test_contestants_take_turns_and_the_first_call_is_not_counted() -> None:
    log: list[str] = []
    found = on_cpu({name: [lambda name=name: log.append(name)] for name in "ab"}, 4)  # type: ignore[misc]  # the name is bound now
    assert "".join(log) == "ab" + "ab" * 4
    assert all(len(times.all) == 4 for times in found.values())


def test_a_slow_one_is_done_less_often() -> None:
    assert repeats_for(1e-3, 9) == 9
    assert repeats_for(5.0, 9) == 4
    assert repeats_for(1e3, 9) == FEWEST


def test_the_median_is_quoted_with_its_spread() -> None:
    times = Times((3.0, 1.0, 2.0))
    assert (times.median, times.spread) == (2.0, (1.0, 3.0))


def test_every_size_doubles_alone() -> None:
    for symbol, problems in growth("cpu", "float32", "forward").items():
        shapes = [problem.shape for problem in problems]
        assert all(getattr(b, symbol) == 2 * getattr(a, symbol) for a, b in pairwise(shapes))
        others = {tuple(getattr(shape, s) for s in "bdln" if s != symbol) for shape in shapes}
        assert len(others) == 1


def test_ratios_pair_what_both_did() -> None:
    rows = [
        {"pass": "forward", "shape": [1], "dtype": "x", "backend": "a", "median_s": 1.0},
        {"pass": "forward", "shape": [1], "dtype": "x", "backend": "b", "median_s": 4.0},
        {"pass": "forward", "shape": [2], "dtype": "x", "backend": "a", "median_s": 1.0},
        {"pass": "forward", "shape": [2], "dtype": "x", "backend": "b", "why": "no"},
        {"pass": "both", "shape": [1], "dtype": "x", "backend": "b", "median_s": 9.0},
        {"pass": "forward", "shape": [1], "dtype": "y", "backend": "b", "median_s": 7.0},
    ]
    assert times_faster(rows, "a", "b", "forward") == [4.0]
    assert geometric_mean([4.0, 1.0]) == 2.0
    assert geometric_mean([]) is None


def test_rates_and_ratios_are_over_the_median() -> None:
    problem = Problem("forward", SMALL, "float32")
    rows = [_row(Row(problem, name, 0.5, Times((median,)))) for name, median in (("a", 2.0), ("b", 6.0))]
    assert rows[0]["exponentials_per_s"] == problem.exponentials / 2
    assert (rows[0]["bytes_per_s"], rows[0]["over_floor"]) == (problem.bytes / 2, 4.0)
    assert times_faster(rows, "a", "b", "forward") == [3.0]
