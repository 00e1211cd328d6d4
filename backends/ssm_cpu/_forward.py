"""The forward kernel: a thread takes some channels of a row, and walks through time in tiles of 64 steps.

Short rows it takes one after another.

In a tile one mode of sixteen channels after the other is scanned, its state in registers; the outputs
of all modes are added up in the tile.
"""

from __future__ import annotations

from contextlib import nullcontext

from ssm_cpu import _call as names
from ssm_cpu import _rooms as places
from ssm_cpu._blocks import (
    Part,
    Task,
    fetch_states,
    is_fresh,
    load_inputs,
    load_matrices,
    load_stream,
    look_ahead,
    next_reset,
    put_states,
    settle,
    state_bytes,
)
from ssm_cpu._call import STEPS, Call
from ssm_cpu._emit import Function, Variable
from ssm_cpu._functions import sigmoid
from ssm_cpu._kinds import Kind, by_kind
from ssm_cpu._modes import Mode
from ssm_cpu._tiles import store_tile
from ssm_cpu._values import LANES, Int, Lanes, fma, real_fma

_STREAMS = {names.U: False, names.DELTA: False, names.Z: False, names.Y: True}
"""What a tile reads and writes; of each, whether it is written."""


def forward(f: Function, table: Int, scratch: Int) -> None:
    """Work on tasks until there are none left."""
    call = Call(f, table, scratch)
    task = Variable(f, f.take(table + 8 * names.COUNTER))
    with f.while_(lambda: task.integer < call.number(names.TASKS)):
        f.call("scans", _scans, table, scratch, task.integer)
        task.set(f.take(table + 8 * names.COUNTER))


def _scans(f: Function, *integers: Int) -> None:
    """Some rows of one chunk, one after another."""
    part = Part.numbered(f, *integers)
    with f.loop(part.first.blocks) as i:
        settle(part.first, i)
    with part.rows() as row:
        f.call("scan", _scan, *Task.at_row(part.call, row, part.chunk).integers)


def _scan(f: Function, *integers: Int) -> None:
    """One row of one chunk, from its first step to its last."""
    task = Task.of(f, *integers)
    look_ahead(task, f.number(0), task.start, _STREAMS, f.number(0), f.number(LANES))
    with f.loop(task.blocks) as i:
        fetch_states(task, i, places.STATE, names.INITIAL)
    time = Variable(f, task.start)
    with f.while_(lambda: time.integer < task.stop):
        t = time.integer
        end = f.least(t + STEPS - (t - task.start) % STEPS, task.stop)
        end = next_reset(task, t, end)
        load_matrices(task, t, end - t)
        fresh = f.pick(is_fresh(task, t), 0, -1)
        with f.loop(task.blocks) as i:
            last = (i + 1).equals(task.blocks)
            following = f.pick(last, 0, i + 1), f.pick(last, end, t)
            f.call("tile", _tile, *task.integers, i, t, end - t, fresh, *following)
        time.set(end)
    with f.when(task.call.given(names.LAST)), f.loop(task.blocks) as i:
        put_states(task, i, places.STATE, names.LAST, task.row)


def _tile(f: Function, *integers: Int) -> None:
    """All modes of block i over one tile, and its outputs; memory is asked for the tile after it."""
    *given, i, t, steps, fresh, next_block, next_time = integers
    task = Task.of(f, *given)
    call, p = task.call, f.program
    n = call.number(names.N)
    with f.when(call.flag(names.SAVED) & ((t - task.start) % STEPS).equals(0)), f.loop(n) as j:
        f.store(
            task.saved(i, t) + j * state_bytes(f),
            f.load(task.states(places.STATE, i) + j * state_bytes(f), p.parts),
        )
    load_inputs(task, i, t, steps, keep=False)
    vs = call.room(places.TILE_V)
    with f.loop(steps) as s:
        f.store(vs + s * p.vector, f.zeros())
    with f.loop(n) as j:
        share = (n + (LANES - 1)) // n
        with f.when(next_time < task.stop):
            look_ahead(task, next_block, next_time, _STREAMS, j * share, (j + 1) * share)
        state = task.states(places.STATE, i) + j * state_bytes(f)
        tiles = [call.room(place) for place in (places.TILE_X, places.TILE_G, places.TILE_V)]
        by_kind(task, i, j, "advance", _advance, *tiles, state, task.record(i, j), steps, fresh)
    with f.when(call.given(names.Z)):
        load_stream(task, names.Z, places.TILE_Z, i, t, steps)
    D, us, zs = f.load(task.head(i, 1)), call.room(places.TILE_U), call.room(places.TILE_Z)

    def finish(s: Int, *, gated: bool) -> None:
        v = f.load(vs + s * p.vector)
        v = fma(D, f.load(us + s * p.vector), v + v if p.complex else v)
        z = f.load(zs + s * p.vector)
        f.store(vs + s * p.vector, v * (z * sigmoid(z)) if gated else v)

    with f.either(call.given(names.Z)) as (gated, plain):
        with gated:
            f.each(steps, lambda s: finish(s, gated=True))
        with plain:
            f.each(steps, lambda s: finish(s, gated=False))
    store_tile(
        f, vs, call.room(places.CORNER), call.at(names.Y, task.batch, task.channel(i), t), call.code(names.Y),
        call.stride(names.Y, 1), call.stride(names.Y, 2), task.count(i), steps,
    )  # fmt: skip


def _advance(
    kind: Kind,
    f: Function,
    Bs: Int,
    Cs: Int,
    xs: Int,
    gs: Int,
    vs: Int,
    state: Int,
    record: Int,
    steps: Int,
    fresh: Int,
) -> None:
    """h_t = exp(Δ_t A) h_{t−1} + b̄_t u_t of one mode, and v_t += Re C_t h_t.

    At t = `fresh` the state before is not used: it is replaced, not multiplied by zero.
    """
    mode, vector = Mode.recall(f, record), f.program.vector
    h = Variable(f, f.load(state, f.program.parts))

    def driven(t: Int) -> tuple[Lanes, Lanes]:
        x = f.load(xs + t * vector)
        a, held = mode.decay(x), f.load(gs + t * vector) * kind.matrix(f, Bs, t, kind.constant_B)
        return a, mode.hold(x, a) * held if kind.zoh else held

    def advance(t: Int, count: int) -> None:
        """That many steps, of which only the first may be fresh."""
        steps = f.side_by_side(count, lambda k: driven(t + k))
        for k, (a, held) in enumerate(steps):
            before = h.lanes
            h.set(held)
            with nullcontext() if k else f.when(t.differs(fresh)):
                h.set(fma(a, before, held))
            v = vs + (t + k) * vector
            c = kind.matrix(f, Cs, t + k, kind.constant_C)
            f.store(v, real_fma(c, h.lanes, f.load(v)))

    f.turns(steps, advance, 1 if kind.zoh else f.program.together)  # side by side, a hold gains nothing
    f.store(state, h.lanes)
