"""Launches of the dual form, backward: from cotangents to the gradients."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from ssm_triton._dual_call import CHUNK, TILES, Dual, like
from ssm_triton._dual_decays import backward_decays
from ssm_triton._dual_inputs import backward_inputs
from ssm_triton._dual_matrices import backward_matrices
from ssm_triton._dual_weights import backward_weights
from ssm_triton._launch_dual import Steps, outputs_of, prepared, states_beside
from ssm_triton._plan import PROCESSORS
from ssm_triton.launching import launch

MANY: Final = 4 * PROCESSORS
"""Programs for dB and dC, below which the heads of a group are shared out among several slices."""
IN_SLICE: Final = 8
"""Heads of a slice, at least: it takes room of the size of B and C."""


def run_backward(call: Dual, dy: Tensor, dfinal: Tensor | None) -> list[Tensor]:
    """The gradients of what was given, in the order of the inputs.

    Parameters
    ----------
    dy : (b, l, h, p)
    dfinal : (b, h, p, n)
    """
    steps = prepared(call)
    before, _ = states_beside(call, steps, None, call.initial_states)
    after, dinitial = states_beside(call, steps, dy, dfinal)
    dx, skip, *of_inputs = _inputs(call, steps, after, dy)
    dB, dC, *of_states = _matrices(call, steps, before, after, dy)
    ddt, rates, bias = _decays(call, steps, *of_inputs, *of_states)
    found = {
        "x": dx,
        "dt": ddt,
        "A": rates.sum((0, 1)),
        "B": dB,
        "C": dC,
        "D": None if call.D is None else skip.sum((0, 1, 3) if call.D.ndim == 1 else (0, 1)),
        "z": None if call.z is None else outputs_of(call, steps, before, dy),
        "dt_bias": None if call.dt_bias is None else bias.sum((0, 1)),
        "initial_states": None if call.initial_states is None else dinitial,
    }
    return [x.to(getattr(call, name).dtype) for name, x in found.items() if x is not None]


def _inputs(call: Dual, steps: Steps, after: Tensor, dy: Tensor) -> tuple[Tensor, ...]:
    """dx, terms of dD, and by tiles of channels those of dΔ: through X, to the states after, over spans."""
    b, l, h, p, n = call.sizes
    tile = TILES["backward_inputs"]
    parts = -(-p // tile.P)
    dx = like(call.x)
    skip = call.room(b, call.chunks, h, p if call.D is not None else 0)
    of_inputs = [call.room(parts, b, call.chunks, h, CHUNK) for _ in range(3)]
    if dx.numel():
        launch(
            backward_inputs, (b * call.chunks * h, parts),
            [call.x, call.z, *steps, call.B, call.C, call.D, after, dy, dx, skip, *of_inputs],
            [l, h, h // call.groups, p, n, call.chunks, *call.steps,
             *call.skip_strides(), *dy.stride(), *dx.stride()],
            HAS_Z=call.z is not None, HAS_D=call.D is not None,
            **call.flags(tile),
        )  # fmt: skip
    return dx, skip, *of_inputs


def _matrices(call: Dual, steps: Steps, before: Tensor, after: Tensor, dy: Tensor) -> tuple[Tensor, ...]:
    """dB and dC, and by tiles of columns the terms of dΔ: from the states before, and from state to state."""
    b, l, h, p, n = call.sizes
    g, chunks = call.groups, call.chunks
    tile = TILES["backward_matrices"]
    across = -(-n // tile.N)
    slices, each = _slices(h // g, b * chunks * g * across)
    if slices == 1:
        dB, dC = like(call.B), like(call.C)
    else:
        dB, dC = (call.room(slices, b, l, g, n) for _ in range(2))
    from_before, kept = call.room(across, b, chunks, h, CHUNK), call.room(across, b, chunks, h)
    if dB.numel():
        dG = _weights(call, steps, dy, slices, each)
        launch(
            backward_matrices, (b * chunks * g * slices, across),
            [call.x, call.z, *steps, call.B, call.C, before, after, dy, dG, dB, dC, from_before, kept],
            [l, h, g, h // g, each, slices, b, p, n, chunks, *call.steps, *dy.stride()],
            HAS_Z=call.z is not None, **call.flags(tile),
        )  # fmt: skip
    return *((dB, dC) if slices == 1 else (dB.sum(0), dC.sum(0))), from_before, kept


def _slices(heads: int, programs: int) -> tuple[int, int]:
    """How many slices of a group's heads, to be added up, and the heads of each: more for few programs."""
    slices = max(1, min(heads // IN_SLICE, MANY // max(programs, 1)))
    each = -(-heads // slices)
    return -(-heads // max(each, 1)) or 1, each


def _weights(call: Dual, steps: Steps, dy: Tensor, slices: int, each: int) -> Tensor:
    """The gradient of C Bᵀ in each chunk, of each slice."""
    b, l, h, p, _ = call.sizes
    g, chunks = call.groups, call.chunks
    dG = call.room(b, chunks, g, slices, CHUNK, CHUNK)
    flags = call.flags(TILES["backward_weights"])
    del flags["N"]
    launch(
        backward_weights, (b * chunks * g * slices,),
        [call.x, call.z, *steps, dy, dG],
        [l, h, g, h // g, each, slices, p, chunks, *call.streams, *dy.stride()],
        HAS_Z=call.z is not None, **flags,
    )  # fmt: skip
    return dG


def _decays(
    call: Dual, steps: Steps, of_steps: Tensor, to_after: Tensor, of_spans: Tensor, from_before: Tensor,
    kept: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """ddt, and the terms of dA and dbias by chunks."""
    b, l, h, _, _ = call.sizes
    ddt = like(call.dt)
    rates, bias = (call.room(b, call.chunks, h) for _ in range(2))
    flags = call.step_flags()
    tiles = -(-h // flags["H"])
    if ddt.numel():
        launch(
            backward_decays, (b * call.chunks * tiles,),
            [call.dt, call.A, call.dt_bias, *steps[1:], of_steps, to_after, of_spans, from_before, kept,
             ddt, rates, bias],
            [l, h, call.chunks, tiles, of_steps.shape[0], from_before.shape[0], *call.dt.stride()], **flags,
        )  # fmt: skip
    return ddt, rates, bias
