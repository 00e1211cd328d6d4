"""Mutants of an option that is lost in wide, long or single-step calls, or with a filter of few taps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.losing import (
    LosingConvolution,
    LosingConvolutionStep,
    LosingDual,
    LosingH3,
    LosingLssl,
    LosingRecurrence,
    LosingS4d,
    LosingS4dKernel,
    LosingS5,
    LosingScan,
    LosingSiso,
    Taken,
)
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint, SisoAdjointStep
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant

BLOCK: Final = 16
CHUNK: Final = 64


class _PoolOfNoRow(Step):
    """Where there is no row the pool comes back as zeros."""

    def held(self, state: Any, new: Array, inplace: bool) -> Any:
        return super().held(state, new if self.rows else np.zeros_like(new), inplace)

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        self.rows = b
        return super().rows_and_slots(state_indices, b)


class _StatesOfBlock(Honest):
    """In one variant the output reads the first block of states."""

    def __init__(self, taken: Callable[[Problem], bool]) -> None:
        self.taken = taken

    def contract(self, C: Array, h: Array) -> Array:
        read = BLOCK if self.reads_block else h.shape[-1]
        return super().contract(C[..., :read], h[..., :read])

    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        p = super().prepare(*args, **inputs)
        self.reads_block = self.taken(p)
        return p


class _ChannelsOfBlock(Honest):
    """In one variant the channels beyond the 64th are not written."""

    def __init__(self, taken: Callable[[Problem], bool]) -> None:
        self.taken = taken

    def finish(self, p: Problem, v: Array) -> Array:
        y = super().finish(p, v)
        if self.taken(p):
            y[:, CHUNK:] = 0
        return y


class _SlopesOfBlock(Honest):
    """The gradient of a complex A is that of the first 64 channels."""

    def slope_modes(self, p: Problem, s: Array, dp: Array, held: Array) -> Array:
        slope = super().slope_modes(p, s, dp, held)
        if np.iscomplexobj(p.A):
            slope[:, CHUNK:] = 0
        return slope


def _seen_at_ends(ids: Array) -> Array:
    """The ids where a chunk of 64 is one sequence if its first and last step are."""
    seen = ids.copy()
    for start in range(0, ids.shape[1] if ids.shape[1] > CHUNK else 0, CHUNK):
        chunk = slice(start, start + CHUNK)
        same = ids[:, chunk][:, :1] == ids[:, chunk][:, -1:]
        seen[:, chunk] = np.where(same, ids[:, start, None], ids[:, chunk])
    return seen


class _EndsCompared(Honest):
    def resets(self, seq_idx: Array) -> Array:
        return super().resets(_seen_at_ends(seq_idx))


class _DualEndsCompared(Dual):
    def resets(self, seq_idx: Array) -> Array:
        return super().resets(_seen_at_ends(seq_idx))


class _SisoEndsCompared(SisoAdjoint):
    def begins(self, seq_idx: Array | None, t: int) -> Array | None:
        return super().begins(None if seq_idx is None else _seen_at_ends(seq_idx), t)


class _ChunkOfPacked(SisoAdjoint):
    """Packed rows with states: step 64 begins from zero."""

    def __call__(self, **given: Any) -> Any:
        self.loses = given.get("seq_idx") is not None and "ssm_state" in given
        return super().__call__(**given)

    def one_step(self, p: Mapping[str, Array], t: int, states: list[Array]) -> tuple[Array, list[Array]]:
        theta, S, *before = states
        lost = self.loses and t == CHUNK
        return super().one_step(p, t, [theta, np.zeros_like(S) if lost else S, *before])


class _ActivationOfOtherTaps(ShortConvolution):
    """Filters of any width but four have an activation, asked for or not."""

    def __call__(self, **given: Any) -> Any:
        other = {"activation": "silu"} if given["weight"].shape[1] != 4 else {}
        return super().__call__(**given | other)


class _PlainChannelsOfBlock(ShortConvolution):
    """Without an activation the channels beyond the 64th are not written."""

    def __call__(self, **given: Any) -> Any:
        found = super().__call__(**given)
        y = found[0] if isinstance(found, tuple) else found
        if not given.get("activation"):
            y[:, CHUNK:] = 0
        return found


def _wide(name: str, axis: int) -> Taken:
    return lambda given: bool(given[name].shape[axis] > BLOCK)


def _long(name: str) -> Taken:
    return lambda given: bool(given[name].shape[-1] > CHUNK)


def _of(name: str, axis: int, steps: int) -> Taken:
    return lambda given: bool(given[name].shape[axis] == steps)


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Kernel) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",))


_STEP_OF_COMPLEX: Final = Step(_StatesOfBlock(lambda p: np.iscomplexobj(p.A)))
_OF_FOUR: Final[Taken] = lambda given: given["weight"].shape[1] != 4  # noqa: E731  # a name for its type
CROSSED: Final = (
    _mutant(
        "complex-states-beyond-block", None, "With a complex A the output reads 16 states.",
        "value/wide-with-D-z-bias-B-constant-C-grouped-complex",
        _StatesOfBlock(lambda p: np.iscomplexobj(p.A)),
    ),
    _mutant(
        "offsets-states-beyond-block", None, "Of sequences packed by offsets the output reads 16 states.",
        "value/wide-with-D-z-bias-softplus-cu_seqlens-zoh",
        _StatesOfBlock(lambda p: p.offsets is not None),
    ),
    _mutant(
        "zoh-channels-beyond-block", 5, "Under the exact hold channels beyond the 64th are not written.",
        "value/wide-with-bias-last-zoh-C-grouped", _ChannelsOfBlock(lambda p: p.zoh),
    ),
    _mutant(
        "ungated-channels-beyond-block", 5, "Without a gate channels beyond the 64th are not written.",
        "value/wide-with-last", _ChannelsOfBlock(lambda p: p.z is None),
    ),
    _mutant(
        "complex-slopes-beyond-block", 14, "A complex A has a gradient in the first 64 channels.",
        "gradient/wide-with-D-z-bias-B-constant-C-grouped-complex", _SlopesOfBlock(),
    ),
    _mutant(
        "step-complex-states-beyond-block", None, "With a complex A a step's output reads 16 states.",
        "value/wide-with-D-z-B-grouped-complex", _STEP_OF_COMPLEX,
    ),
    _mutant(
        "chunk-ends-compared", 27, "A chunk of 64 is one sequence if its first and last id agree.",
        "value/packed-again", _EndsCompared(),
    ),
    _mutant(
        "ssd-chunk-ends-compared", 27, "A chunk of 64 is one sequence if its first and last id agree.",
        "value/packed-again", _DualEndsCompared(),
    ),
    _mutant(
        "mamba3-chunk-ends-compared", 27, "A chunk of 64 is one sequence if its first and last id agree.",
        "value/large-with-return_final_states-ssm_state-k_state-seq_idx", _SisoEndsCompared(),
    ),
    _mutant(
        "ssd-wide-heads-packed", 27, "Heads wider than 16 have no resets.",
        "value/wide-with-wide-D-z-limits-initial-seq_idx", LosingDual("seq_idx", _wide("x", 3)),
    ),
    _mutant(
        "ssd-wide-states-initial", 22, "With more than 16 states the initial ones are not read.",
        "value/wide-with-z-softplus-initial", LosingDual("initial_states", _wide("B", 3)),
    ),
    _mutant(
        "ssd-step-wide-heads-unlimited", 3, "A step of heads wider than 16 does not clamp Δ.",
        "value/large-with-D-z-dt_bias-dt_softplus-dt_limit", DualStep(LosingDual("dt_limit", _wide("x", 3))),
    ),
    _mutant(
        "mamba3-chunk-lost-where-packed", 2, "Step 64 of packed rows with states begins from zero.",
        "value/large-with-D-angle_state-ssm_state-v_state-seq_idx", _ChunkOfPacked(),
    ),
    _mutant(
        "mamba3-angles-of-wide-states", 22, "With more than 16 states the initial angles are not read.",
        "value/large-with-z-angle_state-k_state-v_state", LosingSiso("angle_state", _wide("q", 3)),
    ),
    _mutant(
        "mamba3-step-wide-heads-ungated", 9, "A step of heads wider than 16 without D has no gate.",
        "value/large-with-z",
        SisoAdjointStep(LosingSiso("z", lambda given: "D" not in given and given["v"].shape[3] > BLOCK)),
    ),
    _mutant(
        "conv1d-plain-channels-beyond-block", 5, "Without an activation 64 channels are written.",
        "value/large-with-none", _PlainChannelsOfBlock(),
    ),
    _mutant(
        "conv1d-state-of-packed-channels", 22, "Packed rows of many channels have no initial state.",
        "value/large-with-bias-activation-initial_state-seq_idx-return_last_state",
        LosingConvolution(
            "initial_state", lambda g: g.get("seq_idx") is not None and g["x"].shape[1] > BLOCK
        ),
    ),
    _mutant(
        "conv1d-activation-of-other-taps", None, "Filters of any width but four are always activated.",
        "value/taps-2-with-none", _ActivationOfOtherTaps(),
    ),
    _mutant(
        "conv1d-resets-of-four-taps", 27, "Filters of any width but four see no reset.",
        "value/taps-3-with-activation-seq_idx", LosingConvolution("seq_idx", _OF_FOUR),
    ),
    _mutant(
        "conv1d-resets-of-long-filters", 27, "Filters of more than eight taps see no reset.",
        "value/taps-9-with-activation-seq_idx",
        LosingConvolution("seq_idx", lambda given: given["weight"].shape[1] > 8),
    ),
    _mutant(
        "conv1d-step-activation-of-other-taps", None, "Filters of any width but four are always activated.",
        "value/taps-2-with-bias", ShortConvolutionStep(_ActivationOfOtherTaps()),
    ),
    _mutant(
        "conv1d-step-swish-ignored", None, "A step knows SiLU by one of its two names.",
        "robustness/swish", LosingConvolutionStep("activation", lambda g: g.get("activation") == "swish"),
    ),
    _mutant(
        "recurrence-state-of-many-systems", 22, "More than 16 systems have no initial state.",
        "value/large-with-initial_state", LosingRecurrence("initial_state", _wide("u", 1)),
    ),
    _mutant(
        "s4d-state-of-many-channels", 22, "More than 16 channels have no initial state.",
        "value/large-with-initial_state", LosingS4d("initial_state", _wide("u", 1)),
    ),
    _mutant(
        "s4d-rule-of-short-rows", None, "Beyond 64 steps the hold is exact, whatever is asked for.",
        "value/large-bilinear", LosingS4d("discretization", _long("u")),
    ),
    _mutant(
        "s4d-kernel-rule-of-few-channels", None, "More than 16 channels take the exact hold.",
        "value/large-backward-euler", LosingS4dKernel("discretization", _wide("A", 0)),
    ),
    _mutant(
        "s5-state-of-short-rows", 22, "Beyond 64 steps there is no initial state.",
        "value/large-with-initial_state", LosingS5("initial_state", _long("u")),
    ),
    _mutant(
        "s5-rule-of-few-channels", None, "More than 16 channels take the exact hold.",
        "value/large-forward-euler", LosingS5("discretization", _wide("u", 1)),
    ),
    _mutant(
        "h3-feedthrough-of-short-rows", None, "Beyond 64 steps there is no feedthrough.",
        "value/large-with-D", LosingH3("D", _long("q")),
    ),
    _mutant(
        "lssl-rule-of-few-channels", None, "More than 16 channels take Tustin's rule.",
        "value/large-zoh", LosingLssl("discretization", _wide("u", 1)),
    ),
    _mutant(
        "single-step-begins", 23, "A scan of one step does not read its initial state.",
        "value/single-with-bias-softplus-initial-seq_idx-C-constant",
        LosingScan("initial_state", _of("u", 2, 1)),
    ),
    _mutant(
        "single-step-by-euler", 23, "A scan of one step has no exact hold.",
        "value/single-with-bias-last-zoh-C-grouped", LosingScan("b_discretization", _of("u", 2, 1)),
    ),
    _mutant(
        "single-step-ungated", 23, "A scan of one step has no gate.",
        "value/single-with-z-softplus-last-B-grouped-C-constant", LosingScan("z", _of("u", 2, 1)),
    ),
    _mutant(
        "ssd-single-step-begins", 23, "SSD of one step does not read its initial states.",
        "value/single-with-z-softplus-initial", LosingDual("initial_states", _of("x", 1, 1)),
    ),
    _mutant(
        "ssd-single-step-unlimited", 23, "SSD of one step does not clamp Δ.",
        "value/single-with-z-bias-limits-last", LosingDual("dt_limit", _of("x", 1, 1)),
    ),
    _mutant(
        "ssd-no-step-begins", 23, "Where l = 0 the final states are zero.",
        "value/empty-with-D-limits-initial-groups-last", LosingDual("initial_states", _of("x", 1, 0)),
    ),
    _mutant(
        "mamba3-single-step-begins", 23, "Mamba-3 of one step does not read the key before it.",
        "value/single-with-z-angle_state-k_state-v_state", LosingSiso("k_state", _of("v", 1, 1)),
    ),
    _mutant(
        "conv1d-single-step-begins", 23, "A convolution of one step does not read its initial state.",
        "value/single-with-bias-activation-initial_state-seq_idx-return_last_state",
        LosingConvolution("initial_state", _of("x", 2, 1)),
    ),
    _mutant(
        "s4d-single-step-begins", 23, "One step does not read its initial state.",
        "value/single-with-initial_state", LosingS4d("initial_state", _of("u", 2, 1)),
    ),
    _mutant(
        "s5-no-step-begins", 23, "Where l = 0 the last state is zero.",
        "value/empty-with-D-initial_state-return_last_state", LosingS5("initial_state", _of("u", 2, 0)),
    ),
    _mutant(
        "step-pool-of-no-row", 23, "Where there is no row the pool comes back as zeros.",
        "robustness/no-batch-pool", _PoolOfNoRow(Honest()),
    ),
)  # fmt: skip
"""Defects of an option in large calls, and in those of one step and of none."""
