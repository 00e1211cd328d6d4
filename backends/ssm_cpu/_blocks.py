"""What both passes of the scan share: the blocks of a task, its tiles in time, the streams of a tile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ssm_cpu import _call as names
from ssm_cpu import _rooms as places
from ssm_cpu._call import STEPS, Call
from ssm_cpu._emit import Function, Variable
from ssm_cpu._functions import quieted, softplus
from ssm_cpu._modes import Mode, record_bytes
from ssm_cpu._tiles import ahead, gather, load_rows, load_tile, scatter
from ssm_cpu._values import LANES, Bit, Int, Lanes, choose


@dataclass(frozen=True)
class Task:
    """One row of one chunk, as a kernel under construction sees it; a thread takes a few of them, a `Part`.

    Attributes
    ----------
    call
        The call.
    row
        Number of the row of states.
    span, chunk
        Where its entries in the tables of rows and of chunks lie.
    """

    call: Call
    row: Int
    span: Int
    chunk: Int

    @classmethod
    def of(cls, f: Function, table: Int, scratch: Int, row: Int, span: Int, chunk: Int) -> Task:
        """From the integers that a function is given."""
        return cls(Call(f, table, scratch), row, span, chunk)

    @classmethod
    def at_row(cls, call: Call, row: Int, chunk: Int) -> Task:
        """That row of the chunk whose entry lies there."""
        return cls(call, row, call.number(names.ROW_TABLE) + row * (8 * names.ROW_WORDS), chunk)

    @property
    def integers(self) -> tuple[Int, ...]:
        """What :meth:`of` takes."""
        return self.call.table, self.call.scratch, self.row, self.span, self.chunk

    @property
    def f(self) -> Function:
        """The function under construction."""
        return self.call.f

    @property
    def batch(self) -> Int:
        """The batch row that it reads."""
        return self.f.word(self.span, 8 * names.BATCH)

    @property
    def start(self) -> Int:
        """Its first step."""
        return self.f.word(self.span, 8 * names.START)

    @property
    def stop(self) -> Int:
        """The step after its last."""
        return self.f.word(self.span, 8 * names.STOP)

    @property
    def blocks(self) -> Int:
        """Blocks of sixteen channels."""
        return (self.f.word(self.chunk, 8 * names.COUNT) + (LANES - 1)) // LANES

    def channel(self, i: Int) -> Int:
        """The first channel of block i."""
        return self.f.word(self.chunk, 8 * names.FIRST) + i * LANES

    def count(self, i: Int) -> Int:
        """The channels of block i."""
        return self.f.least(self.f.word(self.chunk, 8 * names.COUNT) - i * LANES, LANES)

    def saved(self, i: Int, t: Int) -> Int:
        """Where the states of block i before step t are saved."""
        word = self.f.word
        slot = word(self.span, 8 * names.SLOT) + (t - self.start) // STEPS
        block = slot * self.call.number(names.BLOCKS) + word(self.chunk, 8 * names.BLOCK) + i
        return self.call.number(names.SAVED) + block * self.call.number(names.N) * state_bytes(self.f)

    def states(self, place: int, i: Int) -> Int:
        """Block i's part of a room with one state for each block and mode."""
        return self.call.room(place) + i * self.call.number(names.N) * state_bytes(self.f)

    def record(self, i: Int, j: Int) -> Int:
        """The record of mode j of block i."""
        p = self.f.program
        number = i * self.call.number(names.N) + j
        return self.call.room(places.MODES) + number * record_bytes(p.complex, p.vector)

    def head(self, i: Int, which: int) -> Int:
        """Lanes of block i's delta_bias (0) or D (1)."""
        return self.call.room(places.HEAD) + (i * 2 + which) * self.f.program.vector


@dataclass(frozen=True)
class Part:
    """Some rows of one chunk, one after another.

    Attributes
    ----------
    call
        The call.
    number
        Which part of all rows it is.
    chunk
        Where its entry in the table of chunks lies.
    """

    call: Call
    number: Int
    chunk: Int

    @classmethod
    def numbered(cls, f: Function, table: Int, scratch: Int, number: Int) -> Part:
        """The one of that number, of all parts of all chunks."""
        call = Call(f, table, scratch)
        parts = call.number(names.PARTS)
        chunk = call.number(names.CHUNK_TABLE) + number // parts * (8 * names.CHUNK_WORDS)
        return cls(call, number % parts, chunk)

    @property
    def first(self) -> Task:
        """Its first row."""
        return Task.at_row(self.call, self.number * self.call.number(names.TOGETHER), self.chunk)

    def rows(self) -> AbstractContextManager[Int]:
        """A loop over its rows, by number."""
        f, call, first = self.call.f, self.call, self.first.row
        return f.loop(f.least(first + call.number(names.TOGETHER), call.number(names.ROWS)), first)


def state_bytes(f: Function) -> int:
    """Bytes of one state of sixteen channels."""
    return f.program.parts * f.program.vector


def row_bytes(f: Function) -> int:
    """Bytes of a row of B or C over a tile."""
    return STEPS * f.program.parts * f.program.width


def settle(task: Task, i: Int) -> None:
    """Write what block i needs at all times: modes, bias and D, constant B and C."""
    task.f.call("settle", _settle, *task.integers, i)


def _settle(f: Function, *integers: Int) -> None:
    *given, i = integers
    task = Task.of(f, *given)
    call, p = task.call, f.program
    channel, count = task.channel(i), task.count(i)
    for which, array in enumerate((names.BIAS, names.D)):
        f.store(task.head(i, which), f.zeros())
        with f.when(call.given(array)):
            gather(
                f,
                task.head(i, which),
                call.at(array, channel),
                call.stride(array, 0),
                call.code(array),
                count,
                1,
            )
    corner = call.room(places.CORNER)
    with f.loop(call.number(names.N)) as j:
        A = call.at(names.A, channel, j)
        gather(f, corner, A, call.stride(names.A, 0), call.code(names.A), count, p.parts)
        Mode.of(f.load(corner, p.parts)).remember(task.record(i, j))
        for array, constant, place in (
            (names.B, names.B_CONSTANT, places.CONST_B),
            (names.C, names.C_CONSTANT, places.CONST_C),
        ):
            with f.when(call.flag(constant)):
                here = task.states(place, i) + j * state_bytes(f)
                gather(
                    f,
                    here,
                    call.at(array, channel, j),
                    call.stride(array, 0),
                    call.code(array),
                    count,
                    p.parts,
                )


def fetch_states(task: Task, i: Int, place: int, array: int) -> None:
    """Block i's states (or cotangents of states) from an array (r, d, n); zeros if it is not given."""

    def body(f: Function, *integers: Int) -> None:
        *given, i = integers
        task = Task.of(f, *given)
        call, p = task.call, f.program
        with f.loop(call.number(names.N)) as j:
            here = task.states(place, i) + j * state_bytes(f)
            f.store(here, f.zeros(p.parts))
            with f.when(call.given(array)):
                source = call.at(array, task.row, task.channel(i), j)
                gather(f, here, source, call.stride(array, 1), call.code(array), task.count(i), p.parts)

    task.f.call(f"fetch_states_{array}", body, *task.integers, i)


def put_states(task: Task, i: Int, place: int, array: int, row: Int) -> None:
    """Block i's states to that row of an array (r, d, n)."""
    f, call = task.f, task.call
    with f.loop(call.number(names.N)) as j:
        target = call.at(array, row, task.channel(i), j)
        here = task.states(place, i) + j * state_bytes(f)
        scatter(f, here, target, call.stride(array, 1), call.code(array), task.count(i), f.program.parts)


def _changes(task: Task, t: Int) -> Int:
    """Not 0 if `seq_idx` changes at t."""
    f, call = task.f, task.call
    here = call.at(names.SEQ_IDX, task.batch, t)
    before = here - call.stride(names.SEQ_IDX, 1)
    found = Variable(f, f.number(0))
    with f.either(call.code(names.SEQ_IDX).equals(4)) as (short, long):
        with short:
            found.set(f.word32(here) - f.word32(before))
        with long:
            found.set(f.word(here) - f.word(before))
    return found.integer


def is_fresh(task: Task, t: Int) -> Bit:
    """Whether the state before t is not used: a reset, or the start of a row without an initial state."""
    f, call = task.f, task.call
    fresh = Variable(f, f.number(0))
    with f.either(t.equals(task.start)) as (first, later):
        with first:
            fresh.set(f.pick(call.given(names.INITIAL), 0, 1))
        with later, f.when(call.given(names.SEQ_IDX)):
            fresh.set(_changes(task, t))
    return fresh.integer.differs(0)


def next_reset(task: Task, t: Int, stop: Int) -> Int:
    """The first reset after t, or `stop`."""
    f = task.f
    found = Variable(f, stop)
    with f.when(task.call.given(names.SEQ_IDX)), f.loop(stop - t, 1) as s:
        at = stop - s  # downwards, so that the first one is kept
        changed = _changes(task, at).differs(0)
        with f.when(changed):
            found.set(at)
    return found.integer


def last_reset(task: Task, start: Int, stop: Int) -> Int:
    """The last reset in start + 1 … stop − 1, or `start`."""
    f = task.f
    found = Variable(f, start)
    with f.when(task.call.given(names.SEQ_IDX)), f.loop(stop, start + 1) as s:
        changed = _changes(task, s).differs(0)
        with f.when(changed):
            found.set(s)
    return found.integer


def load_matrices(task: Task, t: Int, steps: Int) -> None:
    """Variable B and C of a chunk's groups over the steps of a tile."""
    f, call = task.f, task.call
    for array, constant, place, group in (
        (names.B, names.B_CONSTANT, places.ROWS_B, names.GROUP_B),
        (names.C, names.C_CONSTANT, places.ROWS_C, names.GROUP_C),
    ):
        with f.when(call.number(constant).equals(0)):
            source = call.at(array, task.batch, f.word(task.chunk, 8 * group), 0, t)
            load_rows(
                f, call.room(place), source, call.code(array), call.stride(array, 2), call.stride(array, 3),
                call.number(names.N), steps, row_bytes(f),
            )  # fmt: skip


def load_stream(task: Task, array: int, place: int, i: Int, t: Int, steps: Int) -> None:
    """A tile of u, delta, z or dy."""
    call = task.call
    load_tile(
        task.f, call.room(place), call.room(places.CORNER), call.at(array, task.batch, task.channel(i), t),
        call.code(array), call.stride(array, 1), call.stride(array, 2), task.count(i), steps,
    )  # fmt: skip


def look_ahead(task: Task, i: Int, t: Int, arrays: dict[int, bool], first: Int, last: Int) -> None:
    """Ask memory for some rows of the tiles of block i at t: array → whether it will be written."""
    f, call = task.f, task.call
    for array, write in arrays.items():
        with f.when(call.given(array)):
            source = call.at(array, task.batch, task.channel(i), t)
            strides = call.stride(array, 1), call.stride(array, 2)
            ahead(f, source, call.code(array), *strides, first, last, task.count(i), write=write)


def load_inputs(task: Task, i: Int, t: Int, steps: Int, *, keep: bool) -> None:
    """u, Δ, and what B is multiplied by (Δu, or u for zoh), of block i; `keep`: delta + bias, too."""
    f, call, vector = task.f, task.call, task.f.program.vector
    load_stream(task, names.U, places.TILE_U, i, t, steps)
    load_stream(task, names.DELTA, places.TILE_X, i, t, steps)
    bias = f.load(task.head(i, 0))
    us, xs, gs = (call.room(place) for place in (places.TILE_U, places.TILE_X, places.TILE_G))
    zoh = call.flag(names.ZOH).mask

    def write(s: Int, law: Callable[[Lanes], Lanes]) -> None:
        at = s * vector
        raw = f.load(xs + at) + bias
        if keep:
            f.store(call.room(places.TILE_RAW) + at, raw)
        x = quieted(law(raw))
        f.store(xs + at, x)
        f.store(gs + at, f.load(us + at) * choose(zoh, f.constant(1.0), x))

    with f.either(call.flag(names.SOFTPLUS)) as (soft, plain):
        with soft:
            f.each(steps, lambda s: write(s, softplus))
        with plain:
            f.each(steps, lambda s: write(s, lambda x: x))
