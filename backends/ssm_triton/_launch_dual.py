"""Launches of the dual form, forward; what the backward pass shares is here too."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from ssm_triton._dual_call import CHUNK, TILES, Dual, Tile, like
from ssm_triton._dual_forward import forward_chunks
from ssm_triton._dual_outputs import outputs
from ssm_triton._dual_prepare import prepare_steps
from ssm_triton._dual_states import pass_states
from ssm_triton._inputs import strides
from ssm_triton._plan import PROCESSORS, power_of_two
from ssm_triton.launching import launch

ENOUGH: Final = 4 * PROCESSORS
"""Programs that take states through time, up to which time is cut into segments."""
RESIDENT: Final = 2 * PROCESSORS
"""The same where they make the outputs too: as many as run together."""
AT_ONCE: Final = {False: 128, True: 64}
"""Columns of a state, up to which a program makes outputs too: of 16 bits alone, and of float32."""
_STATES: Final = TILES["pass_states"]

Steps = tuple[Tensor, Tensor, Tensor | None]
"""Step sizes, and the sums of their decays' logarithms: (b, chunks, h, q). In packed rows also the step of
its chunk at which the sequence of each step begins, or −1: (b, chunks, q)."""


def run_forward(call: Dual) -> tuple[Tensor, Tensor]:
    """y, and the final states."""
    steps = prepared(call)
    if call.sizes[4] <= AT_ONCE[call.wide]:
        return _in_one(call, steps)
    before, final = states_beside(call, steps, None, call.initial_states)
    return outputs_of(call, steps, before, None), final


def _in_one(call: Dual, steps: Steps) -> tuple[Tensor, Tensor]:
    """The same by programs that have all columns of a state: none is written down but the last."""
    b, l, h, p, n = call.sizes
    y, end = like(call.x), call.states()
    tile = Tile(64, max(power_of_two(n), 64), 2 if call.x.dtype == torch.bfloat16 else 1)
    tiles = -(-p // tile.P)
    segments, each = _segments(call.chunks, b * h * tiles, RESIDENT)
    sums, decays = _told(call, steps, None, segments, each)
    if end.numel():
        launch(
            forward_chunks, (b * h, tiles, segments),
            [call.x, call.z, *steps, call.B, call.C, call.D, call.initial_states, end, sums, decays, y],
            [l, h, h // call.groups, p, n, call.chunks, each, *call.steps,
             *call.skip_strides(), *strides(call.initial_states, 4), *y.stride()],
            HAS_Z=call.z is not None,
            HAS_D=call.D is not None, STARTED=call.initial_states is not None, **call.flags(tile),
        )  # fmt: skip
    return y, end


def prepared(call: Dual) -> Steps:
    """What every kernel starts from."""
    b, l, h, _, _ = call.sizes
    steps, logs = (call.room(b, call.chunks, h, CHUNK) for _ in range(2))
    begins = None if call.seq_idx is None else logs.new_empty((b, call.chunks, CHUNK), dtype=torch.int32)
    flags = call.step_flags()
    tiles = -(-h // flags["H"])
    if steps.numel():
        launch(
            prepare_steps, (b * call.chunks * tiles,),
            [call.dt, call.A, call.dt_bias, call.seq_idx, steps, logs, begins],
            [l, h, call.chunks, tiles, *call.dt.stride(), *strides(call.seq_idx, 2)], **flags,
        )  # fmt: skip
    return steps, logs, begins


def states_beside(call: Dual, steps: Steps, dy: Tensor | None, start: Tensor | None) -> tuple[Tensor, Tensor]:
    """The states before each chunk and after the last; with dy cotangents, after each, before the first."""
    b, _, h, p, n = call.sizes
    beside, end = call.chunk_states(), call.states()
    segments, each = _segments(call.chunks, b * h * -(-p // _STATES.P) * -(-n // _STATES.N), ENOUGH)
    sums, decays = _told(call, steps, dy, segments, each)
    if end.numel():
        _pass(call, steps, dy, start, (beside, end, sums, decays), segments, each, alone=False)
    return beside, end


def _told(call: Dual, steps: Steps, dy: Tensor | None, segments: int, each: int) -> tuple[Tensor, Tensor]:
    """What each segment but the last adds to those after it, and its decay; A where there is one alone."""
    if segments == 1:
        return call.A, call.A
    b, _, h, p, n = call.sizes
    sums, decays = call.room(segments - 1, b, h, p, n), call.room(segments - 1, b, h)
    if sums.numel():
        _pass(call, steps, dy, None, (sums, sums, sums, decays), segments - 1, each, alone=True)
    return sums, decays


def _pass(
    call: Dual, steps: Steps, dy: Tensor | None, start: Tensor | None, found: tuple[Tensor, ...],
    segments: int, each: int, *, alone: bool,
) -> None:  # fmt: skip
    """Go through so many segments of time; `found` is states, end, sums and decays."""
    b, l, h, p, n = call.sizes
    stream, gate, matrix = (call.x, None, "B") if dy is None else (dy, call.z, "C")
    across = -(-n // _STATES.N)
    launch(
        pass_states, (b * h, -(-p // _STATES.P) * across, segments),
        [stream, gate, *steps, getattr(call, matrix), start, *found],
        [l, h, h // call.groups, p, n, call.chunks, across, each, *stream.stride(), *strides(gate, 4),
         *getattr(call, matrix).stride(), *strides(start, 4)],
        HAS_Z=gate is not None, STARTED=start is not None, BACK=dy is not None, ALONE=alone,
        **call.flags(_STATES),
    )  # fmt: skip


def _segments(chunks: int, programs: int, most: int) -> tuple[int, int]:
    """How many segments of time, for so many programs each and `most` of them, and of how many chunks each.

    All chunks are gone through twice; what each earlier segment told takes as long to read as a chunk.
    """
    segments = max(min(most // max(programs, 1), math.isqrt(2 * chunks)), 1)
    each = -(-chunks // segments)
    return -(-chunks // max(each, 1)) or 1, each


def outputs_of(call: Dual, steps: Steps, before: Tensor, dy: Tensor | None) -> Tensor:
    """y; with dy the gradient of z."""
    b, l, h, p, n = call.sizes
    out = like(call.x if dy is None or call.z is None else call.z)
    tile = TILES["outputs"]
    if out.numel():
        launch(
            outputs, (b * call.chunks * h, -(-p // tile.P)),
            [call.x, call.z, *steps, call.B, call.C, call.D, before, dy, out],
            [l, h, h // call.groups, p, n, call.chunks, *call.steps,
             *call.skip_strides(), *strides(dy, 4), *out.stride()],
            HAS_Z=call.z is not None, HAS_D=call.D is not None, OF_GATE=dy is not None, **call.flags(tile),
        )  # fmt: skip
    return out
