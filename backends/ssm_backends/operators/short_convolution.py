"""The short causal convolution of Mamba and its single step, declared.

Symbols: b batch, d channels, l length, v inputs before the newest that a filter of v + 1 taps reads; of a
step k inputs that a state holds, and r states, of the batch or of a pool.
"""

from __future__ import annotations

from typing import Final

from ssm_backends.operators._common import BASE_FEATURES, ONE_STATE_A_ROW, POOL_FEATURES, POOLED
from ssm_backends.schema import Argument, Form, Operator, Output, Rule

_WEIGHTS: Final = (
    Argument(
        name="weight",
        doc="Filters of v + 1 taps; the last one multiplies the newest input.",
        forms=(Form("d v+1", "stream"),),
        differentiable=True,
    ),
    Argument(
        name="bias",
        doc="Added before the activation.",
        forms=(Form("d", "stream"),),
        default=None,
        differentiable=True,
    ),
    Argument(
        name="activation",
        kind="choice",
        default=None,
        choices=("silu", "swish"),
        doc="None, or silu (also called swish).",
    ),
)
_MIXED: Final = {"mixed_dtypes": BASE_FEATURES["mixed_dtypes"]}

CAUSAL_CONV1D: Final = Operator(
    name="causal_conv1d",
    doc="y_t = bias + Σ_j w_j x_{t−v+j}, one filter a channel, then silu if asked for.",
    source="Gu and Dao, Mamba (2023), section 3.4 and figure 3",
    primary="x",
    arguments=(
        Argument(name="x", doc="Input.", forms=(Form("b d l", "io"),), differentiable=True),
        *_WEIGHTS,
        Argument(
            name="initial_state",
            doc="The inputs before the first step, newest last; zeros if not given.",
            forms=(Form("b d v", "state"),),
            default=None,
            keyword_only=True,
            differentiable=True,
            feature="initial_state",
        ),
        Argument(
            name="seq_idx",
            kind="index",
            doc="Nothing is read across a change of seq_idx along l.",
            forms=(Form("b l"),),
            choices=("int32", "int64"),
            default=None,
            keyword_only=True,
            feature="seq_idx",
        ),
        Argument(
            name="return_last_state",
            kind="flag",
            default=False,
            keyword_only=True,
            doc="Return (y, last_state).",
        ),
    ),
    outputs=(
        Output(name="y", shape="b d l", doc="Output."),
        Output(
            name="last_state",
            shape="b d v",
            role="state",
            when="return_last_state",
            doc="The last v inputs of the last sequence, newest last; zeros where it is younger.",
        ),
    ),
    features=_MIXED
    | {"initial_state": "inputs before the first step may be given", "seq_idx": "packed sequences by index"},
)

CAUSAL_CONV1D_UPDATE: Final = Operator(
    name="causal_conv1d_update",
    doc="One step of the short convolution: (x, state) → (y, new state).",
    source="Gu and Dao, Mamba (2023), section 3.4 and figure 3, one step",
    primary="x",
    arguments=(
        Argument(name="x", doc="Input.", forms=(Form("b d", "io"),), differentiable=True),
        Argument(
            name="state",
            doc="The last k inputs before the step, newest last, or a pool of such states.",
            forms=(Form("r d k", "state"),),
            differentiable=True,
        ),
        *_WEIGHTS,
        *POOLED,
    ),
    outputs=(
        Output(name="y", shape="b d", doc="Output; 0 in a row that is skipped."),
        Output(
            name="state",
            shape="r d k",
            role="state",
            doc="State after the step: all inputs shifted by one, x the newest.",
        ),
    ),
    features=_MIXED | {"long_state": "the state may hold more inputs than the filter reads"} | POOL_FEATURES,
    rules=(
        ONE_STATE_A_ROW,
        Rule(
            "state",
            "it must hold k ≥ v inputs, where `weight` has v + 1 taps",
            lambda c: c.sizes["k"] >= c.sizes["v"],
        ),
        Rule("state", "it holds v inputs", lambda c: c.sizes["k"] <= c.sizes["v"], feature="long_state"),
    ),
    symbols={
        "k": "inputs that a state holds, at least v",
        "r": "states: the batch, or the slots of a pool",
        "v": "inputs before the newest that a filter of v + 1 taps reads",
    },
)
