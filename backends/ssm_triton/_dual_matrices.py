"""The gradients of B and C in the dual form: sums over the heads of a group, head after head in registers.

With q the cotangent before the gate, Λ that of the state after the chunk, S the state before it, X = Δ x::

    dG = Σ_heads (q Xᵀ) ∘ L,   dC = dG B + Σ_heads exp(p_t) q_t S,   dB = dGᵀ C + Σ_heads exp(p_Q − p_s) X_s Λ
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._dual_products import product
from ssm_triton._dual_steps import between, ends, gated, load_steps, put, sequence_numbers, tile


@triton.jit
def backward_matrices(
    x, z, dt, A, bias, B, C, seq_idx, states, cotangents, dy, dB, dC,
    length, heads, groups, per_group, each, slices, rows, width, n, chunks,
    x_b, x_t, x_h, x_p, z_b, z_t, z_h, z_p, d_b, d_t, d_h, b_b, b_t, b_g, b_n, c_b, c_t, c_g, c_n,
    i_b, i_t, y_b, y_t, y_h, y_p,
    HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, RESET: tl.constexpr,
    LOW: tl.constexpr, HIGH: tl.constexpr,
    Q: tl.constexpr, P: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """N columns of dB and dC in one chunk of one group, of as many of its heads as belong to a slice."""
    program = tl.program_id(0)
    group, rest = program % groups, program // groups
    part, rest = rest % slices, rest // slices
    chunk, row = rest % chunks, (rest // chunks).to(tl.int64)
    k = tl.program_id(1) * N + tl.arange(0, N)
    live_k = k < n
    t = (chunk * Q + tl.arange(0, Q)).to(tl.int64)
    live_t = t < length
    number = sequence_numbers(seq_idx, row * i_b, t, length, i_t, RESET)
    B += row * b_b + group * b_g
    C += row * c_b + group * c_g
    of_products = tl.zeros((Q, Q), tl.float32)
    of_left, of_right = tl.zeros((Q, N), tl.float32), tl.zeros((Q, N), tl.float32)
    for j in range(part * each, tl.minimum((part + 1) * each, per_group)):
        h = group * per_group + j
        _, _, step = load_steps(
            dt + row * d_b + h * d_h, bias, h, t, length, d_t, HAS_BIAS, SOFTPLUS, LOW, HIGH
        )
        logs = tl.cumsum(step * tl.load(A + h), 0)
        from_start, to_end, _ = ends(logs, number, RESET, Q)
        here = ((row * chunks + chunk) * heads + h) * width * n
        of_weights = tl.zeros((Q, Q), tl.float32)
        left, right = tl.zeros((Q, N), tl.float32), tl.zeros((Q, N), tl.float32)
        for first in range(0, width, P):
            p = first + tl.arange(0, P)
            live_p = p < width
            given = tile(x + row * x_b + h * x_h, t, p, x_t, x_p, live_t, live_p)
            q = gated(
                dy + row * y_b + h * y_h, z, row * z_b + h * z_h, t, p, y_t, y_p, z_t, z_p, live_t, live_p,
                HAS_Z,
            )  # fmt: skip
            before = tile(states + here, p, k, n, 1, live_p, live_k)
            after = tile(cotangents + here, p, k, n, 1, live_p, live_k)
            of_weights += product(q, tl.trans(given))
            left += product(q, before)
            right += product(given, after)
        of_products += of_weights * between(logs, number, RESET, False, Q) * step[None, :]
        of_left += left * from_start[:, None]
        of_right += right * (to_end * step)[:, None]
    of_left += product(of_products, tile(B, t, k, b_t, b_n, live_t, live_k))
    of_right += product(tl.trans(of_products), tile(C, t, k, c_t, c_n, live_t, live_k))
    out = ((part * rows + row) * length * groups + group) * n
    put(dC + out, t, k, groups * n, 1, live_t, live_k, of_left)
    put(dB + out, t, k, groups * n, 1, live_t, live_k, of_right)
