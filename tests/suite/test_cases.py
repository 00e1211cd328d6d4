"""The catalogue: well-formed, stable, drawn the same everywhere, planned from claims alone."""

import hashlib
import itertools

import numpy as np
import pytest

from ssm_backends import OPERATORS, ArgumentError, Backend, NumpyArrays, Op, claims_as_data
from ssm_backends.operators import PYTORCH_FEATURES
from ssm_conformance import real
from ssm_conformance.case import LEVELS, Case
from ssm_conformance.cases import RECIPES, _duality, _options, _triples, _with, catalogue, find_case
from ssm_conformance.checks import METHODS
from ssm_conformance.checks.subject import Subject
from ssm_conformance.draw import Draw
from ssm_conformance.judge import EXCUSED_AT_MOST
from ssm_conformance.mutants.kernels.bits import BitArrays
from ssm_conformance.planning import plan

FULL = catalogue("full")


def test_levels_contain_the_smaller_ones() -> None:
    ids = [{case.id for case in catalogue(level)} for level in LEVELS]
    assert ids[0] < ids[1] < ids[2]


def test_every_case_is_a_valid_call_and_has_its_method() -> None:
    for case in FULL:
        assert case.call().dtype == case.dtype, case.id
        assert case.method in METHODS, case.id
        assert find_case(case.id) is case
        assert case.id.split("/")[:3] == [case.op, case.check, case.dtype]


def test_every_operator_and_every_feature_of_the_scan_is_asked() -> None:
    asked = {op: set().union(*(c.call().features for c in FULL if c.op == op)) for op in OPERATORS}
    for op in ("selective_scan", "selective_state_update"):
        assert asked[op] == set(OPERATORS[op].features) - set(PYTORCH_FEATURES)
    claims = {case.options.get("claim") for case in FULL} - {None}
    assert claims == set(PYTORCH_FEATURES)
    assert all(any(case.op == op for case in FULL) for op in OPERATORS)


def test_unknown_case_is_refused_by_name() -> None:
    with pytest.raises(ArgumentError, match=r"`case`.*nonsense"):
        find_case("nonsense")


def test_numbers_are_frozen() -> None:
    """The seed's version must change if this does: golden data and verdicts refer to these numbers."""
    digest = hashlib.sha256()
    for recipe in RECIPES:
        if recipe.op == "selective_scan" and recipe.name in ("typical", "complex", "text", "packed"):
            for name, draw in sorted(recipe.inputs.items()):
                if hasattr(draw, "values"):
                    values = draw.values(recipe.op, recipe.name, name)
                    digest.update(
                        np.round(values.view(np.float64), 9).tobytes()
                        if values.dtype.kind in "fc"
                        else values.tobytes()
                    )
    assert digest.hexdigest()[:16] == "5eac537ea9fa02e0"


def scan_backend(**claims) -> dict:
    op = Op(lambda **_: None, **({"dtypes": ("float32",)} | claims))
    return claims_as_data(Backend(name="x", version="0", arrays=NumpyArrays(), ops={"selective_scan": op}))


def statuses(claims: dict, **filters) -> dict[str, str | None]:
    return {p.case.id: p.status for p in plan(claims, level="full", **filters)}


def test_what_is_not_claimed_is_planned_as_such_with_the_reason() -> None:
    found = statuses(scan_backend())
    assert found["selective_scan/value/float32/typical"] is None
    assert found["selective_scan/value/bfloat16/typical"] == "not_claimed"
    assert found["selective_scan/value/float32/complex"] == "not_claimed"
    assert found["selective_scan/gradient/float32/typical"] == "not_claimed"
    assert found["ssm_kernel/value/float32/siso"] == "not_claimed"
    reasons = {p.case.id: p.reason for p in plan(scan_backend(), level="full")}
    assert "complex" in reasons["selective_scan/value/float32/complex"]


def test_a_claim_is_asked_and_an_unclaimed_argument_too() -> None:
    claimed = statuses(scan_backend(features=("initial_state",), gradients="all", vjp=max))
    assert claimed["selective_scan/value/float32/initial"] is None
    assert claimed["selective_scan/gradient/float32/initial"] is None
    assert claimed["selective_scan/error/float32/unclaimed-initial_state"] == "not_claimed"
    assert statuses(scan_backend())["selective_scan/error/float32/unclaimed-initial_state"] is None


def test_limits_narrow_a_claim() -> None:
    found = statuses(scan_backend(limits={"n": 16}))
    assert found["selective_scan/value/float32/wide-state"] == "not_claimed"
    assert found["selective_scan/value/float32/typical"] is None


def test_filters_keep_only_what_they_name() -> None:
    kept = plan(scan_backend(), level="full", ops=["selective_scan"], dtypes=["float32"], checks=["value"])
    assert kept
    assert {(p.case.op, p.case.dtype, p.case.check) for p in kept} == {("selective_scan", "float32", "value")}


def pairs(chosen: list[tuple[str, str]]) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(pair) for pair in itertools.combinations(chosen, 2)}


def choices(row: str, factors: tuple[tuple[str, ...], ...]) -> list[tuple[str, str]]:
    """For each factor, by its last name, the one of its words that the row has; "" for none."""
    words = row.split()
    return [(factor[-1], next((word for word in factor[1:] if word in words), "")) for factor in factors]


@pytest.mark.parametrize(
    ("rows", "factors"),
    [
        (_options.PLAIN_ROWS, tuple(("", word) for word in _options.PLAIN_OPTIONS)),
        (
            _options.SCAN_ROWS,
            (*(("", word) for word in _options.PLAIN_OPTIONS), *_options.SCAN_OPTIONS),
        ),
        (_options.STEP_ROWS, tuple(("", word) for word in _options.STEP_OPTIONS)),
        (_duality.ROWS, (("", "D", "wide-D"), *(("", word) for word in _duality.OPTIONS))),
    ],
    ids=["plain", "scan", "step", "ssd"],
)
def test_every_pair_of_options_occurs_in_some_call(rows: tuple[str, ...], factors) -> None:
    wanted = set()
    for one, other in itertools.combinations(factors, 2):
        wanted |= {frozenset(((one[-1], a), (other[-1], b))) for a in one for b in other}
    found = set().union(*(pairs(choices(row, factors)) for row in rows))
    assert wanted - found == set()


SCAN_FACTORS = (*(("", word) for word in _options.PLAIN_OPTIONS), *_options.SCAN_OPTIONS)
STEP_FACTORS = tuple(("", word) for word in (*_options.STEP_OPTIONS, "half"))
SSD_FACTORS = (("", "D", "wide-D"), *(("", word) for word in _duality.OPTIONS))


@pytest.mark.parametrize(
    ("rows", "factors"),
    [
        ((*_options.PLAIN_ROWS, *_options.SCAN_ROWS, *_triples.SCAN_ROWS), SCAN_FACTORS),
        ((*_options.STEP_ROWS, *_triples.STEP_ROWS), STEP_FACTORS),
        ((*_duality.ROWS, *_triples.SSD_ROWS), SSD_FACTORS),
    ],
    ids=["scan", "step", "ssd"],
)
def test_every_three_options_occur_in_some_call(rows: tuple[str, ...], factors) -> None:
    wanted = set()
    for three in itertools.combinations(factors, 3):
        names = [factor[-1] for factor in three]
        wanted |= {frozenset(zip(names, words, strict=True)) for words in itertools.product(*three)}
    together = {("complex", "complex"), ("half", "half")}  # no state in 16 bits is complex
    wanted = {three for three in wanted if not together <= three}
    found = {frozenset(three) for row in rows for three in itertools.combinations(choices(row, factors), 3)}
    assert wanted - found == set()


@pytest.mark.parametrize("count", range(3, 12))
def test_choices_have_every_three_of_their_options(count: int) -> None:
    options = tuple("abcdefghijk"[:count])
    every = set(itertools.product((False, True), repeat=3))
    for three in itertools.combinations(options, 3):
        found = {tuple(option in chosen for option in three) for chosen in _triples.every_three(options)}
        assert found == every


@pytest.mark.parametrize("count", range(2, 11))
def test_six_calls_have_every_pair_of_up_to_ten_options(count: int) -> None:
    options = tuple("abcdefghij"[:count])
    for one, other in itertools.combinations(options, 2):
        found = {(one in chosen, other in chosen) for chosen in _with.every_pair(options)}
        assert found == {(False, False), (False, True), (True, False), (True, True)}


def test_each_optional_argument_of_a_differentiable_call_is_present_and_absent() -> None:
    others = {recipe.op for recipe in _with.WITH if OPERATORS[recipe.op].differentiable}
    for op in ("selective_scan", "selective_state_update", "ssd", *sorted(others)):
        calls = [case.recipe.inputs for case in FULL if case.op == op and case.check == "gradient"]
        for argument in OPERATORS[op].arguments:
            if not argument.required:
                given = {inputs.get(argument.name) not in (None, False) for inputs in calls}
                assert given == {True, False}, argument.name


def test_lengths_lie_around_every_power_of_two_and_a_width_is_real() -> None:
    scans = [case.call().sizes for case in FULL if case.op == "selective_scan" and case.check == "value"]
    lengths = {sizes["l"] for sizes in scans}
    assert {2**k + e for k in range(1, 11) for e in (-1, 0, 1)} <= lengths
    assert any(sizes["d"] == 4096 for sizes in scans)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_case_excuses_more_than_a_twentieth_of_its_elements(dtype: str) -> None:
    """The oracle alone knows: no backend is run."""
    extremes = [
        case
        for case in FULL
        if case.dtype == dtype and case.method in ("value", "gradient") and case.check == "extreme"
    ]
    assert len(extremes) > 15
    for case in extremes:
        op = Op(lambda **_: None, dtypes=(dtype,), gradients="all", features=tuple(case.operator.features))
        subject = Subject(case, Backend(name="x", version="0", arrays=BitArrays(), ops={}), op, BitArrays())
        exact = subject.exact
        if case.method == "gradient":
            exact = subject.exact_gradients(subject.arithmetic())
        judged = [bounded.judged & np.isfinite(bounded.bound) for bounded in exact.values()]
        elements = sum(mask.size for mask in judged)
        assert elements - sum(mask.sum() for mask in judged) <= EXCUSED_AT_MOST * elements, case.id


def test_real_data_is_what_it_says() -> None:
    tokens = Draw((2, 3, 40), "tokens").values("a", "b")
    same_byte = real._stream(2, 40, 0)
    first, later = np.argwhere(same_byte == same_byte[0, 0])[:2]
    assert np.array_equal(tokens[first[0], :, first[1]], tokens[later[0], :, later[1]])
    lines = Draw((1, 300), "lines", dtype="int32").values("a", "b")
    assert np.all(np.diff(lines) >= 0)
    assert lines.max() > 3
    signal = Draw((2, 4, 100), "signal").values("a", "b")
    assert -4 < signal.min() < signal.max() < 4


@pytest.mark.parametrize(
    "case",
    [c for c in catalogue("quick") if c.recipe.one_sign and c.method in ("value", "gradient")],
    ids=lambda c: c.id,
)
def test_sums_of_one_sign_are_judged_in_float32(case: Case) -> None:
    """Half of every result's elements to a twentieth; of either sign a bound may be all of them."""
    op = Op(lambda **_: None, dtypes=("float32",), gradients="all")
    subject = Subject(case, None, op, NumpyArrays("cpu"))
    assert all((x.exact > 0).all() for x in subject.cotangents.values())
    gradients = case.method == "gradient"
    results = subject.exact_gradients(subject.arithmetic()) if gradients else subject.exact
    for name, judged in results.items():
        with np.errstate(divide="ignore"):
            assert np.median(judged.bound / abs(judged.value)) < 0.05, name
