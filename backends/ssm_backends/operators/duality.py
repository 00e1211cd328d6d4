"""State space duality, the scan of Mamba-2, and its single step.

Symbols: b batch, l length, h heads, p width of a head, g groups of heads, n state, r states of a step.
"""

from __future__ import annotations

from math import inf
from typing import Final

from ssm_backends.operators._common import BASE_FEATURES, ONE_STATE_A_ROW, POOL_FEATURES, POOLED, array
from ssm_backends.schema import Argument, Form, Operator, Output, Rule

_FEATURES: Final = {
    "mixed_dtypes": BASE_FEATURES["mixed_dtypes"],
    "per_channel_skip": "D may be given for each channel of a head, not for each head alone",
}
_GROUPS: Final = (
    Rule("B", "its number of groups g must divide h", lambda c: c.sizes["h"] % c.sizes["g"] == 0),
)


def _inputs(time: str) -> tuple[Argument, ...]:
    """What the scan and its single step have in common, in the published order."""
    return (
        array("x", f"b {time}h p", "Input.", "io"),
        array("dt", f"b {time}h", "Step size, before bias, softplus and limits.", "stream"),
        array("A", "h", "Decay rate of each head."),
        array("B", f"b {time}g n", "Input matrix; head i belongs to group i // (h/g).", "stream"),
        array("C", f"b {time}g n", "Output matrix, in the groups of B.", "stream"),
        Argument(
            name="D",
            doc="Feedthrough of each head, or of each of its channels.",
            forms=(Form("h"), Form("h p", feature="per_channel_skip")),
            default=None,
            differentiable=True,
        ),
        array("z", f"b {time}h p", "Gate: y is multiplied by silu(z).", "stream", default=None),
        array("dt_bias", "h", "Added to dt first.", default=None),
        Argument(
            name="dt_softplus",
            kind="flag",
            default=False,
            doc="Step size is log(1 + exp(dt + dt_bias)).",
        ),
        Argument(
            name="dt_limit",
            kind="pair",
            default=(0.0, inf),
            doc="The step size is clamped to (low, high), always.",
        ),
    )


SSD: Final = Operator(
    name="ssd",
    doc="S_t = exp(Δ_t A) S_{t−1} + Δ_t x_t B_tᵀ, y_t = (S_t C_t + D x_t) silu(z_t), for each head.",
    source="Dao and Gu, Transformers are SSMs (2024), eq. (2) with scalar A",
    primary="x",
    arguments=(
        *_inputs("l "),
        Argument(name="return_final_states", kind="flag", default=False, doc="Return (y, final_states)."),
        Argument(
            name="initial_states",
            doc="States before the first step; zeros if not given.",
            forms=(Form("b h p n", "state"),),
            default=None,
            keyword_only=True,
            differentiable=True,
            feature="initial_state",
        ),
        Argument(
            name="seq_idx",
            kind="index",
            doc="The states are reset exactly where seq_idx changes along l.",
            forms=(Form("b l"),),
            choices=("int32", "int64"),
            default=None,
            keyword_only=True,
            feature="seq_idx",
        ),
    ),
    outputs=(
        Output(name="y", shape="b l h p", doc="Output."),
        Output(
            name="final_states",
            shape="b h p n",
            role="state",
            when="return_final_states",
            doc="States after the last step.",
        ),
    ),
    features=_FEATURES
    | {
        "initial_state": "states before the first step may be given",
        "seq_idx": "packed sequences by index",
    },
    rules=_GROUPS,
    minimum={"n": 1, "g": 1},
)

SSD_UPDATE: Final = Operator(
    name="ssd_update",
    doc="One step of ssd: (state, x) → (y, new state).",
    source="Dao and Gu, Transformers are SSMs (2024), eq. (2) with scalar A, one step",
    primary="x",
    arguments=(
        array("state", "r h p n", "State before the step, or a pool of states.", "state"),
        *_inputs(""),
        *POOLED,
    ),
    outputs=(
        Output(name="y", shape="b h p", doc="Output; 0 in a row that is skipped."),
        Output(name="state", shape="r h p n", role="state", doc="State after the step."),
    ),
    features=_FEATURES | POOL_FEATURES,
    rules=(*_GROUPS, ONE_STATE_A_ROW),
    minimum={"n": 1, "g": 1},
)
