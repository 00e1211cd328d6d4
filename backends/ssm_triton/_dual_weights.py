"""The gradient of C_t · B_s in the dual form: a sum over the heads of a group.

With q the cotangent before the gate, X = Δ x::

    dG = Σ_heads (q Xᵀ) ∘ L
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._dual_products import product
from ssm_triton._dual_steps import COUNTS, between, gated, load_begin, load_steps, slice_of_heads, tile


@triton.jit(do_not_specialize=COUNTS)
def backward_weights(
    x, z, steps, logs, begins, dy, dG,
    length, heads, groups, per_group, each, slices, width, chunks,
    x_b, x_t, x_h, x_p, z_b, z_t, z_h, z_p, y_b, y_t, y_h, y_p,
    HAS_Z: tl.constexpr, RESET: tl.constexpr, Q: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """dG of one chunk of one group, of as many of its heads as belong to a slice."""
    row, chunk, group, first_head, count = slice_of_heads(groups, per_group, slices, each, chunks)
    t = (chunk * Q + tl.arange(0, Q)).to(tl.int64)
    live_t = t < length
    begin = load_begin(begins, row * chunks + chunk, RESET, Q)
    found = tl.zeros((Q, Q), tl.float32)
    for past in range(count):
        h = first_head + past
        step, logs_t, _ = load_steps(steps, logs, (row * chunks + chunk) * heads + h, Q)
        of_weights = tl.zeros((Q, Q), tl.float32)
        for first in range(0, width, P):
            p = first + tl.arange(0, P)
            live_p = p < width
            given = tile(x + row * x_b + h * x_h, t, p, x_t, x_p, live_t, live_p)
            z_at = row * z_b + h * z_h
            q = gated(dy + row * y_b + h * y_h, z, z_at, t, p, y_t, y_p, z_t, z_p, live_t, live_p, HAS_Z)
            of_weights += product(q, tl.trans(given))
        found += of_weights * between(logs_t, begin, RESET, False, Q) * step[None, :]
    i = tl.arange(0, Q)
    tl.store(dG + tl.program_id(0).to(tl.int64) * Q * Q + i[:, None] * Q + i[None, :], found)
