"""Inputs of small scans in every variant that the operator has."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Variant:
    """Which forms a scan's arguments take."""

    matrices: str
    packing: str
    rule: str
    is_complex: bool

    def __str__(self) -> str:
        return f"{self.matrices}-{self.packing}-{self.rule}-{'complex' if self.is_complex else 'real'}"


MATRICES = ("constant", "varying", "grouped")
PACKINGS = ("whole", "ids", "offsets")
VARIANTS = [Variant(*row) for row in product(MATRICES, PACKINGS, ("euler", "zoh"), (False, True))]
UNPACKED = [variant for variant in VARIANTS if variant.packing != "offsets"]
PACKED = [variant for variant in VARIANTS if variant.packing == "offsets"]
RESET = [variant for variant in VARIANTS if variant.packing != "whole"]


def draw(variant: Variant, b: int = 2, d: int = 6, l: int = 7, n: int = 3, seed: int = 11) -> dict[str, Any]:
    """A scan with every optional argument; B in three groups and C in two where they are grouped."""
    rng = np.random.default_rng(seed)
    b = 1 if variant.packing == "offsets" else b

    def array(*shape: int, is_complex: bool = variant.is_complex) -> NDArray[Any]:
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if is_complex else real

    shapes: dict[str, list[tuple[int, ...]]] = {
        "constant": [(d, n)] * 2,
        "varying": [(b, n, l)] * 2,
        "grouped": [(b, 3, n, l), (b, 2, n, l)],
    }
    B, C = (array(*shape) for shape in shapes[variant.matrices])
    inputs: dict[str, Any] = {
        "u": array(b, d, l, is_complex=False),
        "delta": array(b, d, l, is_complex=False),
        "A": array(d, n) - 1.5,
        "B": B,
        "C": C,
        "D": array(d, is_complex=False),
        "z": 3 * array(b, d, l, is_complex=False),
        "delta_bias": array(d, is_complex=False),
        "delta_softplus": True,
    }
    rows = b
    if variant.packing == "ids":
        inputs["seq_idx"] = rng.integers(0, 2, (b, l)).astype(np.int32)
    if variant.packing == "offsets":
        inputs["cu_seqlens"] = np.array([0, 0, l // 2, l // 2, l - 1, l], dtype=np.int32)
        rows = 5
    inputs["initial_state"] = array(rows, d, n)
    if variant.rule != "euler":
        inputs["b_discretization"] = variant.rule
    return inputs


def floating(inputs: dict[str, Any]) -> tuple[str, ...]:
    """Names of the arguments that have a gradient."""
    return tuple(k for k, v in inputs.items() if isinstance(v, np.ndarray) and v.dtype.kind in "fc")


def narrowed(inputs: dict[str, Any], dtype: str) -> dict[str, Any]:
    """The same inputs rounded to another precision; complex ones to the complex type of it."""
    complex_type = np.result_type(dtype, np.complex64)
    return {
        name: x.astype(complex_type if np.iscomplexobj(x) else dtype) if name in floating(inputs) else x
        for name, x in inputs.items()
    }
