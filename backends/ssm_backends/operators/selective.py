"""The selective scan of Mamba and its single step."""

from __future__ import annotations

from typing import Final

from ssm_backends.operators._common import BASE_FEATURES, ONE_STATE_A_ROW, POOL_FEATURES, POOLED
from ssm_backends.schema import Argument, Form, Operator, Output, Rule


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
_SELECTIVE_FEATURES = BASE_FEATURES | {
    "grouped": "B or C come in g groups of channels",
    "zoh": "the exact discretisation of B",
}

SELECTIVE_SCAN: Final = Operator(
    name="selective_scan",
    doc="h_t = exp(Δ_t A) h_{t−1} + b̄_t u_t, y_t = (γ Re Σ_n C_t h_t + D u_t) silu(z_t), "
    "γ = 2 if A is complex, else 1.",
    source="Gu and Dao, Mamba (2023), eq. (2) and (4), algorithm 2",
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
            lambda c: "cu_seqlens" not in c.given or "seq_idx" not in c.given,
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
    source="Gu and Dao, Mamba (2023), eq. (2) and (4), one step",
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
        *POOLED,
    ),
    outputs=(
        Output(name="y", shape="b d", doc="Output."),
        Output(name="state", shape="r d n", role="state", complex="as A", doc="State after the step."),
    ),
    features=_SELECTIVE_FEATURES | POOL_FEATURES,
    rules=(
        *_GROUP_RULES,
        ONE_STATE_A_ROW,
    ),
    minimum={"n": 1, "g_B": 1, "g_C": 1},
)
