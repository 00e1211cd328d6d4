"""Sums of slices in a fixed order: the same bits, whoever computed the slices."""

from __future__ import annotations

from ssm_cpu import _call as names
from ssm_cpu._call import Call
from ssm_cpu._emit import Function, Variable
from ssm_cpu._tiles import gather
from ssm_cpu._transfer import WHOLE, own_code, size_of, write
from ssm_cpu._values import LANES, Int

SOURCE, STEP, SLICES, BETWEEN, TARGET, CODE, LENGTH, JOB_WORDS = range(8)
"""Words of a job: where the first slice begins, bytes to its next number, the slices, bytes between two
of them; where the sums go, the code of their dtype, how many there are."""


def reduce(f: Function, table: Int, scratch: Int) -> None:
    """Work on jobs until there are none left; the table of chunks is that of jobs."""
    call = Call(f, table, scratch)
    job = Variable(f, f.take(table + 8 * names.COUNTER))
    with f.while_(lambda: job.integer < call.number(names.TASKS)):
        f.call(
            "add_slices", _add_slices, call.number(names.CHUNK_TABLE) + job.integer * (8 * JOB_WORDS), scratch
        )
        job.set(f.take(table + 8 * names.COUNTER))


def _add_slices(f: Function, job: Int, corner: Int) -> None:
    """One job, sixteen sums at a time."""
    source, step, slices, between, target, code, length = (f.word(job, 8 * k) for k in range(JOB_WORDS))
    own = f.number(own_code(f))
    with f.loop(length, step=LANES) as i:
        count = f.least(length - i, LANES)
        total = Variable(f, f.zeros())
        with f.loop(slices) as k:
            gather(f, corner, source + k * between + i * step, step, own, count, 1)
            total.set(total.lanes + f.load(corner))
        f.store(corner, total.lanes)
        place = target + i * size_of(f, code)
        with f.either(count.equals(LANES)) as (whole, rest):
            with whole:
                write(f, place, corner, code, WHOLE)
            with rest, f.loop(count) as k:
                write(f, place + k * size_of(f, code), corner + k * f.program.width, code)
