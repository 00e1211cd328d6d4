"""The state from chunk to chunk: S' = d S + what the chunk adds, and S is zero where a sequence began."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_torch.opaque import empty, is_opaque, opaque


def pass_on(state: Tensor, decay: Tensor, kept: Tensor | None) -> Tensor:
    """d S; zero where S is not kept, even of an infinity or a NaN.

    Parameters
    ----------
    state : (*s)
    decay, kept
        Of shapes that expand to (*s); None keeps all. A decay is finite where S is not kept.
    """
    return (state if kept is None else state.masked_fill(~kept, 0)) * decay


def states_around(
    added: Tensor, decay: Tensor, kept: Tensor | None, initial: Tensor
) -> tuple[Tensor, Tensor]:
    """The states before each of k chunks, and the one after the last.

    Parameters
    ----------
    added : (*s, k, p, n)
        What each chunk adds; at least one chunk.
    decay : (*s, k)
    kept : of a shape that expands to (*s, k)
        Whether the state after a chunk sees the one before it; None is always.
    initial : (*s, p, n)

    Returns
    -------
    before : (*s, k, p, n)
    after : (*s, p, n)
    """
    if not is_opaque():
        *before, after = _in_order(added, decay, kept, initial)
        return torch.stack(before, -3), after
    stays = torch.ones_like(decay, dtype=torch.bool) if kept is None else kept.expand_as(decay)
    states = _traced(added, decay, stays, initial)
    return states[..., :-1, :, :], states[..., -1, :, :]


def _in_order(added: Tensor, decay: Tensor, kept: Tensor | None, initial: Tensor) -> list[Tensor]:
    states = [initial]
    for j, more in enumerate(added.unbind(-3)):
        states.append(pass_on(states[-1], *_of_chunk(decay, kept, j)) + more)
    return states


def _of_chunk(decay: Tensor, kept: Tensor | None, j: int) -> tuple[Tensor, Tensor | None]:
    """As they meet the state of chunk j."""
    return decay[..., j, None, None], None if kept is None else kept[..., j, None, None]


def _states(added: Tensor, decay: Tensor, kept: Tensor, initial: Tensor) -> Tensor:
    return torch.stack(_in_order(added, decay, kept, initial), -3)


def _adjoint(g: Tensor, states: Tensor, decay: Tensor, kept: Tensor) -> list[Tensor]:
    """The gradients of what chunks add, of the decays and of the initial state.

    Λ_j = g_j + d_j Λ_{j+1} is that of the state before chunk j, and so that of what chunk j − 1 adds.
    """
    cotangents = [g[..., -1, :, :]]
    for j in reversed(range(decay.shape[-1])):
        cotangents.append(g[..., j, :, :] + pass_on(cotangents[-1], *_of_chunk(decay, kept, j)))
    initial = cotangents.pop().contiguous()
    added = torch.stack(cotangents[::-1], -3)
    through = (added * states[..., :-1, :, :]).sum((-2, -1)).masked_fill(~kept, 0)
    return [added, through, initial]


_traced = opaque(
    "states_around",
    _states,
    _adjoint,
    fake=lambda added, decay, kept, initial: added.new_empty(
        (*added.shape[:-3], added.shape[-3] + 1, *added.shape[-2:])
    ),
    fake_backward=lambda g, states, decay, kept: [
        g.new_empty((*g.shape[:-3], g.shape[-3] - 1, *g.shape[-2:])),
        empty(decay),
        g.new_empty((*g.shape[:-3], *g.shape[-2:])),
    ],
    read=(1, 2),
)
