"""Enclosures as users see them: what they hold, what is refused, and what is missing without the extra."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import DomainError, DTypeError, ShapeError
from ssm_spec.certify import (
    DEFINITIONS,
    UndecidedError,
    correctly_rounded,
    correctly_rounded_vjp,
    enclose,
    enclose_vjp,
)
from ssm_spec.certify._draws import DRAWS, draw
from ssm_spec.certify._source import REGIMES


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_missing_extra_names_the_command_that_mends_it() -> None:
    said = run("import sys; sys.modules['flint'] = None; import ssm_spec.certify")
    assert said.returncode == 1
    assert "ImportError" in said.stderr
    assert "pip install 'ssm-spec[certify]'" in said.stderr


def test_the_oracle_and_the_vectors_open_without_it() -> None:
    assert run("import sys; sys.modules['flint'] = None; import ssm_spec, ssm_spec.vectors").returncode == 0


def test_every_operator_that_is_certified_is_one_of_the_oracle() -> None:
    assert set(DEFINITIONS) <= set(ssm_spec.REFERENCES)
    assert set(DRAWS) == set(DEFINITIONS)


@pytest.mark.parametrize("op", DEFINITIONS)
def test_more_bits_give_balls_inside(op: str) -> None:
    _, inputs = draw(op, 3, 0)
    wide, narrow = enclose(op, bits=64, **inputs), enclose(op, bits=300, **inputs)
    for name, outer in wide.items():
        inner = narrow[name]
        for part in (np.real, np.imag):
            assert np.all(part(outer.lower) <= part(inner.lower))
            assert np.all(part(inner.upper) <= part(outer.upper))
            assert np.all(part(inner.lower) <= part(inner.upper))


def test_known_numbers() -> None:
    found = correctly_rounded(
        "discretize_zoh", A=np.array([-1.0, 0.0]), B=np.ones((2, 1)), delta=1.0, diagonal=True
    )
    # e⁻¹ and 1 − e⁻¹: OEIS A068985, A068996.
    np.testing.assert_array_equal(found["A_bar"], [0.36787944117144232159552377, 1.0])
    np.testing.assert_array_equal(found["B_bar"][:, 0], [0.63212055882855767840447623, 1.0])


def test_a_gradient_of_a_known_function() -> None:
    inputs: dict[str, Any] = {"A": np.array([-1.0]), "B": np.ones((1, 1)), "delta": np.array(2.0)}
    found = correctly_rounded_vjp("discretize_zoh", {"A_bar": np.ones(1)}, ("A",), diagonal=True, **inputs)
    assert found.keys() == {"A"}
    assert found["A"][0] == 2 * 0.13533528323661269189399950  # Δ e^{ΔA}; e⁻²: OEIS A092553


def test_structural_zeros_round_to_zero() -> None:
    found = correctly_rounded("discretize_bilinear", A=np.tril(np.ones((3, 3))), B=np.ones((3, 1)), delta=0.5)
    assert not np.any(np.triu(found["A_bar"], 1))


def test_a_tie_that_no_precision_shows_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import ssm_spec.certify._enclose as room

    monkeypatch.setattr(room, "MOST_BITS", 512)
    # y = 1 + 2⁻⁵³ + 2⁻¹⁰⁰⁰, all but a tie.
    inputs = {
        "A_bar": np.array([[1.0]]),
        "B_bar": np.array([[[1.0, 2.0**-53, 2.0**-500]]]),
        "C": np.array([[[1.0]]]),
        "u": np.array([[[[1.0], [1.0], [2.0**-500]]]]),
    }
    with pytest.raises(UndecidedError, match="`ssm_recurrence`: last_state, y cannot be rounded"):
        correctly_rounded("ssm_recurrence", diagonal=True, **inputs)


@pytest.mark.parametrize(
    ("u", "error", "message"),
    [
        (np.full((1, 1, 2), np.nan), DomainError, "`u` must be finite"),
        (np.ones((1, 2, 2)), ShapeError, "`K` must have shape"),
        (np.ones((1, 1, 2), int), DTypeError, "`u` must hold"),
    ],
)
def test_bad_input_is_refused_by_name(u: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        enclose("causal_convolution", u=u, K=np.ones((1, 1)))


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(DomainError, match=r"`op` must be one of discretize_zoh, .*; got 'nothing'"):
        enclose("nothing")


def test_an_operator_without_a_gradient_says_so() -> None:
    with pytest.raises(DomainError, match="`op` must have a gradient; got 'hippo_legs'"):
        enclose_vjp("hippo_legs", {}, n=2)


def test_inputs_are_not_written_even_where_the_step_would() -> None:
    _, inputs = draw("selective_state_update", 0, 0)
    state = inputs["state"].copy()
    enclose("selective_state_update", inplace=True, **inputs)
    np.testing.assert_array_equal(inputs["state"], state)


@pytest.mark.parametrize("op", DRAWS)
@pytest.mark.parametrize("number", range(len(REGIMES)), ids=REGIMES)
def test_draws_are_arguments_that_the_oracle_takes(op: str, number: int) -> None:
    regime, inputs = draw(op, 11, number)
    assert regime == REGIMES[number]
    ssm_spec.REFERENCES[op].value(**inputs)
