"""States in a pool: what it holds for each row, and the pool after a step, whose rows may be skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ssm_backends.slots import check_slots
from ssm_backends.transforms import is_derived, is_traced


def stepped(
    advance: Callable[..., tuple[Tensor, Tensor]],
    state: Tensor,
    by_row: tuple[Tensor | None, ...],
    state_indices: Tensor | None,
    *,
    inplace: bool,
    differentiated: bool,
) -> tuple[Tensor, Tensor]:
    """A step, of rows that each have a state, or of those that have a slot of a pool.

    Parameters
    ----------
    advance
        From states, what is there for each row, and which rows are skipped, None if no gradient knows them,
        to the output and the new states.
    state, by_row, state_indices
        Of the call.
    inplace
        Whether to write the new states over the old ones.
    differentiated
        Whether a gradient may be asked for, where there are slots.
    """
    if state_indices is None:
        y, new_state = advance(state, *by_row, None)
        return y, state.copy_(new_state) if inplace else new_state
    slots = checked(state_indices, len(state))
    rows = (before(state, slots), *by_row)
    skipped = None
    if differentiated:  # what a skipped row holds has no part in a gradient, nor has a step of its bias alone
        skipped, rows = slots < 0, served(slots, rows)
    y, advanced = advance(*rows, skipped)
    (y,) = served(slots, (y,))
    return y, after(state, slots, advanced, inplace=inplace, differentiated=differentiated)


def before(pool: Tensor, slots: Tensor) -> Tensor:
    """What the pool holds for each row, (b, …); anything for a row that is skipped."""
    if pool.shape[0] == 0:  # every row is skipped, and reads a place that is added: so a gradient is there
        pool = torch.cat((pool, pool.new_zeros(1, *pool.shape[1:])))
    return pool[slots.clamp(min=0)]


def served(slots: Tensor, rows: tuple[Any, ...]) -> tuple[Any, ...]:
    """Each (b, …) with zeros in the rows that are skipped; None where it was not given."""
    skipped = slots < 0
    return tuple(
        None if x is None else x.masked_fill(skipped.view(-1, *(1,) * (x.ndim - 1)), 0) for x in rows
    )


def checked(state_indices: Tensor, slots: int) -> Tensor:
    """The indices in int64.

    They are looked at on a CPU alone: a GPU would have to be waited for, and there a wrong slot is the
    caller's fault.
    """
    if state_indices.device.type != "cpu":
        return state_indices.long()
    check = _traced_check if is_traced(state_indices) else _check
    return check(state_indices, slots)


def after(pool: Tensor, slots: Tensor, advanced: Tensor, *, inplace: bool, differentiated: bool) -> Tensor:
    """The pool with the advanced states (b, …) of the rows that have a slot; written over, or another one."""
    traced = is_traced(slots)
    differentiated = differentiated or (traced and is_derived())
    if inplace and not (traced and differentiated):  # a traced write would pass no gradient on
        write = _traced_write if traced else _write
        write(pool, slots, advanced)
        return pool
    put = (_gathered if is_derived() else _traced_put) if traced else _put
    new_pool = put(pool, slots, advanced)
    return pool.copy_(new_pool) if inplace else new_pool


def _check(state_indices: Tensor, slots: int) -> Tensor:
    check_slots(state_indices.tolist(), slots)
    return state_indices.long()


def _write(pool: Tensor, slots: Tensor, advanced: Tensor) -> None:
    """The advanced states (b, …) of the rows that have a slot, over the old ones."""
    if slots.device.type == "cpu":
        pool.index_copy_(0, *_with_a_slot(slots, advanced))
    elif 0 not in (len(pool), len(slots)):  # a GPU would have to be waited for, to know which rows have one
        pool.index_copy_(0, *repeated(pool, slots, advanced))


def _put(pool: Tensor, slots: Tensor, advanced: Tensor) -> Tensor:
    """A pool with the advanced states in their slots."""
    return pool.index_copy(0, *_with_a_slot(slots, advanced))


def _gathered(pool: Tensor, slots: Tensor, advanced: Tensor) -> Tensor:
    """The same of what any derivative may be taken of in a trace: each slot reads its row, if it has one."""
    if 0 in (len(pool), len(slots)):
        return pool.clone()
    rows = torch.arange(len(slots), device=slots.device)
    named = (slots == torch.arange(len(pool), device=slots.device)[:, None]) * (rows + 1)  # (slots, b)
    row = named.sum(1)
    mine = (row > 0).view(-1, *(1,) * (pool.ndim - 1))
    return torch.where(mine, advanced[(row - 1).clamp(min=0)], pool)


def _with_a_slot(slots: Tensor, advanced: Tensor) -> tuple[Tensor, Tensor]:
    rows = (slots >= 0).nonzero()[:, 0]
    return (slots, advanced) if len(rows) == len(slots) else (slots[rows], advanced[rows])


def repeated(pool: Tensor, slots: Tensor, advanced: Tensor) -> tuple[Tensor, Tensor]:
    """A slot and its state for every row: one that is skipped repeats the first that is served.

    Both write the same bits, in whatever order. Where all are skipped, each writes back what slot 0 holds.
    """
    skipped = slots < 0
    rows = torch.where(skipped, (~skipped).int().argmax(), torch.arange(len(slots), device=slots.device))
    places = slots[rows].clamp(min=0)
    return places, torch.where(skipped.all(), pool[places], advanced[rows])


# The host looks at numbers in these; as operators of PyTorch a compiler takes them as they are.


@torch.library.custom_op("ssm_torch::check_slots", mutates_args=())
def _traced_check(state_indices: Tensor, slots: int) -> Tensor:
    return _check(state_indices, slots).clone()


@_traced_check.register_fake
def _(state_indices: Tensor, slots: int) -> Tensor:
    return torch.empty_like(state_indices, dtype=torch.int64)


@torch.library.custom_op("ssm_torch::write_slots", mutates_args=("pool",))
def _traced_write(pool: Tensor, slots: Tensor, advanced: Tensor) -> None:
    _write(pool, slots, advanced)


@_traced_write.register_fake
def _(pool: Tensor, slots: Tensor, advanced: Tensor) -> None:
    return None


@torch.library.custom_op("ssm_torch::put_slots", mutates_args=())
def _traced_put(pool: Tensor, slots: Tensor, advanced: Tensor) -> Tensor:
    return _put(pool, slots, advanced)


@_traced_put.register_fake
def _(pool: Tensor, slots: Tensor, advanced: Tensor) -> Tensor:
    return torch.empty_like(pool, memory_format=torch.contiguous_format)


def _differentiate_put(ctx: Any, dpool: Tensor) -> tuple[Tensor, None, Tensor]:
    (slots,) = ctx.saved_tensors
    (advanced,) = served(slots, (before(dpool, slots),))
    return _traced_put(dpool, slots, torch.zeros_like(advanced)), None, advanced


_traced_put.register_autograd(
    _differentiate_put, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[1])
)
