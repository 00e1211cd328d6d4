"""One call of the selective scan, and what is right for it."""

from __future__ import annotations

import numpy as np

import ssm_spec


def inputs(dtype: str = "float32", b: int = 2, d: int = 6, l: int = 23, n: int = 3, **more):
    """The same numbers whichever tests ran before."""
    rng = np.random.default_rng(5)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    return {
        "u": draw(b, d, l),
        "delta": draw(b, d, l),
        "A": -np.exp(draw(d, n)),
        "B": draw(b, 3, n, l),
        "C": draw(b, 2, n, l),
        "D": draw(d),
        "z": draw(b, d, l),
        "delta_softplus": True,
    } | more


def right(call: dict) -> np.ndarray:
    y = ssm_spec.selective_scan(**call)
    return y.astype(call["u"].dtype)


def slopes(cotangents: dict, **call: object) -> dict:
    return ssm_spec.selective_scan_vjp(cotangents, **call)
