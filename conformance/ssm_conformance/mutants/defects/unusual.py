"""Mutants that compare an option with one value too few: a limit, a slot, the name of an activation."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import dtype_name
from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual, Limits
from ssm_conformance.mutants.kernels.pooled import Pooled
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant


class _FirstRowDecides(Pooled):
    """A batch whose first row is skipped is taken for an empty one."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        if state_indices is not None and state_indices.size and state_indices[0] < 0:
            state_indices = np.full_like(state_indices, -1)
        return super().rows_and_slots(state_indices, b)


class _FirstRowOfScan(_FirstRowDecides, Step):
    pass


class _FirstRowOfConvolution(_FirstRowDecides, ShortConvolutionStep):
    pass


class _FirstRowOfHeads(_FirstRowDecides, DualStep):
    pass


class _SlotsInTurn(Pooled):
    """Slots that follow each other are taken for those from the first one on: a slice of the pool."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        rows, slots = super().rows_and_slots(state_indices, b)
        in_turn = len(slots) > 1 and bool((np.diff(slots) == 1).all())
        return rows, slots - slots[0] if in_turn else slots


class _SlotsInTurnOfScan(_SlotsInTurn, Step):
    pass


class _SlotsInTurnOfConvolution(_SlotsInTurn, ShortConvolutionStep):
    pass


class _SlotsInTurnOfHeads(_SlotsInTurn, DualStep):
    pass


class _InOrderRestLost(Step):
    """Where each row's slot has its number, no indices are needed: the slots behind are not handed on."""

    def __call__(self, *, state: Any, state_indices: Any = None, inplace: bool = False, **given: Any) -> Any:
        y, new = super().__call__(state=state, state_indices=state_indices, inplace=inplace, **given)
        b = 0 if state_indices is None else len(state_indices)
        if b and not inplace and np.array_equal(state_indices, np.arange(b)):
            new[b:] = 0
        return y, new


class _LimitsOfTwoSides(Dual):
    """Steps are clamped where both limits are finite, or the lower one is zero."""

    def limited(self, free: Array, limits: Limits) -> Array:
        low, high = limits
        both = np.isfinite(high) and np.isfinite(low)
        return super().limited(free, limits if both or low == 0 else (-inf, inf))


class _NoSwish(ShortConvolution):
    """The activation is compared with "silu" alone where a state comes in, or an index."""

    def __call__(self, **given: Any) -> Any:
        if given.get("initial_state") is not None or given.get("seq_idx") is not None:
            given |= {"activation": "silu" if given.get("activation") == "silu" else None}
        return super().__call__(**given)


class _NoSwishOfPool(ShortConvolutionStep):
    """The same where states are slots of a pool, or written in place."""

    def __call__(self, *, state_indices: Any = None, inplace: bool = False, **given: Any) -> Any:
        if (state_indices is not None or inplace) and given.get("activation") == "swish":
            given["activation"] = None
        return super().__call__(state_indices=state_indices, inplace=inplace, **given)


class _DeltaNarrowedInPool(Step):
    """Where states are slots of a pool, delta is rounded to the dtype of u."""

    def __call__(self, *, state_indices: Any = None, **given: Any) -> Any:
        return super().__call__(state_indices=state_indices, **_narrowed(given, "delta", "u", state_indices))


class _FilterNarrowedInPool(ShortConvolutionStep):
    """Where states are slots of a pool, the filter is rounded to the dtype of x."""

    def __call__(self, *, state_indices: Any = None, **given: Any) -> Any:
        return super().__call__(state_indices=state_indices, **_narrowed(given, "weight", "x", state_indices))


def _narrowed(given: Mapping[str, Any], name: str, like: str, slots: Any) -> dict[str, Any]:
    if slots is None or dtype_name(given[name]) != "float32":
        return dict(given)
    return {**given, name: rounded(given[name], dtype_name(given[like]))}


def _mutant(
    name: str, failure: int | None, summary: str, rejected_by: str, kernel: Any, **more: Any
) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, **{"only": ("float32",)} | more)


UNUSUAL: Final = (
    _mutant(
        "step-first-row-skipped-ends", 26, "A batch whose first row is skipped takes no step.",
        "value/pool-first-skipped", _FirstRowOfScan(Honest()),
    ),
    _mutant(
        "conv1d-step-first-row-skipped-ends", 26, "A batch whose first row is skipped takes no step.",
        "value/pool-first-skipped", _FirstRowOfConvolution(),
    ),
    _mutant(
        "ssd-step-first-row-skipped-ends", 26, "A batch whose first row is skipped takes no step.",
        "value/pool-first-skipped", _FirstRowOfHeads(),
    ),
    _mutant(
        "ssd-step-slots-in-turn-from-first", 26,
        "Slots that follow each other are read from the pool's beginning.",
        "value/pool-in-turn", _SlotsInTurnOfHeads(),
    ),
    _mutant(
        "step-slots-in-turn-from-first", 26,
        "Slots that follow each other are read from the pool's beginning.",
        "value/pool-in-turn", _SlotsInTurnOfScan(Honest()),
    ),
    _mutant(
        "conv1d-step-slots-in-turn-from-first", 26,
        "Slots that follow each other are read from the pool's beginning.",
        "value/pool-inplace-in-turn", _SlotsInTurnOfConvolution(),
    ),
    _mutant(
        "step-slots-in-order-rest-lost", 26,
        "Where each row's slot has its number, the slots that no row names are lost.",
        "value/pool-in-order", _InOrderRestLost(Honest()),
    ),
    _mutant(
        "ssd-lower-limit-needs-upper", 3, "A lower limit of the steps counts where the upper one is finite.",
        "value/lower-limit", _LimitsOfTwoSides(),
    ),
    _mutant(
        "ssd-upper-limit-needs-lower", 3, "An upper limit of the steps counts where the lower one is finite.",
        "value/upper-limit", _LimitsOfTwoSides(),
    ),
    _mutant(
        "ssd-step-lower-limit-needs-upper", 3,
        "A lower limit of the step counts where the upper one is finite.",
        "value/lower-limit", DualStep(_LimitsOfTwoSides()),
    ),
    _mutant(
        "ssd-step-upper-limit-needs-lower", 3,
        "An upper limit of the step counts where the lower one is finite.",
        "value/upper-limit", DualStep(_LimitsOfTwoSides()),
    ),
    _mutant(
        "conv1d-swish-of-initial-ignored", None, "With an initial state swish is no activation.",
        "value/swish-initial", _NoSwish(),
    ),
    _mutant(
        "conv1d-swish-of-packed-ignored", None, "In packed sequences swish is no activation.",
        "value/swish-packed", _NoSwish(),
    ),
    _mutant(
        "conv1d-step-swish-of-pool-ignored", None, "With states in a pool swish is no activation.",
        "value/swish-pool", _NoSwishOfPool(),
    ),
    _mutant(
        "conv1d-step-swish-in-place-ignored", None, "With a state that is written in place swish is none.",
        "value/swish-longer-inplace", _NoSwishOfPool(),
    ),
    _mutant(
        "step-narrowed-in-pool", 32, "With states in a pool a delta in float32 is rounded to bfloat16.",
        "value/mixed-pool", _DeltaNarrowedInPool(Honest()), only=("bfloat16",),
    ),
    _mutant(
        "conv1d-step-narrowed-in-pool", 32,
        "With states in a pool a filter in float32 is rounded to bfloat16.",
        "value/mixed-pool", _FilterNarrowedInPool(), only=("bfloat16",),
    ),
)  # fmt: skip
"""Defects of options at values that few calls have."""
