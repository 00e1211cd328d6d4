"""The decode step: l steps are one scan; slots, skipped rows, in place, 16-bit states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_backends import ArgumentError
from ssm_conformance import assert_conforms
from ssm_cpu import selective_state_update

from .problems import FACTS, problem, same, without_avx512


def _at(call: dict[str, Any], t: int) -> dict[str, Any]:
    streams = ("u", "delta", "z", "B", "C")
    rest = {k: v[..., t] if k in streams else v for k, v in call.items()}
    return {k: v for k, v in rest.items() if k != "initial_state"}


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("rule", ["euler", "zoh"])
def test_steps_are_the_scan(rule: str, complex_: bool) -> None:
    call = problem(l=4, n=19, groups=(2, 3), complex_=complex_) | {"b_discretization": rule}
    state, outputs = call["initial_state"], []
    for t in range(4):
        given = _at(call, t)
        y, new = selective_state_update(state, **given)
        assert_conforms("selective_state_update", (y, new), arithmetic=FACTS, state=state, **given)
        outputs.append(y)
        state = new
    facts = FACTS | {"evaluation": "scan"}
    whole = {"return_last_state": True} | call
    assert_conforms("selective_scan", (np.stack(outputs, -1), state), arithmetic=facts, **whole)


@pytest.fixture(params=[True, False], ids=["as it is", "without AVX-512"])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        without_avx512(monkeypatch)


SIZES = [(1, 1), (3, 5), (6, 16), (17, 17), (70, 35)]
"""Channels and states: fewer than a turn and than a vector, whole ones, and more than one of each."""


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("rule", ["euler", "zoh"])
@pytest.mark.parametrize(
    ("dtype", "complex_"), [("float32", False), ("float32", True), ("float64", False), ("float64", True)]
)
def test_rows_in_place_laid_out_and_alone(dtype: str, complex_: bool, rule: str) -> None:
    for d, n in SIZES:
        call = _at(problem(dtype, d=d, n=n, complex_=complex_), 0) | {"b_discretization": rule}
        state = problem(dtype, d=d, n=n, complex_=complex_, seed=5)["initial_state"]
        outputs = selective_state_update(state, **call)
        assert_conforms("selective_state_update", outputs, arithmetic=FACTS, state=state, **call)

        room = np.full((2, d, n + 3), 7, state.dtype)
        room[..., 1 : n + 1] = state
        inner = room[..., 1 : n + 1]
        assert same(selective_state_update(inner, **call, inplace=True), outputs)
        assert (room[..., 0] == 7).all()
        assert (room[..., n + 1 :] == 7).all()

        for name in ("state", "A"):  # one of them laid out, and then both
            rows = {"state": state, "A": call["A"]}
            for other in (name, "state"):
                rows[other] = np.asfortranarray(rows[other])
                laid = selective_state_update(
                    rows["state"].copy("K"), **call | {"A": rows["A"]}, inplace=True
                )
                assert same(laid, outputs)

        part = {k: v[:, -1:] if k in ("u", "delta", "z") else v for k, v in call.items()}
        part |= {k: v[-1:] for k, v in call.items() if k in ("A", "D", "delta_bias")}
        alone = selective_state_update(state[:, -1:], **part)
        assert same(alone, [x[:, -1:] for x in outputs])


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("n", [4, 16, 20])
def test_a_nan_stays_in_its_channel(n: int) -> None:
    call = _at(problem(d=21, n=n), 0)
    state = problem(d=21, n=n, seed=5)["initial_state"]
    y, new = selective_state_update(state, **call)
    for spoilt in ("u", "delta", "z", "state"):
        given = {"state": state, **call}
        given[spoilt] = given[spoilt].copy()
        given[spoilt][1, 18] = np.nan
        outputs = selective_state_update(**given)
        others = np.ones((2, 21), bool)
        others[1, 18] = False
        assert same([x[others] for x in outputs], [y[others], new[others]])
        assert np.isnan(outputs[0][1, 18])


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("n", [16, 17, 20])
def test_an_infinite_step_leaves_no_nan_where_no_state_is(n: int, half: bool) -> None:
    call = _at(problem(d=5, n=n, plain=True), 0) | {"b_discretization": "zoh"}
    call["delta"][:, 2] = np.inf
    state = problem(d=5, n=n)["initial_state"].astype(np.float16 if half else np.float32)
    y, _ = selective_state_update(state, **call)
    exact, _ = ssm_spec.selective_state_update(state, **call)
    assert np.allclose(y, exact, rtol=1e-5, atol=1e-5)  # it is far from a NaN, which is what is asked


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("complex_", [False, True])
def test_channels_of_many_groups(complex_: bool, smooth: bool) -> None:
    call = _at(problem(d=70, n=18, groups=(35, 14), complex_=complex_), 0) | {"delta_softplus": smooth}
    state = problem(d=70, n=18, complex_=complex_, seed=5)["initial_state"]
    outputs = selective_state_update(state, **call)
    assert_conforms("selective_state_update", outputs, arithmetic=FACTS, state=state, **call)
    repeated = call | {name: np.repeat(call[name], 70 // call[name].shape[1], 1) for name in "BC"}
    assert same(selective_state_update(state, **repeated), outputs)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_slots_of_a_pool(inplace: bool, kind: type) -> None:
    call = _at(problem(d=20), 0)
    pool = np.random.default_rng(3).standard_normal((5, 20, 3)).astype(np.float32)
    before = pool.copy()
    y, after = selective_state_update(pool, **call, state_indices=np.array([3, -1], kind), inplace=inplace)
    expected, state = selective_state_update(before[[3, 3]], **call)
    assert (after is pool) == inplace
    assert np.array_equal(pool, before) != inplace
    assert np.array_equal(y[0], expected[0])
    assert not y[1].any()
    assert np.array_equal(after[3], state[0])
    others = [0, 1, 2, 4]
    assert np.array_equal(after[others], before[others])


def test_a_slot_that_is_not_there() -> None:
    call = _at(problem(), 0)
    pool = np.zeros((2, 6, 3), np.float32)
    with pytest.raises(ArgumentError, match=r"`state_indices` must lie in -1\.\.1,"):
        selective_state_update(pool, **call, state_indices=np.array([0, 2]))
    with pytest.raises(ArgumentError, match="`state_indices` must name each slot at most once"):
        selective_state_update(pool, **call, state_indices=np.array([1, 1]))
    selective_state_update(pool, **call, state_indices=np.array([-1, -1]))


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("n", [3, 16, 20])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_half_state_is_rounded_once(stride: int, n: int) -> None:
    call = _at(problem(n=n), 0)
    room = np.random.default_rng(4).standard_normal((2, 6, stride * n)).astype(np.float16)
    before, state = room.copy(), room[..., ::stride]
    wide_y, wide = selective_state_update(state.astype(np.float32), **call)
    y, new = selective_state_update(state, **call, inplace=True)
    assert np.array_equal(new, wide.astype(np.float16))
    assert np.array_equal(y, wide_y)
    assert np.array_equal(room[..., 1::2], before[..., 1::2]) or stride == 1


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("complex_", [False, True])
def test_a_state_that_is_conjugated_or_negated_in_memory(complex_: bool, inplace: bool, pooled: bool) -> None:
    torch = pytest.importorskip("torch")
    call = {
        name: torch.from_numpy(x) if isinstance(x, np.ndarray) else x
        for name, x in _at(problem(complex_=complex_), 0).items()
    }
    kind = torch.complex64 if complex_ else torch.float32
    plain = torch.randn(4 if pooled else 2, 6, 3, dtype=kind)
    noted = torch.conj_physical(plain).conj() if complex_ else torch.complex(plain, -plain).conj().imag
    assert noted.is_conj() or noted.is_neg()
    assert torch.equal(noted, plain)
    slots = {"state_indices": torch.tensor([3, -1])} if pooled else {}
    y, new = selective_state_update(noted, **call, **slots, inplace=inplace)
    expected, state = selective_state_update(plain, **call, **slots)
    assert torch.equal(y, expected)
    assert torch.equal(new, state)
    assert (new is noted) == inplace
    assert torch.equal(noted, state if inplace else plain)


@pytest.mark.parametrize(("dtype", "bits"), [("bfloat16", 8), ("float16", 11)])
@pytest.mark.parametrize("d", [1, 16])
def test_float64_is_rounded_once_to_sixteen_bits(dtype: str, bits: int, d: int) -> None:
    """Numbers that float32 takes for the middle of two, or moves away from it: one alone, and a vector."""
    torch = pytest.importorskip("torch")
    unit, little, some = 2.0 ** (1 - bits), 2.0**-40, 0.75 * 2.0**-23
    for middle, below, above in ((1 + unit / 2, 1, 1 + unit), (1 + 1.5 * unit, 1 + unit, 1 + 2 * unit)):
        even = below if middle < 1 + unit else above
        near = (-little, below), (-some, below), (0, even), (some, above), (little, above)
        for rest, wanted in near:
            for sign in (1, -1):
                u = torch.ones(1, d, dtype=getattr(torch, dtype))
                A, state = torch.zeros(d, 1, dtype=torch.float64), torch.zeros(1, d, 1, dtype=u.dtype)
                D = torch.full((d,), sign * (middle + rest), dtype=torch.float64)
                y, _ = selective_state_update(state, u, u, A, 0 * u[:, :1], u[:, :1], D)
                assert torch.equal(y.double(), torch.full_like(y.double(), sign * wanted))
