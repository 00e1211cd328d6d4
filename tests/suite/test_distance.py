"""Arrays that reach past 32 bits: along each dimension alone, by strides that do not, and told by name."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ssm_backends import Backend, Layout, NumpyArrays
from ssm_conformance.cases import catalogue, find_case
from ssm_conformance.checks import perform
from ssm_conformance.mutants.defects.distance import DISTANCE

from . import wrong

FAR = [case for case in catalogue("full") if case.method == "far"]
COTANGENTS = [case for case in catalogue("full") if case.method == "far_cotangents"]
Z_FOURS = "selective_scan/robustness/float32/far-z-fours"
RECURRENT = (
    *("selective_scan", "selective_state_update", "causal_conv1d", "causal_conv1d_update"),
    *("ssd", "ssd_update", "mamba3_siso", "mamba3_siso_step"),
)


class Watched(NumpyArrays):
    """Arrays that tell how each of them was laid; a contiguous one is laid in no way."""

    def __init__(self) -> None:
        super().__init__()
        self.laid: list[tuple[tuple[int, ...], Layout]] = []

    def from_numpy(self, x: Any, dtype: str, layout: Layout | None = None) -> Any:
        if layout is not None:
            self.laid.append((x.shape, layout))
        return super().from_numpy(x, dtype, layout)


class Crowded(NumpyArrays):
    """Arrays without room for anything large."""

    def from_numpy(self, x: Any, dtype: str, layout: Layout | None = None) -> Any:
        if layout is not None:
            raise MemoryError("no room")
        return super().from_numpy(x, dtype)


def on(arrays: NumpyArrays) -> Backend:
    return replace(wrong.backend(), arrays=arrays)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("far-u-small", {(2, 2, 3)}),
        ("far-delta_bias-small", {(2,)}),
        ("far-cotangents-small", {(2, 2, 3), (2, 2, 2)}),
        ("far-B-fours", {(4, 4, 4)}),
        ("far-A-fours", {(4, 4)}),
        ("far-cotangents-fours", {(4, 4, 4)}),
    ],
)
def test_one_dimension_alone_reaches_far_and_no_stride_does(name: str, shapes: set[Any]) -> None:
    arrays = Watched()
    assert perform(find_case(f"selective_scan/robustness/float32/{name}"), on(arrays)).status == "pass"
    seen = defaultdict(set)
    for shape, layout in arrays.laid:
        strides, _ = layout.strides(shape)
        reach = [(size - 1) * stride for size, stride in zip(shape, strides, strict=True)]
        far = [dim for dim, length in enumerate(reach) if length > 2**31]
        assert len(far) == 1
        (dim,) = far
        seen[shape].add(dim)
        assert reach[dim] > (2**32 if shape[dim] > 3 else 2**31)
        assert shape[dim] == 2 or max(strides) < 2**31
        assert strides[dim] % 16 == 0
        # Where the offset wraps, what lies there is none of the array's.
        assert sum(reach) - reach[dim] < reach[dim] % 2**31
    assert seen == {shape: set(range(len(shape))) for shape in shapes}


def test_where_there_is_no_room_the_array_and_the_dimension_are_named() -> None:
    found = perform(find_case(Z_FOURS), on(Crowded()))
    assert found.status == "unavailable"
    assert found.wants_room
    assert found.message == "memory for `z` reaching past 2³² elements along dimension 0: no room"


def test_a_call_that_raises_is_told_with_the_dimension() -> None:
    def refusing(**inputs: Any) -> Any:
        if inputs["z"].strides[1] > 2**30:
            raise ValueError("too wide")
        return wrong.selective_scan(**inputs)

    found = perform(find_case(Z_FOURS), wrong.backend(refusing))
    assert found.status == "fail"
    assert found.message.startswith("`z` reaching past 2³² elements along dimension 1: raised ValueError")


@pytest.mark.parametrize("cases", [FAR, COTANGENTS])
def test_the_same_calls_are_asked_of_arrays_and_of_cotangents(cases: list[Any]) -> None:
    asked = {(case.op, case.recipe.name, case.dtype, case.level) for case in cases}
    assert asked == {(case.op, case.recipe.name, case.dtype, case.level) for case in (*FAR, *COTANGENTS)}


@pytest.mark.parametrize("op", RECURRENT)
def test_every_array_has_four_along_every_dimension_somewhere(op: str) -> None:
    """Batch, channels, heads, groups, time, states and slots: of each array that the operator takes."""
    asked = defaultdict(list)
    for case in (case for case in FAR if case.op == op):
        name = case.options["array"]
        shape = case.draws[name].shape
        asked[name, len(shape)].append(shape)
    assert {name for name, _ in asked} == {
        name for case in catalogue("full") if case.op == op for name in case.draws
    }
    assert {key: shapes for key, shapes in asked.items() if np.max(shapes, axis=0).min() < 4} == {}


@pytest.mark.parametrize("mutant", DISTANCE, ids=lambda mutant: mutant.name)
def test_the_named_case_finds_what_it_is_made_for(mutant: Any) -> None:
    found = perform(find_case(mutant.case_id("float32")), mutant.backend())
    assert found.status == "fail"
    assert "elements along dimension" in found.message
