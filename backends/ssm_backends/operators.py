"""Every operator of the specification, declared once: documentation, validation and cases come from here.

Symbols: b batch, d channels, l length, n state, g groups, m inputs, p outputs of a system,
k kernel length, r rows of state (the batch, the packed sequences, or the slots of a pool).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Final

from ssm_backends.dtypes import REAL
from ssm_backends.schema import Argument, Form, Operator, Output, Rule

_BASE_FEATURES = {
    "complex": "A is complex: one mode of each conjugate pair is kept",
    "mixed_dtypes": "arrays of a call may differ in dtype where the specification allows it",
}
_STRUCTURES = {
    "dense": "A is a full matrix",
    "diagonal": "A is a vector of modes",
}
_DIAGONAL = Argument(
    name="diagonal",
    kind="flag",
    default=False,
    keyword_only=True,
    value_features={False: "dense", True: "diagonal"},
    doc="A is the vector of modes of a diagonal system.",
)


def _system_matrix(name: str, doc: str) -> Argument:
    return Argument(
        name=name,
        doc=doc,
        forms=(Form("*s n n"), Form("*s n")),
        differentiable=True,
        complex="free",
    )


def _discretisation(name: str, doc: str, *more: Argument) -> Operator:
    return Operator(
        name=name,
        doc=doc,
        primary="A",
        arguments=(
            _system_matrix("A", "State matrix (*s, n, n), or its modes (*s, n)."),
            Argument(
                name="B",
                doc="Input matrix.",
                forms=(Form("*s n m"),),
                differentiable=True,
                complex="with A",
            ),
            Argument(name="delta", doc="Step size.", forms=(Form("*s"),), differentiable=True),
            *more,
            _DIAGONAL,
        ),
        outputs=(
            Output(
                name="A_bar",
                shape="*s n n | *s n",
                complex="as A",
                doc="State matrix of the discrete system.",
            ),
            Output(name="B_bar", shape="*s n m", complex="as A", doc="Input matrix of the discrete system."),
        ),
        features=_BASE_FEATURES | _STRUCTURES,
        minimum={"n": 1, "m": 1},
    )


DISCRETIZE_ZOH: Final = _discretisation(
    "discretize_zoh", "Zero-order hold: Ā = exp(ΔA), B̄ = ∫₀^Δ exp(sA) ds B, for every A, singular too."
)

DISCRETIZE_BILINEAR: Final = _discretisation(
    "discretize_bilinear",
    "Generalised bilinear rule: Ā = (I − αΔA)⁻¹(I + (1−α)ΔA), B̄ = (I − αΔA)⁻¹ΔB.",
    Argument(
        name="alpha",
        kind="number",
        default=0.5,
        interval=(0.0, 1.0),
        doc="0 forward Euler, ½ bilinear (Tustin), 1 backward Euler.",
    ),
)

SSM_RECURRENCE: Final = Operator(
    name="ssm_recurrence",
    doc="h_k = Ā h_{k−1} + B̄ u_k, y_k = C h_k + D u_k; 2 Re(C h_k) for complex modes.",
    primary="u",
    arguments=(
        _system_matrix("A_bar", "Discrete state matrix (*s, n, n), or its modes (*s, n)."),
        Argument(
            name="B_bar",
            doc="Discrete input matrix.",
            forms=(Form("*s n m"),),
            differentiable=True,
            complex="with A",
        ),
        Argument(
            name="C", doc="Output matrix.", forms=(Form("*s p n"),), differentiable=True, complex="with A"
        ),
        Argument(name="u", doc="Input.", forms=(Form("b =s m l", "io"),), differentiable=True),
        Argument(name="D", doc="Feedthrough.", forms=(Form("*s p m"),), default=None, differentiable=True),
        Argument(
            name="initial_state",
            doc="State before the first step; zeros if not given.",
            forms=(Form("b =s n", "state"),),
            default=None,
            differentiable=True,
            complex="as A",
            feature="initial_state",
        ),
        Argument(
            name="return_last_state",
            kind="flag",
            default=False,
            keyword_only=True,
            doc="Return (y, last_state).",
        ),
        _DIAGONAL,
    ),
    outputs=(
        Output(name="y", shape="b =s p l", complex="dense A", doc="Output."),
        Output(
            name="last_state",
            shape="b =s n",
            role="state",
            when="return_last_state",
            complex="as A",
            doc="State after the last step.",
        ),
    ),
    features=_BASE_FEATURES | _STRUCTURES | {"initial_state": "a state before the first step may be given"},
    minimum={"n": 1, "m": 1, "p": 1},
)

SSM_KERNEL: Final = Operator(
    name="ssm_kernel",
    doc="K_j = C Āʲ B̄ for j = 0 … l−1; 2 Re Σ C Āʲ B̄ for complex modes.",
    primary="A_bar",
    arguments=(
        _system_matrix("A_bar", "Discrete state matrix (*s, n, n), or its modes (*s, n)."),
        Argument(
            name="B_bar",
            doc="Discrete input matrix.",
            forms=(Form("*s n m"),),
            differentiable=True,
            complex="with A",
        ),
        Argument(
            name="C", doc="Output matrix.", forms=(Form("*s p n"),), differentiable=True, complex="with A"
        ),
        Argument(name="length", kind="integer", interval=(0, inf), binds="l", doc="l, the number of terms."),
        _DIAGONAL,
    ),
    outputs=(Output(name="K", shape="*s p m l", complex="dense A", doc="Convolution kernel."),),
    features=_BASE_FEATURES | _STRUCTURES,
    minimum={"n": 1, "m": 1, "p": 1},
)

CAUSAL_CONVOLUTION: Final = Operator(
    name="causal_convolution",
    doc="y_t = Σ_j K_j u_{t−j}, one kernel a channel.",
    primary="u",
    arguments=(
        Argument(name="u", doc="Input.", forms=(Form("b d l", "io"),), differentiable=True),
        Argument(
            name="K",
            doc="Kernel; k may be below or above l.",
            forms=(Form("d k", "stream"),),
            differentiable=True,
        ),
    ),
    outputs=(Output(name="y", shape="b d l", doc="Output."),),
    features={"mixed_dtypes": _BASE_FEATURES["mixed_dtypes"]},
    minimum={"k": 1},
)

HIPPO_LEGS: Final = Operator(
    name="hippo_legs",
    doc="A_nk = −√((2n+1)(2k+1)) for n > k, −(n+1) for n = k, 0 above; B_n = √(2n+1).",
    primary="dtype",
    arguments=(
        Argument(name="n", kind="integer", interval=(1, inf), binds="n", doc="Number of states."),
        Argument(
            name="dtype",
            kind="dtype",
            default="float64",
            keyword_only=True,
            choices=REAL,
            doc="Type of the result.",
        ),
    ),
    outputs=(
        Output(name="A", shape="n n", doc="State matrix."),
        Output(name="B", shape="n 1", doc="Input matrix."),
    ),
    minimum={"n": 1},
)


def _grouped(name: str, doc: str, step: bool) -> Argument:
    group = f"g_{name}"
    forms = (
        (Form("b n", "stream"), Form(f"b {group} n", "stream", "grouped"))
        if step
        else (
            Form("d n", "parameter", "constant"),
            Form("b n l", "stream"),
            Form(f"b {group} n l", "stream", "grouped"),
        )
    )
    return Argument(name=name, doc=doc, forms=forms, differentiable=True, complex="with A")


def _selective(step: bool) -> tuple[Argument, ...]:
    """What the scan and its single step have in common, in the published order."""
    time = "b d" if step else "b d l"
    return (
        Argument(name="u", doc="Input.", forms=(Form(time, "io"),), differentiable=True),
        Argument(
            name="delta",
            doc="Step size, before bias and softplus.",
            forms=(Form(time, "stream"),),
            differentiable=True,
        ),
        Argument(
            name="A",
            doc="Modes of the continuous system.",
            forms=(Form("d n"),),
            differentiable=True,
            complex="free",
        ),
        _grouped("B", "Input matrix; channel i belongs to group i // (d/g).", step),
        _grouped("C", "Output matrix; its groups may differ from B's.", step),
        Argument(name="D", doc="Feedthrough.", forms=(Form("d"),), default=None, differentiable=True),
        Argument(
            name="z",
            doc="Gate: y is multiplied by silu(z).",
            forms=(Form(time, "stream"),),
            default=None,
            differentiable=True,
        ),
        Argument(
            name="delta_bias",
            doc="Added to delta first.",
            forms=(Form("d"),),
            default=None,
            differentiable=True,
        ),
        Argument(
            name="delta_softplus",
            kind="flag",
            default=False,
            doc="Step size is log(1 + exp(delta + delta_bias)).",
        ),
    )


_RULE = Argument(
    name="b_discretization",
    kind="choice",
    default="euler",
    keyword_only=True,
    choices=("euler", "zoh"),
    value_features={"zoh": "zoh"},
    doc="b̄ = ΔB ('euler'), or expm1(ΔA)/A·B ('zoh').",
)
_GROUP_RULES = (
    Rule("B", "its number of groups g must divide d", lambda c: c.sizes["d"] % c.sizes.get("g_B", 1) == 0),
    Rule("C", "its number of groups g must divide d", lambda c: c.sizes["d"] % c.sizes.get("g_C", 1) == 0),
)
_SELECTIVE_FEATURES = _BASE_FEATURES | {
    "grouped": "B or C come in g groups of channels",
    "zoh": "the exact discretisation of B",
}

SELECTIVE_SCAN: Final = Operator(
    name="selective_scan",
    doc="h_t = exp(Δ_t A) h_{t−1} + b̄_t u_t, y_t = (γ Re Σ_n C_t h_t + D u_t) silu(z_t), "
    "γ = 2 if A is complex, else 1.",
    primary="u",
    arguments=(
        *_selective(step=False),
        Argument(name="return_last_state", kind="flag", default=False, doc="Return (y, last_state)."),
        Argument(
            name="initial_state",
            doc="State before the first step of each row; zeros if not given.",
            forms=(Form("r d n", "state"),),
            default=None,
            keyword_only=True,
            differentiable=True,
            complex="as A",
            feature="initial_state",
        ),
        Argument(
            name="seq_idx",
            kind="index",
            doc="The state is reset exactly where seq_idx changes along l.",
            forms=(Form("b l"),),
            choices=("int32", "int64"),
            default=None,
            keyword_only=True,
            feature="seq_idx",
        ),
        Argument(
            name="cu_seqlens",
            kind="index",
            doc="Offsets of packed sequences, from 0 to l; needs b = 1.",
            forms=(Form("r+1"),),
            choices=("int32",),
            default=None,
            keyword_only=True,
            feature="cu_seqlens",
        ),
        _RULE,
    ),
    outputs=(
        Output(name="y", shape="b d l", doc="Output."),
        Output(
            name="last_state",
            shape="r d n",
            role="state",
            when="return_last_state",
            complex="as A",
            doc="State after the last step of each row.",
        ),
    ),
    features=_SELECTIVE_FEATURES
    | {
        "constant": "B or C are constant in time",
        "initial_state": "a state before the first step may be given",
        "seq_idx": "packed sequences by index",
        "cu_seqlens": "packed sequences by offsets",
    },
    rules=(
        *_GROUP_RULES,
        Rule(
            "cu_seqlens",
            "it cannot be given together with `seq_idx`",
            lambda c: not {"cu_seqlens", "seq_idx"} <= c.given,
        ),
        Rule("cu_seqlens", "it needs b = 1", lambda c: "cu_seqlens" not in c.given or c.sizes["b"] == 1),
        Rule(
            "initial_state",
            "its first dimension is b",
            lambda c: "cu_seqlens" in c.given or c.sizes.get("r", c.sizes["b"]) == c.sizes["b"],
        ),
    ),
    minimum={"n": 1, "g_B": 1, "g_C": 1, "r": 0},
)

SELECTIVE_STATE_UPDATE: Final = Operator(
    name="selective_state_update",
    doc="One step of the selective scan: (state, u) → (y, new state).",
    primary="u",
    arguments=(
        Argument(
            name="state",
            doc="State before the step, or a pool of states.",
            forms=(Form("r d n", "state"),),
            differentiable=True,
            complex="as A",
        ),
        *_selective(step=True),
        _RULE,
        Argument(
            name="state_indices",
            kind="index",
            doc="Slot of the pool for each row; −1 skips the row.",
            forms=(Form("b"),),
            choices=("int32", "int64"),
            default=None,
            keyword_only=True,
            feature="state_indices",
        ),
        Argument(
            name="inplace",
            kind="flag",
            default=False,
            keyword_only=True,
            value_features={True: "inplace"},
            doc="Write the new state into `state`.",
        ),
    ),
    outputs=(
        Output(name="y", shape="b d", doc="Output."),
        Output(name="state", shape="r d n", role="state", complex="as A", doc="State after the step."),
    ),
    features=_SELECTIVE_FEATURES
    | {
        "half_state": "the state may be stored in 16 bits",
        "state_indices": "the state is a pool addressed by slot",
        "inplace": "the new state is written over the old",
    },
    rules=(
        *_GROUP_RULES,
        Rule(
            "state",
            "its first dimension is b",
            lambda c: "state_indices" in c.given or c.sizes["r"] == c.sizes["b"],
        ),
    ),
    minimum={"n": 1, "g_B": 1, "g_C": 1},
)

OPERATORS: Final[Mapping[str, Operator]] = {
    operator.name: operator
    for operator in (
        DISCRETIZE_ZOH,
        DISCRETIZE_BILINEAR,
        SSM_RECURRENCE,
        SSM_KERNEL,
        CAUSAL_CONVOLUTION,
        HIPPO_LEGS,
        SELECTIVE_SCAN,
        SELECTIVE_STATE_UPDATE,
    )
}
"""Name → operator, in the order of the specification."""
