"""How much of the past is left inside a chunk, and who belongs to which sequence of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm_backends.transforms import may_be_kept


@dataclass(frozen=True)
class Sequences:
    """Which sequence of its chunk a step belongs to, counted from 0: the one that began before the chunk.

    Attributes
    ----------
    together : (*s, q, q)
        Whether t and s are of one sequence.
    inherits, stays : (*s, q)
        Whether a step sees the state before the chunk; whether the state after the chunk sees it.
    kept : (*s)
        Whether the state after the chunk sees the one before it.
    """

    together: Tensor
    inherits: Tensor
    stays: Tensor
    kept: Tensor


@dataclass(frozen=True)
class Decays:
    """With p_t the sum of the decays' logarithms from the chunk's start to t.

    Attributes
    ----------
    between : (*s, q, q)
        L_ts = exp(p_t − p_s) for s <= t in one sequence, else 0.
    from_start, to_end : (*s, q)
        exp(p_t) of the state before the chunk; exp(p_q − p_s) to the state after it; 0 to another sequence.
    through : (*s)
        exp(p_q), or 0.
    """

    between: Tensor
    from_start: Tensor
    to_end: Tensor
    through: Tensor


def sequences_of(fresh: Tensor) -> Sequences:
    """From where a sequence starts, (*s, q) bool: chunks of q steps."""
    number = fresh.cumsum(-1)
    return Sequences(
        number.unsqueeze(-1) == number.unsqueeze(-2),
        number == 0,
        number == number[..., -1:],
        number[..., -1] == 0,
    )


def decays_of(logarithms: Tensor, sequences: Sequences | None) -> Decays:
    """exp of the differences of one cumulative sum.

    Parameters
    ----------
    logarithms : (*s, q)
        Of the decay of each step.
    sequences
        Of shapes that expand to (*s, q); None is one sequence.
    """
    p = logarithms.cumsum(-1)
    q = p.shape[-1]
    seen = torch.ones(q, q, dtype=torch.bool, device=p.device).tril()
    if sequences is not None:
        seen = seen & sequences.together
    between = torch.where(seen, p.unsqueeze(-1) - p.unsqueeze(-2), -torch.inf)
    between = between.exp() if may_be_kept() else between.exp_()
    from_start, to_end = p, p[..., -1:] - p
    if sequences is not None:  # before exp: where it overflows a mask after it would have the slope 0·∞
        from_start = from_start.masked_fill(~sequences.inherits, -torch.inf)
        to_end = to_end.masked_fill(~sequences.stays, -torch.inf)
    from_start = from_start.exp()
    return Decays(between, from_start, to_end.exp(), from_start[..., -1])
