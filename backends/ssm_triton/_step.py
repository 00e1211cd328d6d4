"""One step of the selective scan: state and one input in, state and one output out, in one kernel."""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton import _complex
from ssm_triton._math import LOG2_E
from ssm_triton._slots import is_slot, of_row
from ssm_triton._tiles import input_weight, silu, step_size


@triton.jit(do_not_specialize=["slot_count"])
def step(
    state, new, u, delta, A, B, C, D, z, bias, slots, y,
    dim, n, per_B, per_C, slot_count,
    state_b, state_d, state_n, new_b, new_d, new_n, u_b, u_d, delta_b, delta_d, A_d, A_n,
    B_b, B_g, B_n, C_b, C_g, C_n, z_b, z_d, y_b, y_d, slots_b,
    N: tl.constexpr, DT: tl.constexpr, HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr,
    SOFTPLUS: tl.constexpr, ZOH: tl.constexpr, SLOTS: tl.constexpr, COMPLEX: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    """One row, one tile of DT channels. `new` may be `state` itself. A slot of −1 skips the row: y = 0.

    A slot that there is not, which the host has not seen, gives y = NaN; nothing is read or written there.

    Complex arrays are pairs of reals in memory, and their strides count reals.
    """
    compute: tl.constexpr = A.dtype.element_ty
    program = tl.program_id(0)
    tiles = tl.cdiv(dim, DT)
    row = (program // tiles).to(tl.int64)
    channel = program % tiles * DT + tl.arange(0, DT)
    group_B = (channel // per_B).to(tl.int64)  # 64 bits take long to divide
    group_C = (channel // per_C).to(tl.int64)
    d = channel.to(tl.int64)
    i = tl.arange(0, N).to(tl.int64)
    live = d < dim
    both = live[:, None] & (i < n)[None, :]
    slot = row
    if SLOTS:
        slot = tl.load(slots + row * slots_b).to(tl.int64)
    named = slot + 0 * d
    both = both & is_slot(named, slot_count)[:, None]

    u_t = tl.load(u + row * u_b + d * u_d, mask=live, other=0.0).to(compute)
    shift = tl.zeros((DT,), compute)
    if HAS_BIAS:
        shift = tl.load(bias + d, mask=live, other=0.0)
    s = step_size(
        tl.load(delta + row * delta_b + d * delta_d, mask=live, other=0.0).to(compute), shift, live, SOFTPLUS
    )
    # All loads come before the first store, so that they are under way together.
    if HAS_D:
        skip = tl.load(D + d, mask=live, other=0.0)
    if HAS_Z:
        gate = tl.load(z + row * z_b + d * z_d, mask=live, other=0.0).to(compute)
    state += slot * state_b + d[:, None] * state_d + i[None, :] * state_n
    new += slot * new_b + d[:, None] * new_d + i[None, :] * new_n
    A += d[:, None] * A_d + i[None, :] * A_n
    B += row * B_b + group_B[:, None] * B_g + i[None, :] * B_n
    C += row * C_b + group_C[:, None] * C_g + i[None, :] * C_n
    hr = tl.load(state, mask=both, other=0.0).to(compute)
    # A state of the padding decays: held, its input is about 1 / A times B u, and never overflows.
    Ar = tl.load(A, mask=both, other=-1.0)
    Br = tl.load(B, mask=both, other=0.0).to(compute)
    Cr = tl.load(C, mask=both, other=0.0).to(compute)
    if COMPLEX:
        hi = tl.load(state + 1, mask=both, other=0.0).to(compute)
        Bi = tl.load(B + 1, mask=both, other=0.0).to(compute)
        Ci = tl.load(C + 1, mask=both, other=0.0).to(compute)
        pr = s[:, None] * Ar
        pi = s[:, None] * tl.load(A + 1, mask=both, other=0.0)
        ar, ai = _complex.exponential(pr, pi)
        wr, wi = _complex.weigh(s[:, None], pr, pi, ar, ai, ZOH)
        xr, xi = _complex.times(wr, wi, u_t[:, None] * Br, u_t[:, None] * Bi)
        hr, hi = _complex.times(ar, ai, hr, hi)
        hr += xr
        hi += xi
        v = 2.0 * tl.sum(hr * Cr - hi * Ci, 1)
    else:
        a2 = Ar * LOG2_E
        a = tl.exp2(s[:, None] * a2)
        weight = input_weight(s[:, None], a2, a, ZOH)
        hr = a * hr + weight * u_t[:, None] * Br
        v = tl.sum(hr * Cr, 1)
    if DT * N < LANES:  # several lanes have one state, which may be written where it was read
        tl.debug_barrier()
    if COMPLEX:
        tl.store(new + 1, hi.to(new.dtype.element_ty), mask=both)
    tl.store(new, hr.to(new.dtype.element_ty), mask=both)
    if HAS_D:
        v += skip * u_t
    if HAS_Z:
        v *= silu(gate)
    v = of_row(v, named, slot_count)
    tl.store(y + row * y_b + d * y_d, v.to(y.dtype.element_ty), mask=live)
