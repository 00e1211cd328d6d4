"""Mutants at the edges of a grid: blocks, tails, configurations, paths, offsets, padding."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.mutant import Mutant

BLOCK: Final = 16
"""Steps that a program of the grid takes."""


class _EdgeUnmasked(Honest):
    def leave(self, p: Problem, times: range, h: Array) -> Array:
        for t in times[-1:]:
            for _ in range(-len(times) % BLOCK):
                h = self.advance(p, t, h)[1]
        return h


class _TailUnwritten(Honest):
    def finish(self, p: Problem, v: Array) -> Array:
        y = super().finish(p, v)
        y[:, :, y.shape[2] - y.shape[2] % BLOCK :] = np.nan  # what fresh memory may hold
        return y


class _TailOfGradientUnwritten(Honest):
    def through_gate(self, p: Problem, r: Array, last: Array) -> dict[str, Array]:
        total = super().through_gate(p, r, last)
        total["delta"][:, :, p.u.shape[2] - p.u.shape[2] % BLOCK :] = 0
        return total


class _ChannelsBeyondGrid(Honest):
    def finish(self, p: Problem, v: Array) -> Array:
        y = super().finish(p, v)
        y[:, 2048:] = 0
        return y


class _StaleTile(Honest):
    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        p = super().prepare(*args, **inputs)
        if p.u.shape[2] % 64 == 0 and p.u.shape[2]:
            p.u[:, :, -BLOCK:] = p.u[:, :, -2 * BLOCK : -BLOCK]
        return p


class _PlainPathForgets(Honest):
    def feed(self, p: Problem, v: Array) -> Array:
        return v if p.z is None else super().feed(p, v)


class _ConstantOfFirstChannel(Honest):
    def at(self, matrix: Array, t: int, d: int) -> Array:
        found = super().at(matrix, t, d)
        return found if matrix.ndim != 2 else np.broadcast_to(found[:, :1], found.shape)


class _FirstRowForAll(Honest):
    def begin(self, p: Problem, times: range, rows: slice) -> Array:
        h = super().begin(p, times, rows)
        return np.broadcast_to(h[:1], h.shape)


class _StepOfFirstRow(Honest):
    def step_size(self, x: Array, softplus: bool) -> Array:
        s = super().step_size(x, softplus)
        return np.broadcast_to(s[:1], s.shape)


class _ChannelsLeak(Honest):
    def advance(self, p: Problem, t: int, h: Array) -> tuple[Array, Array]:
        decayed, after = super().advance(p, t, h)
        return decayed, after + 0 * after.sum(1, keepdims=True)


class _OddStateLost(Honest):
    def contract(self, C: Array, h: Array) -> Array:
        whole = h.shape[-1] - h.shape[-1] % 2 if h.shape[-1] > 1 else 1
        return super().contract(C[..., :whole], h[..., :whole])


EDGES: Final = (
    Mutant(
        "edge-unmasked",
        None,
        "Lanes beyond l repeat the last step: the last state goes on to the end of the block.",
        "value/typical",
        _EdgeUnmasked(),
    ),
    Mutant(
        "tail-unwritten",
        8,
        "Outputs beyond the last whole block of 16 steps are what the memory held.",
        "value/typical",
        _TailUnwritten(),
    ),
    Mutant(
        "tail-of-gradient-unwritten",
        8,
        "The gradient of delta is zero beyond the last whole block of 16 steps.",
        "gradient/typical",
        _TailOfGradientUnwritten(),
    ),
    Mutant(
        "channels-beyond-grid",
        5,
        "The grid has 2048 channels: wider layers are not finished.",
        "value/wide",
        _ChannelsBeyondGrid(),
    ),
    Mutant(
        "stale-tile",
        7,
        "The configuration for lengths in whole tiles of 64 reads the tile before the last twice.",
        "value/length-64",
        _StaleTile(),
    ),
    Mutant(
        "plain-path-forgets",
        9,
        "Where there is no gate another path is taken, which has no D.",
        "value/feedthrough-only",
        _PlainPathForgets(),
    ),
    Mutant(
        "constant-of-first-channel",
        None,
        "A constant B or C is read for the first channel alone.",
        "value/constant",
        _ConstantOfFirstChannel(),
    ),
    Mutant(
        "initial-of-first-row",
        None,
        "Every row of the batch begins in the first row's initial state.",
        "value/initial",
        _FirstRowForAll(),
    ),
    Mutant(
        "step-of-first-row",
        None,
        "The batch stride of delta is zero: every row steps as the first one.",
        "value/typical",
        _StepOfFirstRow(),
    ),
    Mutant(
        "channels-leak",
        None,
        "A channel adds zero times the sum of all: a NaN reaches every channel.",
        "extreme/confinement-typical",
        _ChannelsLeak(),
    ),
    Mutant(
        "odd-state-lost",
        None,
        "States are summed in pairs; an odd one is lost.",
        "value/groups",
        _OddStateLost(),
    ),
)
"""Defects at the edges."""
