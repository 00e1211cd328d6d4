"""Mutants of a tile: what a chunk, a block or a grid holds is right, in one variant of a kernel at least."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.scan import Problem, State
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant

CHUNK: Final = 64


class _ChunkLostWhere(Honest):
    """Chunks begin from zero in the variant of the kernel that a feature takes."""

    def __init__(self, taken: Callable[[Problem], bool], chunk: int = CHUNK) -> None:
        self.taken, self.chunk = taken, chunk

    def states(self, p: Problem, times: range, h: Array) -> Iterator[State]:
        for t in times:
            lost = self.taken(p) and t > times.start and (t - times.start) % self.chunk == 0
            decayed, h = self.advance(p, t, np.zeros_like(h) if lost else h)
            yield t, decayed, h


class _GroupOfTile(Honest):
    """A tile of 64 channels reads the group of its first."""

    def groups(self, d: int, g: int) -> Array:
        size = d // g
        channels = np.arange(d)
        return (channels // 64 * 64 if size >= 64 else channels) // size


class _GroupsInWarp(Honest):
    def groups(self, d: int, g: int) -> Array:
        return super().groups(d, g) % 32


class _StatesBeyondBlock(Honest):
    """A block has 256 states: the output reads those."""

    def contract(self, C: Array, h: Array) -> Array:
        return super().contract(C[..., :256], h[..., :256])


class _RowsBeyondGrid(Honest):
    def gate(self, p: Problem, v: Array) -> Array:
        found = super().gate(p, v).copy()
        found[128:] = 0
        return found


class _StepOfBlock(Step):
    """A block has 64 states: the rest keep what they were."""

    def advanced(self, p: Problem, dtype: str) -> Array:
        h = super().advanced(p, dtype)
        h[..., 64:] = p.initial[..., 64:]
        return h


class _LongSumsVary(Honest):
    """Beyond 256 steps the sum over time is by blocks, in the order in which they are done."""

    def __init__(self) -> None:
        self.turn = 0

    def over_rows(self, terms: Array, name: str) -> Array:
        self.turn += 1
        late = terms.shape[2] > 256 and self.turn % 3 == 0
        return super().over_rows(np.ascontiguousarray(terms[..., ::-1]) if late else terms, name)


class _WideSumsVary(Honest):
    """Beyond 32 states the sum over them is by blocks, in the order in which they are done."""

    def __init__(self) -> None:
        self.turn = 0

    def contract(self, C: Array, h: Array) -> Array:
        self.turn += 1
        late = h.shape[-1] > 32 and self.turn % 4 == 0
        return super().contract(C[..., ::-1], h[..., ::-1]) if late else super().contract(C, h)


class _StatesKeptWhere(Honest):
    """Every state is kept in the variant of the kernel that a feature takes."""

    def __init__(self, taken: Callable[[Problem], bool]) -> None:
        self.taken = taken

    def scan(self, p: Problem) -> tuple[Array, Array]:
        kept = np.zeros((*p.u.shape, p.A.shape[1]), p.A.dtype) if self.taken(p) else None
        found = super().scan(p)
        del kept
        return found


def _complex(p: Problem) -> bool:
    return bool(np.iscomplexobj(p.A))


def _packed(p: Problem) -> bool:
    return bool(p.reset.any())


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Any) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",))


_LONG: Final = "value/long-with-"
TILES: Final = (
    _mutant(
        "chunk-lost-where-complex", 2, "Chunks of 64 begin from zero where A is complex.",
        f"{_LONG}D-z-bias-B-constant-C-grouped-complex", _ChunkLostWhere(_complex),
    ),
    _mutant(
        "long-chunk-lost-where-complex", 2, "Chunks of 1024 begin from zero where A is complex.",
        "robustness/longer-complex", _ChunkLostWhere(_complex, 1024),
    ),
    _mutant(
        "chunk-lost-where-zoh", 2, "Chunks of 64 begin from zero under the exact hold.",
        f"{_LONG}bias-last-zoh-C-grouped", _ChunkLostWhere(lambda p: p.zoh),
    ),
    _mutant(
        "chunk-lost-where-grouped", 2, "Chunks of 64 begin from zero where B comes in groups.",
        f"{_LONG}z-softplus-last-B-grouped-C-constant", _ChunkLostWhere(lambda p: p.B.ndim == 4),
    ),
    _mutant(
        "chunk-lost-where-constant", 2, "Chunks of 64 begin from zero where C is constant in time.",
        f"{_LONG}bias-softplus-initial-seq_idx-C-constant",
        _ChunkLostWhere(lambda p: p.C.ndim == 2),
    ),
    _mutant(
        "chunk-lost-where-packed", 24, "Chunks of 64 begin from zero in sequences packed by offsets.",
        "value/offsets-many", _ChunkLostWhere(lambda p: p.offsets is not None),
    ),
    _mutant(
        "group-of-tile", 1, "A tile of 64 channels reads the group of its first.",
        "robustness/groups-of-65", _GroupOfTile(),
    ),
    _mutant(
        "groups-beyond-warp", 1, "Groups are counted modulo 32.",
        "robustness/groups-of-65", _GroupsInWarp(),
    ),
    _mutant(
        "states-beyond-block", None, "The output reads the first 256 states.",
        "robustness/states-257", _StatesBeyondBlock(),
    ),
    _mutant(
        "rows-beyond-grid", None, "The grid has 128 rows: those beyond are not finished.",
        "robustness/rows-257", _RowsBeyondGrid(),
    ),
    _mutant(
        "step-states-beyond-block", None, "A step advances the first 64 states.",
        "robustness/states-65", _StepOfBlock(Honest()),
    ),
    _mutant(
        "long-sums-vary", 16, "Beyond 256 steps the order of the sums over time varies, where none may.",
        "determinism/backward-long", _LongSumsVary(),
    ),
    _mutant(
        "wide-sums-vary", 30, "Beyond 32 states the order of the sums over them varies, where none may.",
        "determinism/forward-wide-state", _WideSumsVary(),
    ),
    _mutant(
        "states-kept-where-packed", 35, "The forward pass, claimed fused, keeps every state of packed rows.",
        "memory/forward-growth-packed", _StatesKeptWhere(_packed),
    ),
    _mutant(
        "states-kept-where-complex", 35, "The forward pass, claimed fused, keeps every complex state.",
        "memory/forward-growth-complex-zoh", _StatesKeptWhere(_complex),
    ),
)  # fmt: skip
"""Defects beyond a tile."""
