"""What the kernels in Gluon are launched with, from sizes alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ssm_triton import _launch
from ssm_triton._inputs import Inputs
from ssm_triton._lanes import FIRST_TRITON, triton_version
from ssm_triton._lanes_plan import LANES_WARPS, ForwardFew, ForwardLanes, forward_lanes_plan, lanes_plan
from ssm_triton._plan import Shape


@pytest.mark.parametrize(
    ("shape", "alone"),
    [
        ((8, 1536, 2048, 16), True),
        ((6, 2048, 100, 9), True),
        ((8, 1536, 2048, 17), False),
        ((4, 2048, 2048, 16), False),  # two programs of two channels a lane on a multiprocessor
        ((8, 2048, 2048, 16), False),  # four
        ((2, 5120, 2048, 16), False),  # two or three, and short segments beside them
        ((1, 1536, 2048, 16), True),  # three, in eight segments
        ((1, 2048, 2048, 16), False),  # four, in eight segments
    ],
)
def test_a_channel_is_alone_in_its_lane_where_three_programs_share_a_multiprocessor(
    shape: tuple[int, int, int, int], alone: bool
) -> None:
    b, d, length, n = shape
    plan = lanes_plan(Shape(b, d, length, n, 1, 1, b))
    assert (plan.R == 1) is alone
    assert plan.registers == (168 if alone else None)


class Recorder:
    """In place of a kernel: how it was launched."""

    def __init__(self) -> None:
        self.launches: list[dict[str, Any]] = []

    def __getitem__(self, grid: object) -> Callable[..., None]:
        return lambda *arguments, **named: self.launches.append(named)


@pytest.mark.skipif(triton_version() < FIRST_TRITON, reason="this Triton has no Gluon")
@pytest.mark.parametrize(
    ("plan", "dtype", "offsets", "limits"),
    [
        (ForwardLanes(16, 8, 1, 4), torch.bfloat16, None, [168]),
        (ForwardLanes(16, 4, 1, 4), torch.float16, None, [128]),
        (ForwardLanes(16, 2, 1, 4), torch.bfloat16, None, [None]),
        (ForwardLanes(32, 8, 1, 4), torch.bfloat16, None, [None]),
        (ForwardLanes(16, 8, 1, 4), torch.float32, None, [None]),
        (ForwardLanes(16, 8, 1, 4), torch.bfloat16, [0, 3, 64], [None]),
        (ForwardLanes(16, 8, 1, 4, 2, 32), torch.bfloat16, None, [128, 168]),
        (ForwardLanes(16, 4, 1, 4, 2, 32, ForwardLanes(16, 4, 1, 4)), torch.bfloat16, None, [72, 128]),
    ],
)
def test_registers_of_a_lane_are_limited_where_the_assembler_takes_too_few(
    plan: ForwardLanes,
    dtype: torch.dtype,
    offsets: list[int] | None,
    limits: list[int | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = Recorder()
    monkeypatch.setattr("ssm_triton._lanes_forward.forward_lanes", kernel)
    monkeypatch.setattr(_launch, "resets_of", lambda x: None)  # the words of packed sequences need a GPU
    streams = torch.ones(1, 16, 64, dtype=dtype), torch.ones(1, 16, 64, dtype=dtype)
    packed = None if offsets is None else torch.tensor(offsets, dtype=torch.int32)
    matrices = (torch.ones(1, 1, plan.N, 64, dtype=dtype),) * 2
    x = Inputs(*streams, torch.ones(16, plan.N), *matrices, cu_seqlens=packed)
    _launch.run_forward(x, last=False, save=0, plan=plan)
    assert [launch["maxnreg"] for launch in kernel.launches] == limits


@pytest.mark.parametrize(
    ("shape", "each"),
    [
        ((1, 1536, 2048, 16), 2),  # one channel a lane, eight segments
        ((1, 768, 8192, 16), 2),  # the same, sixteen
        ((8, 1536, 2048, 16), 1),  # the same, one
        ((1, 1536, 16384, 16), 1),  # the same, eight long ones
        ((1, 2048, 2048, 16), 2),  # two channels a lane, eight segments
    ],
)
def test_two_programs_share_a_slice_where_segments_are_many_and_short(
    shape: tuple[int, int, int, int], each: int
) -> None:
    b, d, length, n = shape
    plan = lanes_plan(Shape(b, d, length, n, 1, 1, b))
    assert plan.DT == 32
    assert plan.each == each


def test_short_segments_beside_three_long_ones_are_not_counted_on_twice() -> None:
    plan = lanes_plan(Shape(3, 2048, 2048, 16, 1, 1, 3))
    assert plan.segments * plan.segment == 2048, "192 long ones twice, and 192 short ones in 144 places"


@pytest.mark.parametrize("n", [16, 20, 64])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1),
        (1, 2048, 2049),
        (8, 2048, 2048),
        (2, 5120, 2048),
        (1, 24, 9),
        (32, 768, 512),
        (1, 1536, 65536),
    ],
)
def test_plans_cover_time_with_few_slices(shape: tuple[int, int, int], n: int) -> None:
    b, d, length = shape
    plan = lanes_plan(Shape(b, d, length, n, 1, 1, b))
    assert plan.segments * plan.segment >= length > (plan.segments - 1) * plan.segment
    assert plan.segment % plan.save == 0
    tiles = -(-d // plan.DT)
    assert (-(-tiles // plan.each) - 1) * 2 * plan.N < d, "dB and dC take more than two 16-bit streams"


@pytest.mark.parametrize(
    ("shape", "chained"),
    [
        ((32, 768, 512, 16), True),
        ((17, 1024, 256, 16), True),
        ((3, 2048, 4096, 64), True),
        ((8, 2048, 2048, 16), False),  # one full wave
        ((64, 1024, 256, 16), False),  # four full waves
        ((17, 1024, 128, 16), False),  # too short to cut
        (
            (2, 5120, 2048, 16),
            False,
        ),  # programs for all places only if cut: none has ended when it is waited for
    ],
)
def test_segments_wait_for_one_another_where_programs_are_more_than_places(
    shape: tuple[int, int, int, int], chained: bool
) -> None:
    b, d, length, n = shape
    plan = lanes_plan(Shape(b, d, length, n, 1, 1, b))
    assert plan.chained is chained
    assert plan.segments > 1 or not chained


@pytest.mark.parametrize("shape", [(2, 5120, 2048, 16), (5, 2048, 8192, 16), (3, 1024, 4096, 64)])
def test_a_short_last_segment_goes_where_long_ones_leave_places(shape: tuple[int, int, int, int]) -> None:
    b, d, length, n = shape
    plan = lanes_plan(Shape(b, d, length, n, 1, 1, b))
    rest = length - plan.segment
    programs, places = b * d // plan.DT, LANES_WARPS // plan.W
    rounds = -(-programs // (places - programs))
    assert plan.segments == 2
    assert 0 < rest * rounds <= plan.segment < 0.8 * length


@pytest.mark.parametrize("n", [9, 16, 17, 64])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 8, 70000), (1, 2048, 2049), (1, 1536, 65536), (8, 2048, 2048)]
)
@pytest.mark.parametrize("lean", [False, True])
def test_forward_plans_cover_time_and_the_states(shape: tuple[int, int, int], n: int, lean: bool) -> None:
    b, d, length = shape
    plan = forward_lanes_plan(Shape(b, d, length, n, 1, 1, b), lean)
    assert isinstance(plan, ForwardLanes)
    assert plan.segments * plan.segment >= length > (plan.segments - 1) * plan.segment
    assert plan.segment % 32 == 0
    for tiling in (plan, plan.first or plan):
        assert n <= tiling.N <= 32 * tiling.K
        assert tiling.N % tiling.K == 0


@pytest.mark.parametrize(
    ("shape", "lean", "expected"),
    [
        ((1, 16, 1, 16), True, ForwardFew(2)),
        ((1, 64, 512, 16), True, ForwardFew(2)),
        ((1, 64, 1024, 16), True, None),
        ((1, 768, 1024, 9), True, ForwardFew(2)),
        ((1, 768, 2048, 16), True, None),
        ((1, 1536, 2048, 16), True, ForwardFew(4)),
        ((1, 1536, 65536, 16), True, None),
        ((1, 2048, 2048, 16), True, ForwardFew(4)),
        ((1, 2048, 65536, 16), False, ForwardFew(4)),
        ((1, 2048, 2048, 17), True, None),
        (
            (1, 2816, 2048, 16),
            True,
            ForwardFew(2),
        ),  # three programs of two warps on a multiprocessor, or two of four
        ((2, 2048, 2048, 16), False, ForwardFew(4)),
        ((3, 2112, 65536, 16), True, ForwardFew(4)),
        ((3, 2048, 2048, 16), False, ForwardFew(4)),
        ((4, 2048, 2048, 16), True, ForwardFew(2, K=4)),
        ((4, 2048, 2048, 16), False, None),
        ((2, 5120, 2048, 16), True, ForwardFew(4)),
        ((2, 5120, 2048, 16), False, ForwardFew(4)),
        ((8, 1536, 2048, 16), True, None),
    ],
)
def test_few_warps_take_time_in_one_piece(
    shape: tuple[int, int, int, int], lean: bool, expected: ForwardFew | None
) -> None:
    b, d, length, n = shape
    for save in (0, 32):
        plan = forward_lanes_plan(Shape(b, d, length, n, 1, 1, b), lean, along_time=True, save=save)
        assert (plan if isinstance(plan, ForwardFew) else None) == expected


@pytest.mark.parametrize("save", [0, 32])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5])
def test_packed_sequences_take_the_kernel_for_few_warps_where_it_is_faster_and_has_what_they_need(
    rows: int, save: int
) -> None:
    """Of 2048 channels: 1, 2, … warps a scheduler."""
    shape = Shape(rows, 2048, 2048, 16, 1, 1, rows)
    alone, packed, own = (
        forward_lanes_plan(shape, True, True, save, *told)
        for told in [(False, False), (True, False), (True, True)]
    )
    assert isinstance(alone, ForwardFew)
    assert isinstance(packed, ForwardFew) is (rows < 4 or (rows == 4 and not save))
    assert isinstance(own, ForwardLanes)
