"""The whole Mamba block and its step on the tape, from the short convolution and the selective scan.

Letters: b rows, l steps, e the width outside, d channels inside, r the rank of Δ, n states, w taps.
"""

from __future__ import annotations

from typing import Any

from ssm_spec.certify._functions import exp
from ssm_spec.certify._mamba import causal_conv1d
from ssm_spec.certify._scan import selective_scan
from ssm_spec.certify._tape import Variable, constant

Outputs = dict[str, Variable]


def mamba_block(
    x: Variable,
    in_proj: Variable,
    conv1d_weight: Variable,
    x_proj: Variable,
    dt_proj_weight: Variable,
    dt_proj_bias: Variable,
    A_log: Variable,
    D: Variable,
    out_proj: Variable,
    *,
    conv1d_bias: Variable | None = None,
    conv_state: Variable | None = None,
    ssm_state: Variable | None = None,
    return_states: bool = False,
) -> Outputs:
    """(x', z) = W_in x; c = silu(conv x'); (δ, B, C) = W_x c; y = W_out scan(c, W_Δ δ, −exp A_log, B, C).

    Gu and Dao, Mamba (2023), section 3.4 and figure 3.
    """
    del return_states  # they are always among the outputs
    (d, r), n = dt_proj_weight.shape, A_log.shape[1]
    inner = in_proj @ x.swapped(1, 2)
    filtered = causal_conv1d(inner[:, :d], conv1d_weight, conv1d_bias, "silu", initial_state=conv_state)
    c = filtered["y"]
    low_rank = x_proj @ c
    scanned = selective_scan(
        c,
        dt_proj_weight @ low_rank[:, :r],
        constant(-1.0) * exp(A_log),
        low_rank[:, r : r + n],
        low_rank[:, r + n :],
        D,
        inner[:, d:],
        dt_proj_bias,
        True,
        initial_state=ssm_state,
    )
    y = (out_proj @ scanned["y"]).swapped(1, 2)
    return {"y": y, "conv_state": filtered["last_state"], "ssm_state": scanned["last_state"]}


def mamba_step(x: Variable, **arguments: Any) -> Outputs:
    """The block at length one."""
    found = mamba_block(x[:, None], **arguments)
    return {**found, "y": found["y"][:, 0]}
