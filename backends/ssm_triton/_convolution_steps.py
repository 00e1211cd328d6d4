"""Four consecutive steps at a time: how the short convolution loads, filters and stores them, as device code.

Where steps lie next to each other in memory, four are one access, and eight of 16 bits. Elsewhere each is
one, of channels that lie next to each other. A filter has four taps at most: it reaches into the four steps
before, and no further.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def place_steps(
    tiles, spans, first, DT: tl.constexpr, T: tl.constexpr, WALK: tl.constexpr, EACH: tl.constexpr
):  # fmt: skip
    """This program's row, span, channels (DT), first step, and each lane's: WALK times four are a lane's.

    `first` is that of all, in fours. Programs that run together share a row, and neighbours a span.
    """
    program = tl.program_id(0)
    tile = program % tiles
    span = (program // tiles) % spans
    row = (program // tiles // spans).to(tl.int64)
    d = (tile * DT + tl.arange(0, DT)).to(tl.int64)
    start = 4 * first + span * (T * EACH)
    return row, span, d, start, start + 4 * WALK * tl.arange(0, T // (4 * WALK))


@triton.jit
def four(
    x, d, t, step_d, step_t, live, length, WIDE: tl.constexpr, TIME: tl.constexpr, EDGE: tl.constexpr
):  # fmt: skip
    """x at steps t to t + 3, (DT, lanes) each; zero outside of [0, length), where EDGE says that t may be."""
    if TIME:
        at = t[:, None] + tl.arange(0, 4)[None, :]
        inside = live[:, None, None]
        if EDGE:
            inside = inside & ((at >= 0) & (at < length))[None, :, :]
        block = tl.load(
            x + d[:, None, None] * step_d + at[None, :, :].to(tl.int64) * step_t, mask=inside, other=0.0
        )
        x0, x1, x2, x3 = _apart(block)
    else:
        x0 = _one(x, d, t, step_d, step_t, live, length, EDGE)
        x1 = _one(x, d, t + 1, step_d, step_t, live, length, EDGE)
        x2 = _one(x, d, t + 2, step_d, step_t, live, length, EDGE)
        x3 = _one(x, d, t + 3, step_d, step_t, live, length, EDGE)
    kind: tl.constexpr = tl.float64 if WIDE else tl.float32
    return x0.to(kind), x1.to(kind), x2.to(kind), x3.to(kind)


@triton.jit
def eight(x, d, t, step_d, step_t, live, length, EDGE: tl.constexpr):
    """x at steps t to t + 7, of 16 bits, which lie next to each other: in float32, (DT, lanes) each."""
    at = t[:, None] + tl.arange(0, 8)[None, :]
    inside = live[:, None, None]
    if EDGE:
        inside = inside & ((at >= 0) & (at < length))[None, :, :]
    block = tl.load(
        x + d[:, None, None] * step_d + at[None, :, :].to(tl.int64) * step_t, mask=inside, other=0.0
    ).to(tl.float32)
    even, odd = tl.split(tl.reshape(block, (block.shape[0], block.shape[1], 2, 2, 2)))
    fours, twos = tl.split(even)
    x0, x4 = tl.split(fours)
    x2, x6 = tl.split(twos)
    ones, threes = tl.split(odd)
    x1, x5 = tl.split(ones)
    x3, x7 = tl.split(threes)
    return x0, x1, x2, x3, x4, x5, x6, x7


@triton.jit
def put_eight(
    y, d, t, step_d, step_t, live, length, y0, y1, y2, y3, y4, y5, y6, y7, EDGE: tl.constexpr
):  # fmt: skip
    """Write y at steps t to t + 7, which lie next to each other; EDGE: at those in [0, length)."""
    even = tl.join(tl.join(y0, y4), tl.join(y2, y6))
    odd = tl.join(tl.join(y1, y5), tl.join(y3, y7))
    block = tl.reshape(tl.join(even, odd), (y0.shape[0], y0.shape[1], 8)).to(y.dtype.element_ty)
    at = t[:, None] + tl.arange(0, 8)[None, :]
    inside = live[:, None, None]
    if EDGE:
        inside = inside & ((at >= 0) & (at < length))[None, :, :]
    tl.store(y + d[:, None, None] * step_d + at[None, :, :].to(tl.int64) * step_t, block, mask=inside)


@triton.jit
def _one(x, d, t, step_d, step_t, live, length, EDGE: tl.constexpr):
    inside = live[:, None]
    if EDGE:
        inside = inside & ((t >= 0) & (t < length))[None, :]
    return tl.load(x + d[:, None] * step_d + t[None, :].to(tl.int64) * step_t, mask=inside, other=0.0)


@triton.jit
def _or_before(x, initial, d, t, step_d, step_v, live, W: tl.constexpr):
    """x, or left of t = 0 the initial state, (d, W − 1), newest last."""
    before = live[:, None] & ((t < 0) & (t > -W))[None, :]
    at = initial + d[:, None] * step_d + (t + W - 1)[None, :].to(tl.int64) * step_v
    return tl.where((t < 0)[None, :], tl.load(at, mask=before, other=0.0).to(x.dtype), x)


@triton.jit
def four_or_before(x0, x1, x2, x3, initial, d, t, step_d, step_v, live, W: tl.constexpr):
    """The same of steps t to t + 3."""
    x0 = _or_before(x0, initial, d, t, step_d, step_v, live, W)
    x1 = _or_before(x1, initial, d, t + 1, step_d, step_v, live, W)
    x2 = _or_before(x2, initial, d, t + 2, step_d, step_v, live, W)
    x3 = _or_before(x3, initial, d, t + 3, step_d, step_v, live, W)
    return x0, x1, x2, x3


@triton.jit
def line(
    x, initial, d, t, x_d, x_t, i_d, i_v, live, length,
    W: tl.constexpr, WIDE: tl.constexpr, TIME: tl.constexpr, INITIAL: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    """The inputs of steps t to t + 3, those before the first one included."""
    x0, x1, x2, x3 = four(x, d, t, x_d, x_t, live, length, WIDE, TIME, EDGE)
    if INITIAL and EDGE:
        x0, x1, x2, x3 = four_or_before(x0, x1, x2, x3, initial, d, t, i_d, i_v, live, W)
    return x0, x1, x2, x3


@triton.jit
def four_go_on(
    seq_idx, t, step, length, before, RESET: tl.constexpr, TIME: tl.constexpr, EDGE: tl.constexpr
):  # fmt: skip
    """Whether each of the steps t to t + 3 goes on with the sequence of the one before it, (1, lanes) each.

    `before` is seq_idx at t − 1; that at t + 3 is given back. Outside of [0, length), and at 0, each goes on.
    """
    if RESET:
        i0, i1, i2, i3 = _four_ids(seq_idx, t, step, length, TIME, EDGE)
        k0 = _is_same(i0, before, t, length, EDGE)
        k1 = _is_same(i1, i0, t + 1, length, EDGE)
        k2 = _is_same(i2, i1, t + 2, length, EDGE)
        k3 = _is_same(i3, i2, t + 3, length, EDGE)
        before = i3
    else:
        k0 = (t == t)[None, :]
        k1, k2, k3 = k0, k0, k0
    return k0, k1, k2, k3, before


@triton.jit
def _is_same(here, before, t, length, EDGE: tl.constexpr):
    same = here == before
    if EDGE:
        same = same | ((t <= 0) | (t >= length))[None, :]
    return same


@triton.jit
def _four_ids(seq_idx, t, step, length, TIME: tl.constexpr, EDGE: tl.constexpr):
    """seq_idx at steps t to t + 3, (1, lanes) each; TIME: one access, if they lie next to each other."""
    if TIME:
        at = t[:, None] + tl.arange(0, 4)[None, :]
        places = seq_idx + at[None, :, :].to(tl.int64) * step
        if EDGE:
            block = tl.load(places, mask=((at >= 0) & (at < length))[None, :, :], other=0)
        else:
            block = tl.load(places)
        i0, i1, i2, i3 = _apart(block)
    else:
        i0 = _one_id(seq_idx, t, step, length, EDGE)
        i1 = _one_id(seq_idx, t + 1, step, length, EDGE)
        i2 = _one_id(seq_idx, t + 2, step, length, EDGE)
        i3 = _one_id(seq_idx, t + 3, step, length, EDGE)
    return i0, i1, i2, i3


@triton.jit
def _one_id(seq_idx, t, step, length, EDGE: tl.constexpr):
    places = seq_idx + t.to(tl.int64) * step
    if EDGE:
        found = tl.load(places, mask=(t >= 0) & (t < length), other=0)
    else:
        found = tl.load(places)
    return found[None, :]


@triton.jit
def _apart(block):
    """The four steps of each lane."""
    even, odd = tl.split(tl.reshape(block, (block.shape[0], block.shape[1], 2, 2)))
    x0, x2 = tl.split(even)
    x1, x3 = tl.split(odd)
    return x0, x1, x2, x3


@triton.jit
def reach(x1, x2, x3, k0, k1, k2, RESET: tl.constexpr):
    """The inputs of one, two, three steps ago, zero where a sequence began since; k_i: i steps ago none."""
    if RESET:
        x1 = tl.where(k0, x1, 0.0)
        x2 = tl.where(k0 & k1, x2, 0.0)
        x3 = tl.where(k0 & k1 & k2, x3, 0.0)
    return x1, x2, x3


@triton.jit
def filtered(x0, x1, x2, x3, w0, w1, w2, w3, bias, W: tl.constexpr):
    """bias + Σ_i w_i x_i, i steps ago."""
    p = bias + w0 * x0
    if W > 1:
        p += w1 * x1
    if W > 2:
        p += w2 * x2
    if W > 3:
        p += w3 * x3
    return p


@triton.jit
def weights(weight, bias, d, live, W: tl.constexpr, WIDE: tl.constexpr, HAS_BIAS: tl.constexpr):
    """The taps, the newest first, and the bias: (DT, 1) each; zero for a tap that there is not."""
    kind: tl.constexpr = tl.float64 if WIDE else tl.float32
    zero = tl.zeros((d.shape[0], 1), kind)
    w0 = tl.load(weight + d * W + W - 1, mask=live, other=0.0).to(kind)[:, None]
    w1, w2, w3, b = zero, zero, zero, zero
    if W > 1:
        w1 = tl.load(weight + d * W + W - 2, mask=live, other=0.0).to(kind)[:, None]
    if W > 2:
        w2 = tl.load(weight + d * W + W - 3, mask=live, other=0.0).to(kind)[:, None]
    if W > 3:
        w3 = tl.load(weight + d * W + W - 4, mask=live, other=0.0).to(kind)[:, None]
    if HAS_BIAS:
        b = tl.load(bias + d, mask=live, other=0.0).to(kind)[:, None]
    return w0, w1, w2, w3, b


@triton.jit
def put_four(
    y, d, t, step_d, step_t, live, length, y0, y1, y2, y3, TIME: tl.constexpr, EDGE: tl.constexpr
):  # fmt: skip
    """Write y at steps t to t + 3; EDGE: at those in [0, length)."""
    if TIME:
        block = tl.reshape(
            tl.join(tl.join(y0, y2), tl.join(y1, y3)), (y0.shape[0], y0.shape[1], 4)
        ).to(y.dtype.element_ty)  # fmt: skip
        at = t[:, None] + tl.arange(0, 4)[None, :]
        inside = live[:, None, None]
        if EDGE:
            inside = inside & ((at >= 0) & (at < length))[None, :, :]
        tl.store(y + d[:, None, None] * step_d + at[None, :, :].to(tl.int64) * step_t, block, mask=inside)
    else:
        _put_one(y, d, t, step_d, step_t, live, length, y0, EDGE)
        _put_one(y, d, t + 1, step_d, step_t, live, length, y1, EDGE)
        _put_one(y, d, t + 2, step_d, step_t, live, length, y2, EDGE)
        _put_one(y, d, t + 3, step_d, step_t, live, length, y3, EDGE)


@triton.jit
def _put_one(y, d, t, step_d, step_t, live, length, value, EDGE: tl.constexpr):
    if EDGE:
        put(y, d, t, step_d, step_t, live, value, 0, length)
    else:
        at = y + d[:, None] * step_d + t[None, :].to(tl.int64) * step_t
        tl.store(at, value.to(y.dtype.element_ty), mask=live[:, None])


@triton.jit
def put(y, d, t, step_d, step_t, live, value, start, end):
    """Write y at the steps t of [start, end)."""
    inside = live[:, None] & ((t >= start) & (t < end))[None, :]
    tl.store(
        y + d[:, None] * step_d + t[None, :].to(tl.int64) * step_t, value.to(y.dtype.element_ty), mask=inside
    )
