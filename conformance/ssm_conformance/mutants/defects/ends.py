"""Mutants at the ends of ranges: of steps, of scans with heads and of layers; of pools and packed rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.layers import H3, S5, Layer, Lssl
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint, SisoAdjointStep
from ssm_conformance.mutants.kernels.modal import S4d, S4dKernel
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant


def _overflowing(x: Array) -> Array:
    """σ(x) as exp(x)/(1 + exp(x)): NaN where exp(x) overflows."""
    grown = np.exp(x)
    return np.asarray(grown / (1 + grown))


def _cancelling(x: Array) -> Array:
    """expm1(x) as exp(x) − 1."""
    return np.asarray(np.exp(x) - 1)


class _SigmoidOverflows(Honest):
    def sigmoid(self, x: Array) -> Array:
        return _overflowing(x)


class _GrowthClamped(Honest):
    def matrix(self, A: Array) -> Array:
        return np.asarray(A if np.iscomplexobj(A) else np.minimum(A, 0))


class _HoldCancels(Honest):
    def expm1(self, x: Array) -> Array:
        return _cancelling(x)


class _SlotsInBytes(Step):
    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        narrow = None if state_indices is None else state_indices.astype(np.int8)
        return super().rows_and_slots(narrow, b)


class _MoreRowsThanSlots(Step):
    """A pool is taken for the batch's own states where it is the shorter: rows beyond it are skipped."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        rows, slots = super().rows_and_slots(state_indices, b)
        return rows[rows < self.slots], slots[rows < self.slots]

    def __call__(self, *, state: Any, **inputs: Any) -> tuple[Any, Any]:
        self.slots = state.shape[0]
        return super().__call__(state=state, **inputs)


class _SkippedTimesZero(Step):
    """A skipped row is masked by a product with zero."""

    def __call__(self, *, u: Any, state_indices: Any = None, **inputs: Any) -> tuple[Any, Any]:
        y, state = super().__call__(u=u, state_indices=state_indices, **inputs)
        if state_indices is not None:
            y = np.where(state_indices[:, None] < 0, 0 * u, y)
        return y, state


class _UntouchedPlusZero(Step):
    """Zero times the sum of the pool is added to each new state."""

    def kept(self, h: Array, dtype: str) -> Array:
        return np.asarray(super().kept(h, dtype) + 0 * self.sum_of_pool)

    def wide(self, state: Any, compute: str) -> Array:
        found = super().wide(state, compute)
        self.sum_of_pool = found.sum()
        return found


class _DualSigmoidOverflows(Dual):
    scan = _SigmoidOverflows()

    def sigmoid(self, x: Array) -> Array:
        return _overflowing(x)


class _DualGrowthClamped(Dual):
    def rates(self, A: Array, p: int) -> Array:
        return super().rates(np.minimum(A, 0), p)


class _SisoSigmoidOverflows(SisoAdjoint):
    def sigmoid(self, x: Array) -> Array:
        return _overflowing(x)


class _TanhOverflows(SisoAdjoint):
    def turn(self, step: Array, angle: Array) -> Array:
        tanh = 2 * _overflowing(2 * angle) - 1
        return np.asarray(step[..., None] * np.pi * tanh).astype(angle.dtype)


class _DecayClamped(SisoAdjoint):
    def exp(self, x: Array) -> Array:
        return super().exp(np.maximum(x, -10))


class _SisoGrowthClamped(SisoAdjoint):
    def exp(self, x: Array) -> Array:
        return super().exp(np.minimum(x, 0))


class _ModesCancel(Layer):
    def modes(self, p: Mapping[str, Array], delta: Array, rule: str) -> tuple[Array, Array]:
        a, hold = super().modes(p, delta, rule)
        if rule != "zoh":
            return a, hold
        with np.errstate(invalid="ignore"):  # 0/0 is the defect
            return a, _cancelling(delta * p["A"]) / p["A"]


class _S5Cancels(_ModesCancel, S5):
    pass


class _S4dCancels(_ModesCancel, S4d):
    pass


class _KernelCancels(_ModesCancel, S4dKernel):
    pass


class _H3Cancels(_ModesCancel, H3):
    pass


class _BySolving(Lssl):
    """B̄ is A⁻¹(Ā − I)B, and zero where there is none."""

    def discrete(self, p: Mapping[str, Array], rule: str) -> tuple[Array, Array]:
        a, b = super().discrete(p, rule)
        regular = np.abs(np.linalg.det(p["A"])) > 0
        return a, np.where(regular[:, None, None] | (rule != "zoh"), b, 0)


class _OneStepBegins(Honest):
    """A packed row of one step is taken for one that begins there."""

    def begin(self, p: Problem, times: range, rows: slice) -> Array:
        h = super().begin(p, times, rows)
        return np.zeros_like(h) if self.packed and len(times) == 1 else h

    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        self.packed = inputs.get("seq_idx") is not None
        return super().prepare(*args, **inputs)


class _ConvolutionOneStepBegins(ShortConvolution):
    def seen(self, seq_idx: Array | None, b: int, l: int, w: int) -> Array:
        found = super().seen(seq_idx, b, l, w)
        if seq_idx is not None and l == 1:
            found[:-1] = False
        return found


class _StateMasked(ShortConvolution):
    def last_state(self, line: Array, l: int, seen: Array) -> Array:
        return np.asarray(seen[:-1, :, -1].T[:, None] * line[..., l:])


class _AdjointMasked(Honest):
    def carry_back(self, p: Problem, t: int, adjoint: Array) -> Array:
        return np.asarray(self.decay(p, t).conj() * adjoint * ~p.reset[:, t, None, None])


class _SisoAdjointMasked(SisoAdjoint):
    def cut_back(self, fresh: Array | None, states: list[Array]) -> list[Array]:
        if fresh is None:
            return states
        return [s * ~fresh.reshape(-1, *[1] * (s.ndim - 1)) for s in states]


def _mutant(
    name: str, failure: int | None, summary: str, rejected_by: str, kernel: Any, dtype: str = "float32"
) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=(dtype,))


_OVERFLOWS: Final = "σ is exp(x)/(1 + exp(x)): NaN where exp(x) overflows."
_CLAMPED: Final = "Rates of decay are clamped to zero from above."
_CANCELS: Final = "The exact hold is (exp(Δλ) − 1)/λ without expm1."
ENDS: Final = (
    _mutant("step-gate-overflows", 20, _OVERFLOWS, "extreme/gate-far", Step(_SigmoidOverflows())),
    _mutant(
        "step-slope-overflows", 20, _OVERFLOWS, "extreme/gradient-softplus-large", Step(_SigmoidOverflows())
    ),
    _mutant("step-growth-clamped", 3, _CLAMPED, "extreme/growing", Step(_GrowthClamped())),
    _mutant("step-hold-cancels", 11, _CANCELS, "extreme/zoh-near-zero", Step(_HoldCancels())),
    _mutant(
        "step-slots-in-bytes", 26, "Slots are counted in 8 bits.", "value/pool-large",
        _SlotsInBytes(Honest()),
    ),
    _mutant(
        "step-more-rows-than-slots", 26, "Rows beyond as many as there are slots are skipped.",
        "value/pool-of-few", _MoreRowsThanSlots(Honest()),
    ),
    _mutant(
        "step-skipped-times-zero", 28, "A skipped row is multiplied by zero: a NaN in it comes out.",
        "property/skipped-pool", _SkippedTimesZero(Honest()),
    ),
    _mutant(
        "step-untouched-plus-zero", 26, "Zero times the sum of the pool is added to each new state.",
        "property/skipped-pool", _UntouchedPlusZero(Honest()),
    ),
    _mutant(
        "ssd-slope-overflows", 20, _OVERFLOWS, "extreme/gradient-softplus-large", _DualSigmoidOverflows(),
    ),
    _mutant("ssd-growth-clamped", 3, _CLAMPED, "extreme/growing", _DualGrowthClamped()),
    _mutant("ssd-step-gate-overflows", 20, _OVERFLOWS, "extreme/gate-far", DualStep(_DualSigmoidOverflows())),
    _mutant("ssd-step-growth-clamped", 3, _CLAMPED, "extreme/growing", DualStep(_DualGrowthClamped())),
    _mutant("mamba3-gates-overflow", 20, _OVERFLOWS, "extreme/gates-far", _SisoSigmoidOverflows()),
    _mutant(
        "mamba3-step-gates-overflow", 20, _OVERFLOWS, "extreme/gates-far",
        SisoAdjointStep(_SisoSigmoidOverflows()),
    ),
    _mutant(
        "mamba3-tanh-overflows", 20, "tanh is 2σ(2x) − 1, and σ overflows.",
        "extreme/angles-far", _TanhOverflows(),
    ),
    _mutant(
        "mamba3-decay-clamped", None, "Exponents are clamped to −10 from below.",
        "extreme/decay-strong-and-weak", _DecayClamped(),
    ),
    _mutant("mamba3-growth-clamped", 3, _CLAMPED, "extreme/growing", _SisoGrowthClamped()),
    _mutant("s5-hold-cancels", 11, _CANCELS, "extreme/near-zero", _S5Cancels()),
    _mutant("s4d-hold-cancels", 11, _CANCELS, "extreme/near-zero", _S4dCancels()),
    _mutant("s4d-kernel-hold-cancels", 11, _CANCELS, "extreme/near-zero", _KernelCancels()),
    _mutant("h3-hold-cancels", 11, _CANCELS, "extreme/near-zero", _H3Cancels()),
    _mutant(
        "lssl-hold-of-regular", 11, "Of a singular A, which A⁻¹(Ā − I)B has none for, the hold is zero.",
        "extreme/zoh-singular", _BySolving(),
    ),
    _mutant(
        "packed-step-begins", 23, "A packed row of one step does not read its initial state.",
        "robustness/packed-single", _OneStepBegins(),
    ),
    _mutant(
        "conv1d-packed-step-begins", 23, "A packed row of one step does not read its initial state.",
        "robustness/packed-single", _ConvolutionOneStepBegins(),
    ),
    _mutant(
        "conv1d-state-masked", 27, "The state handed on multiplies earlier sequences by zero: a NaN leaks.",
        "property/packing-packed", _StateMasked(),
    ),
    _mutant(
        "adjoint-masked", 27, "The adjoint state is multiplied by zero at a reset: a NaN leaks.",
        "property/packing-gradients-packed", _AdjointMasked(),
    ),
    _mutant(
        "mamba3-adjoint-masked", 27, "Adjoint states are multiplied by zero at a reset: a NaN leaks.",
        "property/packing-gradients-packed", _SisoAdjointMasked(),
    ),
)  # fmt: skip
"""Defects at the ends."""
