"""Launches of the dual form, forward; what the backward pass shares is here too."""

from __future__ import annotations

import math
from typing import Final

from torch import Tensor

from ssm_triton._dual_call import CHUNK, TILES, Dual, like
from ssm_triton._dual_outputs import outputs
from ssm_triton._dual_prepare import prepare_steps
from ssm_triton._dual_states import pass_states
from ssm_triton._inputs import strides
from ssm_triton._plan import PROCESSORS

ENOUGH: Final = 4 * PROCESSORS
"""Programs that go through time, up to which time is cut into segments."""

Steps = tuple[Tensor, Tensor]
"""Step sizes, and the sums of their decays' logarithms: (b, chunks, h, q)."""


def run_forward(call: Dual) -> tuple[Tensor, Tensor, Tensor]:
    """y, the final states, and the states before each chunk (b, chunks, h, p, n)."""
    steps = prepared(call)
    before, final = states_beside(call, steps, None, call.initial_states)
    return outputs_of(call, steps, before, None), final, before


def prepared(call: Dual) -> Steps:
    """What every kernel starts from."""
    b, l, h, _, _ = call.sizes
    steps, logs = (call.room(b, call.chunks, h, CHUNK) for _ in range(2))
    flags = call.step_flags()
    tiles = -(-h // flags["H"])
    if steps.numel():
        prepare_steps[(b * call.chunks * tiles,)](
            call.dt, call.A, call.dt_bias, steps, logs, l, h, call.chunks, tiles, *call.dt.stride(), **flags,
        )  # fmt: skip
    return steps, logs


def states_beside(call: Dual, steps: Steps, dy: Tensor | None, start: Tensor | None) -> tuple[Tensor, Tensor]:
    """The states before each chunk and after the last; with dy cotangents, after each, before the first."""
    b, l, h, p, n = call.sizes
    beside, end = call.chunk_states(), call.states()
    stream, gate, matrix = (call.x, None, "B") if dy is None else (dy, call.z, "C")
    tile = TILES["pass_states"]
    across = -(-n // tile.N)
    tiles = -(-p // tile.P) * across
    segments, each = _segments(call.chunks, b * h * tiles)
    sums, decays = call.room(segments - 1, b, h, p, n), call.room(segments - 1, b, h)
    if end.numel():
        for alone in (True, False) if segments > 1 else (False,):
            pass_states[(b * h, tiles, segments - alone)](
                stream, gate, *steps, getattr(call, matrix), call.seq_idx, start, beside, end, sums, decays,
                l, h, h // call.groups, p, n, call.chunks, across, each, *stream.stride(), *strides(gate, 4),
                *call.steps(matrix), *strides(call.seq_idx, 2), *strides(start, 4),
                HAS_Z=gate is not None, STARTED=start is not None, BACK=dy is not None, ALONE=alone,
                **call.flags(tile),
            )  # fmt: skip
    return beside, end


def _segments(chunks: int, programs: int) -> tuple[int, int]:
    """How many segments of time, each of so many programs, and of how many chunks each.

    All chunks are gone through twice; what each earlier segment told takes as long to read as a chunk.
    """
    segments = max(min(ENOUGH // max(programs, 1), math.isqrt(2 * chunks)), 1)
    each = -(-chunks // segments)
    return -(-chunks // max(each, 1)) or 1, each


def outputs_of(call: Dual, steps: Steps, before: Tensor, dy: Tensor | None) -> Tensor:
    """y; with dy the gradient of z."""
    b, l, h, p, n = call.sizes
    out = like(call.x if dy is None or call.z is None else call.z)
    tile = TILES["outputs"]
    if out.numel():
        outputs[(b * call.chunks * h, -(-p // tile.P))](
            call.x, call.z, *steps, call.B, call.C, call.D, call.seq_idx, before, dy, out,
            l, h, h // call.groups, p, n, call.chunks,
            *call.steps("x", "z", "B", "C"), *call.skip_strides(), *strides(call.seq_idx, 2),
            *strides(dy, 4), *out.stride(),
            HAS_Z=call.z is not None, HAS_D=call.D is not None, OF_GATE=dy is not None, **call.flags(tile),
        )  # fmt: skip
    return out
