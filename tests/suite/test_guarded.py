"""Arrays inside larger ones of NaN: where they begin, what lies around them, and what may be written."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssm_backends import Backend, NumpyArrays, Op
from ssm_conformance.cases import find_case
from ssm_conformance.checks import perform
from ssm_numpy import selective_scan, selective_scan_vjp, selective_state_update
from ssm_spec import selective_state_update_vjp

from . import wrong

PAST_A_TILE = find_case("selective_scan/robustness/float32/guarded-length-33")
SKIPPING = find_case("selective_state_update/robustness/float32/guarded-pool-inplace-skipping")
POOLED: dict[str, Any] = {"features": ("state_indices", "inplace")}


def owner(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The memory that an array is a view of."""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def where(x: np.ndarray[Any, Any]) -> tuple[bool, bool, int, int]:
    """Whether an array is contiguous, and begins all its rows aligned; what lies before and behind it."""
    memory, item = owner(x), x.itemsize
    aligned = all(place % 64 == 0 for place in (x.ctypes.data - memory.ctypes.data, *x.strides[:-1]))
    first = (x.ctypes.data - memory.ctypes.data) // item
    last = first + sum((size - 1) * stride for size, stride in zip(x.shape, x.strides, strict=True)) // item
    around = memory.reshape(-1)
    assert np.isnan(around[:first]).all()
    assert np.isnan(around[last + 1 :]).all()
    return x.flags.c_contiguous, aligned, first, around.size - last - 1


def test_each_array_and_each_cotangent_has_nan_on_both_sides_in_three_ways() -> None:
    seen: dict[str, list[tuple[bool, bool, int, int]]] = {"u": [], "A": [], "y": []}

    def scan(**given: Any) -> Any:
        for name in ("u", "A"):
            seen[name].append(where(given[name]))
        return selective_scan(**given)

    def backward(cotangents: Any, *arguments: Any, **given: Any) -> Any:
        seen["y"].append(where(cotangents["y"]))
        return selective_scan_vjp(cotangents, *arguments, **given)

    assert perform(PAST_A_TILE, wrong.backend(scan, backward)).status == "pass"
    for name, found in seen.items():
        assert len(found) == 3, name
        outer, around, between = found
        assert (outer[0], min(outer[2:]) >= 64) == (True, True), name
        assert (around[0], around[1], min(around[2:]) > 0) == (False, False, True), name
        assert (between[0], between[1], min(between[2:]) >= 16) == (False, True, True), name
    assert seen["u"][0][1] is False, "33 steps are no whole vectors"
    assert seen["u"][0][2] % 16 == 0


def test_a_state_that_is_written_in_place_may_change_and_nothing_around_it() -> None:
    def step(wrongly: bool, **given: Any) -> Any:
        if wrongly:
            owner(given["state"]).reshape(-1)[-1] = 0
        return selective_state_update(**given)

    for wrongly, status in ((False, "pass"), (True, "fail")):
        op = Op(lambda wrongly=wrongly, **given: step(wrongly, **given), dtypes=("float32",), **POOLED)
        ops = {"selective_state_update": op}
        subject = Backend(name="x", version="0", arrays=NumpyArrays(), ops=ops)
        found = perform(SKIPPING, subject)
        assert found.status == status, found
        assert ("memory before and after `state` was written" in found.message) is wrongly


def test_a_forward_pass_that_writes_the_state_is_not_where_gradients_start() -> None:
    def forward(**given: Any) -> Any:
        saved = {name: x.copy() if isinstance(x, np.ndarray) else x for name, x in given.items()}
        return selective_state_update(**given), saved

    def vjp(cotangents: Any, wrt: Any, saved: Any, **given: Any) -> Any:
        return selective_state_update_vjp(cotangents, wrt, **saved)

    op = Op(
        selective_state_update, dtypes=("float64",), gradients="all", forward=forward, vjp=vjp, **POOLED
    )  # fmt: skip
    subject = Backend(name="x", version="0", arrays=NumpyArrays(), ops={"selective_state_update": op})
    for check in ("gradient/float64/inplace", "robustness/float64/guarded-inplace"):
        found = perform(find_case(f"selective_state_update/{check}"), subject)
        assert found.status == "pass", found
