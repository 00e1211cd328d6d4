"""The dual form of SSD: matrix products inside chunks, the recurrence between them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._calls import operator
from ssm_spec._selective_scan._value import gate
from ssm_spec._ssd._inputs import Ssd, read
from ssm_spec._validate import Float, as_size

Bool = NDArray[np.bool_]


@operator
def ssd_chunked(*, chunk_size: int = 256, **inputs: Any) -> tuple[Float, Float]:
    """The same function as `ssd`, as (L ∘ C Bᵀ) X inside chunks and a recurrence between them.

    Dao and Gu, "Transformers are SSMs" (2024), section 6 and listing 1. With p_t the sum of ΔA
    from the chunk's start to t, L_ts = exp(p_t − p_s) for s <= t in one sequence, else 0:

        y_t = Σ_s L_ts (C_t · B_s) Δ_s x_s + exp(p_t) S C_t;   S' = exp(p_Q) S + Σ_s L_Qs Δ_s x_s B_sᵀ.

    (C1) It equals `ssd`, within the bound of "matmul_chunk" arithmetic in float64 and `ssd`'s own.
    (C2) Its weights multiply by zero where `ssd` selects: a NaN stays in its row and its head, but
         may reach other times and sequences there. What an input means is `ssd`'s to say.

    Parameters
    ----------
    chunk_size
        Q >= 1; it need not divide l.
    inputs
        The arguments of `ssd`; `return_final_states` changes nothing.

    Returns
    -------
    y, (b, l, h, p) float64, and the final states, (b, h, p, n) float64.
    """
    q = as_size("chunk_size", chunk_size, least=1)
    given = read(**inputs)
    b, l, h, p = given.shape
    n = given.scan.sizes[3]
    initial = given.scan.initial_state
    state = np.zeros((b, h, p, n)) if initial is None else given.from_states(initial)
    y = np.zeros((b, l, h, p))
    with np.errstate(all="ignore"):
        for start in range(0, l, q):
            span = slice(start, min(start + q, l))
            y[:, span], state = _chunk(given, span, state)
        y += given.from_stream(_skip(given))
        if given.scan.z is not None:
            y *= given.from_stream(gate(given.scan.z))
    return y, state


def _chunk(given: Ssd, span: slice, state: Float) -> tuple[Float, Float]:
    """One chunk from the state before it: its outputs (b, q, h, p) and the state after it (b, h, p, n)."""
    x = given.from_stream(given.scan.u)[:, span]
    B, C = (_per_head(given, M.array[span]) for M in (given.scan.B, given.scan.C))
    step = given.steps.step[span].transpose(1, 0, 2)
    total, sequence = _exponents(given, span), _sequence_numbers(given, span)
    weights = np.exp(_apart(total, sequence)).transpose(0, 3, 1, 2)  # L, (b, h, t, s)
    inherits = (sequence == 0)[..., None, None]  # the chunk's first sequence goes on from `state`

    scores = np.einsum("bthn,bshn->bhts", C, B) * weights
    y = np.einsum("bhts,bsh,bshp->bthp", scores, step, x)
    y += np.where(inherits, np.exp(total)[..., None] * np.einsum("bthn,bhpn->bthp", C, state), 0.0)

    to_end = weights[:, :, -1].transpose(0, 2, 1) * step
    after: Float = np.einsum("bsh,bshp,bshn->bhpn", to_end, x, B)
    decayed = np.exp(total[:, -1])[..., None, None] * state
    after += np.where(inherits[:, -1, :, :, None], decayed, 0.0)
    return y, after


def _exponents(given: Ssd, span: slice) -> Float:
    """p_t = Σ ΔA over the chunk up to t. (b, q, h)."""
    total: Float = np.cumsum(given.steps.step[span] * given.rates, axis=0).transpose(1, 0, 2)
    return total


def _sequence_numbers(given: Ssd, span: slice) -> NDArray[np.int64]:
    """Which sequence of the chunk a time belongs to; 0 if it began before the chunk. (b, q)."""
    fresh = given.scan.sequences.fresh[span].T.copy()
    if span.start == 0:
        fresh[:, 0] = False  # the first sequence goes on from the initial state
    numbers: NDArray[np.int64] = np.cumsum(fresh, axis=1)
    return numbers


def _apart(total: Float, sequence: NDArray[np.int64]) -> Float:
    """p_t − p_s for s <= t in one sequence, else −∞. (b, t, s, h)."""
    q = total.shape[1]
    causal = np.arange(q)[:, None] >= np.arange(q)
    together: Bool = (sequence[:, :, None] == sequence[:, None]) & causal
    return np.where(together[..., None], total[:, :, None] - total[:, None], -np.inf)


def _per_head(given: Ssd, array: Float) -> Float:
    """B or C, (q, n, b, g), for each head: (b, q, h, n)."""
    h, g = given.shape[2], array.shape[-1]
    return np.repeat(array.transpose(2, 0, 3, 1), h // g, axis=2)


def _skip(given: Ssd) -> Float:
    """D x. (l, b, h·p)."""
    scan = given.scan
    return np.zeros_like(scan.u) if scan.D is None else scan.D * scan.u
