"""Mutants of one compiled variant that three options choose together: no two of them show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import HALF, dtype_name
from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.layers import H3, S5, Lssl
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint, SisoAdjointStep
from ssm_conformance.mutants.kernels.scan import Problem, State
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant


class _FirstStepLost(Honest):
    """Where B and C are constant and there is no D, the gradient of B begins with the second step."""

    def slope_input(self, p: Problem, t: int, adjoint: Array) -> Array:
        found = super().slope_input(p, t, adjoint)
        lost = t == 0 and p.D is None and p.B.ndim == p.C.ndim == 2
        return np.zeros_like(found) if lost else found


class _ChunkLost(Honest):
    """Where B and C are constant and A is complex, chunks of 64 begin from zero."""

    def states(self, p: Problem, times: range, h: Array) -> Iterator[State]:
        taken = p.B.ndim == p.C.ndim == 2 and np.iscomplexobj(p.A)
        for t in times:
            decayed, h = self.advance(p, t, np.zeros_like(h) if taken and t == 64 else h)
            yield t, decayed, h


class _ByRepeat(Honest):
    def groups(self, d: int, g: int) -> Array:
        return np.arange(d) % g


class _HalfGroupsByRepeat(Step):
    """Beside a state in 16 bits, groups are expanded by repetition."""

    def __call__(self, *, state: Any, **given: Any) -> tuple[Any, Any]:
        if dtype_name(state) in HALF:
            return Step(_ByRepeat())(state=state, **given)
        return super().__call__(state=state, **given)


class _GatedResetsIgnored(Dual):
    """Where there is a gate and no D, packed rows are one sequence."""

    def in_scan(self, a: Mapping[str, Array], given: Mapping[str, Any]) -> dict[str, Any]:
        inputs = super().in_scan(a, given)
        if "z" in a and "D" not in a:
            inputs.pop("seq_idx", None)
        return inputs


class _GatedLimitsIgnored(DualStep):
    """Where there is a gate and no D, Δ is not clamped."""

    def __call__(self, **given: Any) -> Any:
        if "z" in given and "D" not in given:
            given.pop("dt_limit", None)
        return super().__call__(**given)


class _BeginsFromNothing(ShortConvolution):
    """Where there is an activation and no bias, the initial state is not read."""

    def __call__(self, **given: Any) -> Any:
        if given.get("activation") and given.get("bias") is None:
            given.pop("initial_state", None)
        return super().__call__(**given)


class _InPlaceWithoutActivation(ShortConvolutionStep):
    """In place and without a bias there is no activation."""

    def __call__(self, *, inplace: bool = False, **given: Any) -> Any:
        if inplace and given.get("bias") is None:
            given.pop("activation", None)
        return super().__call__(inplace=inplace, **given)


class _SisoGatedResetsIgnored(SisoAdjoint):
    """Where there is a gate and no D, packed rows are one sequence."""

    def __call__(self, **given: Any) -> Any:
        if "z" in given and "D" not in given:
            given.pop("seq_idx", None)
        return super().__call__(**given)


class _SisoLastPairLost(SisoAdjointStep):
    """Where every pair turns, and there is neither D nor a gate, the last one does not."""

    def __call__(self, **given: Any) -> Any:
        angles = given["angles"]
        if not {"D", "z"} & set(given) and 2 * angles.shape[-1] == given["q"].shape[-1]:
            given["angles"] = np.where(np.arange(angles.shape[-1]) == angles.shape[-1] - 1, 0, angles)
        return super().__call__(**given)


class _LsslHeldFromNothing(Lssl):
    """Held between steps, and without D, the initial state is not read."""

    def __call__(self, *, discretization: str = "bilinear", **given: Any) -> Any:
        if discretization == "zoh" and given.get("D") is None:
            given.pop("initial_state", None)
        return super().__call__(discretization=discretization, **given)


class _S5FromNothing(S5):
    """By the bilinear rule, and without D, the initial state is not read."""

    def __call__(self, *, discretization: str = "zoh", **given: Any) -> Any:
        if discretization == "bilinear" and given.get("D") is None:
            given.pop("initial_state", None)
        return super().__call__(discretization=discretization, **given)


class _H3HeldWhereProjected(H3):
    """Where there is a projection and no D, the zero-order hold stands in for the bilinear rule."""

    def modes(self, p: Mapping[str, Array], delta: Array, rule: str) -> tuple[Array, Array]:
        held = "out_proj" in p and "D" not in p
        return super().modes(p, delta, "zoh" if held else rule)


def _mutant(name: str, failure: int | None, summary: str, case: str, kernel: Any) -> Mutant:
    return Mutant(name, failure, summary, case, kernel, only=("float32",))


_UNGATED: Final = "With a gate and without D, packed rows are one sequence."

TRIPLES: Final = (
    _mutant(
        "first-step-of-constants-lost", 17,
        "With constant B and C and without D, the gradient of B lacks the first step.",
        "gradient/triple-with-last-initial-B-constant-C-constant-complex", _FirstStepLost(),
    ),
    _mutant(
        "chunk-of-complex-constants-lost", 2,
        "With constant B and C and complex A, step 64 begins from zero.",
        "value/triple-with-last-initial-B-constant-C-constant-complex", _ChunkLost(),
    ),
    _mutant(
        "step-half-groups-by-repeat", 1, "Beside a state in 16 bits, channel i reads group i mod g.",
        "value/triple-with-D-softplus-B-grouped-pool-half", _HalfGroupsByRepeat(Honest()),
    ),
    _mutant(
        "ssd-gated-resets-ignored", 27, _UNGATED,
        "value/triple-with-z-bias-softplus-limits-initial-seq_idx-groups-last", _GatedResetsIgnored(),
    ),
    _mutant(
        "ssd-step-gated-limits-ignored", 3, "With a gate and without D, a step does not clamp Δ.",
        "value/triple-with-z-dt_bias-dt_limit", _GatedLimitsIgnored(),
    ),
    _mutant(
        "conv1d-without-bias-begins", 25,
        "With an activation and without a bias, the initial state is not read.",
        "value/triple-with-activation-initial_state", _BeginsFromNothing(),
    ),
    _mutant(
        "conv1d-step-in-place-without-activation", 9, "In place and without a bias there is no activation.",
        "value/triple-with-activation-inplace", _InPlaceWithoutActivation(),
    ),
    _mutant(
        "mamba3-gated-resets-ignored", 27, _UNGATED,
        "value/triple-with-z-return_final_states-ssm_state-seq_idx",
        _SisoGatedResetsIgnored(),
    ),
    _mutant(
        "mamba3-step-last-pair-lost", 9, "With neither D nor a gate the last of all pairs does not turn.",
        "value/triple-turned-with-none", _SisoLastPairLost(),
    ),
    _mutant(
        "lssl-held-from-nothing", 25, "Held between steps and without D, the initial state is not read.",
        "value/triple-with-initial_state-zoh", _LsslHeldFromNothing(),
    ),
    _mutant(
        "s5-bilinear-from-nothing", 25,
        "By the bilinear rule and without D, the initial state is not read.",
        "value/triple-with-initial_state-bilinear", _S5FromNothing(),
    ),
    _mutant(
        "h3-held-where-projected", None,
        "With a projection and without D, the zero-order hold stands in for the bilinear rule.",
        "value/triple-with-out_proj-bilinear", _H3HeldWhereProjected(),
    ),
)  # fmt: skip
"""Defects of three options."""
