"""Linear time-invariant systems: discretisation, recurrence, kernel, convolution."""

from __future__ import annotations

from math import inf
from typing import Final

from ssm_backends.operators._common import BASE_FEATURES
from ssm_backends.schema import Argument, Form, Operator, Output

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


def _discretisation(name: str, doc: str, source: str, *more: Argument) -> Operator:
    return Operator(
        name=name,
        doc=doc,
        source=source,
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
        features=BASE_FEATURES | _STRUCTURES,
        minimum={"n": 1, "m": 1},
    )


DISCRETIZE_ZOH: Final = _discretisation(
    "discretize_zoh",
    "Zero-order hold: Ā = exp(ΔA), B̄ = ∫₀^Δ exp(sA) ds B, for every A, singular too.",
    "Van Loan, IEEE Trans. Autom. Control 23 (1978), theorem 1; Gu and Dao, Mamba (2023), eq. (4)",
)

DISCRETIZE_BILINEAR: Final = _discretisation(
    "discretize_bilinear",
    "Generalised bilinear rule: Ā = (I − αΔA)⁻¹(I + (1−α)ΔA), B̄ = (I − αΔA)⁻¹ΔB.",
    "Gu, Goel and Ré, S4 (2021), eq. (3), where α = 1/2",
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
    symbols={"p": "outputs of a system"},
    doc="h_k = Ā h_{k−1} + B̄ u_k, y_k = C h_k + D u_k; 2 Re(C h_k) for complex modes.",
    source="Gu, Goel and Ré, S4 (2021), eq. (3)",
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
    features=BASE_FEATURES | _STRUCTURES | {"initial_state": "a state before the first step may be given"},
    minimum={"n": 1, "m": 1, "p": 1},
)

SSM_KERNEL: Final = Operator(
    name="ssm_kernel",
    symbols={"p": "outputs of a system"},
    doc="K_j = C Āʲ B̄ for j = 0 … l−1; 2 Re Σ C Āʲ B̄ for complex modes.",
    source="Gu, Goel and Ré, S4 (2021), eq. (5)",
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
    features=BASE_FEATURES | _STRUCTURES,
    minimum={"n": 1, "m": 1, "p": 1},
)

CAUSAL_CONVOLUTION: Final = Operator(
    name="causal_convolution",
    doc="y_t = Σ_j K_j u_{t−j}, one kernel a channel.",
    source="Gu, Goel and Ré, S4 (2021), eq. (4)",
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
    features={"mixed_dtypes": BASE_FEATURES["mixed_dtypes"]},
    minimum={"k": 1},
)
