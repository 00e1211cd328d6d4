"""Mutants that are right while everything is asked for, or lies, alike; and wrong for one thing alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.layers import H3
from ssm_conformance.mutants.kernels.mamba3 import Siso
from ssm_conformance.mutants.kernels.modal import S4d
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.mutant import Mutant


def _by_strides_of(x: Array, like: Array) -> Array:
    """What a kernel sees of x that walks through its memory by the strides of another array of its shape."""
    if x.strides == like.strides or x.size < 2:
        return x
    reach = sum((size - 1) * abs(step) for size, step in zip(x.shape, x.strides, strict=True))
    walked = (
        sum(index * step for index, step in zip(np.indices(x.shape), like.strides, strict=True)) // x.itemsize
    )
    line = np.lib.stride_tricks.as_strided(x, (reach // x.itemsize + 1,), (x.itemsize,))
    return np.asarray(line[walked % line.size])


class _StridesOfInput(Honest):
    """delta is read by the strides of u."""

    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        inputs["delta"] = _by_strides_of(inputs["delta"], inputs["u"])
        return super().prepare(*args, **inputs)


class _StridesOfB(Dual):
    def inside(self, given: Mapping[str, Any]) -> dict[str, Array]:
        return super().inside({**given, "C": _by_strides_of(given["C"], given["B"])})


class _StridesOfQueries(H3):
    def inside(self, primary: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        other = {name: _by_strides_of(inputs[name], inputs["q"]) for name in ("k", "v")}
        return super().inside(primary, {**inputs, **other})


class _StridesOfGroups(Siso):
    def inside(self, given: Mapping[str, Any]) -> dict[str, Array]:
        return super().inside({**given, "k": _by_strides_of(given["k"], given["q"])})


class _StridesOfValues(Dual):
    """The cotangent of y is read by the strides of x."""

    def vjp(self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: None, **given: Any) -> Any:
        y = cotangents.get("y")
        known = cotangents if y is None else {**cotangents, "y": _by_strides_of(y, given["x"])}
        return super().vjp(known, wrt, saved, **given)


class _OneDecidesForAll(Honest):
    """Whether u is contiguous decides how all of them are read."""

    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        if inputs["u"].flags.c_contiguous:
            for name in ("delta", "z", "B", "C"):
                x = inputs.get(name)
                if x is not None:
                    inputs[name] = _by_strides_of(x, np.empty(x.shape, x.dtype))
        return super().prepare(*args, **inputs)


def _dense(x: Array) -> Array:
    """What a kernel sees of x that takes it for contiguous."""
    return _by_strides_of(x, np.empty(x.shape, x.dtype))


class _ConstantsDense(Honest):
    """B and C that are constant in time are read as if they were contiguous."""

    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        constant = {name: _dense(inputs[name]) for name in ("B", "C") if inputs[name].ndim == 2}
        return super().prepare(*args, **inputs | constant)


class _SkipDense(Dual):
    """A D of (h, p) is read as if it were contiguous."""

    def inside(self, given: Mapping[str, Any]) -> dict[str, Array]:
        D = given.get("D")
        return super().inside(given if D is None or D.ndim == 1 else {**given, "D": _dense(D)})


class _InitialDense(S4d):
    """The initial state is read as if it were contiguous."""

    def inside(self, primary: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        state = inputs.get("initial_state")
        return super().inside(
            primary, inputs if state is None else {**inputs, "initial_state": _dense(state)}
        )


class _HoldAlone(Honest):
    """Where delta is not trained, nothing passes to A through the exact hold."""

    def __init__(self) -> None:
        self.frozen = False

    def vjp(
        self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: Problem | None, **inputs: Any
    ) -> dict[str, Any]:
        self.frozen = "delta" not in wrt
        return super().vjp(cotangents, wrt, saved, **inputs)

    def slope_modes(self, p: Problem, s: Array, dp: Array, held: Array) -> Array:
        return super().slope_modes(p, s, dp, np.zeros_like(held) if self.frozen else held)


class _InputAlone(Honest):
    """Where D is not trained, a backward pass is taken that has no D."""

    def vjp(
        self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: Problem | None, **inputs: Any
    ) -> dict[str, Any]:
        known = {name: x for name, x in inputs.items() if name != "D" or name in wrt}
        return super().vjp(cotangents, wrt, saved, **known)


class _TwoInOne(Honest):
    """Where B and C alone are trained, one buffer serves both."""

    def vjp(
        self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: Problem | None, **inputs: Any
    ) -> dict[str, Any]:
        found = super().vjp(cotangents, wrt, saved, **inputs)
        return found if set(wrt) != {"B", "C"} else dict.fromkeys(wrt, found["C"])


class _DualTwoInOne(Dual):
    """Where A and dt_bias alone are trained, the bias takes nothing."""

    def vjp(self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: None, **given: Any) -> Any:
        found = super().vjp(cotangents, wrt, saved, **given)
        return found if set(wrt) != {"A", "dt_bias"} else found | {"dt_bias": np.zeros_like(found["dt_bias"])}


class _StateAlone(Honest):
    """Without a cotangent of y nothing is propagated."""

    def vjp(
        self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: Problem | None, **inputs: Any
    ) -> dict[str, Any]:
        found = super().vjp(cotangents, wrt, saved, **inputs)
        if cotangents.get("y") is not None:
            return found
        return {name: np.zeros_like(x) for name, x in found.items()}


class _OutputAlone(Dual):
    """Without a cotangent of the final states the backward pass fails."""

    def vjp(self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: None, **given: Any) -> Any:
        if given.get("return_final_states") and cotangents.get("final_states") is None:
            raise AttributeError("'NoneType' object has no attribute 'contiguous'")
        return super().vjp(cotangents, wrt, saved, **given)


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Any) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",))


APART: Final = (
    _mutant(
        "delta-by-strides-of-u", 31, "delta is read by the strides of u.",
        "robustness/apart-typical", _StridesOfInput(),
    ),
    _mutant(
        "contiguity-of-u-for-all", 31, "Where u is contiguous, every array is read as if it were.",
        "robustness/apart-typical", _OneDecidesForAll(),
    ),
    _mutant(
        "ssd-c-by-strides-of-b", 31, "C is read by the strides of B.",
        "robustness/apart-typical", _StridesOfB(),
    ),
    _mutant(
        "ssd-cotangent-by-strides-of-x", 31, "The cotangent of y is read by the strides of x.",
        "robustness/apart-typical", _StridesOfValues(),
    ),
    _mutant(
        "h3-by-strides-of-q", 31, "k and v are read by the strides of q.",
        "robustness/apart-typical", _StridesOfQueries(),
    ),
    _mutant(
        "mamba3-k-by-strides-of-q", 31, "k is read by the strides of q.",
        "robustness/apart-typical", _StridesOfGroups(),
    ),
    _mutant(
        "frozen-parameters-forget-feedthrough", 17,
        "Where D needs no gradient, the backward pass has no D.",
        "gradient/apart-typical", _InputAlone(),
    ),
    _mutant(
        "two-gradients-in-one-buffer", 17, "Where B and C alone need a gradient, both get that of C.",
        "gradient/apart-typical", _TwoInOne(),
    ),
    _mutant(
        "ssd-bias-beside-decay-frozen", 17, "Where A and dt_bias alone need a gradient, dt_bias gets 0.",
        "gradient/apart-typical", _DualTwoInOne(),
    ),
    _mutant(
        "last-state-alone-dropped", 19, "The cotangent of the last state is dropped where it is alone.",
        "gradient/apart-typical", _StateAlone(),
    ),
    _mutant(
        "ssd-output-alone-fails", None, "Without a cotangent of the final states the backward pass raises.",
        "gradient/apart-typical", _OutputAlone(),
    ),
    _mutant(
        "constants-read-as-dense", 31, "B and C that are constant in time are read as if contiguous.",
        "robustness/apart-constant", _ConstantsDense(),
    ),
    _mutant(
        "ssd-skip-read-as-dense", 31, "A D of (h, p) is read as if it were contiguous.",
        "robustness/apart-wide-skip", _SkipDense(),
    ),
    _mutant(
        "ssd-step-skip-read-as-dense", 31, "A step reads a D of (h, p) as if it were contiguous.",
        "robustness/apart-wide-skip", DualStep(_SkipDense()),
    ),
    _mutant(
        "s4d-initial-read-as-dense", 31, "The initial state is read as if it were contiguous.",
        "robustness/apart-initial", _InitialDense(),
    ),
    _mutant(
        "hold-of-frozen-step", 17, "Where delta is not trained, nothing passes to A through the hold.",
        "gradient/apart-zoh", _HoldAlone(),
    ),
)  # fmt: skip
"""Defects of one thing alone."""
