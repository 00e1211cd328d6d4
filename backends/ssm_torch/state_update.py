"""One step of the selective scan, on a state for each row or on a pool of states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssm_backends.slots import check_slots
from ssm_backends.writable import check_writable
from ssm_torch.optional import may_be_differentiated
from ssm_torch.precision import not_cast_down
from ssm_torch.terms import selective_terms


@not_cast_down
def selective_state_update(
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    b_discretization: str = "euler",
    state_indices: Tensor | None = None,
    inplace: bool = False,
) -> tuple[Tensor, Tensor]:
    """One step of :func:`selective_scan`: h = exp(ΔA) h⁻ + b̄ u, y = (γ Re Σ_n C h + D u) silu(z).

    With ``state_indices`` the rows to skip are found before the pool is written, which waits for a GPU once.

    Parameters
    ----------
    state : (b, d, n), or a pool (slots, d, n) with `state_indices`
    u, delta, z : (b, d)
    A : (d, n), real or complex
    B, C : (b, n) or (b, g, n)
    D, delta_bias : (d)
    delta_softplus
        Δ = log(1 + exp(delta + delta_bias)) instead of delta + delta_bias.
    b_discretization
        "euler": b̄ = ΔB; "zoh": b̄ = expm1(ΔA)/A · B.
    state_indices : (b), int32 or int64
        The slot of each row, each at most once; −1 skips the row.
    inplace
        Write the new state over `state`.

    Returns
    -------
    y : (b, d), dtype of u; 0 in skipped rows
    state : as `state`, in its dtype; ``state`` itself with ``inplace``

    Raises
    ------
    ArgumentError
        If `state` cannot be written element by element where `inplace` is set.
        If `state_indices` names a slot that the pool does not have, or one twice: on a CPU alone, since a
        GPU would have to be waited for.
    """
    if inplace and not torch.compiler.is_compiling():
        check_writable("state", state)
    if state_indices is None:
        y, new_state = _advance(state, u, delta, A, B, C, D, z, delta_bias, delta_softplus, b_discretization)
        return y, state.copy_(new_state) if inplace else new_state
    slots = _checked(state_indices, len(state))
    of_rows = (_before(state, slots), u, delta, B, C, z)
    differentiated = may_be_differentiated(state, u, delta, A, B, C, D, z, delta_bias)
    skipped = None
    if differentiated:  # what a skipped row holds has no part in a gradient, nor has a step of its bias alone
        skipped, of_rows = slots < 0, _served(slots, of_rows)
    before, u, delta, B, C, z = of_rows
    y, advanced = _advance(
        before, u, delta, A, B, C, D, z, delta_bias, delta_softplus, b_discretization, skipped
    )
    (y,) = _served(slots, (y,))
    traced = torch.compiler.is_compiling()
    if inplace and not (traced and differentiated):  # a traced write would pass no gradient on
        write = _traced_write if traced else _write
        write(state, slots, advanced)
        return y, state
    put = _traced_put if traced else _put
    new_state = put(state, slots, advanced)
    return y, state.copy_(new_state) if inplace else new_state


def _advance(
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    b_discretization: str,
    skipped: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """y (b, d) and the new state (b, d, n) of rows that each have a state; some take no step."""
    terms = selective_terms(
        u.unsqueeze(-1),
        delta.unsqueeze(-1),
        A,
        B.unsqueeze(-1),
        C.unsqueeze(-1),
        D,
        None if z is None else z.unsqueeze(-1),
        delta_bias,
        delta_softplus,
        b_discretization,
        skipped,
    )
    h = torch.addcmul(terms.x[0], terms.a[0], state.to(A.dtype))
    return terms.output(h.unsqueeze(0))[0].to(u.dtype), h.to(state.dtype)


def _before(pool: Tensor, slots: Tensor) -> Tensor:
    """What the pool holds for each row, (b, d, n); anything for a row that is skipped."""
    if pool.shape[0] == 0:  # every row is skipped, and reads a place that is added: so a gradient is there
        pool = torch.cat((pool, pool.new_zeros(1, *pool.shape[1:])))
    return pool[slots.clamp(min=0)]


def _served(slots: Tensor, rows: tuple[Any, ...]) -> tuple[Any, ...]:
    """Each (b, …) with zeros in the rows that are skipped; None where it was not given."""
    skipped = slots < 0
    return tuple(
        None if x is None else x.masked_fill(skipped.view(-1, *(1,) * (x.ndim - 1)), 0) for x in rows
    )


def _checked(state_indices: Tensor, slots: int) -> Tensor:
    """The indices in int64.

    They are looked at on a CPU alone: a GPU would have to be waited for, and there a wrong slot is the
    caller's fault.
    """
    if state_indices.device.type != "cpu":
        return state_indices.long()
    check = _traced_check if torch.compiler.is_compiling() else _check
    return check(state_indices, slots)


def _check(state_indices: Tensor, slots: int) -> Tensor:
    check_slots(state_indices.tolist(), slots)
    return state_indices.long()


def _write(pool: Tensor, slots: Tensor, advanced: Tensor) -> None:
    """The advanced states (b, d, n) of the rows that have a slot, over the old ones."""
    pool.index_copy_(0, *_with_a_slot(slots, advanced))


def _put(pool: Tensor, slots: Tensor, advanced: Tensor) -> Tensor:
    """A pool with the advanced states in their slots."""
    return pool.index_copy(0, *_with_a_slot(slots, advanced))


def _with_a_slot(slots: Tensor, advanced: Tensor) -> tuple[Tensor, Tensor]:
    rows = (slots >= 0).nonzero()[:, 0]
    return (slots, advanced) if len(rows) == len(slots) else (slots[rows], advanced[rows])


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
    (advanced,) = _served(slots, (_before(dpool, slots),))
    return _traced_put(dpool, slots, torch.zeros_like(advanced)), None, advanced


_traced_put.register_autograd(
    _differentiate_put, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[1])
)
