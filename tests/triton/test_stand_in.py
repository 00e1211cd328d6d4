"""The kernels in Gluon on a stand-in for their language, against a loop in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from ssm_triton._inputs import Inputs
from ssm_triton._lanes import can_be_copied
from ssm_triton._lanes_plan import ForwardFew, ForwardLanes, LanesPlan
from ssm_triton._launch import run_forward
from ssm_triton._launch_backward import run_backward
from ssm_triton._plan import saved_every

from .packed import PACKED, call, loop
from .stand_in import kernels_on_numpy
from .test_lanes import OLD

pytestmark = pytest.mark.skipif(OLD, reason="this Triton has no Gluon, and no test of what it would compile")

NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")
FORWARD: list[tuple[Any, int, int]] = [
    (ForwardFew(1), 9, 70),
    (ForwardFew(4), 16, 129),
    (ForwardFew(2), 16, 1),
    (ForwardFew(1), 16, 192),
    (ForwardFew(2, K=4), 13, 70),
    (ForwardFew(1, K=4), 16, 192),
    (ForwardLanes(16, 8, 1, 2), 16, 70),
    (ForwardLanes(16, 4, 1, 2, 2, 64, first=ForwardLanes(16, 2, 1, 4)), 13, 100),
    (ForwardLanes(64, 8, 2, 8), 40, 70),
]
STATES = {
    "of none": (False, False),
    "first": (True, False),
    "last": (False, True),
    "first and last": (True, True),
}
"""Of packed sequences: whether each has a first state of its own, and whether its last one is asked for."""


def wide(x: Inputs) -> dict[str, torch.Tensor]:
    """The tensors of a call in float64, as leaves."""
    given = {name: getattr(x, name) for name in NAMES}
    return {k: v.detach().double().requires_grad_() for k, v in given.items() if v is not None}


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """float32 sums, which cancel."""
    exact = expected.detach()
    scale = float(exact.abs().max())
    torch.testing.assert_close(actual.double(), exact, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("plan", "n", "length"), FORWARD, ids=str)
def test_forward(plan: Any, n: int, length: int, plain: bool, packed: str) -> None:
    x = call(n, length, plain, packed=packed)
    # The kernel for few warps is not chosen where packed sequences have states of their own.
    states = packed != "cu_seqlens" or isinstance(plan, ForwardLanes)
    x = x if states else replace(x, initial_state=None)
    save = saved_every(n)
    with kernels_on_numpy():
        y, last, saved = run_forward(x, last=states, save=save, plan=plan)
    exact_y, exact_last, exact_saved = loop(wide(x), x, save)
    assert_close(y, exact_y)
    assert saved is not None
    assert_close(saved[: len(exact_saved)], exact_saved)  # the plain kernel keeps more of packed sequences
    assert (last is not None) is states
    if last is not None:
        assert_close(last, exact_last)


@pytest.mark.parametrize(("length", "copied"), [(192, True), (70, False)])
def test_few_warps_copy_sixteen_bits_or_load_them(length: int, copied: bool) -> None:
    x = call(16, length)
    x = replace(x, **{name: getattr(x, name).half() for name in ("u", "delta", "z", "B", "C")})
    assert can_be_copied(x) is copied
    with kernels_on_numpy():
        found = run_forward(x, last=True, save=32, plan=ForwardFew(2))
    y, last, saved = loop(wide(x), x, 32)
    assert found[1] is not None
    assert found[2] is not None
    assert_close(found[1], last)
    assert_close(found[2], saved)
    exact = y.detach()
    # An output is rounded to float16, whose unit is 2⁻¹¹.
    torch.testing.assert_close(found[0].double(), exact, rtol=2**-11, atol=1e-5 * float(exact.abs().max()))


PLAIN_SUMS = pytest.mark.skipif(
    torch.cuda.is_available(),
    reason="the sums after the pass are in plain Triton: only its interpreter takes tensors of a CPU",
)


def assert_gradients(x: Inputs, plan: LanesPlan, ask: bool = True) -> None:
    """Those of the loop, of every input; `ask`: the last state has a cotangent."""
    dy = torch.randn(x.u.shape, generator=torch.Generator().manual_seed(1))
    save = saved_every(x.A.shape[1])
    inputs = wide(x)
    y, last, saved = loop(inputs, x, save)
    dlast = None if not ask else torch.randn(last.shape, generator=torch.Generator().manual_seed(2))
    outcome = (y * dy.double()).sum() + (0 if dlast is None else (last * dlast.double()).sum())
    expected = dict(zip(inputs, torch.autograd.grad(outcome, list(inputs.values())), strict=True))
    with kernels_on_numpy():
        found = run_backward(x, saved.detach().float(), dy, dlast, plan=plan)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert_close(found[name], gradient)


@PLAIN_SUMS
@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    ("plan", "n", "length"),
    [
        (LanesPlan(16, 2, 1, 128, 32), 16, 100),
        (LanesPlan(16, 2, 2, 64, 32, each=2), 11, 70),
        (LanesPlan(64, 4, 1, 128, 64, each=3), 40, 70),
        (LanesPlan(16, 2, 3, 32, 32, chained=True), 16, 70),
        (LanesPlan(64, 4, 2, 64, 64, each=3, chained=True), 40, 70),
        (LanesPlan(16, 4, 1, 128, 32, R=1), 16, 100),
        (LanesPlan(16, 2, 2, 64, 32, each=2, R=1), 11, 70),
    ],
    ids=str,
)
def test_backward(plan: LanesPlan, n: int, length: int, plain: bool, packed: str) -> None:
    x = call(n, length, plain, packed=packed)
    assert_gradients(replace(x, B=x.B[:, :1].contiguous()), plan, not plain)


SEGMENTS = (LanesPlan(16, 2, 2, 64, 32), LanesPlan(16, 2, 2, 64, 32, chained=True))


@PLAIN_SUMS
@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("first", [(5, 100), (5,), (100,)], ids=str)
@pytest.mark.parametrize("plan", SEGMENTS, ids=["messages", "chained"])
def test_segments_of_which_one_block_has_a_beginning(
    plan: LanesPlan, first: tuple[int, ...], states: str
) -> None:
    given, asked = STATES[states]
    x = call(16, 128, packed="cu_seqlens", first=first)
    x = x if given else replace(x, initial_state=None)
    assert_gradients(replace(x, B=x.B[:, :1].contiguous()), plan, asked)
    with kernels_on_numpy():
        y, last, _ = run_forward(x, last=asked, save=0, plan=ForwardLanes(16, 8, 1, 2, 2, 64))
    exact_y, exact_last, _ = loop(wide(x), x, 32)
    assert_close(y, exact_y)
    if last is not None:
        assert_close(last, exact_last)


@PLAIN_SUMS
@pytest.mark.parametrize("packed", PACKED[1:])
@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("at", [20, 50, 100])
@pytest.mark.parametrize("name", ["u", "delta", "dy"])
def test_a_nan_stays_in_its_sequence(name: str, at: int, chained: bool, packed: str) -> None:
    """Three sequences in four segments: what reaches the second and the third goes no further."""
    plan = LanesPlan(16, 2, 4, 32, 32, chained=chained)
    x = call(16, 128, packed=packed, first=(40, 70))
    x = replace(x, B=x.B[:, :1].contiguous())
    ids = x.seq_idx
    if x.cu_seqlens is not None:
        ids = (x.cu_seqlens <= torch.arange(128)[:, None]).sum(1)[None]
    assert ids is not None
    dy = torch.randn(x.u.shape, generator=torch.Generator().manual_seed(1))
    streams = {"u": x.u, "delta": x.delta, "dy": dy}

    def passes(given: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        y = replace(x, u=given["u"], delta=given["delta"])
        with kernels_on_numpy():
            out, _, saved = run_forward(y, last=False, save=32, plan=ForwardLanes(16, 8, 1, 2, 4, 32))
            assert saved is not None
            gradients = run_backward(y, saved, given["dy"], None, plan=plan)
        return [out, *(gradients[key] for key in ("u", "delta", "z", "B", "C"))]

    spoilt = streams[name].clone()
    spoilt[0, :, at] = torch.nan
    others = ids[0] != ids[0, at]
    for before, after in zip(passes(streams), passes(streams | {name: spoilt}), strict=True):
        assert torch.equal(before[0][..., others], after[0][..., others])
        assert torch.equal(before[1:], after[1:])


@PLAIN_SUMS
@pytest.mark.parametrize("d", [60, 70])
@pytest.mark.parametrize("R", [1, 2])
def test_programs_share_slices_in_short_segments(R: int, d: int) -> None:
    """Two add to one slice, of one channel a lane and of two; of three programs the last has its own."""
    plan = LanesPlan(16, 4 // R, 5, 32, 32, each=2, R=R)
    assert -(-d // plan.DT) == (2 if d < 64 else 3)
    x = call(16, 150, d=d)
    assert_gradients(replace(x, B=x.B[:, :1].contiguous()), plan)
