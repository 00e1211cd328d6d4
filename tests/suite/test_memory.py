"""The fit recovers the law that made the numbers, and holds it against the claim."""

import pytest

from ssm_conformance.memory import fit, grid

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
