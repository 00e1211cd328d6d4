"""The law of memory: how peak bytes grow with each size, fitted, and held against the claimed class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

TERMS: Final[Mapping[str, str]] = {
    "1": "",
    "b d l": "bdl",
    "b d n": "bdn",
    "b d l n": "bdln",
    "b g n l": "bgnl",
}
"""Term of the law → the sizes whose product it is."""
STATES_A_FUSED_SCAN_MAY_KEEP: Final = 1 / 8
"""At most one saved state in eight steps."""


@dataclass(frozen=True)
class Fit:
    """Peak bytes beyond inputs and outputs, as c₀ + c₁ b d l + c₂ b d n + c₃ b d l n + c₄ b g n l.

    Attributes
    ----------
    coefficients
        Term → bytes for each unit of it; none is negative.
    residual
        The largest relative error of the fit over the grid.
    """

    coefficients: Mapping[str, float]
    residual: float

    @property
    def states(self) -> float:
        """c₃, in bytes for each of the b·d·l·n states."""
        return self.coefficients["b d l n"]

    def __str__(self) -> str:
        law = " + ".join(
            f"{c:.3g}·{term.replace(' ', '·')}" if term != "1" else f"{c:.3g}"
            for term, c in self.coefficients.items()
        )
        return f"{law} bytes, within {self.residual:.1%}"


def fit(points: Sequence[Mapping[str, int]], peaks: Sequence[int]) -> Fit:
    """Fit the law with non-negative coefficients, in relative error.

    Parameters
    ----------
    points
        Sizes b, d, l, n, g of each call.
    peaks
        Bytes at each.
    """
    from scipy.optimize import nnls  # half a second, of which a process that fits nothing needs none

    measured = np.maximum(np.asarray(peaks, dtype=np.float64), 1.0)
    columns = np.array(
        [[float(np.prod([point[size] for size in sizes])) for sizes in TERMS.values()] for point in points]
    )
    scale = columns.max(axis=0)
    solution, _ = nnls(columns / scale / measured[:, None], np.ones(len(points)))
    coefficients = solution / scale
    residual = float(np.max(np.abs(columns @ coefficients / measured - 1.0)))
    return Fit(dict(zip(TERMS, coefficients.tolist(), strict=True)), residual)


def grid(base: Mapping[str, int]) -> list[dict[str, int]]:
    """Sizes around a base point, each varied alone by four, l by two as well, and all of them by two.

    Parameters
    ----------
    base
        Sizes b, d, l, n, g.
    """
    varied = [dict(base) | {size: base[size] * 4} for size in base]
    doubled = {size: 2 * value for size, value in base.items()}
    return [dict(base), *varied, dict(base) | {"l": doubled["l"]}, doubled]
