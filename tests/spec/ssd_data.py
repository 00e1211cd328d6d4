"""Inputs for the tests of SSD: typical ones, and wild ones that strain every branch."""

from __future__ import annotations

from typing import Any

import numpy as np

import ssm_spec

Inputs = dict[str, Any]
OUTPUTS = ("y", "final_states")


def draw(
    seed: int,
    b: int,
    l: int,
    h: int,
    p: int,
    g: int,
    n: int,
    *,
    wild: bool = False,
    wide_D: bool = False,
    softplus: bool = True,
    limit: tuple[float, float] = (0.0, float("inf")),
    resets: float = 0.0,
    bare: bool = False,
) -> Inputs:
    """Arguments of `ssd`, exact in float32; `bare` leaves out all that is optional."""
    rng = np.random.default_rng(seed)

    def real(*shape: int) -> Any:
        x = rng.standard_normal(shape)
        if wild:
            x = np.sign(x) * 10.0 ** rng.uniform(-5, 2, shape) * (rng.random(shape) > 0.03)
        return x.astype(np.float32)

    dt = rng.standard_normal((b, l, h)) * (6.0 if wild else 1.0) - (2.0 if softplus else 0.0)
    rates = -np.exp(rng.uniform(-3, 3, h)) * (rng.random(h) > (0.2 if wild else 0.0))
    inputs: Inputs = {
        "x": real(b, l, h, p),
        "dt": (dt if softplus else 0.1 * dt).astype(np.float32),
        "A": rates.astype(np.float32),
        "B": real(b, l, g, n),
        "C": real(b, l, g, n),
        "dt_softplus": softplus,
        "dt_limit": limit,
    }
    if not bare:
        inputs |= {
            "D": real(h, p) if wide_D else real(h),
            "z": (rng.standard_normal((b, l, h, p)) * (8 if wild else 1)).astype(np.float32),
            "dt_bias": rng.standard_normal(h).astype(np.float32),
            "initial_states": real(b, h, p, n),
        }
    if resets:
        inputs["seq_idx"] = np.cumsum(rng.random((b, l)) < resets, axis=1)
    return inputs


def run(inputs: Inputs, **change: Any) -> tuple[Any, Any]:
    """y and the final states."""
    both = ssm_spec.ssd(**{**inputs, **change}, return_final_states=True)
    assert isinstance(both, tuple)
    return both


def draw_cotangents(seed: int, inputs: Inputs) -> dict[str, Any]:
    """Cotangents of both outputs, in float32."""
    rng = np.random.default_rng([seed, 1])
    (b, _, h, p), n = inputs["x"].shape, inputs["B"].shape[3]
    shapes = {"y": inputs["x"].shape, "final_states": (b, h, p, n)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "limits": {"limit": (0.11, 0.4)},
    "resets, D of each channel": {"resets": 0.3, "wide_D": True},
    "clamped from below, no softplus": {"softplus": False},
    "bare, any sign": {"softplus": False, "limit": (-0.05, 0.1), "bare": True},
}
"""Every branch of the operator."""
