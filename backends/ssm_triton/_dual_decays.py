"""The gradients of the step sizes in the dual form, chunk by chunk: of dt, and the parts of A and the bias.

Every weight is exp of a sum of consecutive ΔA: what step r's gets is the sum over the weights that span r,
from s < r to t ≥ r, from the state before to t ≥ r, from s < r to the state after, and from state to state.
No differences are taken, so nothing cancels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._dual_steps import COUNTS, heads_tile, load_last, step_sizes, through
from ssm_triton._math import sigmoid


@triton.jit(do_not_specialize=COUNTS)
def backward_decays(
    dt, A, bias, logs, begins, of_steps, to_after, of_spans, from_before, kept, ddt, dA, dbias,
    length, heads, chunks, tiles, parts, across, d_b, d_t, d_h,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, RESET: tl.constexpr,
    LOW: tl.constexpr, HIGH: tl.constexpr, Q: tl.constexpr, H: tl.constexpr,
):  # fmt: skip
    """ddt of H heads in one chunk, their terms of dA and dbias; from `parts` of channels, `across` of S."""
    row, chunk, h, live_h, at = heads_tile(heads, chunks, tiles, Q, H)
    here = (row * chunks + chunk) * heads + h
    all_heads = tl.num_programs(0).to(tl.int64) // tiles * heads
    i = tl.arange(0, Q)
    t = (chunk * Q + i).to(tl.int64)
    live = (t < length)[:, None] & live_h[None, :]
    raw, free, step = step_sizes(
        dt + row * d_b, bias, t, h, length, live_h, d_t, d_h, HAS_BIAS, SOFTPLUS, LOW, HIGH
    )
    last = load_last(begins, row * chunks + chunk, RESET, Q)
    rate = tl.load(A + h, mask=live_h, other=0.0)
    of_step, of_logs = tl.zeros((Q, H), tl.float32), tl.zeros((Q, H), tl.float32)
    before, after = tl.zeros((Q, H), tl.float32), tl.zeros((Q, H), tl.float32)
    for part in range(parts):
        told = part * all_heads * Q + at
        of_step += tl.load(of_steps + told, mask=live_h[None, :], other=0.0)
        of_logs += tl.load(of_spans + told, mask=live_h[None, :], other=0.0)
        after += tl.load(to_after + told - 1, mask=live_h[None, :] & (i > 0)[:, None], other=0.0)
    whole = tl.load(logs + here * Q + Q - 1, mask=live_h, other=0.0)
    both = tl.zeros((H,), tl.float32)
    for part in range(across):
        before += tl.load(from_before + part * all_heads * Q + at, mask=live_h[None, :], other=0.0)
        both += tl.load(kept + part * all_heads + here, mask=live_h, other=0.0)
    passed = through(whole, last, RESET)
    of_logs += tl.cumsum(before, 0, reverse=True) + tl.cumsum(after, 0)
    of_logs += tl.where(passed < 0, 0.0, passed * both)[None, :]
    of_step += of_logs * rate[None, :]
    inside = (free >= tl.full((1, 1), LOW, tl.float32)) & (free <= tl.full((1, 1), HIGH, tl.float32))
    if SOFTPLUS:
        of_step *= sigmoid(raw)
    of_step = tl.where(inside & live, of_step, 0.0)
    out = ddt + (row * length + t)[:, None] * heads + h[None, :]
    tl.store(out, of_step.to(ddt.dtype.element_ty), mask=live)
    tl.store(dA + here, tl.sum(of_logs * step, 0), mask=live_h)
    if HAS_BIAS:
        tl.store(dbias + here, tl.sum(of_step, 0), mask=live_h)
