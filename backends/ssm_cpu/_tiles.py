"""Tiles of sixteen channels by some steps of time, loaded from arrays of any strides and stored to them."""

from __future__ import annotations

from typing import Final

from llvmlite import ir

from ssm_cpu._call import STEPS
from ssm_cpu._emit import Function, Variable
from ssm_cpu._transfer import COMPLEX64, WHOLE, own_code, part_of, read, size_of, write
from ssm_cpu._values import LANES, Int, Lanes

_LINE: Final = 64
"""Bytes of a cache line."""
_SHARE: Final = STEPS // LANES
"""Steps of a tile for each of its channels."""


def gather(f: Function, tile: Int, source: Int, stride: Int, code: Int, count: Int, parts: int) -> None:
    """Sixteen numbers a stride apart, as lanes; those past `count` are 0. Real ones may turn complex."""
    f.call(
        f"gather_{parts}", _gather_complex if parts == 2 else _gather_real, tile, source, stride, code, count
    )


def _gather_real(f: Function, tile: Int, source: Int, stride: Int, code: Int, count: Int) -> None:
    whole = stride.equals(size_of(f, code)) & count.equals(LANES)
    with f.either(whole) as (neighbours, apart):
        with neighbours, f.either(code.equals(own_code(f))) as (same, other):
            with same:
                f.store(tile, f.load(source))
            with other:
                read(f, tile, source, code, WHOLE)
        with apart:
            f.store(tile, f.zeros())
            with f.either(code.equals(own_code(f))) as (same, other):
                with same, f.loop(count) as i:
                    _copy(f, tile + i * f.program.width, source + i * stride)
                with other, f.loop(count) as i:
                    read(f, tile + i * f.program.width, source + i * stride, code)


def _copy(f: Function, target: Int, source: Int) -> None:
    """One number of the compute type."""
    real, width = f.program.real, f.program.width
    number = f.builder.load(f.pointer(source, real), align=1, typ=real)
    f.builder.store(number, f.pointer(target, real), align=width)


def _gather_complex(f: Function, tile: Int, source: Int, stride: Int, code: Int, count: Int) -> None:
    f.store(tile, f.zeros(2))
    width, part = f.program.width, part_of(f, code)
    with f.either(code.equals(own_code(f) + 2)) as (same, other):
        with same, f.loop(count) as i:
            _copy(f, tile + i * width, source + i * stride)
            _copy(f, tile + (i + LANES) * width, source + i * stride + width)
        with other, f.loop(count) as i:
            read(f, tile + i * width, source + i * stride, part)
            with f.when(code >= COMPLEX64):
                read(f, tile + (i + LANES) * width, source + i * stride + size_of(f, code), part)


def scatter(f: Function, tile: Int, target: Int, stride: Int, code: Int, count: Int, parts: int) -> None:
    """The inverse of :func:`gather`; of a complex number only the real part, where the array is real."""

    def body(f: Function, tile: Int, target: Int, stride: Int, code: Int, count: Int) -> None:
        width, part = f.program.width, part_of(f, code)
        whole = stride.equals(size_of(f, code)) & count.equals(LANES) & (code < COMPLEX64)
        with f.either(whole) as (neighbours, apart):
            with neighbours, f.either(code.equals(own_code(f))) as (same, other):
                with same:
                    f.store(target, f.load(tile))
                with other:
                    write(f, target, tile, code, WHOLE)
            with apart, f.loop(count) as i:
                write(f, target + i * stride, tile + i * width, part)
                if parts == 2:
                    with f.when(code >= COMPLEX64):
                        write(f, target + i * stride + size_of(f, code), tile + (i + LANES) * width, part)

    f.call(f"scatter_{parts}", body, tile, target, stride, code, count)


def ahead(
    f: Function,
    source: Int,
    code: Int,
    by_channel: Int,
    by_time: Int,
    first: Int,
    last: Int,
    channels: Int,
    *,
    write: bool,
) -> None:
    """Ask memory for the rows from `first` to `last` of a tile that is loaded or stored later.

    Sixteen rows of each of four arrays are more streams than a processor follows by itself, and more lines
    than it can wait for at once. Where channels are neighbours in memory, as large a part of the steps.
    """

    def body(f: Function, source: Int, code: Int, by_channel: Int, by_time: Int, *rows: Int) -> None:
        first, last, channels = rows
        size = size_of(f, code)
        first_step, last_step = first * _SHARE, f.least(last, LANES) * _SHARE
        with f.either(by_time.equals(size)) as (along, across):
            with along, f.loop(f.least(last, channels), first) as i, f.loop(size * STEPS, step=_LINE) as k:
                f.fetch(source + i * by_channel + k, write=write)
            with across, f.when(by_channel.equals(size)), f.loop(last_step, first_step) as t:
                f.fetch(source + t * by_time, write=write)

    f.call(f"ahead_{write:d}", body, source, code, by_channel, by_time, first, last, channels)


def load_tile(
    f: Function,
    tile: Int,
    corner: Int,
    source: Int,
    code: Int,
    by_channel: Int,
    by_time: Int,
    channels: Int,
    steps: Int,
) -> None:
    """Fill a tile (steps, 16) of real numbers; channels that are not there are 0.

    Where neighbours in time are neighbours in memory, sixteen rows are read and transposed at once;
    where neighbours in channel are, they are the lanes. `corner` is room for sixteen vectors.
    """
    f.call("load_tile", _load_tile, tile, corner, source, code, by_channel, by_time, channels, steps)


def _load_tile(
    f: Function,
    tile: Int,
    corner: Int,
    source: Int,
    code: Int,
    by_channel: Int,
    by_time: Int,
    channels: Int,
    steps: Int,
) -> None:
    p = f.program
    size, whole = size_of(f, code), channels.equals(LANES)
    done = Variable(f, f.number(0))
    with f.when(by_time.equals(size)):
        with f.when(whole & code.equals(own_code(f))), f.while_(lambda: done.integer + LANES <= steps):
            _transpose(
                f, tile + done.integer * p.vector, p.vector, source + done.integer * p.width, by_channel
            )
            done.set(done.integer + LANES)
        with f.loop(LANES, channels) as i:
            f.store(corner + i * p.vector, f.zeros())
        with f.while_(lambda: done.integer + LANES <= steps):
            with f.loop(channels) as i:
                read(f, corner + i * p.vector, source + i * by_channel + done.integer * by_time, code, WHOLE)
            _transpose(f, tile + done.integer * p.vector, p.vector, corner, p.vector)
            done.set(done.integer + LANES)
    with f.when(by_time.differs(size) & by_channel.equals(size) & whole):
        with f.loop(steps) as t:
            read(f, tile + t * p.vector, source + t * by_time, code, WHOLE)
        done.set(steps)
    with f.loop(steps, done.integer) as t:
        f.store(tile + t * p.vector, f.zeros())
        with f.loop(channels) as i:
            read(f, tile + t * p.vector + i * p.width, source + i * by_channel + t * by_time, code)


def store_tile(
    f: Function,
    tile: Int,
    corner: Int,
    target: Int,
    code: Int,
    by_channel: Int,
    by_time: Int,
    channels: Int,
    steps: Int,
) -> None:
    """The inverse of :func:`load_tile`; channels that are not there are not written."""
    f.call("store_tile", _store_tile, tile, corner, target, code, by_channel, by_time, channels, steps)


def _store_tile(
    f: Function,
    tile: Int,
    corner: Int,
    target: Int,
    code: Int,
    by_channel: Int,
    by_time: Int,
    channels: Int,
    steps: Int,
) -> None:
    p = f.program
    size, whole = size_of(f, code), channels.equals(LANES)
    done = Variable(f, f.number(0))
    with f.when(by_time.equals(size)):
        with f.when(whole & code.equals(own_code(f))), f.while_(lambda: done.integer + LANES <= steps):
            _transpose(
                f, target + done.integer * p.width, by_channel, tile + done.integer * p.vector, p.vector
            )
            done.set(done.integer + LANES)
        with f.while_(lambda: done.integer + LANES <= steps):
            _transpose(f, corner, p.vector, tile + done.integer * p.vector, p.vector)
            with f.loop(channels) as i:
                write(f, target + i * by_channel + done.integer * by_time, corner + i * p.vector, code, WHOLE)
            done.set(done.integer + LANES)
    with f.when(by_time.differs(size) & by_channel.equals(size) & whole):
        with f.loop(steps) as t:
            write(f, target + t * by_time, tile + t * p.vector, code, WHOLE)
        done.set(steps)
    with f.loop(steps, done.integer) as t, f.loop(channels) as i:
        write(f, target + i * by_channel + t * by_time, tile + t * p.vector + i * p.width, code)


def load_rows(
    f: Function,
    rows: Int,
    source: Int,
    code: Int,
    by_state: Int,
    by_time: Int,
    n: Int,
    steps: Int,
    pitch: int,
) -> None:
    """B or C of one group over some steps: row j holds state j's numbers, `pitch` bytes after the last row's.

    Of a complex state each is two neighbours; real ones become complex.
    """

    def body(
        f: Function, rows: Int, source: Int, code: Int, by_state: Int, by_time: Int, n: Int, steps: Int
    ) -> None:
        p = f.program
        with f.loop(n) as j:
            row, begin = rows + j * pitch, source + j * by_state
            if p.complex:
                with f.loop(steps) as t:
                    _read_pair(f, row + t * (2 * p.width), begin + t * by_time, code)
            else:
                done = Variable(f, f.number(0))
                with (
                    f.when(by_time.equals(size_of(f, code))),
                    f.while_(lambda: done.integer + LANES <= steps),
                ):
                    read(f, row + done.integer * p.width, begin + done.integer * by_time, code, WHOLE)
                    done.set(done.integer + LANES)
                with f.loop(steps, done.integer) as t:
                    read(f, row + t * p.width, begin + t * by_time, code)

    f.call("load_rows", body, rows, source, code, by_state, by_time, n, steps)


def _read_pair(f: Function, target: Int, source: Int, code: Int) -> None:
    part = part_of(f, code)
    read(f, target, source, part)
    with f.either(code < COMPLEX64) as (real, complex_):
        with real:
            f.builder.store(
                ir.Constant(f.program.real, 0.0), f.pointer(target + f.program.width, f.program.real)
            )
        with complex_:
            read(f, target + f.program.width, source + size_of(f, code), part)


def _vectors(f: Function, source: Int, step: Int | int) -> list[ir.Value]:
    return [f.load(source + f.number(i) * step).parts[0] for i in range(LANES)]


def _transpose(f: Function, target: Int, to_step: Int | int, source: Int, step: Int | int) -> None:
    """Sixteen vectors as the columns of sixteen others, so many bytes apart.

    Each of four rounds interleaves vector i with vector i + 8.
    """
    low = [i // 2 + LANES * (i % 2) for i in range(LANES)]
    high = [i + LANES // 2 for i in low]
    rows = _vectors(f, source, step)
    for _ in range(LANES.bit_length() - 1):
        pairs = zip(rows[: LANES // 2], rows[LANES // 2 :], strict=True)
        rows = [f.shuffled(a, b, order) for a, b in pairs for order in (low, high)]
    for i, row in enumerate(rows):
        f.store(target + f.number(i) * to_step, Lanes(f, (row,)))


def totals(f: Function, source: Int, step: int) -> Lanes:
    """The sums over lanes of sixteen vectors, `step` bytes apart: lane i has the i-th.

    Each round adds the even lanes of a pair of vectors to the odd ones.
    """
    even = list(range(0, 2 * LANES, 2))
    odd = [i + 1 for i in even]
    rows = _vectors(f, source, step)
    while len(rows) > 1:
        pairs = zip(rows[::2], rows[1::2], strict=True)
        rows = [f.builder.fadd(f.shuffled(a, b, even), f.shuffled(a, b, odd)) for a, b in pairs]
    return Lanes(f, (rows[0],))
