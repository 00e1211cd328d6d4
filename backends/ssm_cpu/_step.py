"""The decode step: one row and some channels at a time, sixteen states of a channel in the lanes."""

from __future__ import annotations

from ssm_cpu import _call as names
from ssm_cpu._call import Call
from ssm_cpu._emit import Function, Variable
from ssm_cpu._functions import quieted, sigmoid, softplus
from ssm_cpu._modes import Mode
from ssm_cpu._tiles import gather, scatter, totals
from ssm_cpu._values import LANES, Int, Lanes, fma, real_fma

CHUNK = 64
"""Channels in a task."""

X, U, G, Y, STATE, MODE_A, LANES_B, LANES_C = range(8)
"""Rooms: Δ, u, Δu (u for zoh) and the output of sixteen channels, a state, A, B and C of a group."""


def step_rooms(n: int, parts: int, width: int) -> list[int]:
    """Offsets in bytes of the rooms, and at the end the size of all."""
    vector = LANES * width
    matrix = -(-n // LANES) * parts * vector
    sizes = (vector, vector, vector, LANES * vector, parts * vector, parts * vector, matrix, matrix)
    offsets = [0]
    for size in sizes:
        offsets.append(offsets[-1] + -(-size // 64) * 64)
    return offsets


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
    call = Call(f, table, scratch)
    groups = {array: Variable(f, f.number(-1)) for array in (names.B, names.C)}
    with f.loop(end, begin, LANES) as channel:
        count = f.least(end - channel, LANES)
        _streams(call, row, channel, count)
        with f.loop(LANES) as i:
            f.store(call.room(Y) + i * f.program.vector, f.zeros())
        with f.when(slot >= 0), f.loop(count) as i:
            for array, place, share in (
                (names.B, LANES_B, names.SHARE_B),
                (names.C, LANES_C, names.SHARE_C),
            ):
                group = (channel + i) // call.number(share)
                with f.when(group.differs(groups[array].integer)):
                    _matrix(call, array, place, row, group)
                    groups[array].set(group)
            f.call("step_channel", _channel, table, scratch, slot, channel + i, i)
        _output(call, row, channel, count, slot)


def _streams(call: Call, row: Int, channel: Int, count: Int) -> None:
    """u, Δ, and what B is multiplied by, of sixteen channels."""
    f = call.f
    bias = _channel_lanes(call, names.BIAS, call.at(names.BIAS, channel), 0, count)
    x = _channel_lanes(call, names.DELTA, call.at(names.DELTA, row, channel), 1, count) + bias
    f.store(call.room(X), quieted(x))
    with f.when(call.flag(names.SOFTPLUS)):
        f.store(call.room(X), quieted(softplus(x)))
    u = _channel_lanes(call, names.U, call.at(names.U, row, channel), 1, count)
    f.store(call.room(U), u)
    f.store(call.room(G), u)
    with f.when(call.number(names.ZOH).equals(0)):
        f.store(call.room(G), u * f.load(call.room(X)))


def _channel_lanes(call: Call, array: int, source: Int, dimension: int, count: Int) -> Lanes:
    """Sixteen neighbouring channels of an array; zeros if it is not given."""
    f = call.f
    corner = call.room(STATE)
    f.store(corner, f.zeros())
    with f.when(call.given(array)):
        gather(f, corner, source, call.stride(array, dimension), call.code(array), count, 1)
    return f.load(corner)


def _matrix(call: Call, array: int, place: int, row: Int, group: Int) -> None:
    """All states of B or C of one group."""
    f, n, parts = call.f, call.number(names.N), call.f.program.parts
    with f.loop(n, step=LANES) as j:
        here = call.room(place) + j // LANES * (parts * f.program.vector)
        source = call.at(array, row, group, j)
        gather(f, here, source, call.stride(array, 2), call.code(array), f.least(n - j, LANES), parts)


def _channel(f: Function, table: Int, scratch: Int, slot: Int, channel: Int, i: Int) -> None:
    """h ← exp(ΔA) h + b̄ u of one channel, and its products C h, still in lanes."""
    call, p = Call(f, table, scratch), f.program
    n = call.number(names.N)
    x, g = (f.spread(call.room(place) + i * p.width) for place in (X, G))
    products = Variable(f, f.zeros())
    with f.loop(n, step=LANES) as j:
        count = f.least(n - j, LANES)
        at = j // LANES * (p.parts * p.vector)
        state, A_place = call.room(STATE), call.room(MODE_A)
        source = call.at(names.INITIAL, slot, channel, j)
        gather(f, state, source, call.stride(names.INITIAL, 2), call.code(names.INITIAL), count, p.parts)
        gather(
            f,
            A_place,
            call.at(names.A, channel, j),
            call.stride(names.A, 1),
            call.code(names.A),
            count,
            p.parts,
        )
        mode = Mode.of(f.load(A_place, p.parts))
        a = mode.decay(x)
        driven = Variable(f, g * f.load(call.room(LANES_B) + at, p.parts))
        with f.when(call.flag(names.ZOH)):
            driven.set(mode.hold(x, a) * driven.lanes)
        h = fma(a, f.load(state, p.parts), driven.lanes)
        f.store(state, h)
        target = call.at(names.LAST, slot, channel, j)
        scatter(f, state, target, call.stride(names.LAST, 2), call.code(names.LAST), count, p.parts)
        products.set(real_fma(f.load(call.room(LANES_C) + at, p.parts), h, products.lanes))
    f.store(call.room(Y) + i * p.vector, products.lanes)


def _output(call: Call, row: Int, channel: Int, count: Int, slot: Int) -> None:
    """y of sixteen channels: the sums over states, D and the gate; 0 in a row that is skipped."""
    f, p = call.f, call.f.program
    sums = totals(f, call.room(Y), p.vector)
    D = _channel_lanes(call, names.D, call.at(names.D, channel), 0, count)
    v = Variable(f, fma(D, f.load(call.room(U)), sums + sums if p.complex else sums))
    with f.when(call.given(names.Z)):
        z = _channel_lanes(call, names.Z, call.at(names.Z, row, channel), 1, count)
        v.set(v.lanes * (z * sigmoid(z)))
    with f.when(slot < 0):
        v.set(f.zeros())
    corner = call.room(STATE)
    f.store(corner, v.lanes)
    target = call.at(names.Y, row, channel)
    scatter(f, corner, target, call.stride(names.Y, 1), call.code(names.Y), count, 1)
