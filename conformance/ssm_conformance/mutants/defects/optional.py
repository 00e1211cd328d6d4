"""Mutants of an optional argument that is right only beside another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.layers import H3, S5, Lssl
from ssm_conformance.mutants.kernels.mamba3 import Siso, SisoStep
from ssm_conformance.mutants.kernels.modal import S4d
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.systems import Recurrence
from ssm_conformance.mutants.mutant import Mutant


def _without(given: Mapping[str, Any], name: str, unless: str) -> dict[str, Any]:
    """The call without an argument, unless another one is given."""
    return {key: x for key, x in given.items() if key != name or given.get(unless) is not None}


class _BiasUnderActivation(ShortConvolution):
    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_without(given, "bias", "activation"))


class _ActivationWithBias(ShortConvolution):
    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_without(given, "activation", "bias"))


class _StateWithLastState(ShortConvolution):
    """The initial state is read where the last one is asked for."""

    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_without(given, "initial_state", "return_last_state"))


class _BiasUnderSoftplus(Dual):
    def raw(self, a: Mapping[str, Array]) -> Array:
        return a["dt"]

    def in_scan(self, a: Mapping[str, Array], given: Mapping[str, Any]) -> dict[str, Any]:
        return Dual().in_scan(a, given) if given.get("dt_softplus") else super().in_scan(a, given)


class _LimitsUnderSoftplus(DualStep):
    def __call__(self, *, state: Any, **given: Any) -> Any:
        return super().__call__(state=state, **_without(given, "dt_limit", "dt_softplus"))


class _StateWithAngles(Siso):
    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_without(given, "ssm_state", "angle_state"))


class _KeyWithValue(Siso):
    """v_state is read where ssm_state is given."""

    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_without(given, "v_state", "ssm_state"))


class _SkipUnderGate(Siso):
    def __call__(self, **given: Any) -> Any:
        return super().__call__(**_without(given, "D", "z"))


class _FeedthroughNeeded(S4d):
    def feedthrough(self, p: Mapping[str, Array]) -> Array:
        if "D" not in p:
            raise TypeError("unsupported operand type(s) for *: 'NoneType' and 'float'")
        return super().feedthrough(p)


class _RuleOfRealModes(S4d):
    """Real modes take the exact hold, whatever is asked for."""

    def modes(self, p: Mapping[str, Array], delta: Array, rule: str) -> tuple[Array, Array]:
        return super().modes(p, delta, rule if p["A"].dtype.kind == "c" else "zoh")


class _StateWithFeedthrough(S5):
    def __call__(self, **inputs: Any) -> Any:
        return super().__call__(**_without(inputs, "initial_state", "D"))


class _StateWithLast(Lssl):
    def __call__(self, **inputs: Any) -> Any:
        return super().__call__(**_without(inputs, "initial_state", "return_last_state"))


class _FeedthroughWithState(Recurrence):
    def __call__(self, **inputs: Any) -> Any:
        return super().__call__(**_without(inputs, "D", "initial_state"))


class _ProjectedWithFeedthrough(H3):
    def __call__(self, **inputs: Any) -> Any:
        return super().__call__(**_without(inputs, "D", "out_proj"))


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Any) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",))


OPTIONAL: Final = (
    _mutant(
        "conv1d-bias-under-activation", 9, "The bias is added where there is an activation.",
        "value/with-bias-seq_idx-return_last_state", _BiasUnderActivation(),
    ),
    _mutant(
        "conv1d-activation-with-bias", 9, "The activation is applied where there is a bias.",
        "value/with-activation-seq_idx", _ActivationWithBias(),
    ),
    _mutant(
        "conv1d-state-with-last-state", 25, "The initial state is read where the last one is asked for.",
        "value/with-bias-activation-initial_state", _StateWithLastState(),
    ),
    _mutant(
        "conv1d-step-bias-under-activation", 9, "A step adds the bias where there is an activation.",
        "value/with-bias", ShortConvolutionStep(_BiasUnderActivation()),
    ),
    _mutant(
        "ssd-step-bias-under-softplus", 9, "A step adds dt_bias where there is a softplus.",
        "value/with-dt_bias-dt_limit", DualStep(_BiasUnderSoftplus()),
    ),
    _mutant(
        "ssd-step-limits-under-softplus", 3, "A step clamps Δ where there is a softplus.",
        "value/with-dt_bias-dt_limit", _LimitsUnderSoftplus(),
    ),
    _mutant(
        "mamba3-state-with-angles", 25, "The initial state is read where the angle is given too.",
        "value/with-return_final_states-ssm_state-k_state-seq_idx", _StateWithAngles(),
    ),
    _mutant(
        "mamba3-values-with-state", 25, "v_state is read where ssm_state is given too.",
        "value/with-z-angle_state-k_state-v_state", _KeyWithValue(),
    ),
    _mutant(
        "mamba3-step-skip-under-gate", 9, "A step passes D v where there is a gate.",
        "value/with-D", SisoStep(_SkipUnderGate()),
    ),
    _mutant(
        "s4d-feedthrough-needed", None, "Without D a call raises.", "value/with-none", _FeedthroughNeeded(),
    ),
    _mutant(
        "s4d-rule-of-real-modes", 9, "Real modes take the exact hold, whatever is asked for.",
        "value/real-bilinear", _RuleOfRealModes(),
    ),
    _mutant(
        "s5-state-with-feedthrough", 25, "The initial state is read where there is a D.",
        "value/with-initial_state", _StateWithFeedthrough(),
    ),
    _mutant(
        "lssl-state-with-last-state", 25, "The initial state is read where the last one is asked for.",
        "value/with-initial_state", _StateWithLast(),
    ),
    _mutant(
        "recurrence-feedthrough-with-state", 9, "D u is added where there is an initial state.",
        "value/with-D", _FeedthroughWithState(),
    ),
    _mutant(
        "h3-feedthrough-with-projection", 9, "D is passed where there is an out_proj.",
        "value/with-D", _ProjectedWithFeedthrough(),
    ),
)  # fmt: skip
"""Defects of options that lean on others."""
