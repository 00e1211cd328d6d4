"""HiPPO: the matrices of systems that remember."""

from __future__ import annotations

from math import inf
from typing import Final

from ssm_backends.dtypes import REAL
from ssm_backends.schema import Argument, Operator, Output

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
