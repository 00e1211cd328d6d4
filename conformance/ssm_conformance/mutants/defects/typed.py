"""Mutants that lose an option in one dtype alone, and layers whose initial state goes on by another rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ssm_backends.dtypes import dtype_name
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.layers import S5, Lssl
from ssm_conformance.mutants.kernels.losing import (
    Given,
    LosingConvolution,
    LosingConvolutionStep,
    LosingDualStep,
    LosingLssl,
    LosingRecurrence,
    LosingS4d,
    LosingS5,
    LosingSiso,
)
from ssm_conformance.mutants.kernels.modal import S4d
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.systems import Recurrence
from ssm_conformance.mutants.mutant import Mutant


class _PlainRoundedTwice(ShortConvolution):
    """Without an activation the sum over the taps is rounded before the bias is added."""

    def __call__(self, **given: Any) -> Any:
        bias = given.get("bias")
        if bias is None or given.get("activation"):
            return super().__call__(**given)
        found = super().__call__(**{name: x for name, x in given.items() if name != "bias"})
        y, *last = found if isinstance(found, tuple) else (found,)
        wide = self.load(y, "float32") + self.load(bias, "float32")[:, None]
        rounded = self.store(wide.astype("float32"), dtype_name(given["x"]))
        return (rounded, *last) if last else rounded


class _Ruled(Recurrence):
    """An initial state decays by one factor, what streams in by another."""

    factor: Array

    def advance(self, p: Mapping[str, Array], k: int, h: Array, diagonal: bool) -> Array:
        if k == 0:
            return super().advance({**p, "A_bar": self.factor}, k, h, diagonal)
        return super().advance(p, k, h, diagonal)


class _StartOfS4d(S4d):
    """The initial state's first step is by zero-order hold, whatever the rule is."""

    def modes(self, p: Mapping[str, Array], delta: Array, rule: str) -> tuple[Array, Array]:
        self.run = _Ruled()
        self.run.factor = super().modes(p, delta, "zoh")[0]
        return super().modes(p, delta, rule)

    def recurrence(self) -> Recurrence:
        return self.run


class _StartOfS5(S5):
    """The same."""

    def modes(self, p: Mapping[str, Array], delta: Array, rule: str) -> tuple[Array, Array]:
        self.run = _Ruled()
        self.run.factor = super().modes(p, delta, "zoh")[0]
        return super().modes(p, delta, rule)

    def recurrence(self) -> Recurrence:
        return self.run


class _StartOfLssl(Lssl):
    """The initial state's first step is by the bilinear rule, whatever the rule is."""

    def discrete(self, p: Mapping[str, Array], rule: str) -> tuple[Array, Array]:
        self.run = _Ruled()
        self.run.factor = super().discrete(p, "bilinear")[0]
        return super().discrete(p, rule)

    def recurrence(self) -> Recurrence:
        return self.run


def _half(name: str) -> Callable[[Given], bool]:
    return lambda given: dtype_name(given[name]) in ("bfloat16", "float16")


def _half_without(name: str, *options: str) -> Callable[[Given], bool]:
    """Calls in 16 bits that have none of these options."""
    return lambda given: _half(name)(given) and not any(_present(given, option) for option in options)


def _double_without(name: str, option: str) -> Callable[[Given], bool]:
    return lambda given: dtype_name(given[name]) == "float64" and not _present(given, option)


def _present(given: Given, option: str) -> bool:
    value = given.get(option)
    return value is not None and value is not False


def _mutant(
    name: str, failure: int | None, summary: str, rejected_by: str, kernel: Kernel, *only: str
) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=only or ("bfloat16",))


_STEP_BOUNDS: Final = "value/with-pool-dt_bias-dt_limit-inplace"

TYPED: Final = (
    _mutant(
        "conv1d-plain-packed-in-half", 27, "Without an activation, rows in 16 bits are one sequence.",
        "value/with-bias-seq_idx-return_last_state",
        LosingConvolution("seq_idx", _half_without("x", "activation")),
    ),
    _mutant(
        "conv1d-plain-initial-in-half", 25, "Without an activation, rows in 16 bits begin from zero.",
        "value/with-initial_state-return_last_state",
        LosingConvolution("initial_state", _half_without("x", "activation")),
    ),
    _mutant(
        "conv1d-plain-rounded-twice", 12,
        "In 16 bits, without an activation, the sum over the taps is rounded before the bias is added.",
        "value/with-bias-seq_idx-return_last_state", _PlainRoundedTwice(),
    ),
    _mutant(
        "conv1d-activation-without-bias-in-half", None, "In 16 bits, without a bias, there is no activation.",
        "value/with-activation-seq_idx", LosingConvolution("activation", _half_without("x", "bias")),
    ),
    _mutant(
        "conv1d-plain-packed-in-double", 27, "Without an activation, rows of float64 are one sequence.",
        "value/with-bias-seq_idx-return_last_state",
        LosingConvolution("seq_idx", _double_without("x", "activation")), "float64",
    ),
    _mutant(
        "conv1d-step-plain-slots-in-half", 26,
        "In 16 bits, without an activation, rows take the slots in order.",
        "value/with-pool-longer-bias",
        LosingConvolutionStep("state_indices", _half_without("x", "activation")),
    ),
    _mutant(
        "conv1d-step-bias-of-plain-in-half", None, "In 16 bits, without an activation, a step has no bias.",
        "value/with-bias", LosingConvolutionStep("bias", _half_without("x", "activation")),
    ),
    _mutant(
        "ssd-step-ungated-limits-in-half", 3, "In 16 bits, without a gate, a step does not clamp Δ.",
        "value/with-dt_bias-dt_limit", LosingDualStep("dt_limit", _half_without("x", "z")),
    ),
    _mutant(
        "ssd-step-limits-of-pool-in-half", 3, "In 16 bits, of states in a pool, a step does not clamp Δ.",
        _STEP_BOUNDS,
        LosingDualStep("dt_limit", lambda given: _half("x")(given) and _present(given, "state_indices")),
    ),
    _mutant(
        "ssd-step-ungated-slots-in-half", 26, "In 16 bits, without a gate, rows take the slots in order.",
        _STEP_BOUNDS, LosingDualStep("state_indices", _half_without("x", "z")),
    ),
    _mutant(
        "ssd-step-wide-skip-of-pool-in-half", None,
        "In 16 bits, of states in a pool, a D of (h, p) is not read.", "value/with-pool-D-z-dt_bias",
        LosingDualStep("D", lambda given: _half("x")(given) and _present(given, "state_indices")),
    ),
    _mutant(
        "mamba3-ungated-packed-in-half", 27, "In 16 bits, without a gate, a packed row is one sequence.",
        "value/with-return_final_states-ssm_state-k_state-seq_idx",
        LosingSiso("seq_idx", _half_without("v", "z")),
    ),
    _mutant(
        "mamba3-ungated-skip-in-half", None, "In 16 bits, without a gate, there is no D.",
        "value/with-D-angle_state-ssm_state-v_state-seq_idx", LosingSiso("D", _half_without("v", "z")),
    ),
    _mutant(
        "mamba3-state-alone-in-double", 25, "In float64, without a gate, the initial S is not read.",
        "value/with-D-angle_state-ssm_state-v_state-seq_idx",
        LosingSiso("ssm_state", _double_without("v", "z")), "float64",
    ),
    _mutant(
        "recurrence-initial-alone-in-half", 25,
        "In 16 bits, where no last state is returned, the initial one is not read.",
        "value/with-initial_state",
        LosingRecurrence("initial_state", _half_without("u", "return_last_state")),
    ),
    *(
        _mutant(
            f"{op}-initial-without-skip-in-{kind}", 25,
            f"In {words}, without D, the initial state is not read.",
            "value/with-initial_state", kernel("initial_state", taken), dtype,
        )
        for op, kernel in (("s4d", LosingS4d), ("s5", LosingS5), ("lssl", LosingLssl))
        for kind, words, dtype, taken in (
            ("half", "16 bits", "bfloat16", _half_without("u", "D")),
            ("double", "float64", "float64", _double_without("u", "D")),
        )
    ),
    *(
        Mutant(f"s4d-{kind}-start-by-hold", 25, summary, f"value/complex-{rule}", _StartOfS4d())
        for kind, rule, summary in (
            ("bilinear", "bilinear", "A complex initial state decays by exp(ΔA) under the bilinear rule."),
            ("backward", "backward-euler", "A complex initial state decays by exp(ΔA) under Euler's rule."),
        )
    ),
    Mutant(
        "s5-start-by-hold", 25, "A complex initial state decays by exp(ΔA) under the bilinear rule.",
        "value/complex-bilinear", _StartOfS5(),
    ),
    Mutant(
        "s5-real-start-by-hold", 25, "A real initial state decays by exp(ΔA) under the forward Euler rule.",
        "value/real-forward-euler", _StartOfS5(),
    ),
    *(
        Mutant(
            f"lssl-{kind}-start-bilinear", 25,
            f"An initial state goes on by the bilinear rule under {words}.",
            f"value/real-{rule}", _StartOfLssl(),
        )
        for kind, rule, words in (
            ("zoh", "zoh", "the exact hold"),
            ("forward", "forward-euler", "the forward Euler rule"),
            ("backward", "backward-euler", "the backward Euler rule"),
        )
    ),
)  # fmt: skip
"""Defects of options in a dtype that meets few of them, and of an initial state under a rule."""
