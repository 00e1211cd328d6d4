"""Mutants of what is asked for, or given, together: a layer's parameters, all cotangents but one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint, SisoAdjointStep
from ssm_conformance.mutants.mutant import Mutant


class _OfAFirstLayer(Honest):
    """Where no stream is differentiated, as in a first layer, the adjoint state is not computed."""

    def vjp(self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], *args: Any, **given: Any) -> Any:
        found = super().vjp(cotangents, wrt, *args, **given)
        if "A" in wrt and len(wrt) > 1 and set(wrt) <= {"A", "D", "delta_bias"}:
            found["A"] = np.zeros_like(found["A"])
        return found


class _KeyWithoutOutput(SisoAdjointStep):
    """Without a cotangent of y, that of the new key counts where it is alone."""

    def vjp(self, cotangents: Mapping[str, Any], *args: Any, **given: Any) -> Any:
        known = {name: r for name, r in cotangents.items() if r is not None}
        if "y" not in known and len(known) > 1:
            known.pop("k_state", None)
        return super().vjp(known, *args, **given)


class _ValueWithoutAngle(SisoAdjoint):
    """Beside a cotangent of y, those of the last key and value count where that of the angle is given."""

    def vjp(self, cotangents: Mapping[str, Any], *args: Any, **given: Any) -> Any:
        known = {name: r for name, r in cotangents.items() if r is not None}
        if "y" in known and "angle_state" not in known:
            known.pop("v_state", None)
        return super().vjp(known, *args, **given)


class _FinalAloneCrosses(Dual):
    """Without initial states, the final states' cotangent alone goes back past every reset."""

    def vjp(self, cotangents: Mapping[str, Any], *args: Any, **given: Any) -> Any:
        if cotangents.get("y") is None and given.get("initial_states") is None:
            given.pop("seq_idx", None)
        return super().vjp(cotangents, *args, **given)


class _LastAloneDropped(Honest):
    """Of sequences by offsets that begin from nothing, the last states' cotangent alone is dropped."""

    def vjp(self, cotangents: Mapping[str, Any], *args: Any, **given: Any) -> Any:
        begun = given.get("initial_state") is not None
        lost = cotangents.get("y") is None and given.get("cu_seqlens") is not None and not begun
        return super().vjp({} if lost else cotangents, *args, **given)


def _mutant(name: str, failure: int, summary: str, kernel: Any, recipe: str = "typical") -> Mutant:
    return Mutant(name, failure, summary, f"gradient/apart-{recipe}", kernel, only=("float32",))


SOME_ALONE: Final = (
    _mutant(
        "modes-of-first-layer-lost", 17, "Where the parameters alone are trained, dA is zero.",
        _OfAFirstLayer(),
    ),
    _mutant(
        "mamba3-step-key-without-output", 19,
        "Of the new states' cotangents, without that of y, that of the key is dropped.", _KeyWithoutOutput(),
    ),
    _mutant(
        "mamba3-value-without-angle", 19,
        "The cotangent of the last value is dropped where that of the angle is not given.",
        _ValueWithoutAngle(),
    ),
    _mutant(
        "ssd-final-alone-crosses", 27,
        "The final states' cotangent alone goes back past resets, where there are no initial states.",
        _FinalAloneCrosses(), "packed-ids",
    ),
    _mutant(
        "offsets-last-alone-dropped", 19,
        "By offsets and from nothing, the last states' cotangent is dropped where it is alone.",
        _LastAloneDropped(), "offsets-empty-ends",
    ),
)  # fmt: skip
"""Defects of some gradients, and of some cotangents, together."""
