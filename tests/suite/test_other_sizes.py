"""Calls of other sizes: what is doubled, cut or left, and that they stay valid calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ssm_backends import Backend, Op, TorchArrays
from ssm_conformance.cases import catalogue
from ssm_conformance.checks.other_sizes import doubled, one_row, shorter
from ssm_conformance.checks.subject import Subject

COMPILED = {
    f"{case.op} {case.recipe.name}": case
    for case in catalogue("full")
    if case.method == "compiled" and case.dtype == "float32"
}


def subject_of(name: str, **claims: Any) -> Subject:
    """A question under a backend that serves whatever it is given."""
    case = COMPILED[name]
    features = tuple(case.operator.features)
    op = Op(lambda **inputs: None, **{"dtypes": ("float32",), "features": features} | claims)
    arrays = TorchArrays("cpu")  # a pool may be of bfloat16, which NumPy does not have
    return Subject(case, Backend(name="x", version="0", arrays=arrays, ops={case.op: op}), op, arrays)


@pytest.mark.parametrize("name", COMPILED)
def test_twice_as_many_is_a_valid_call_of_which_the_first_half_is_the_case(name: str) -> None:
    before = subject_of(name)
    after = doubled(before)
    if after is None:
        assert name.split()[0] in ("discretize_zoh", "discretize_bilinear", "ssm_kernel")
        assert before.call.system == ()
        return
    sizes = after.call.sizes
    for symbol, size in before.call.sizes.items():
        assert sizes[symbol] in (size, 2 * size)
    assert (sizes, after.call.system) != (before.call.sizes, before.call.system)
    for argument, item in before.stored.items():
        grown = after.stored[argument].array
        head = grown[tuple(slice(0, size) for size in item.array.shape)]
        np.testing.assert_array_equal(head, item.array)
    assert after.exact


def test_rows_channels_and_states_are_doubled_in_the_opposite_order() -> None:
    before = subject_of("selective_scan typical")
    after = doubled(before)
    assert after is not None
    assert after.call.sizes == {"b": 4, "d": 12, "l": 37, "n": 8}
    u = before.stored["u"].array
    np.testing.assert_array_equal(after.stored["u"].array[2:, 6:], u[::-1, ::-1])


def test_what_cannot_be_doubled_stays() -> None:
    offsets = doubled(subject_of("selective_scan offsets"))
    assert offsets is not None
    assert (offsets.call.sizes["b"], offsets.call.sizes["r"], offsets.call.sizes["d"]) == (1, 4, 6)
    full = doubled(subject_of("lssl typical"))
    assert full is not None
    assert (full.call.sizes["n"], full.call.sizes["d"]) == (4, 6)


def test_slots_lie_in_their_half_of_the_pool() -> None:
    before = subject_of("selective_state_update pool")
    after = doubled(before)
    assert after is not None
    slots, state = (after.stored[name].array for name in ("state_indices", "state"))
    first = before.stored["state_indices"].array
    assert slots.tolist() == [*first, *(slot + 6 if slot >= 0 else -1 for slot in first[::-1])]
    assert state.shape[0] == 12


def test_one_row_is_the_first_and_a_pool_stays() -> None:
    row = one_row(subject_of("selective_scan packed"))
    assert row is not None
    assert (row.call.sizes["b"], row.call.sizes["r"]) == (1, 1)
    pool = one_row(subject_of("selective_state_update pool"))
    assert pool is not None
    assert (pool.call.sizes["b"], pool.call.sizes["r"]) == (1, 6)
    assert one_row(subject_of("selective_scan offsets")) is None
    assert one_row(subject_of("s4d_kernel typical")) is None


def test_fewer_steps_where_there_are_steps() -> None:
    fewer = shorter(subject_of("ssd typical"))
    assert fewer is not None
    assert fewer.call.sizes["l"] == 34
    assert shorter(subject_of("selective_scan offsets")) is None
    assert shorter(subject_of("selective_state_update typical")) is None


def test_what_a_limit_leaves_out_is_not_asked() -> None:
    assert doubled(subject_of("selective_scan typical", limits={"n": 4})) is None
    assert doubled(subject_of("selective_scan typical", limits={"n": 8})) is not None
