"""One step of SSD, the scan of Mamba-2: states of heads and one input in, states and one output out.

With Δ and A of a head, x of its channels, B and C of its group::

    S ← exp(ΔA) S + Δ x Bᵀ,   y = (S C + D x) · silu(z)
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._math import exp, softplus
from ssm_triton._slots import is_slot, of_row
from ssm_triton._tiles import silu


@triton.jit(do_not_specialize=["slot_count"])
def heads_step(
    state, new, x, dt, A, B, C, D, z, bias, slots, y,
    heads, width, n, per_group, slot_count,
    state_b, state_h, state_p, state_n, new_b, new_h, new_p, new_n, x_b, x_h, x_p, dt_b, dt_h,
    B_b, B_g, B_n, C_b, C_g, C_n, D_h, D_p, z_b, z_h, z_p, y_b, y_h, y_p, slots_b,
    N: tl.constexpr, P: tl.constexpr, HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr,
    SOFTPLUS: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr, SLOTS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """P channels of one head of one row. `new` may be `state` itself. A slot of −1 skips the row: y = 0.

    A slot that there is not, which the host has not seen, gives y = NaN; nothing is read or written there.
    """
    compute: tl.constexpr = A.dtype.element_ty
    program = tl.program_id(0)
    tiles = tl.cdiv(width, P)
    row = (program // tiles // heads).to(tl.int64)
    at = program // tiles % heads
    group = (at // per_group).to(tl.int64)  # 64 bits take long to divide
    h = at.to(tl.int64)
    p = (program % tiles * P + tl.arange(0, P)).to(tl.int64)
    i = tl.arange(0, N).to(tl.int64)
    live = p < width
    slot = row
    if SLOTS:
        slot = tl.load(slots + row * slots_b).to(tl.int64)
    named = slot + 0 * p
    both = (live & is_slot(named, slot_count))[:, None] & (i < n)[None, :]

    # All loads come before the first store, so that they are under way together.
    raw = tl.load(dt + row * dt_b + h * dt_h).to(compute)
    rate = tl.load(A + h)
    if HAS_BIAS:
        raw += tl.load(bias + h)
    given = tl.load(x + row * x_b + h * x_h + p * x_p, mask=live, other=0.0).to(compute)
    if HAS_D:
        skip = tl.load(D + h * D_h + p * D_p, mask=live, other=0.0)
    if HAS_Z:
        gate = tl.load(z + row * z_b + h * z_h + p * z_p, mask=live, other=0.0).to(compute)
    state += slot * state_b + h * state_h + p[:, None] * state_p + i[None, :] * state_n
    new += slot * new_b + h * new_h + p[:, None] * new_p + i[None, :] * new_n
    before = tl.load(state, mask=both, other=0.0).to(compute)
    left = tl.load(B + row * B_b + group * B_g + i * B_n, mask=i < n, other=0.0).to(compute)
    right = tl.load(C + row * C_b + group * C_g + i * C_n, mask=i < n, other=0.0).to(compute)
    free = raw
    if SOFTPLUS:
        free = softplus(raw)
    # Selected, not the larger of two: a NaN stays.
    low, high = tl.full((), LOW, compute), tl.full((), HIGH, compute)
    s = tl.where(free < low, low, tl.where(free > high, high, free))
    after = exp(s * rate) * before + (s * given)[:, None] * left[None, :]
    v = tl.sum(after * right[None, :], 1)
    if P * N < LANES:  # several lanes have one state, which may be written where it was read
        tl.debug_barrier()
    tl.store(new, after.to(new.dtype.element_ty), mask=both)
    if HAS_D:
        v += skip * given
    if HAS_Z:
        v *= silu(gate)
    v = of_row(v, named, slot_count)
    tl.store(y + row * y_b + h * y_h + p * y_p, v.to(y.dtype.element_ty), mask=live)
