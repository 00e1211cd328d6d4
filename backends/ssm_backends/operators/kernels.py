"""The convolution kernels of S4 and S4D. Symbols: d channels, n states or modes, l terms."""

from __future__ import annotations

from math import inf
from typing import Final

from ssm_backends.operators._common import BASE_FEATURES, array
from ssm_backends.operators.layers import discretization, rules_as_features
from ssm_backends.schema import Argument, Operator, Output

_LENGTH: Final = Argument(
    name="length", kind="integer", interval=(0, inf), binds="l", doc="l, the number of terms."
)

S4D_KERNEL: Final = Operator(
    name="s4d_kernel",
    doc="K_j = γ Re Σ_n C_n b̄_n ā_nʲ for each channel, γ = 2 if A is complex, else 1.",
    source="Gu, Gupta, Goel and Ré, S4D (2022), eq. (6)",
    primary="A",
    arguments=(
        array("delta", "d", "Step size of each channel."),
        array("A", "d n", "Modes; of each conjugate pair one.", complex="free"),
        array("B", "d n", "Input vectors.", complex="with A"),
        array("C", "d n", "Output vectors.", complex="with A"),
        _LENGTH,
        discretization("zoh", "bilinear", "forward_euler", "backward_euler"),
    ),
    outputs=(Output(name="K", shape="d l", doc="Convolution kernel, real."),),
    features=BASE_FEATURES | rules_as_features("bilinear", "forward_euler", "backward_euler"),
    minimum={"n": 1},
)

S4_KERNEL: Final = Operator(
    name="s4_kernel",
    doc="K_j = C Āʲ B̄ for each channel, A = diag(Λ) − P Q*, by the bilinear rule.",
    source="Gu, Goel and Ré, S4 (2021), theorem 5 and algorithm 1",
    primary="Lambda",
    arguments=(
        array("delta", "d", "Step size of each channel."),
        array("Lambda", "d n", "Eigenvalues of the normal part.", complex="free"),
        array("P", "d n", "Left vectors of the low-rank part.", complex="free"),
        array("Q", "d n", "Right vectors; they are conjugated.", complex="free"),
        array("B", "d n", "Input vectors.", complex="free"),
        array("C", "d n", "Output vectors, as they are.", complex="free"),
        _LENGTH,
        Argument(
            name="paired",
            kind="flag",
            default=False,
            keyword_only=True,
            doc="One of each conjugate pair is given; the others are meant too, and K is real.",
        ),
    ),
    outputs=(Output(name="K", shape="d l", complex="unpaired", doc="Convolution kernel."),),
    features=BASE_FEATURES,
    minimum={"n": 1},
)
