"""The backward kernel: the forward kernel's tiles in reverse, each from the state saved before it.

With q the cotangent of the output before the gate, and γ = 2 if A is complex, else 1::

    c_t = γ q_t conj(C_t),   λ_t = c_t + conj(a_{t+1}) λ_{t+1},   λ_{l−1} = c_{l−1} + r_last

In a tile one mode of sixteen channels after the other is swept forward once more, its decays and states
kept in the thread's cache, and then backward. Gradients of variable B and C are summed over the
channels of a chunk in lanes; each chunk has a slice of them, and `_reduce` adds the slices.
"""

from __future__ import annotations

from ssm_cpu import _call as names
from ssm_cpu import _rooms as places
from ssm_cpu._blocks import (
    Part,
    Task,
    fetch_states,
    is_fresh,
    last_reset,
    load_inputs,
    load_matrices,
    load_stream,
    put_states,
    settle,
    state_bytes,
)
from ssm_cpu._call import STEPS, Call
from ssm_cpu._emit import Function, Variable
from ssm_cpu._functions import sigmoid
from ssm_cpu._kinds import by_kind
from ssm_cpu._retreat import retreat
from ssm_cpu._tiles import scatter, store_tile, totals
from ssm_cpu._values import LANES, Int, Lanes, fma


def backward(f: Function, table: Int, scratch: Int) -> None:
    """Work on tasks until there are none left."""
    call = Call(f, table, scratch)
    task = Variable(f, f.take(table + 8 * names.COUNTER))
    with f.while_(lambda: task.integer < call.number(names.TASKS)):
        f.call("scans_back", _scans_back, table, scratch, task.integer)
        task.set(f.take(table + 8 * names.COUNTER))


def _scans_back(f: Function, *integers: Int) -> None:
    """Some rows of one chunk, one after another, and the sums over all of them."""
    part = Part.numbered(f, *integers)
    with f.loop(part.first.blocks) as i:
        settle(part.first, i)
        _clear(part.first, i)
    with part.rows() as row:
        f.call("scan_back", _scan_back, *Task.at_row(part.call, row, part.chunk).integers)
    with f.loop(part.first.blocks) as i:
        _put_sums(part.first, i, part.number)


def _scan_back(f: Function, *integers: Int) -> None:
    """One row of one chunk, from its last step to its first."""
    task = Task.of(f, *integers)
    call = task.call
    with f.loop(task.blocks) as i:
        fetch_states(task, i, places.CARRY, names.LAST)
    time = Variable(f, task.stop)
    with f.while_(lambda: task.start < time.integer):
        end = time.integer
        t = last_reset(task, task.start + (end - 1 - task.start) // STEPS * STEPS, end)
        load_matrices(task, t, end - t)
        fresh = f.pick(is_fresh(task, t), 0, -1)
        for place, constant in _MATRIX_SUMS:
            with f.when(call.number(constant).equals(0)):
                _clear_tile(task, place, end - t)
        with f.loop(task.blocks) as i:
            f.call("tile_back", _tile_back, *task.integers, i, t, end - t, fresh)
        for (place, constant), array in zip(_MATRIX_SUMS, (names.DB, names.DC), strict=True):
            with f.when(call.number(constant).equals(0)):
                _put_slice(task, place, array, t, end - t)
        time.set(t)
    with f.when(call.given(names.DINITIAL)), f.loop(task.blocks) as i:
        put_states(task, i, places.CARRY, names.DINITIAL, task.row)


_MATRIX_SUMS = ((places.SUM_B, names.B_CONSTANT), (places.SUM_C, names.C_CONSTANT))


def _clear(task: Task, i: Int) -> None:
    """Zero what is summed over all time."""
    f, call = task.f, task.call
    for which in (0, 1):
        f.store(_head_sum(task, i, which), f.zeros())
    with f.loop(call.number(names.N)) as j:
        here = j * state_bytes(f)
        f.store(task.states(places.SUM_A, i) + here, f.zeros(f.program.parts))
        for place, constant in _MATRIX_SUMS:
            with f.when(call.flag(constant)):
                f.store(task.states(place, i) + here, f.zeros(f.program.parts))


def _clear_tile(task: Task, place: int, steps: Int) -> None:
    """Zero what is summed over channels, of each mode and step of a tile, to a whole vector of steps."""
    f, call = task.f, task.call
    with f.loop(call.number(names.N)) as j, f.loop((steps + (LANES - 1)) // LANES * LANES) as s:
        f.store(call.room(place) + (j * STEPS + s) * state_bytes(f), f.zeros(f.program.parts))


def _head_sum(task: Task, i: Int, which: int) -> Int:
    """Where the gradient of block i's delta_bias (0) or D (1) is summed."""
    return task.call.room(places.SUM_HEAD) + (i * 2 + which) * task.f.program.vector


def _put_sums(task: Task, i: Int, part: Int) -> None:
    """The gradients of what has no time: each part of the rows has its own, which `_reduce` adds."""
    f, call = task.f, task.call
    put_states(task, i, places.SUM_A, names.DA, part)
    for (place, constant), array in zip(_MATRIX_SUMS, (names.DB, names.DC), strict=True):
        with f.when(call.flag(constant)):
            put_states(task, i, place, array, part)
    for which, array in enumerate((names.DBIAS, names.DD)):
        target = call.at(array, part, task.channel(i))
        scatter(
            f, _head_sum(task, i, which), target, call.stride(array, 1), call.code(array), task.count(i), 1
        )


def _put_slice(task: Task, place: int, array: int, t: Int, steps: Int) -> None:
    """The sums over lanes of dB or dC of a tile, to the chunk's slice (n, l) of (chunks, b, n, l)."""
    f, call, p = task.f, task.call, task.f.program
    corner = call.room(places.CORNER)
    number = (task.chunk - call.number(names.CHUNK_TABLE)) // (8 * names.CHUNK_WORDS)
    with f.loop(call.number(names.N)) as j, f.loop(steps, step=LANES) as s:
        source = call.room(place) + (j * STEPS + s) * state_bytes(f)
        for part in range(p.parts):
            f.store(corner + part * p.vector, totals(f, source + part * p.vector, state_bytes(f)))
        target = call.at(array, number, task.batch, j, t + s)
        count = f.least(steps - s, LANES)
        scatter(f, corner, target, call.stride(array, 3), call.code(array), count, p.parts)


def _tile_back(f: Function, *integers: Int) -> None:
    """All modes of block i over one tile, and the gradients of its streams."""
    *given, i, t, steps, fresh = integers
    task = Task.of(f, *given)
    call = task.call
    load_inputs(task, i, t, steps, keep=True)
    _load_cotangents(task, i, t, steps)
    tiles = [
        call.room(place)
        for place in (
            places.TILE_X,
            places.TILE_G,
            places.TILE_U,
            places.TILE_Q,
            places.TILE_V,
            places.TILE_S,
            places.TILE_E,
            places.DECAYS,
            places.STATES,
            places.HOLDS,
        )
    ]
    with f.loop(call.number(names.N)) as j:
        here = j * state_bytes(f)
        sums = [
            f.pick(call.flag(constant), task.states(place, i) + here, call.room(place) + here * STEPS)
            for place, constant in _MATRIX_SUMS
        ]
        by_kind(
            task, i, j, "retreat", retreat, *tiles,
            task.record(i, j), task.saved(i, t) + here, task.states(places.CARRY, i) + here,
            task.states(places.SUM_A, i) + here, *sums, steps, fresh,
        )  # fmt: skip
    with f.loop(steps) as s:
        _finish(task, i, s)
    for place, array in ((places.TILE_S, names.DU), (places.TILE_E, names.DDELTA)):
        _store_stream(task, array, place, i, t, steps)
    with f.when(call.given(names.Z)):
        _store_stream(task, names.DZ, places.TILE_V, i, t, steps)


def _load_cotangents(task: Task, i: Int, t: Int, steps: Int) -> None:
    """dy, and γq; the sums over modes begin at 0."""
    f, call, vector = task.f, task.call, task.f.program.vector
    with f.either(call.given(names.Y)) as (given, absent):
        with given:
            load_stream(task, names.Y, places.TILE_R, i, t, steps)
        with absent, f.loop(steps) as s:
            f.store(call.room(places.TILE_R) + s * vector, f.zeros())
    with f.when(call.given(names.Z)):
        load_stream(task, names.Z, places.TILE_Z, i, t, steps)
    with f.loop(steps) as s:
        at = s * vector
        for place in (places.TILE_V, places.TILE_S, places.TILE_E):
            f.store(call.room(place) + at, f.zeros())
        target = call.room(places.TILE_Q) + at
        r = _doubled(f.load(call.room(places.TILE_R) + at))
        f.store(target, r)
        with f.when(call.given(names.Z)):
            z = f.load(call.room(places.TILE_Z) + at)
            f.store(target, r * (z * sigmoid(z)))


def _doubled(x: Lanes) -> Lanes:
    """γx."""
    return x + x if x.f.program.complex else x


def _finish(task: Task, i: Int, s: Int) -> None:
    """The gradients of u, delta and z at one step, from the sums over modes."""
    f, call, p = task.f, task.call, task.f.program

    def tile(place: int) -> Int:
        return call.room(place) + s * p.vector

    u, x, q, total, slope = (
        f.load(tile(place))
        for place in (places.TILE_U, places.TILE_X, places.TILE_Q, places.TILE_S, places.TILE_E)
    )
    q = q * f.constant(0.5) if p.complex else q
    D = f.load(task.head(i, 1))
    du, dstep = Variable(f, total), Variable(f, slope)
    with f.when(call.number(names.ZOH).equals(0)):
        du.set(x * total)
        dstep.set(fma(u, total, slope))
    with f.when(call.flag(names.SOFTPLUS)):
        dstep.set(dstep.lanes * sigmoid(f.load(tile(places.TILE_RAW))))
    f.store(tile(places.TILE_S), fma(D, q, du.lanes))
    f.store(tile(places.TILE_E), dstep.lanes)
    for which, term in enumerate((dstep.lanes, q * u)):
        f.store(_head_sum(task, i, which), f.load(_head_sum(task, i, which)) + term)
    with f.when(call.given(names.Z)):
        z, r = f.load(tile(places.TILE_Z)), f.load(tile(places.TILE_R))
        v = fma(D, u, _doubled(f.load(tile(places.TILE_V))))
        gate = sigmoid(z) * fma(z, sigmoid(-z), f.constant(1.0))
        f.store(tile(places.TILE_V), r * v * gate)


def _store_stream(task: Task, array: int, place: int, i: Int, t: Int, steps: Int) -> None:
    """A tile to an array (b, d, l)."""
    call = task.call
    store_tile(
        task.f, call.room(place), call.room(places.CORNER), call.at(array, task.batch, task.channel(i), t),
        call.code(array), call.stride(array, 1), call.stride(array, 2), task.count(i), steps,
    )  # fmt: skip
