"""What all kernels of the dual form start from: step sizes, sums of the decays' logarithms, sequences."""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._dual_steps import COUNTS, find_begins, heads_tile, step_sizes


@triton.jit(do_not_specialize=COUNTS)
def prepare_steps(
    dt, A, bias, seq_idx, steps, logs, begins, length, heads, chunks, tiles, d_b, d_t, d_h, i_b, i_t,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr,
    RESET: tl.constexpr, Q: tl.constexpr, H: tl.constexpr,
):  # fmt: skip
    """Δ_t and p_t = Σ_{r≤t} Δ_r A of H heads in one chunk, laid out (b, chunks, h, q); Δ = 0 past the end.

    The first heads' program also finds where in the chunk sequences begin, (b, chunks, q).
    """
    row, chunk, h, live_h, at = heads_tile(heads, chunks, tiles, Q, H)
    t = (chunk * Q + tl.arange(0, Q)).to(tl.int64)
    _, _, step = step_sizes(
        dt + row * d_b, bias, t, h, length, live_h, d_t, d_h, HAS_BIAS, SOFTPLUS, LOW, HIGH
    )
    rate = tl.load(A + h, mask=live_h, other=0.0)
    tl.store(steps + at, step, mask=live_h[None, :])
    tl.store(logs + at, tl.cumsum(step * rate[None, :], 0), mask=live_h[None, :])
    if RESET and tl.program_id(0) % tiles == 0:
        found = find_begins(seq_idx + row * i_b, t, length, i_t, Q)
        tl.store(begins + (row * chunks + chunk) * Q + tl.arange(0, Q), found)
