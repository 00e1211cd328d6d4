"""Enclosures as users see them: what they hold, what is refused, and what is missing without the extra."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy.linalg import expm

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
from ssm_spec.certify._certification import F64
from ssm_spec.certify._draws import DRAWS, draw
from ssm_spec.certify._source import REGIMES

from .brief import brief, cotangents_of


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_missing_extra_names_the_command_that_mends_it() -> None:
    said = run("import sys; sys.modules['flint'] = None; import ssm_spec.certify")
    assert said.returncode == 1
    assert "ImportError" in said.stderr
    assert "pip install 'ssm-spec[certify]'" in said.stderr


def test_the_oracle_and_the_vectors_open_without_it() -> None:
    assert run("import sys; sys.modules['flint'] = None; import ssm_spec, ssm_spec.vectors").returncode == 0


def test_every_operator_of_the_oracle_is_certified() -> None:
    assert set(DEFINITIONS) == set(DRAWS) == set(ssm_spec.REFERENCES)


@pytest.mark.parametrize("op", DEFINITIONS)
def test_more_bits_give_balls_inside(op: str) -> None:
    inputs = brief(op, 3)
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


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("op", DEFINITIONS)
def test_every_operator_can_be_rounded_to_nearest(op: str, complex_: bool) -> None:
    """Values and gradients, and the oracle's lie as near to them as its own bound says."""
    inputs, reference = brief(op, 5, complex_=complex_), ssm_spec.REFERENCES[op]
    bounds = reference.bounds(arithmetic=F64, **inputs)
    pairs = [(correctly_rounded(op, **inputs), bounds)]
    if reference.vjp_bounds is not None:
        cotangents = cotangents_of(enclose(op, **inputs), np.random.default_rng(5))
        slopes = reference.vjp_bounds(cotangents, arithmetic=F64, **inputs)
        pairs.append((correctly_rounded_vjp(op, cotangents, **inputs), slopes))
    for nearest, bounded in pairs:
        assert nearest.keys() == bounded.keys()
        for name, exact in nearest.items():
            # Half a unit of each part, for the rounding of the exact number.
            allowed = bounded[name].own + 2.0**-52 * np.abs(exact) + 2.0**-1074
            assert np.all(np.abs(bounded[name].value - exact) <= allowed), name


def test_rounding_goes_on_until_both_ends_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 states of LegS lose some 190 bits in their modes: 128 do not do, and more are taken."""
    import ssm_spec.certify._enclose as room

    asked: list[int] = []

    def spied(op: str, *, bits: int, **inputs: Any) -> Any:
        asked.append(bits)
        return enclose(op, bits=bits, **inputs)

    monkeypatch.setattr(room, "enclose", spied)
    correctly_rounded("hippo_legs_compress", f=np.array([0.1, 0.7, -1.3]), n=64)
    assert len(asked) > 1
    assert asked == [128 * 2**i for i in range(len(asked))]


def test_a_matrix_that_few_bits_cannot_tell_from_a_singular_one() -> None:
    """I − A has the determinant −2⁻³⁰: with 12 bits there is no answer, with enough there is."""
    A = np.array([[2.0**-15, 1.0], [1.0, -(2.0**-15)]])
    inputs: dict[str, Any] = {"A": A, "B": np.ones((2, 1)), "delta": 1.0, "alpha": 1.0}
    assert not np.any(np.isfinite(enclose("discretize_bilinear", bits=12, **inputs)["B_bar"].lower))
    found = correctly_rounded("discretize_bilinear", **inputs)
    assert found["B_bar"][0, 0] == -(2.0**31) - 2.0**15


def test_legs_of_64_states_is_held_right_in_every_entry_where_scipy_is_not(record_property: Any) -> None:
    """SciPy's expm is right by norm alone, and loses some 1e-10 of the smallest entries."""
    A, B = ssm_spec.hippo_legs(64)
    ours = dict(zip(("A_bar", "B_bar"), ssm_spec.discretize_zoh(A, B, 0.1), strict=True))
    augmented = np.zeros((65, 65))
    augmented[:64] = 0.1 * np.concatenate((A, B), axis=1)
    whole = expm(augmented)
    theirs = {"A_bar": whole[:64, :64], "B_bar": whole[:64, 64:]}
    found = enclose("discretize_zoh", bits=128, A=A, B=B, delta=0.1)
    for who, values, good in (("oracle", ours, True), ("scipy", theirs, False)):
        away = []
        for name, enclosure in found.items():
            size = np.minimum(np.abs(enclosure.lower), np.abs(enclosure.upper))
            away.append(np.max(enclosure.farthest(values[name])[size > 0] / size[size > 0]))
        record_property(who, float(max(away)))
        assert all(x <= 1.01 * 2.0**-53 for x in away) if good else max(away) > 1e-12
    above = np.triu_indices(64, 1)
    assert all(ball.is_zero() for ball in found["A_bar"].balls[above])
    assert not np.any(ours["A_bar"][above])


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
