"""The states of the dual form from chunk to chunk: before each, or going back the cotangents after each."""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._dual_products import product
from ssm_triton._dual_steps import ends, gated, load_steps, put, sequence_numbers, tile


@triton.jit
def pass_states(
    x, z, dt, A, bias, B, seq_idx, start, states, end,
    length, heads, per_group, width, n, chunks, tiles_n,
    x_b, x_t, x_h, x_p, z_b, z_t, z_h, z_p, d_b, d_t, d_h, b_b, b_t, b_g, b_n, i_b, i_t, s_b, s_h, s_p, s_n,
    HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, RESET: tl.constexpr,
    LOW: tl.constexpr, HIGH: tl.constexpr,
    STARTED: tl.constexpr, BACK: tl.constexpr, Q: tl.constexpr, P: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """S' = exp(p_q) S + Σ_s exp(p_q − p_s) Δ_s x_s B_sᵀ, P rows and N columns of one head's state.

    BACK: Λ' = exp(p_q) Λ + Σ_t exp(p_t) q_t C_tᵀ, from the last chunk to the first; x is the cotangent of y,
    and B is C.
    """
    row, h = (tl.program_id(0) // heads).to(tl.int64), tl.program_id(0) % heads
    p = tl.program_id(1) // tiles_n * P + tl.arange(0, P)
    k = tl.program_id(1) % tiles_n * N + tl.arange(0, N)
    live_p, live_k = p < width, k < n
    x += row * x_b + h * x_h
    dt += row * d_b + h * d_h
    B += row * b_b + h // per_group * b_g
    rate = tl.load(A + h)
    if RESET:
        seq_idx += row * i_b
    state = tl.zeros((P, N), tl.float32)
    if STARTED:
        state = tile(start + row * s_b + h * s_h, p, k, s_p, s_n, live_p, live_k).to(tl.float32)
    for i in range(chunks):
        chunk = chunks - 1 - i if BACK else i
        put(states + ((row * chunks + chunk) * heads + h) * width * n, p, k, n, 1, live_p, live_k, state)
        t = (chunk * Q + tl.arange(0, Q)).to(tl.int64)
        live_t = t < length
        _, _, step = load_steps(dt, bias, h, t, length, d_t, HAS_BIAS, SOFTPLUS, LOW, HIGH)
        number = sequence_numbers(seq_idx, 0, t, length, i_t, RESET)
        from_start, to_end, through = ends(tl.cumsum(step * rate, 0), number, RESET, Q)
        weight = from_start if BACK else to_end * step
        z_at = row * z_b + h * z_h
        given = gated(x, z, z_at, t, p, x_t, x_p, z_t, z_p, live_t, live_p, HAS_Z)
        weighted = tl.trans(given.to(tl.float32) * weight[:, None])
        state = tl.where(through < 0, 0.0, state * through)
        state += product(weighted, tile(B, t, k, b_t, b_n, live_t, live_k))
    put(end + (row * heads + h) * width * n, p, k, n, 1, live_p, live_k, state)
