"""The recurrence of one block: in lanes, it is the sequence of its steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ssm_torch.blockwise.order import Order
from ssm_torch.blockwise.recurrence import (
    Products,
    Resets,
    adjoint,
    in_order,
    leaving,
    run,
    states_before,
)

LANES = pytest.mark.parametrize("lanes", [1, 2, 3, 7, 10, 17, 26])


def sequence(a: Tensor, x: Tensor, before: Tensor, mask: Tensor) -> Tensor:
    """h_t = a_t h_{t-1} + x_t, (t, …), in order."""
    states = []
    for a_t, x_t, mask_t in zip(a, x, mask, strict=True):
        before = a_t * before.masked_fill(mask_t, 0) + x_t
        states.append(before)
    return torch.stack(states)


def blocks(steps: int, lanes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Decays and drives (t, k, b, g, n, p) in which no step rounds, and a mask (t, k, b, 1, 1, 1)."""
    rng = torch.Generator().manual_seed(steps * lanes)
    a, x = torch.randint(-1, 2, (2, steps, lanes, 2, 1, 1, 3), generator=rng).double()
    mask = torch.rand((steps, lanes, 2, 1, 1, 1), generator=rng) < 0.1
    return a.masked_fill_(mask, 0), x, mask


def in_time(x: Tensor) -> Tensor:
    """(t, k, …) as (k·t, …)."""
    return x.transpose(0, 1).flatten(0, 1)


def products_of(a: Tensor, resets: Resets | None) -> Products:
    """The products of lanes' decays, 0 across a reset."""

    def products(some: slice, room: Tensor) -> None:
        torch.prod(a[:, some], 0, out=room)
        if resets is not None:
            room.masked_fill_(resets.of(some).mask.any(0), 0)

    return products


def scan(a: Tensor, x: Tensor, first: Tensor, resets: Resets | None) -> None:
    """x becomes h, in lanes."""
    befores = x.new_empty(x.shape[1:])
    ending = in_order(a[:, :-1], x[:, :-1])
    states_before(ending, products_of(a, resets), first, befores, resets)
    run(in_order(a, x), befores, resets)


def scan_back(a: Tensor, c: Tensor, after: Tensor, resets: Resets) -> Tensor:
    """c becomes λ, in lanes; what reaches the state before the block."""
    assert list(adjoint(a, c, products_of(a, resets), after, resets)) == list(range(len(c)))[::-1]
    return leaving(a, c, resets)


@LANES
@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_lanes_are_exact_where_no_step_rounds(steps: int, lanes: int) -> None:
    a, x, mask = blocks(steps, lanes)
    past = torch.ones((2, 1, 1, 3), dtype=torch.float64)
    expected = sequence(in_time(a), in_time(x), past, in_time(mask))
    scan(a, x, past, Resets(mask))
    assert torch.equal(in_time(x), expected)


@LANES
@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_the_adjoint_is_the_sequence_from_the_end(steps: int, lanes: int) -> None:
    a, c, mask = blocks(steps, lanes)
    later = torch.ones((2, 1, 1, 3), dtype=torch.float64)
    decays, given, masks = in_time(a).flip(0), in_time(c).flip(0), in_time(mask).flip(0)
    following = torch.ones_like(decays[:1])
    shifted = torch.cat([following, decays[:-1]])
    cut = torch.cat([torch.zeros_like(masks[:1]), masks[:-1]])
    expected = sequence(shifted, given, later, cut)
    reached = decays * expected.masked_fill(masks, 0)
    handed_on = scan_back(a, c, later, Resets(mask))
    assert torch.equal(in_time(c), expected.flip(0))
    assert torch.equal(handed_on, reached[-1])


@LANES
@pytest.mark.parametrize("backwards", [False, True])
def test_nothing_crosses_a_reset_not_even_a_nan(lanes: int, backwards: bool) -> None:
    steps = 8
    for cut in (1, 3 * lanes + 1, steps * lanes - 1):
        mask = torch.zeros((lanes, steps, 1, 1, 1, 1), dtype=torch.bool)
        mask.view(-1)[cut] = True
        a, x = torch.rand((2, lanes, steps, 1, 1, 1, 2), dtype=torch.float64)
        lost = slice(cut, None) if backwards else slice(0, cut)
        for y in (a, x):
            y.view(lanes * steps, -1)[lost] = torch.nan
        a, x, mask = (y.transpose(0, 1).contiguous() for y in (a.masked_fill_(mask, 0), x, mask))
        beyond = torch.full((1, 1, 1, 2), torch.nan, dtype=torch.float64)
        if backwards:
            scan_back(a, x, beyond, Resets(mask))
        else:
            scan(a, x, beyond, Resets(mask))
        kept = in_time(x)[:cut] if backwards else in_time(x)[cut:]
        assert kept.isfinite().all()


def test_a_decay_that_underflows_passes_nothing_and_later_states_recover() -> None:
    a = torch.full((10, 26, 1, 1, 1, 1), 1e-30)
    x = torch.ones_like(a)
    scan(a, x, torch.full((1, 1, 1, 1), 1e30), None)
    assert x[0, 0] == 2
    assert torch.equal(in_time(x)[1:], torch.ones_like(in_time(x)[1:]))


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 77, 260, 261, 539, 1040])
def test_a_chunk_comes_back_from_its_order(length: int) -> None:
    order = Order(length, lanes=26, steps=10)
    x = torch.arange(1.0, 2 * length + 1).view(2, length)
    held = order.arrange(x, torch.float32)
    assert len(held) == order.rows == sum(block.length for block in order.blocks)
    assert held.count_nonzero() == x.numel()
    assert torch.equal(order.restore(held, torch.full_like(x, torch.nan)), x)


def test_a_lane_is_consecutive_in_time() -> None:
    order = Order(300, lanes=26, steps=10)
    held = order.arrange(torch.arange(300.0).unsqueeze(0), torch.float32)[:, 0]
    for block in order.blocks:
        lanes = held[block.rows].view(-1, block.lanes)
        steps = lanes.diff(dim=0)
        assert (steps[lanes[1:] > 0] == 1).all()
        assert (lanes[0].diff() == len(lanes)).all()
