"""Mutants where there is nothing to do: what is then left unwritten, and what is given back."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.mamba3 import STATES
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.kernels.systems import Recurrence
from ssm_conformance.mutants.mutant import Mutant


def _fresh_if(nothing: bool, gradients: dict[str, Any]) -> dict[str, Any]:
    """The gradients, or memory for them where no kernel is launched."""
    return {name: np.empty_like(x) for name, x in gradients.items()} if nothing else gradients


class _NoBatch(Honest):
    def vjp(self, cotangents: Any, wrt: tuple[str, ...], saved: Any, **inputs: Any) -> dict[str, Any]:
        return _fresh_if(not inputs["u"].shape[0], super().vjp(cotangents, wrt, saved, **inputs))


class _NoSteps(Honest):
    def __call__(self, *, return_last_state: bool = False, **inputs: Any) -> Any:
        y, last = super().__call__(return_last_state=True, **inputs)
        last = last if inputs["u"].shape[2] or "initial_state" in inputs else np.empty_like(last)
        return (y, last) if return_last_state else y


class _DualNoBatch(Dual):
    def vjp(self, cotangents: Any, wrt: tuple[str, ...], saved: Any, **given: Any) -> dict[str, Any]:
        return _fresh_if(not given["x"].shape[0], super().vjp(cotangents, wrt, saved, **given))


class _ConvolutionNoBatch(ShortConvolution):
    def vjp(self, cotangents: Any, wrt: tuple[str, ...], saved: Any, **given: Any) -> dict[str, Any]:
        return _fresh_if(not given["x"].shape[0], super().vjp(cotangents, wrt, saved, **given))


class _RecurrenceNoBatch(Recurrence):
    def vjp(self, cotangents: Any, wrt: tuple[str, ...], saved: Any = None, **inputs: Any) -> dict[str, Any]:
        return _fresh_if(not inputs["u"].shape[0], super().vjp(cotangents, wrt, saved, **inputs))


class _InitialGivenBack(Honest):
    def __call__(self, *, return_last_state: bool = False, **inputs: Any) -> Any:
        y, last = super().__call__(return_last_state=True, **inputs)
        last = last if inputs["u"].shape[2] else inputs.get("initial_state", last)
        return (y, last) if return_last_state else y


class _DualGivenBack(Dual):
    def __call__(self, *, return_final_states: bool = False, **given: Any) -> Any:
        y, final = super().__call__(return_final_states=True, **given)
        final = final if given["x"].shape[1] else given.get("initial_states", final)
        return (y, final) if return_final_states else y


class _ConvolutionGivenBack(ShortConvolution):
    def __call__(self, *, return_last_state: bool = False, **given: Any) -> Any:
        y, last = super().__call__(return_last_state=True, **given)
        last = last if given["x"].shape[2] else given.get("initial_state", last)
        return (y, last) if return_last_state else y


class _SisoGivenBack(SisoAdjoint):
    def __call__(self, *, return_final_states: bool = False, **given: Any) -> Any:
        y, *states = super().__call__(return_final_states=True, **given)
        if not given["v"].shape[1]:
            states = [given.get(name, state) for name, state in zip(STATES, states, strict=True)]
        return (y, *states) if return_final_states else y


class _PoolGivenBack(Step):
    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        rows, slots = super().rows_and_slots(state_indices, b)
        self.idle = not rows.size
        return rows, slots

    def target(self, state: Array, inplace: bool) -> Array:
        return super().target(state, inplace or self.idle)


class _SisoNoBatch(SisoAdjoint):
    def vjp(self, cotangents: Any, wrt: tuple[str, ...], saved: Any, **given: Any) -> dict[str, Any]:
        return _fresh_if(not given["v"].shape[0], super().vjp(cotangents, wrt, saved, **given))


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Any) -> Mutant:
    return Mutant(name, failure, summary, f"robustness/{rejected_by}", kernel, only=("float32",))


_UNWRITTEN: Final = "In a batch of zero the gradients of parameters are what memory held."
_GIVEN_BACK: Final = "Where l = 0 the initial state itself is returned, not a copy."
NOTHING: Final = (
    _mutant("no-batch-unwritten", 8, _UNWRITTEN, "poisoned-no-batch-wide", _NoBatch()),
    _mutant("ssd-no-batch-unwritten", 8, _UNWRITTEN, "poisoned-no-batch-wide", _DualNoBatch()),
    _mutant("mamba3-no-batch-unwritten", 8, _UNWRITTEN, "poisoned-no-batch-wide", _SisoNoBatch()),
    _mutant("conv1d-no-batch-unwritten", 8, _UNWRITTEN, "poisoned-no-batch-wide", _ConvolutionNoBatch()),
    _mutant("recurrence-no-batch-unwritten", 8, _UNWRITTEN, "poisoned-no-batch-wide", _RecurrenceNoBatch()),
    _mutant(
        "no-steps-unwritten", 8, "Where l = 0 the last state is what memory held, not zero.",
        "poisoned-no-steps-wide", _NoSteps(),
    ),
    _mutant("initial-given-back", None, _GIVEN_BACK, "reused-empty-initial", _InitialGivenBack()),
    _mutant("ssd-initial-given-back", None, _GIVEN_BACK, "reused-empty-initial", _DualGivenBack()),
    _mutant("conv1d-initial-given-back", None, _GIVEN_BACK, "reused-empty", _ConvolutionGivenBack()),
    _mutant("mamba3-initial-given-back", None, _GIVEN_BACK, "reused-empty", _SisoGivenBack()),
    _mutant(
        "step-pool-given-back", None, "Where every row is skipped the pool itself is returned, not a copy.",
        "reused-pool-idle", _PoolGivenBack(Honest()),
    ),
)  # fmt: skip
"""Defects of doing nothing."""
