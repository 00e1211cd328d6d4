"""The recurrence of Mamba-3 with one input and output, and its single step.

Symbols: b batch, l length, h heads, p width of a head, g groups of heads, n state, a angles.
"""

from __future__ import annotations

from typing import Any, Final

from ssm_backends.operators._common import BASE_FEATURES, array
from ssm_backends.schema import Argument, Form, Operator, Output, Role, Rule

TURN: Final = 6.283185307179586
"""2π, modulo which an angle means the same."""
_STATES: Final = {
    "angle_state": ("b h a", "Angle θ of the step before."),
    "ssm_state": ("b h p n", "State S of the step before."),
    "k_state": ("b h n", "Rotated key of the step before."),
    "v_state": ("b h p", "Value of the step before."),
}


def _stream(name: str, shape: str, doc: str, role: Role = "stream", **more: Any) -> Argument:
    return array(name, shape, doc, role, **more)


def _inputs(step: bool) -> tuple[Argument, ...]:
    """What the recurrence and its single step have in common, in the published order."""
    time, last = ("", "") if step else ("l ", " l")
    return (
        _stream("q", f"b {time}g n", "Queries; head i belongs to group i // (h/g)."),
        _stream("k", f"b {time}g n", "Keys, in the groups of the queries."),
        _stream("v", f"b {time}h p", "Values.", "io"),
        _stream("adt", f"b h{last}", "ΔA: the decay of a step is its exponential."),
        _stream("dt", f"b h{last}", "Step size Δ."),
        _stream("trap", f"b h{last}", "σ(trap) is the share λ of the new input."),
        _stream("q_bias", "h n", "Added to the queries of each head.", "parameter"),
        _stream("k_bias", "h n", "Added to the keys of each head.", "parameter"),
        _stream("angles", f"b {time}h a", "θ turns by Δ π tanh(angle) a step; 2a <= n."),
        _stream("D", "h", "Feedthrough.", "parameter", default=None),
        _stream("z", f"b {time}h p", "Gate: y is multiplied by silu(z).", default=None),
    )


def _states(when: str | None) -> tuple[Output, ...]:
    return tuple(
        Output(
            name=name,
            shape=shape,
            role="state",
            when=when,
            doc=doc.replace("the step before", "the last step"),
            period=TURN if name == "angle_state" else None,
        )
        for name, (shape, doc) in _STATES.items()
    )


_MIXED: Final = {"mixed_dtypes": BASE_FEATURES["mixed_dtypes"]}
_RULES: Final = (
    Rule("q", "its number of groups g must divide h", lambda c: c.sizes["h"] % c.sizes["g"] == 0),
    Rule("angles", "2a must be at most n", lambda c: 2 * c.sizes["a"] <= c.sizes["n"]),
)

MAMBA3_SISO: Final = Operator(
    name="mamba3_siso",
    doc="S_t = α S_{t−1} + (1−λ)Δα v_{t−1} k̃_{t−1}ᵀ + λΔ v_t k̃_tᵀ, y_t = (S_t q̃_t + D v_t) silu(z_t), "
    "k̃ and q̃ turned by θ_t.",
    source="Mamba-3 (2026), the exponential-trapezoidal rule with a rotary state",
    primary="v",
    arguments=(
        *_inputs(step=False),
        Argument(
            name="return_final_states", kind="flag", default=False, doc="Return y and the four final states."
        ),
        *(
            _stream(
                name, shape, f"{doc} Zeros if not given.", "state", default=None, keyword_only=True,
                feature="initial_state",
            )
            for name, (shape, doc) in _STATES.items()
        ),
        Argument(
            name="seq_idx",
            kind="index",
            doc="All states are reset exactly where seq_idx changes along l.",
            forms=(Form("b l"),),
            choices=("int32", "int64"),
            default=None,
            keyword_only=True,
            feature="seq_idx",
        ),
    ),
    outputs=(
        Output(name="y", shape="b l h p", doc="Output."),
        *_states("return_final_states"),
    ),
    features=_MIXED
    | {
        "initial_state": "states before the first step may be given",
        "seq_idx": "packed sequences by index",
    },
    rules=_RULES,
    minimum={"n": 1, "g": 1},
)  # fmt: skip

MAMBA3_SISO_STEP: Final = Operator(
    name="mamba3_siso_step",
    doc="One step of mamba3_siso: (four states, q, k, v) → (y, four new states).",
    source="Mamba-3 (2026), the exponential-trapezoidal rule with a rotary state, one step",
    primary="v",
    arguments=(
        *(_stream(name, shape, doc, "state") for name, (shape, doc) in _STATES.items()),
        *_inputs(step=True),
    ),
    outputs=(Output(name="y", shape="b h p", doc="Output."), *_states(None)),
    features=_MIXED,
    rules=_RULES,
    minimum={"n": 1, "g": 1},
)
