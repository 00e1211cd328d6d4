"""HiPPO: the matrices of systems that remember, and LegS as an online memory."""

from __future__ import annotations

import sys
from math import inf
from typing import Final

from ssm_backends.dtypes import REAL
from ssm_backends.schema import Argument, Form, Operator, Output, Rule


def _hippo(
    name: str, doc: str, source: str, *more: Argument, rules: tuple[Rule, ...] = (), least: int = 1
) -> Operator:
    return Operator(
        name=name,
        doc=doc,
        source=source,
        primary="dtype",
        arguments=(
            Argument(name="n", kind="integer", interval=(least, inf), binds="n", doc="Number of states."),
            *more,
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
        rules=rules,
        minimum={"n": least},
    )


HIPPO_LEGS: Final = _hippo(
    "hippo_legs",
    "A_nk = −√((2n+1)(2k+1)) for n > k, −(n+1) for n = k, 0 above; B_n = √(2n+1).",
    "Gu, Dao, Ermon, Rudra and Ré, HiPPO (2020), theorem 2",
)

HIPPO_LEGT: Final = _hippo(
    "hippo_legt",
    "A_nk = −√((2n+1)(2k+1))/θ · {1 for k ≤ n; (−1)^(n−k) for k > n}, B_n = √(2n+1)/θ.",
    "Gu, Dao, Ermon, Rudra and Ré, HiPPO (2020), theorem 1, normalised",
    Argument(
        name="theta",
        kind="number",
        default=1.0,
        keyword_only=True,
        interval=(sys.float_info.min, sys.float_info.max),
        doc="θ, the length of the window.",
    ),
)

HIPPO_LAGT: Final = _hippo(
    "hippo_lagt",
    "A_nk = −1 for n ≥ k, 0 for n < k; B_n = 1.",
    "Gu, Dao, Ermon, Rudra and Ré, HiPPO (2020), theorem 1",
)

HIPPO_FOUT: Final = _hippo(
    "hippo_fout",
    "β = (1, 0, √2, 0, √2, 0, …): A = R − 2ββᵀ, R_{2k,2k+1} = −2πk = −R_{2k+1,2k}, B = 2β.",
    "Gu, Johnson, Timalsina, Rudra and Ré, How to Train Your HiPPO (2022), eq. (10)",
    rules=(Rule("n", "it must be even: a cosine and a sine a frequency", lambda c: c.sizes["n"] % 2 == 0),),
    least=2,
)

HIPPO_LEGS_COMPRESS: Final = Operator(
    name="hippo_legs_compress",
    symbols={"*s": "leading dimensions, one signal to each; any number, or none", "n": "coefficients"},
    doc="c' = (A c + B f)/t with the matrices of LegS: c₁ = f₁ e₀, c_k = Ā_k c_{k−1} + B̄_k f_k.",
    source="Gu, Dao, Ermon, Rudra and Ré, HiPPO (2020), theorem 2",
    primary="f",
    arguments=(
        Argument(name="f", doc="Signal.", forms=(Form("*s l", "io"),), differentiable=True),
        Argument(name="n", kind="integer", interval=(1, inf), binds="n", doc="Number of coefficients."),
        Argument(
            name="method",
            kind="choice",
            default="exact",
            keyword_only=True,
            choices=("exact", "bilinear"),
            value_features={"bilinear": "bilinear"},
            doc="'exact' holds each sample over its step; 'bilinear' is Tustin's rule.",
        ),
        Argument(
            name="prefixes",
            kind="flag",
            default=False,
            keyword_only=True,
            doc="Return the coefficients after each sample, not after the last alone.",
        ),
    ),
    outputs=(Output(name="c", shape="*s n | *s n l", doc="Legendre coefficients of the past."),),
    features={"bilinear": "the bilinear rule"},
    minimum={"n": 1},
)
