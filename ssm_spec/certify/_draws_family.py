"""Wild arguments for the Mamba family around the scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from ssm_spec.certify._source import Draw, Inputs


def _short_convolution(draw: Draw) -> Inputs:
    b, d, l, w = draw.size(1, 2), draw.size(1, 3), draw.length(), draw.size(1, 2, 4, 7)
    inputs = _filter(draw, d, w) | {"x": draw.real(b, d, l)}
    if draw.flip():
        inputs["initial_state"] = draw.real(b, d, w - 1)
    if draw.flip(0.3):
        inputs["seq_idx"] = np.cumsum(draw.rng.random((b, l)) < 0.1, axis=1)
    return inputs


def _short_convolution_step(draw: Draw) -> Inputs:
    b, d, w = draw.size(1, 4), draw.size(1, 17), draw.size(1, 2, 4, 7)
    k = w - 1 + draw.size(0, 1, 3)
    slots, more = draw.slots(b)
    return _filter(draw, d, w) | more | {"x": draw.real(b, d), "state": draw.real(slots, d, k)}


def _filter(draw: Draw, d: int, w: int) -> Inputs:
    """What the short convolution and its step share."""
    inputs: Inputs = {"weight": draw.real(d, w), "activation": "silu" if draw.flip() else None}
    return inputs | {"bias": draw.real(d)} if draw.flip() else inputs


def _ssd(draw: Draw) -> Inputs:
    b, l, h, p, n = draw.size(1, 2), draw.length(), draw.size(2, 4), draw.size(1, 3), draw.size(1, 3)
    inputs = _heads(draw, (b, l), h, p, n)
    if draw.flip():
        inputs["initial_states"] = draw.real(b, h, p, n)
    if draw.flip(0.3):
        inputs["seq_idx"] = np.cumsum(draw.rng.random((b, l)) < 0.1, axis=1)
    return inputs


def _ssd_step(draw: Draw) -> Inputs:
    b, h, p, n = draw.size(1, 3), draw.size(2, 4), draw.size(1, 5), draw.size(1, 8)
    slots, more = draw.slots(b)
    return _heads(draw, (b,), h, p, n) | {"state": draw.real(slots, h, p, n)} | more


def _heads(draw: Draw, lead: tuple[int, ...], h: int, p: int, n: int) -> Inputs:
    """What SSD and its step share; lead is (b, l) or (b,)."""
    softplus, g = draw.flip(), int(draw.rng.choice([1, 2]))
    inputs: Inputs = {
        "x": draw.real(*lead, h, p),
        "dt": draw.raw_steps(softplus, *lead, h),
        "A": draw.modes(h).real,
        "B": draw.real(*lead, g, n),
        "C": draw.real(*lead, g, n),
        "dt_softplus": softplus,
    }
    if draw.flip():
        inputs |= {"D": draw.real(h, p), "z": draw.real(*lead, h, p) * 5.0}
    if draw.flip():
        inputs |= {"dt_limit": (0.01, 0.5), "dt_bias": draw.rng.standard_normal(h)}
    return inputs


def _mamba_block(draw: Draw) -> Inputs:
    inputs = _block(draw)
    b, (d, w), n = draw.size(1, 2), inputs["conv1d_weight"].shape, inputs["A_log"].shape[1]
    inputs["x"] = draw.real(b, draw.length(), inputs["in_proj"].shape[1])
    if draw.flip():
        inputs |= {"conv_state": draw.real(b, d, w - 1), "ssm_state": draw.real(b, d, n)}
    return inputs


def _mamba_step(draw: Draw) -> Inputs:
    inputs = _block(draw)
    b, (d, w), n = draw.size(1, 3), inputs["conv1d_weight"].shape, inputs["A_log"].shape[1]
    states = {"conv_state": draw.real(b, d, w - 1), "ssm_state": draw.real(b, d, n)}
    return inputs | states | {"x": draw.real(b, inputs["in_proj"].shape[1])}


def _block(draw: Draw) -> Inputs:
    """The parameters of a Mamba block."""
    e, d, r, n, w = (draw.size(*sizes) for sizes in ((1, 3), (2, 5), (1, 2), (1, 4), (1, 4)))
    return {
        "in_proj": draw.real(2 * d, e),
        "conv1d_weight": draw.real(d, w),
        "conv1d_bias": draw.real(d) if draw.flip() else None,
        "x_proj": draw.real(r + 2 * n, d),
        "dt_proj_weight": draw.real(d, r),
        "dt_proj_bias": draw.raw_steps(True, d),
        "A_log": np.log(10.0) * draw.rng.uniform(-3, 1, (d, n)),
        "D": draw.real(d),
        "out_proj": draw.real(e, d),
    }


def _mamba3(draw: Draw) -> Inputs:
    b, l, h, p, n = draw.size(1, 2), draw.length(), draw.size(2, 4), draw.size(1, 3), draw.size(2, 5)
    g, a = draw.size(1, 2), draw.size(1, n // 2)
    steps = draw.steps(b, h, l)
    inputs = {
        "q": draw.real(b, l, g, n),
        "k": draw.real(b, l, g, n),
        "v": draw.real(b, l, h, p),
        "adt": steps * draw.modes(h, 1).real,
        "dt": steps,
        "trap": draw.real(b, h, l),
        "q_bias": draw.real(h, n),
        "k_bias": draw.real(h, n),
        "angles": draw.real(b, l, h, a),
    }
    if draw.flip():
        inputs |= {"D": draw.real(h), "z": draw.real(b, l, h, p)}
    if draw.flip():
        inputs |= {
            "angle_state": draw.rng.uniform(-9, 9, (b, h, a)),
            "ssm_state": draw.real(b, h, p, n),
            "k_state": draw.real(b, h, n),
            "v_state": draw.real(b, h, p),
        }
    if draw.flip(0.3):
        inputs["seq_idx"] = np.cumsum(draw.rng.random((b, l)) < 0.1, axis=1)
    return inputs


def _mamba3_step(draw: Draw) -> Inputs:
    b, h, p, n, g = draw.size(1, 3), draw.size(2, 4), draw.size(1, 3), draw.size(2, 5), draw.size(1, 2)
    a, steps = draw.size(1, n // 2), draw.steps(b, h)
    inputs = {
        "angle_state": draw.rng.uniform(-9, 9, (b, h, a)),
        "ssm_state": draw.real(b, h, p, n),
        "k_state": draw.real(b, h, n),
        "v_state": draw.real(b, h, p),
        "q": draw.real(b, g, n),
        "k": draw.real(b, g, n),
        "v": draw.real(b, h, p),
        "adt": steps * draw.modes(h).real,
        "dt": steps,
        "trap": draw.real(b, h),
        "q_bias": draw.real(h, n),
        "k_bias": draw.real(h, n),
        "angles": draw.real(b, h, a),
    }
    return inputs | ({"D": draw.real(h), "z": draw.real(b, h, p)} if draw.flip() else {})


FAMILY: Final[Mapping[str, Callable[[Draw], Inputs]]] = MappingProxyType(
    {
        "causal_conv1d": _short_convolution,
        "causal_conv1d_update": _short_convolution_step,
        "ssd": _ssd,
        "ssd_update": _ssd_step,
        "mamba_block": _mamba_block,
        "mamba_step": _mamba_step,
        "mamba3_siso": _mamba3,
        "mamba3_siso_step": _mamba3_step,
    }
)
"""How the arguments of each operator are drawn."""
