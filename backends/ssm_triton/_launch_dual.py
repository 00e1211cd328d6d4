"""Launches of the dual form: sizes of tiles by rule, strides, and what the kernels are compiled for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from ssm_backends.errors import NotSupportedError
from ssm_triton._dual_decays import backward_decays
from ssm_triton._dual_inputs import backward_inputs
from ssm_triton._dual_matrices import backward_matrices
from ssm_triton._dual_outputs import outputs
from ssm_triton._dual_states import pass_states
from ssm_triton._inputs import FUSED, strides
from ssm_triton._plan import PROCESSORS, power_of_two

CHUNK: Final = 64
"""Q, the steps of a chunk."""
LEAST: Final = 16
"""A product of matrices has no side that is shorter."""
FEW: Final = 2 * PROCESSORS
"""Programs that go through all time, below which each takes less of a state; at the least so many numbers:"""
LEAST_STATE: Final = 32 * 32
MANY: Final = 4 * PROCESSORS
"""Programs for dB and dC, below which the heads of a group are shared out among several slices."""
FARTHEST: Final = 1 << 31
"""Numbers for each step and head that 32 bits no longer count."""
IN_SLICE: Final = 8
"""Heads of a slice, at least: it takes room of the size of B and C."""


@dataclass(frozen=True)
class Tile:
    """What one program of a kernel has at a time: at most P channels and N columns of a state."""

    P: int
    N: int
    warps: int
    stages: int


TILES: Final = {
    "pass_states": Tile(64, 64, 4, 2),
    "outputs": Tile(64, 64, 4, 1),
    "backward_inputs": Tile(64, 64, 4, 1),
    "backward_decays": Tile(32, 64, 4, 1),
    "backward_matrices": Tile(32, 64, 4, 2),
}
"""By kernel; the best of those that were timed."""


@dataclass(frozen=True, kw_only=True)
class Dual:
    """The tensors of one call; None where not given."""

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    dt_bias: Tensor | None
    initial_states: Tensor | None
    seq_idx: Tensor | None
    softplus: bool
    low: float
    high: float

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """b, l, h, p, n."""
        b, l, h, p = self.x.shape
        return b, l, h, p, self.B.shape[3]

    @property
    def groups(self) -> int:
        """g."""
        return self.B.shape[2]

    def states(self) -> Tensor:
        """Room for states, (b, h, p, n)."""
        b, _, h, p, n = self.sizes
        return self.x.new_empty((b, h, p, n), dtype=torch.float32)

    def chunk_states(self) -> Tensor:
        """Room for a state beside each chunk, (b, chunks, h, p, n)."""
        b, l, h, p, n = self.sizes
        return self.x.new_empty((b, -(-l // CHUNK), h, p, n), dtype=torch.float32)

    def skip_strides(self) -> tuple[int, int]:
        """Of D, by head and by channel."""
        if self.D is None:
            return 0, 0
        return self.D.stride(0), self.D.stride(1) if self.D.ndim == 2 else 0

    def tile(self, kernel: str) -> Tile:
        """Of one kernel, no larger than its sides need."""
        p, n = self.sizes[3:]
        most = TILES[kernel]
        return replace(most, P=_side(p, most.P), N=_side(n, most.N))

    def flags(self, tile: Tile) -> dict[str, Any]:
        """What a kernel is compiled for."""
        return {
            "HAS_BIAS": self.dt_bias is not None,
            "SOFTPLUS": self.softplus,
            "RESET": self.seq_idx is not None,
            "LOW": self.low,
            "HIGH": self.high,
            "Q": CHUNK,
            "P": tile.P,
            "N": tile.N,
            "num_warps": tile.warps,
            "num_stages": tile.stages,
            "enable_fp_fusion": FUSED,
        }


def _side(size: int, most: int) -> int:
    return min(max(power_of_two(size), LEAST), most)


def run_forward(call: Dual) -> tuple[Tensor, Tensor, Tensor]:
    """y, the final states, and the states before each chunk (b, chunks, h, p, n)."""
    before, final = _states_beside(call, None, call.initial_states)
    return _outputs(call, before, None), final, before


def run_backward(call: Dual, before: Tensor, dy: Tensor, dfinal: Tensor | None) -> list[Tensor]:
    """The gradients of what was given, in the order of the inputs.

    Parameters
    ----------
    before
        As the forward pass found them.
    dy : (b, l, h, p)
    dfinal : (b, h, p, n)
    """
    _check_countable(call, before)
    after, dinitial = _states_beside(call, dy, dfinal)
    dx, skip, *beside = _inputs(call, after, dy)
    ddt, rates, bias = _decays(call, before, after, dy, *beside)
    dB, dC = _matrices(call, before, after, dy)
    found = {
        "x": dx,
        "dt": ddt,
        "A": rates.sum((0, 1)),
        "B": dB,
        "C": dC,
        "D": None if call.D is None else skip.sum((0, 1, 3) if call.D.ndim == 1 else (0, 1)),
        "z": None if call.z is None else _outputs(call, before, dy),
        "dt_bias": None if call.dt_bias is None else bias.sum((0, 1)),
        "initial_states": None if call.initial_states is None else dinitial,
    }
    return [x.to(getattr(call, name).dtype) for name, x in found.items() if x is not None]


def _check_countable(call: Dual, before: Tensor) -> None:
    _, chunks, h, p, _ = before.shape
    if -(-p // call.tile("backward_inputs").P) * before.shape[0] * chunks * h * CHUNK >= FARTHEST:
        raise NotSupportedError(
            "`x` must have fewer than 2³¹ steps, of all heads and rows, in a gradient of ssd; "
            f"got {tuple(call.x.shape)}"
        )


def _outputs(call: Dual, before: Tensor, dy: Tensor | None) -> Tensor:
    """y; with dy the gradient of z."""
    b, l, h, p, n = call.sizes
    out = _like(call.x if dy is None or call.z is None else call.z)
    tile, chunks = call.tile("outputs"), before.shape[1]
    if out.numel():
        outputs[(b * chunks * h, -(-p // tile.P))](
            call.x, call.z, call.dt, call.A, call.dt_bias, call.B, call.C, call.D, call.seq_idx, before, dy,
            out, l, h, h // call.groups, p, n, chunks,
            *_steps(call, "x", "z", "dt", "B", "C"), *call.skip_strides(), *strides(call.seq_idx, 2),
            *strides(dy, 4), *out.stride(),
            HAS_Z=call.z is not None, HAS_D=call.D is not None, OF_GATE=dy is not None, **call.flags(tile),
        )  # fmt: skip
    return out


def _inputs(call: Dual, after: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """dx, the terms of dD, and by tiles of channels those of dΔ and of what the states after get."""
    b, l, h, p, n = call.sizes
    tile, chunks = call.tile("backward_inputs"), after.shape[1]
    parts = -(-p // tile.P)
    dx = _like(call.x)
    skip = call.x.new_empty((b, chunks, h, p if call.D is not None else 0), dtype=torch.float32)
    of_steps, to_after = (
        call.x.new_empty((parts, b, chunks, h, CHUNK), dtype=torch.float32) for _ in range(2)
    )
    if dx.numel():
        backward_inputs[(b * chunks * h, parts)](
            call.x, call.z, call.dt, call.A, call.dt_bias, call.B, call.C, call.D, call.seq_idx, after, dy,
            dx, skip, of_steps, to_after, l, h, h // call.groups, p, n, chunks,
            *_steps(call, "x", "z", "dt", "B", "C"), *call.skip_strides(), *strides(call.seq_idx, 2),
            *dy.stride(), *dx.stride(), HAS_Z=call.z is not None, HAS_D=call.D is not None,
            **call.flags(tile),
        )  # fmt: skip
    return dx, skip, of_steps, to_after


def _decays(
    call: Dual, before: Tensor, after: Tensor, dy: Tensor, of_steps: Tensor, to_after: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """ddt, and the terms of dA and dbias by chunks."""
    b, l, h, p, n = call.sizes
    chunks = before.shape[1]
    ddt = _like(call.dt)
    rates, bias = (call.x.new_empty((b, chunks, h), dtype=torch.float32) for _ in range(2))
    if ddt.numel():
        backward_decays[(b * chunks * h,)](
            call.x, call.z, call.dt, call.A, call.dt_bias, call.B, call.C, call.seq_idx, before, after, dy,
            of_steps, to_after, ddt, rates, bias, l, h, h // call.groups, p, n, chunks, of_steps.shape[0],
            *_steps(call, "x", "z", "dt", "B", "C"), *strides(call.seq_idx, 2), *dy.stride(),
            HAS_Z=call.z is not None, **call.flags(call.tile("backward_decays")),
        )  # fmt: skip
    return ddt, rates, bias


def _states_beside(call: Dual, dy: Tensor | None, start: Tensor | None) -> tuple[Tensor, Tensor]:
    """The states before each chunk and after the last; with dy cotangents, after each, before the first."""
    b, l, h, p, n = call.sizes
    beside, end = call.chunk_states(), call.states()
    chunks = beside.shape[1]
    stream, gate, matrix = (call.x, None, "B") if dy is None else (dy, call.z, "C")
    tile = _enough(call.tile("pass_states"), b * h, p, n)
    across = -(-n // tile.N)
    if end.numel():
        pass_states[(b * h, -(-p // tile.P) * across)](
            stream, gate, call.dt, call.A, call.dt_bias, getattr(call, matrix), call.seq_idx, start, beside,
            end, l, h, h // call.groups, p, n, chunks, across, *stream.stride(), *strides(gate, 4),
            *_steps(call, "dt", matrix), *strides(call.seq_idx, 2), *strides(start, 4),
            HAS_Z=gate is not None, STARTED=start is not None, BACK=dy is not None, **call.flags(tile),
        )  # fmt: skip
    return beside, end


def _enough(tile: Tile, heads: int, p: int, n: int) -> Tile:
    """A smaller tile where programs are few: each goes through all time."""
    while heads * -(-p // tile.P) * -(-n // tile.N) < FEW and tile.P * tile.N > LEAST_STATE:
        tile = replace(tile, P=tile.P // 2) if tile.P > tile.N else replace(tile, N=tile.N // 2)
    return tile


def _matrices(call: Dual, before: Tensor, after: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    """dB and dC; where programs are few, in slices of a group's heads, which are added up."""
    b, l, h, p, n = call.sizes
    g, chunks = call.groups, before.shape[1]
    heads = h // g
    tile = call.tile("backward_matrices")
    across = -(-n // tile.N)
    programs = b * chunks * g * across
    slices = max(1, min(heads // IN_SLICE, MANY // max(programs, 1)))
    each = -(-heads // slices)
    slices = -(-heads // max(each, 1)) or 1
    if slices == 1:
        dB, dC = _like(call.B), _like(call.C)
    else:
        dB, dC = (call.x.new_empty((slices, b, l, g, n), dtype=torch.float32) for _ in range(2))
    if dB.numel():
        backward_matrices[(b * chunks * g * slices, across)](
            call.x, call.z, call.dt, call.A, call.dt_bias, call.B, call.C, call.seq_idx, before, after, dy,
            dB, dC, l, h, g, heads, each, slices, b, p, n, chunks,
            *_steps(call, "x", "z", "dt", "B", "C"), *strides(call.seq_idx, 2), *dy.stride(),
            HAS_Z=call.z is not None, **call.flags(tile),
        )  # fmt: skip
    return (dB, dC) if slices == 1 else (dB.sum(0), dC.sum(0))


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _steps(call: Dual, *names: str) -> Iterable[int]:
    for name in names:
        yield from strides(getattr(call, name), 3 if name == "dt" else 4)
