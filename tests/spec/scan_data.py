"""Inputs for the tests of the selective scan: typical ones, and wild ones that strain every branch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Inputs = dict[str, Any]


def draw(
    seed: int,
    b: int,
    d: int,
    l: int,
    n: int,
    *,
    B: str = "b n l",
    C: str = "b n l",
    complex_: bool = False,
    wild: bool = False,
    zoh: bool = False,
    softplus: bool = True,
    resets: float = 0.0,
    initial: bool = True,
    dtype: str = "float32",
) -> Inputs:
    """Arguments of `selective_scan`; "b 3 n l" asks for three groups. Exact in `dtype`."""
    rng = np.random.default_rng(seed)
    narrow = np.dtype(dtype)
    wide = np.result_type(narrow, np.complex64) if complex_ else narrow

    def real(*shape: int) -> Array:
        x = rng.standard_normal(shape)
        if wild:  # magnitudes from 1e-5 to 1e2, and exact zeros
            x = np.sign(x) * 10.0 ** rng.uniform(-5, 2, shape) * (rng.random(shape) > 0.03)
        return x.astype(narrow)

    def general(*shape: int) -> Array:
        return (real(*shape) + 1j * real(*shape)).astype(wide) if complex_ else real(*shape)

    sizes = {"b": b, "d": d, "l": l, "n": n}

    def matrix(pattern: str) -> Array:
        return general(*(sizes[letter] if letter in sizes else int(letter) for letter in pattern.split()))

    rates = -np.exp(rng.uniform(-3, 3, (d, n)))
    if wild:
        rates = np.where(rng.random((d, n)) < 0.2, 0.0, rates)
        rates = np.where(rng.random((d, n)) < 0.2, 0.05 * np.abs(rates) / (1 + np.abs(rates)), rates)
    A = rates + 1j * rng.uniform(-8, 8, (d, n)) if complex_ else rates
    delta = rng.standard_normal((b, d, l)) * (6.0 if wild else 1.0) - (2.0 if softplus else 0.0)
    if not softplus:
        delta = np.abs(delta) * 0.1
    inputs: Inputs = {
        "u": real(b, d, l),
        "delta": delta.astype(narrow),
        "A": A.astype(wide),
        "B": matrix(B),
        "C": matrix(C),
        "D": real(d),
        "z": (rng.standard_normal((b, d, l)) * (8 if wild else 1)).astype(narrow),
        "delta_bias": rng.standard_normal(d).astype(narrow),
        "delta_softplus": softplus,
        "b_discretization": "zoh" if zoh else "euler",
    }
    if initial:
        inputs["initial_state"] = general(b, d, n)
    if resets:
        inputs["seq_idx"] = np.cumsum(rng.random((b, l)) < resets, axis=1)
    return inputs


def draw_cotangents(seed: int, inputs: Inputs) -> dict[str, Array]:
    """Cotangents of both outputs, in the inputs' precision."""
    rng = np.random.default_rng([seed, 1])
    b, d, _ = inputs["u"].shape
    n = inputs["A"].shape[1]
    slots = len(inputs["cu_seqlens"]) - 1 if "cu_seqlens" in inputs else b
    last = rng.standard_normal((slots, d, n))
    if np.iscomplexobj(inputs["A"]):
        last = last + 1j * rng.standard_normal((slots, d, n))
    y = rng.standard_normal(inputs["u"].shape)
    return {"y": y.astype(inputs["u"].dtype), "last_state": last.astype(inputs["A"].dtype)}


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "groups": {"B": "b 2 n l", "C": "b 3 n l"},
    "constant": {"B": "d n", "C": "b 6 n l"},
    "resets": {"resets": 0.3, "B": "b 3 n l", "C": "d n"},
    "zoh": {"zoh": True},
    "no-softplus": {"softplus": False, "initial": False},
    "complex": {"complex_": True, "B": "b 2 n l", "resets": 0.2},
    "complex-zoh": {"complex_": True, "zoh": True, "C": "d n"},
}
"""Every branch of the operator at six channels."""
