"""One step of the short convolution: a state and one input in, a state and one output out, in one kernel."""

from __future__ import annotations

import triton
import triton.language as tl

from ssm_triton._convolution import sigmoid_of
from ssm_triton._convolution_steps import filtered, weights
from ssm_triton._slots import is_slot, of_row


@triton.jit(do_not_specialize=["slot_count"])
def convolve_step(
    x, weight, bias, state, new, slots, y,
    dim, tiles, k, slot_count,
    x_b, x_d, state_r, state_d, state_k, new_r, new_d, new_k, y_b, y_d, slots_b,
    W: tl.constexpr, SILU: tl.constexpr, HAS_BIAS: tl.constexpr, SLOTS: tl.constexpr, WIDE: tl.constexpr,
    DT: tl.constexpr, KT: tl.constexpr,
):  # fmt: skip
    """One row, DT channels, all k inputs of their states. A slot of −1 skips the row: y = 0.

    A slot that there is not, which the host has not seen, gives y = NaN; nothing is read or written there.
    `new` may be `state` itself: every load comes before the first store.
    """
    compute: tl.constexpr = tl.float64 if WIDE else tl.float32
    program = tl.program_id(0)
    row = (program // tiles).to(tl.int64)
    d = (program % tiles * DT + tl.arange(0, DT)).to(tl.int64)
    j = tl.arange(0, KT).to(tl.int64)
    live = d < dim
    slot, here = row, live
    if SLOTS:
        slot = tl.load(slots + row * slots_b).to(tl.int64)
        named = slot + 0 * d
        here = live & is_slot(named, slot_count)
    state += slot * state_r + d * state_d
    new += slot * new_r + d * new_d
    x0 = tl.load(x + row * x_b + d * x_d, mask=live, other=0.0)
    w0, w1, w2, w3, b = weights(weight, bias, d, live, W, WIDE, HAS_BIAS)
    last = 0 * d + k - 1
    x1 = _input(state, last, state_k, here, W > 1).to(compute)[:, None]
    x2 = _input(state, last - 1, state_k, here, W > 2).to(compute)[:, None]
    x3 = _input(state, last - 2, state_k, here, W > 3).to(compute)[:, None]
    older = tl.load(
        state[:, None] + (j + 1)[None, :] * state_k, mask=here[:, None] & (j + 1 < k)[None, :], other=0.0
    )
    tl.debug_barrier()  # lanes share a state

    p = filtered(x0.to(compute)[:, None], x1, x2, x3, w0, w1, w2, w3, b, W)
    if SILU:
        p *= sigmoid_of(p)
    y += row * y_b + d * y_d
    if SLOTS:
        p = of_row(p, named[:, None], slot_count)
    tl.store(y[:, None], p.to(y.dtype.element_ty), mask=live[:, None])
    kind = new.dtype.element_ty
    shifted = tl.where((j == k - 1)[None, :], x0.to(kind)[:, None], older.to(kind))
    tl.store(new[:, None] + j[None, :] * new_k, shifted, mask=here[:, None] & (j < k)[None, :])


@triton.jit
def _input(state, at, step, here, READ: tl.constexpr):
    """The inputs that stand at `at`; zeros if no tap reads them."""
    found = 0 * at
    if READ:
        found = tl.load(state + at * step, mask=here, other=0.0)
    return found
