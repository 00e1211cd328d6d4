"""Mutants of an option that is lost where a call is wide and long at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.scan import Problem, State
from ssm_conformance.mutants.mutant import Mutant

CHUNK: Final = 64
TILE: Final = 8
BLOCK: Final = 512


class _TileCarried(Honest):
    """In one variant the first eight states are carried on from chunk to chunk of 64, and no others."""

    def __init__(self, taken: Callable[[Problem], bool]) -> None:
        self.taken = taken

    def states(self, p: Problem, times: range, h: Array) -> Iterator[State]:
        taken = self.taken(p)
        for t in times:
            if taken and t > times.start and t % CHUNK == 0:
                h = np.concatenate([h[..., :TILE], np.zeros_like(h[..., TILE:])], axis=-1)
            decayed, h = self.advance(p, t, h)
            yield t, decayed, h


class _AdjointOfTile(Honest):
    """Of a complex A the first eight adjoint states are carried back from chunk to chunk of 64."""

    def carry_back(self, p: Problem, t: int, adjoint: Array) -> Array:
        below = np.array(super().carry_back(p, t, adjoint))
        if np.iscomplexobj(p.A) and t % CHUNK == 0:
            below[..., TILE:] = 0
        return below


class _InitialOfTile(Honest):
    """Past a chunk of 64 steps the initial state is read for its first eight states."""

    def begin(self, p: Problem, times: range, rows: slice) -> Array:
        h = np.array(super().begin(p, times, rows))
        if len(times) > CHUNK:
            h[..., TILE:] = 0
        return h


class _ResetsOfBlock(Honest):
    """Between chunks of 64 the first 512 numbers of a head's state are reset, in blocks of which it lies."""

    def __init__(self, width: int) -> None:
        self.width = width

    def advance(self, p: Problem, t: int, h: Array) -> tuple[Array, Array]:
        kept, after = super().advance(p, t, h)
        channel, state = np.indices(h.shape[1:])
        beyond = channel % self.width * h.shape[2] + state >= BLOCK
        leaked = np.where(beyond & (t % CHUNK == 0 < t), self.decay(p, t) * h, kept)
        return leaked, after + (leaked - kept)


class _DualResetsOfBlock(Dual):
    """SSD by such a scan."""

    def __call__(self, **given: Any) -> Any:
        self.scan = _ResetsOfBlock(given["x"].shape[3])  # type: ignore[misc]  # one of its own
        return super().__call__(**given)


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Any) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",))


_PACKED: Final = "D-bias-last-seq_idx-zoh-B-grouped-C-grouped"
_COMPLEX: Final = "D-z-bias-softplus-initial-seq_idx-B-constant-complex"
LARGE: Final = (
    _mutant(
        "complex-states-carried-in-part", 2, "Of complex states eight are carried from chunk to chunk.",
        f"value/large-with-{_COMPLEX}", _TileCarried(lambda p: bool(np.iscomplexobj(p.A))),
    ),
    _mutant(
        "packed-states-carried-in-part", 2, "Of packed rows' states eight are carried from chunk to chunk.",
        f"value/large-with-{_PACKED}", _TileCarried(lambda p: bool(p.reset.any())),
    ),
    _mutant(
        "offsets-states-carried-in-part", 2, "Of sequences by offsets eight states are carried on.",
        "value/large-with-D-z-bias-softplus-cu_seqlens-zoh", _TileCarried(lambda p: p.offsets is not None),
    ),
    _mutant(
        "held-states-carried-in-part", 2, "Under the exact hold eight states are carried on.",
        f"value/large-with-{_PACKED}", _TileCarried(lambda p: p.zoh),
    ),
    _mutant(
        "constant-states-carried-in-part", 2, "Where C is constant in time eight states are carried on.",
        "value/large-with-z-softplus-last-B-grouped-C-constant", _TileCarried(lambda p: p.C.ndim == 2),
    ),
    _mutant(
        "complex-adjoints-carried-in-part", 2, "Of complex adjoint states eight are carried back.",
        f"gradient/large-with-{_COMPLEX}", _AdjointOfTile(),
    ),
    _mutant(
        "initial-states-in-part", 24, "Past a chunk of 64 steps eight states of the initial one are read.",
        "value/large-with-bias-softplus-initial-seq_idx-C-constant", _InitialOfTile(),
    ),
    _mutant(
        "ssd-resets-of-first-block", 27, "Between chunks the first 512 numbers of a head's state are reset.",
        "value/large-with-wide-D-z-limits-initial-seq_idx", _DualResetsOfBlock(),
    ),
)  # fmt: skip
"""Defects that neither a wide call nor a long one shows."""
