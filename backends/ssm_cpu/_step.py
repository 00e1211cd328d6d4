"""The decode step: one row and some channels at a time, sixteen states of a channel in the lanes.

Where states and A lie as they are computed with, they are read and written in place; others are laid out
in scratch memory, a few channels at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from ssm_cpu import _call as names
from ssm_cpu._call import Call
from ssm_cpu._emit import Function, Variable
from ssm_cpu._functions import quieted, sigmoid, softplus
from ssm_cpu._modes import Mode
from ssm_cpu._rows import first_lanes, load_row, store_row
from ssm_cpu._tiles import gather, scatter, totals
from ssm_cpu._transfer import own_code
from ssm_cpu._values import LANES, Bit, Int, choose, fma, real_fma

CHUNK = 64
"""Channels in a task."""
_LAID = 4
"""Channels laid out at a time."""

X, U, G, V, LEFT, SUMS, CORNER, ROWS_STATE, ROWS_A, LANES_B, LANES_C = range(11)
"""Rooms: Δ, u, Δu (u for zoh), outputs and one more number of each channel; the sums of its products C h,
still in lanes; sixteen states; rows of states and of A as they lie in arrays; B and C of a group."""


@lru_cache(maxsize=64)
def step_rooms(n: int, parts: int, width: int) -> tuple[int, ...]:
    """Offsets in bytes of the rooms, and at the end the size of all."""
    vector, channels = LANES * width, CHUNK * width
    matrix = -(-n // LANES) * parts * vector
    rows = _LAID * matrix
    sizes = (*(channels,) * 5, CHUNK * vector, parts * vector, rows, rows, matrix, matrix)
    offsets = [0]
    for size in sizes:
        offsets.append(offsets[-1] + -(-size // 64) * 64)
    return tuple(offsets)


def step(f: Function, table: Int, scratch: Int) -> None:
    """Work on tasks until there are none left."""
    call = Call(f, table, scratch)
    task = Variable(f, f.take(table + 8 * names.COUNTER))
    chunks = (call.number(names.CHANNELS) + (CHUNK - 1)) // CHUNK
    with f.while_(lambda: task.integer < call.number(names.TASKS)):
        row, begin = task.integer // chunks, task.integer % chunks * CHUNK
        end = f.least(begin + CHUNK, call.number(names.CHANNELS))
        slot = Variable(f, row)
        with f.when(call.given(names.SEQ_IDX)):
            slot.set(_slot(call, row))
        f.call("step_channels", _channels, table, scratch, row, slot.integer, begin, end)
        task.set(f.take(table + 8 * names.COUNTER))


def _slot(call: Call, row: Int) -> Int:
    """A row's slot in the pool; negative to skip it."""
    f = call.f
    here, found = call.at(names.SEQ_IDX, row), Variable(f, row)
    with f.either(call.code(names.SEQ_IDX).equals(4)) as (short, long):
        with short:
            found.set(f.word32(here))
        with long:
            found.set(f.word(here))
    return found.integer


def _channels(f: Function, table: Int, scratch: Int, row: Int, slot: Int, begin: Int, end: Int) -> None:
    """Some channels of one row."""
    call, count = Call(f, table, scratch), end - begin
    with f.either(slot >= 0) as (live, skipped):
        with live:
            _streams(call, row, begin, count)
            _states(call, row, slot, begin, end)
            _output(call, row, begin, count)
        with skipped, f.loop(count, step=LANES) as i:
            f.store(call.room(V) + i * f.program.width, f.zeros())
    stride, code = call.stride(names.Y, 1), call.code(names.Y)
    with f.loop(count, step=LANES) as i:
        here, there = call.room(V) + i * f.program.width, call.at(names.Y, row, begin + i)
        scatter(f, here, there, stride, code, f.least(count - i, LANES), 1)


def _fetch(call: Call, place: int, count: Int, array: int, address: Int, dimension: int) -> None:
    """One number of each channel, from an array to a room; zeros if the array is not given."""
    f, room = call.f, call.room(place)
    with f.either(call.given(array)) as (given, missing):
        with given:
            f.call("fetch", _fetched, room, address, call.stride(array, dimension), call.code(array), count)
        with missing, f.loop(count, step=LANES) as i:
            f.store(room + i * f.program.width, f.zeros())


def _fetched(f: Function, room: Int, source: Int, stride: Int, code: Int, count: Int) -> None:
    with f.loop(count, step=LANES) as i:
        gather(f, room + i * f.program.width, source + i * stride, stride, code, f.least(count - i, LANES), 1)


def _streams(call: Call, row: Int, begin: Int, count: Int) -> None:
    """u, Δ, and what B is multiplied by."""
    f = call.f
    xs, us, gs, biases = (call.room(place) for place in (X, U, G, LEFT))
    _fetch(call, X, count, names.DELTA, call.at(names.DELTA, row, begin), 1)
    _fetch(call, U, count, names.U, call.at(names.U, row, begin), 1)
    _fetch(call, LEFT, count, names.BIAS, call.at(names.BIAS, begin), 0)
    zoh = call.flag(names.ZOH).mask

    def drive(i: Int, *, smooth: bool) -> None:
        at = i * f.program.vector
        x, u = f.load(xs + at) + f.load(biases + at), f.load(us + at)
        x = quieted(softplus(x) if smooth else x)
        f.store(xs + at, x)
        f.store(gs + at, choose(zoh, u, u * x))

    with f.either(call.flag(names.SOFTPLUS)) as (smooth, plain):
        with smooth:
            f.each(_blocks(count), lambda i: drive(i, smooth=True))
        with plain, f.loop(_blocks(count)) as i:
            drive(i, smooth=False)


def _blocks(count: Int) -> Int:
    """Vectors of so many channels."""
    return (count + (LANES - 1)) // LANES


def _states(call: Call, row: Int, slot: Int, begin: Int, end: Int) -> None:
    """The new states and their products with C, of one group of channels after another."""
    f = call.f
    channel = Variable(f, begin)
    groups = {array: Variable(f, f.number(-1)) for array in (names.B, names.C)}
    with f.while_(lambda: channel.integer < end):
        stop = end
        for array, place, share in ((names.B, LANES_B, names.SHARE_B), (names.C, LANES_C, names.SHARE_C)):
            group = channel.integer // call.number(share)
            with f.when(group.differs(groups[array].integer)):
                _matrix(call, array, place, row, group)
                groups[array].set(group)
            stop = f.least(stop, (group + 1) * call.number(share))
        f.call("step_group", _group, call.table, call.scratch, slot, begin, channel.integer, stop)
        channel.set(stop)


def _matrix(call: Call, array: int, place: int, row: Int, group: Int) -> None:
    """All states of B or C of one group."""
    f, n, parts = call.f, call.number(names.N), call.f.program.parts
    with f.loop(n, step=LANES) as j:
        here = call.room(place) + j // LANES * (parts * f.program.vector)
        source = call.at(array, row, group, j)
        gather(f, here, source, call.stride(array, 2), call.code(array), f.least(n - j, LANES), parts)


@dataclass(frozen=True)
class _Rows:
    """Rows of numbers as they are computed with, one of each channel: the first, and bytes to the next."""

    address: Int
    pitch: Int

    @classmethod
    def of(cls, call: Call, array: int, *index: Int) -> _Rows:
        """Those of an array, from that one on."""
        return cls(call.at(array, *index), call.stride(array, len(index) - 1))


def _group(f: Function, table: Int, scratch: Int, slot: Int, begin: Int, first: Int, stop: Int) -> None:
    """The channels from `first` to `stop`, which share their groups of B and C."""
    call = Call(f, table, scratch)
    own = [_is_own(call, *place) for place in ((names.A, 1), (names.INITIAL, 2), (names.LAST, 2))]
    with f.either(own[0] & own[1] & own[2]) as (direct, laid):
        with direct:
            A = _Rows.of(call, names.A, first)
            state, new = (_Rows.of(call, array, slot, first) for array in (names.INITIAL, names.LAST))
            _advance(call, A, state, new, first - begin, stop - first)
        with laid, f.loop(stop, first, _LAID) as channel:
            count = f.least(stop - channel, _LAID)
            A = _laid(call, ROWS_A, count, names.A, (channel,))
            state = _laid(call, ROWS_STATE, count, names.INITIAL, (slot, channel))
            new = _Rows(call.room(ROWS_STATE), _pitch(call))
            _advance(call, A, state, new, channel - begin, count)
            _deliver(call, count, names.LAST, (slot, channel))


def _is_own(call: Call, array: int, dimension: int) -> Bit:
    """Whether an array's rows lie as they are computed with: in that type, and neighbours.

    Without AVX-512, rows must be whole vectors.
    """
    f, p = call.f, call.f.program
    code = own_code(f) + (2 if p.complex else 0)
    own = call.code(array).equals(code) & call.stride(array, dimension).equals(p.parts * p.width)
    return own if p.avx512 else own & (call.number(names.N) % LANES).equals(0)


def _pitch(call: Call) -> Int:
    """Bytes of a row that is laid out."""
    p = call.f.program
    return (call.number(names.N) + (LANES - 1)) // LANES * (p.parts * p.vector)


def _each_row(
    call: Call, place: int, count: Int, array: int, index: tuple[Int, ...], body: Callable[..., None]
) -> None:
    """``body(here, there, states)`` for sixteen states of a row at a time: in the room, and in the array."""
    f, p, n = call.f, call.f.program, call.number(names.N)
    *outer, channel = index
    with f.loop(count) as i, f.loop(n, step=LANES) as j:
        here = call.room(place) + i * _pitch(call) + j * (p.parts * p.width)
        body(here, call.at(array, *outer, channel + i, j), f.least(n - j, LANES))


def _laid(call: Call, place: int, count: Int, array: int, index: tuple[Int, ...]) -> _Rows:
    """Some channels' rows of an array: where they lie if that will do, else laid out in a room."""
    f, parts, stride = call.f, call.f.program.parts, call.stride(array, len(index))
    address, pitch = Variable(f, call.room(place)), Variable(f, _pitch(call))

    def fetch(here: Int, there: Int, states: Int) -> None:
        corner = call.room(CORNER) if parts == 2 else here
        gather(f, corner, there, stride, call.code(array), states, parts)
        if parts == 2:
            store_row(f, here, f.load(corner, parts))

    with f.either(_is_own(call, array, len(index))) as (own, other):
        with own:
            rows = _Rows.of(call, array, *index)
            address.set(rows.address)
            pitch.set(rows.pitch)
        with other:
            _each_row(call, place, count, array, index, fetch)
    return _Rows(address.integer, pitch.integer)


def _deliver(call: Call, count: Int, array: int, index: tuple[Int, ...]) -> None:
    """The rows of states, from their room to an array."""
    f, parts, stride = call.f, call.f.program.parts, call.stride(array, len(index))

    def put(here: Int, there: Int, states: Int) -> None:
        corner = call.room(CORNER) if parts == 2 else here
        if parts == 2:
            f.store(corner, load_row(f, here, parts))
        scatter(f, corner, there, stride, call.code(array), states, parts)

    _each_row(call, ROWS_STATE, count, array, index, put)


def _advance(call: Call, A: _Rows, state: _Rows, new: _Rows, at: Int, count: Int) -> None:
    """The new states of `count` channels from the task's number `at` on, and their products with C."""
    f, p = call.f, call.f.program
    xs, gs = (call.room(place) + at * p.width for place in (X, G))
    rows = [part for each in (A, state, new) for part in (each.address, each.pitch)]
    matrices = (call.room(LANES_B), call.room(LANES_C))
    arguments = (*rows, *matrices, xs, gs, call.room(SUMS) + at * p.vector, call.number(names.N), count)
    with f.either(call.flag(names.ZOH)) as (zoh, euler):
        with zoh:
            f.call("advance_1", lambda f, *rest: _advanced(True, f, *rest), *arguments)
        with euler:
            f.call("advance_0", lambda f, *rest: _advanced(False, f, *rest), *arguments)


def _advanced(
    zoh: bool,
    f: Function,
    As: Int,
    A_pitch: Int,
    states: Int,
    state_pitch: Int,
    news: Int,
    new_pitch: Int,
    Bs: Int,
    Cs: Int,
    xs: Int,
    gs: Int,
    sums: Int,
    n: Int,
    count: Int,
) -> None:
    """h ← exp(ΔA) h + b̄ u of some channels, and their products C h, still in lanes.

    A few channels are computed side by side. In the last turn some may be the last one again: all read
    before any writes, and what they write is the same.
    """
    p = f.program
    turn = 1 if zoh else max(1, p.together // p.parts)  # side by side, a hold gains nothing
    whole = f.number(0) if zoh else n // LANES * LANES  # a hold has one form: masked

    with f.loop(count, step=turn) as first:
        channels = [f.least(first + k, count - 1) for k in range(turn)]
        products = [Variable(f, f.zeros()) for _ in channels]

        def advance(k: int, j: Int, left: Int | None) -> None:
            channel, at = channels[k], j * (p.parts * p.width)
            x, g = (f.spread(values + channel * p.width) for values in (xs, gs))
            there = left if p.avx512 else None  # without, what is laid out has whole vectors
            mode = Mode.of(load_row(f, As + channel * A_pitch + at, p.parts, there))
            before = load_row(f, states + channel * state_pitch + at, p.parts, there)
            a, driven = mode.decay(x), g * f.load(Bs + at, p.parts)
            h = fma(a, before, mode.hold(x, a) * driven if zoh else driven)
            store_row(f, news + channel * new_pitch + at, h, there)
            if left is not None:  # where A is 0 an infinite Δ has made a NaN of what is not there
                h = choose(first_lanes(f, left), h, f.zeros(p.parts))
            products[k].set(real_fma(f.load(Cs + at, p.parts), h, products[k].lanes))

        with f.loop(whole, step=LANES) as j:
            f.side_by_side(turn, lambda k: advance(k, j, None))
        with f.loop(n, whole, LANES) as j:
            f.side_by_side(turn, lambda k: advance(k, j, n - j))
        for channel, product in zip(channels, products, strict=True):
            f.store(sums + channel * p.vector, product.lanes)


def _output(call: Call, row: Int, begin: Int, count: Int) -> None:
    """y: the sums over states, D and the gate."""
    f, p = call.f, call.f.program
    us, vs, others = (call.room(place) for place in (U, V, LEFT))
    _fetch(call, LEFT, count, names.D, call.at(names.D, begin), 0)
    with f.loop(count, step=LANES) as i:
        sums = totals(f, call.room(SUMS) + i * p.vector, p.vector)
        at = i * p.width
        skip = fma(f.load(others + at), f.load(us + at), sums + sums if p.complex else sums)
        f.store(vs + at, skip)

    def gate(i: Int) -> None:
        v, z = (f.load(place + i * p.vector) for place in (vs, others))
        f.store(vs + i * p.vector, v * (z * sigmoid(z)))

    with f.when(call.given(names.Z)):
        _fetch(call, LEFT, count, names.Z, call.at(names.Z, row, begin), 1)
        f.each(_blocks(count), gate)
