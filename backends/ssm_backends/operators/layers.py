"""The linear layers of the field: S4D, LSSL, S5 and H3. Symbols: h heads or channels, p modes, s taps."""

from __future__ import annotations

from typing import Final

from ssm_backends.operators._common import BASE_FEATURES, array
from ssm_backends.schema import Argument, Form, Operator, Output, Rule

RULES: Final = {
    "zoh": "the zero-order hold",
    "bilinear": "the bilinear rule",
    "forward_euler": "the forward Euler rule",
    "backward_euler": "the backward Euler rule",
}
_INITIAL: Final = {"initial_state": "a state before the first step may be given"}


def discretization(default: str, *others: str) -> Argument:
    """The choice of a rule; each but the default is a feature."""
    return Argument(
        name="discretization",
        kind="choice",
        default=default,
        keyword_only=True,
        choices=(default, *others),
        value_features={rule: rule for rule in others},
        doc="The rule from the continuous to the discrete system.",
    )


def rules_as_features(*rules: str) -> dict[str, str]:
    """Rule → what it means."""
    return {rule: RULES[rule] for rule in rules}


_LAST: Final = Argument(
    name="return_last_state", kind="flag", default=False, keyword_only=True, doc="Return (y, last_state)."
)


def _initial_state(shape: str, complex_: bool) -> Argument:
    return Argument(
        name="initial_state",
        doc="State before the first step; zeros if not given.",
        forms=(Form(shape, "state"),),
        default=None,
        keyword_only=True,
        differentiable=True,
        complex="as A" if complex_ else "never",
        feature="initial_state",
    )


S4D: Final = Operator(
    name="s4d",
    doc="(ā, b̄) = rule(λ, B, Δ) for each channel; h_k = ā h_{k−1} + b̄ u_k, "
    "y_k = γ Re Σ_n C_n h_k + D u_k, γ = 2 if A is complex, else 1.",
    source="Gu, Gupta, Goel and Ré, S4D (2022), eq. (3) and (6)",
    primary="u",
    arguments=(
        array("u", "b d l", "Input.", "io"),
        array("delta", "d", "Step size of each channel."),
        array("A", "d n", "Modes; of each conjugate pair one.", complex="free"),
        array("B", "d n", "Input vectors.", complex="with A"),
        array("C", "d n", "Output vectors.", complex="with A"),
        array("D", "d", "Feedthrough.", default=None),
        _initial_state("b d n", complex_=True),
        discretization("zoh", "bilinear", "forward_euler", "backward_euler"),
        _LAST,
    ),
    outputs=(
        Output(name="y", shape="b d l", doc="Output."),
        Output(
            name="last_state",
            shape="b d n",
            role="state",
            when="return_last_state",
            complex="as A",
            doc="State after the last step.",
        ),
    ),
    features=BASE_FEATURES | rules_as_features("bilinear", "forward_euler", "backward_euler") | _INITIAL,
    minimum={"n": 1},
)

LSSL: Final = Operator(
    name="lssl",
    symbols={"m": "outputs of a channel"},
    doc="(Ā, B̄) = rule(A, B, Δ) for each channel; h_k = Ā h_{k−1} + B̄ u_k, y_k = C h_k + D u_k, "
    "m outputs side by side.",
    source="Gu, Johnson, Goel, Saab, Dao, Rudra and Ré, LSSL (2021), eq. (3)",
    primary="u",
    arguments=(
        array("u", "b d l", "Input.", "io"),
        array("delta", "d", "Step size of each channel."),
        array("A", "d n n", "State matrices."),
        array("B", "d n", "Input vectors."),
        array("C", "d m n", "Output matrices, m rows a channel."),
        array("D", "d m", "Feedthrough.", default=None),
        _initial_state("b d n", complex_=False),
        discretization("bilinear", "zoh", "forward_euler", "backward_euler"),
        _LAST,
    ),
    outputs=(
        Output(name="y", shape="b d m l", doc="Output."),
        Output(
            name="last_state",
            shape="b d n",
            role="state",
            when="return_last_state",
            doc="State after the last step.",
        ),
    ),
    features={"mixed_dtypes": BASE_FEATURES["mixed_dtypes"]}
    | rules_as_features("zoh", "forward_euler", "backward_euler")
    | _INITIAL,
    minimum={"n": 1, "m": 1},
)

S5: Final = Operator(
    name="s5",
    symbols={"h": "channels", "p": "modes"},
    doc="ā = exp(Δλ), b̄ = expm1(Δλ)/λ B for p modes; h_k = ā h_{k−1} + b̄ u_k, "
    "y_k = γ Re(C h_k) + D u_k, γ = 2 if A is complex, else 1.",
    source="Smith, Warrington and Linderman, S5 (2023), eq. (2) and (6)",
    primary="u",
    arguments=(
        array("u", "b h l", "Input.", "io"),
        array("delta", "p", "Step size of each mode."),
        array("A", "p", "Modes.", complex="free"),
        array("B", "p h", "Input matrix.", complex="with A"),
        array("C", "h p", "Output matrix.", complex="with A"),
        array("D", "h", "Feedthrough, element by element.", default=None),
        _initial_state("b p", complex_=True),
        discretization("zoh", "bilinear", "forward_euler", "backward_euler"),
        _LAST,
    ),
    outputs=(
        Output(name="y", shape="b h l", doc="Output."),
        Output(
            name="last_state",
            shape="b p",
            role="state",
            when="return_last_state",
            complex="as A",
            doc="State after the last step.",
        ),
    ),
    features=BASE_FEATURES | rules_as_features("bilinear", "forward_euler", "backward_euler") | _INITIAL,
    minimum={"p": 1, "h": 1},
)

H3: Final = Operator(
    name="h3",
    doc="k' = shift(K) + D_k K; per head y = Σ_i q_i (SSM(k'_i v) + D k'_i v); then the output projection.",
    source="Fu, Dao, Saab, Thomas, Rudra and Ré, H3 (2023), section 3.1 and algorithm 1",
    primary="q",
    arguments=(
        array("q", "b d l", "Queries.", "io"),
        array("k", "b d l", "Keys.", "stream"),
        array("v", "b d l", "Values.", "stream"),
        array("shift", "d s", "Kernel of the shift system."),
        array("shift_D", "d", "Feedthrough of the shift system."),
        array("delta", "h", "Step size of each head's diagonal system; h divides d."),
        array("A", "h n", "Modes.", complex="free"),
        array("B", "h n", "Input vectors.", complex="with A"),
        array("C", "h n", "Output vectors.", complex="with A"),
        array("D", "h", "Feedthrough of the diagonal system.", default=None),
        array("out_proj", "o d", "Output projection; none: the identity.", default=None),
        discretization("zoh", "bilinear", "forward_euler", "backward_euler"),
    ),
    outputs=(Output(name="y", shape="b o l | b d l", doc="Output."),),
    features=BASE_FEATURES | rules_as_features("bilinear", "forward_euler", "backward_euler"),
    rules=(Rule("delta", "its size h must divide d", lambda c: c.sizes["d"] % max(c.sizes["h"], 1) == 0),),
    minimum={"n": 1, "s": 1, "h": 1},
)
