"""What the kernels in Gluon do where a packed sequence begins: a state is replaced before its first step.

Backwards so is the adjoint, after it has gone through that step. Nothing is multiplied by zero, so that no
NaN and no infinity reaches another sequence.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

NOTHING_PASSES: gl.constexpr = gl.constexpr(-1.0)
"""In place of a segment's product of decays: a sequence begins inside of it."""


@gluon.jit
def some_begin(word, first, STEPS: gl.constexpr):
    """Whether a sequence begins in one of STEPS < 32 steps of a block, the first and those after it."""
    return ((word >> first) & ((1 << STEPS) - 1)) != 0


@gluon.jit
def begins(word, step):
    """Whether one begins at this step of a block."""
    return ((word >> step) & 1) != 0


@gluon.jit
def restarted(x, cut, row_of, step, states, step_of_row, at, mask, OWN: gl.constexpr):
    """x, or what takes its place if `cut`: zero, or, with OWN, the state that is given for a sequence.

    `step` is one of that sequence: the first one forwards, the last one backwards.
    """
    if OWN:
        row = gl.load(row_of + step, mask=cut, other=0).to(gl.int64)
        start = gl.load(states + row * step_of_row + at, mask=mask & cut, other=0.0).to(x.dtype)
        x = gl.where(cut, start, x)
    else:
        x = gl.where(cut, 0.0, x)
    return x


@gluon.jit
def put_down(x, cut, row_of, step, states, step_of_row, at, mask):
    """Store x as the state of the sequence of `step`, if `cut`."""
    row = gl.load(row_of + step, mask=cut, other=0).to(gl.int64)
    gl.store(states + row * step_of_row + at, x, mask=mask & cut)


@gluon.jit
def passed_on(x, decay, own, RESET: gl.constexpr):
    """What a segment makes of x: P x + own; of nothing that lies beyond the beginning of a sequence."""
    through = decay * x + own
    if RESET:
        through = gl.where(decay < 0.0, own, through)
    return through
