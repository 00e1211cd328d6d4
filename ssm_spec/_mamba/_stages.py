"""The stages of a Mamba block, one after the other, from checked arguments.

Streams have time last, (b, ·, l); a projection W is a matrix from the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ssm_spec._causal_conv1d import causal_conv1d
from ssm_spec._selective_scan import selective_scan
from ssm_spec._validate import Dimensions, Float, as_real_array, at_least_one, refuse_half

PARAMETERS = (
    "in_proj",
    "conv1d_weight",
    "conv1d_bias",
    "x_proj",
    "dt_proj_weight",
    "dt_proj_bias",
    "A_log",
    "D",
    "out_proj",
)


@dataclass(frozen=True, eq=False)
class Block:
    """The arguments, checked: x (b, e, l), time last; the others as given, states None where not."""

    x: Float
    in_proj: Float
    conv1d_weight: Float
    conv1d_bias: Float | None
    x_proj: Float
    dt_proj_weight: Float
    dt_proj_bias: Float
    A_log: Float
    D: Float
    out_proj: Float
    conv_state: Float | None
    ssm_state: Float | None

    @property
    def d(self) -> int:
        """Channels inside."""
        return int(self.conv1d_weight.shape[0])

    @property
    def r(self) -> int:
        """The rank of Δ before its projection."""
        return int(self.dt_proj_weight.shape[1])

    @property
    def n(self) -> int:
        """States of a channel."""
        return int(self.A_log.shape[1])


@dataclass(frozen=True, eq=False)
class Stages:
    """What a block computes on its way; (b, ·, l) if not said.

    Attributes
    ----------
    conv, scan
        The arguments of `causal_conv1d` and of `selective_scan`.
    filtered, low_rank, gated
        x after the convolution, (b, d, l); (Δ, B, C) from `x_proj`, (b, r + 2n, l); the
        scan's output, (b, d, l).
    y
        (b, e, l).
    conv_state, ssm_state
        The states that are handed on.
    """

    conv: dict[str, Any]
    scan: dict[str, Any]
    filtered: Float
    low_rank: Float
    gated: Float
    y: Float
    conv_state: Float
    ssm_state: Float


def follow(block: Block) -> Stages:
    """Run a block: Gu and Dao, "Mamba" (2023), section 3.4, figure 3, and algorithm 2."""
    d, r, n = block.d, block.r, block.n
    inner = block.in_proj @ block.x
    conv: dict[str, Any] = {
        "x": inner[:, :d],
        "weight": block.conv1d_weight,
        "bias": block.conv1d_bias,
        "activation": "silu",
        "initial_state": block.conv_state,
    }
    filtered, conv_state = causal_conv1d(**conv, return_last_state=True)
    low_rank = block.x_proj @ filtered
    scan: dict[str, Any] = {
        "u": filtered,
        "delta": block.dt_proj_weight @ low_rank[:, :r],
        "A": -np.exp(block.A_log),
        "B": low_rank[:, r : r + n],
        "C": low_rank[:, r + n :],
        "D": block.D,
        "z": inner[:, d:],
        "delta_bias": block.dt_proj_bias,
        "delta_softplus": True,
        "initial_state": block.ssm_state,
    }
    gated, ssm_state = selective_scan(**scan, return_last_state=True)
    y = block.out_proj @ gated
    return Stages(conv, scan, filtered, low_rank, gated, y, conv_state, ssm_state)


def read(
    x: object,
    in_proj: object,
    conv1d_weight: object,
    conv1d_bias: object,
    x_proj: object,
    dt_proj_weight: object,
    dt_proj_bias: object,
    A_log: object,
    D: object,
    out_proj: object,
    *,
    conv_state: object = None,
    ssm_state: object = None,
    return_states: bool = False,
) -> Block:
    """Check the arguments of `mamba_block` against its rules."""
    del return_states  # every caller takes what it needs
    dims = Dimensions()

    def take(name: str, value: object, pattern: str) -> Float:
        array = as_real_array(name, value)
        dims.match(name, array, pattern)
        return array

    def maybe(name: str, value: object, pattern: str) -> Float | None:
        return None if value is None else take(name, value, pattern)

    x_ = take("x", x, "b l e")
    weight = take("conv1d_weight", conv1d_weight, "d w")
    at_least_one("conv1d_weight", "w", dims["w"])
    dims.bind("w−1", dims["w"] - 1, "conv1d_weight")
    dims.bind("2d", 2 * dims["d"], "conv1d_weight")
    rates = take("A_log", A_log, "d n")
    refuse_half("A_log", A_log)
    at_least_one("A_log", "n", dims["n"])
    dt_weight = take("dt_proj_weight", dt_proj_weight, "d r")
    at_least_one("dt_proj_weight", "r", dims["r"])
    dims.bind("r+2n", dims["r"] + 2 * dims["n"], "dt_proj_weight` and `A_log")
    return Block(
        x=x_.swapaxes(1, 2),
        in_proj=take("in_proj", in_proj, "2d e"),
        conv1d_weight=weight,
        conv1d_bias=maybe("conv1d_bias", conv1d_bias, "d"),
        x_proj=take("x_proj", x_proj, "r+2n d"),
        dt_proj_weight=dt_weight,
        dt_proj_bias=take("dt_proj_bias", dt_proj_bias, "d"),
        A_log=rates,
        D=take("D", D, "d"),
        out_proj=take("out_proj", out_proj, "e d"),
        conv_state=maybe("conv_state", conv_state, "b d w−1"),
        ssm_state=maybe("ssm_state", ssm_state, "b d n"),
    )
