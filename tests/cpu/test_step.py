"""The decode step: l steps are one scan; slots, skipped rows, in place, 16-bit states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ssm_backends import ArgumentError
from ssm_conformance import assert_conforms
from ssm_cpu import selective_state_update

from .problems import FACTS, problem


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


def test_a_half_state_is_rounded_once() -> None:
    call = _at(problem(), 0)
    state = np.random.default_rng(4).standard_normal((2, 6, 3)).astype(np.float16)
    y, new = selective_state_update(state, **call)
    wide_y, wide = selective_state_update(state.astype(np.float32), **call)
    assert np.array_equal(new, wide.astype(np.float16))
    assert np.array_equal(y, wide_y)


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
