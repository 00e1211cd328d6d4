"""The verdict of one output: its worst element, measured in units of the derived bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_conformance.storage import preimage, widen
from ssm_spec import Bounded

EXCUSED_AT_MOST = 0.05
"""The share of elements outside the range of the compute type above which a case judges too little."""


@dataclass(frozen=True)
class Judgement:
    """What was found in one output.

    Attributes
    ----------
    ratio
        The worst err / (bound + own) over the judged elements; nan or inf if not finite.
    where
        Index of that element; None if nothing was judged.
    value, expected, bound
        There: what the backend gave, what the oracle gives, the allowed error.
    excused, size
        Elements not judged, and all.
    ratios
        err / (bound + own) of every judged element, flat.
    """

    ratio: float
    where: tuple[int, ...] | None
    value: complex | float
    expected: complex | float
    bound: float
    excused: int
    size: int
    ratios: NDArray[np.float64]

    @property
    def passed(self) -> bool:
        """False for a NaN too: only a ratio known to be at most 1 passes."""
        return self.ratio <= 1.0


def judge(
    stored: NDArray[Any], dtype: str, compute: str, exact: Bounded, period: float | None = None
) -> Judgement:
    """Measure a stored output against the oracle.

    Parameters
    ----------
    stored
        What the backend returned, as its dtype stores it; the oracle's shape.
    dtype
        Its name.
    compute
        The type it was computed in. Where that is wider than ``dtype``, the error is the
        distance from the oracle's value to the reals that round to what was stored; where it
        is not, the distance to what was stored.
    exact
        The oracle's value, and the bounds.
    period
        What the output means the same modulo: the nearest of its meanings is measured.
    """
    actual = widen(stored, dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        error = _error(stored, actual, dtype, compute, exact.value)
        error = modulo(error, period)
    return measure(error, exact.bound + exact.own, exact.judged, actual, exact.value)


def modulo(error: NDArray[Any], period: float | None) -> NDArray[Any]:
    """A distance, to the nearest of what means the same; unchanged without a period."""
    return error if period is None else np.abs(error - period * np.rint(error / period))


def measure(
    error: NDArray[Any],
    allowed: NDArray[Any],
    judged: NDArray[Any],
    actual: NDArray[Any],
    value: NDArray[Any],
) -> Judgement:
    """Measure errors in units of what is allowed, all of one shape.

    Parameters
    ----------
    error, allowed
        Not negative; an error may be NaN, what is allowed infinite.
    judged
        Which elements count.
    actual, value
        What stood there, and what was expected.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        ratio = np.where(error == 0, 0.0, error / np.where(allowed > 0, allowed, 1.0))
        ratio = np.where((allowed == 0) & (error > 0), np.inf, ratio)
    ratio = np.where(np.isnan(error), np.nan, ratio)
    judged = judged & np.isfinite(allowed)
    ranked = np.where(judged, np.where(np.isnan(ratio), np.inf, ratio), -1.0)
    excused = int(judged.size - judged.sum())
    if excused == judged.size:
        return Judgement(0.0, None, np.nan, np.nan, np.nan, excused, judged.size, np.empty(0))
    where = np.unravel_index(int(np.argmax(ranked)), ranked.shape)
    return Judgement(
        ratio=float(ratio[where]),
        where=tuple(int(i) for i in where),
        value=actual[where].item(),
        expected=value[where].item(),
        bound=float(allowed[where]),
        excused=excused,
        size=judged.size,
        ratios=ratio[judged],
    )


def _error(
    stored: NDArray[Any], actual: NDArray[Any], dtype: str, compute: str, value: NDArray[Any]
) -> NDArray[np.float64]:
    if dtype == "complex64" and compute == "float64":  # each part is rounded on its way out
        parts = _beside(stored.real, "float32", value.real), _beside(stored.imag, "float32", value.imag)
        return np.asarray(np.hypot(*parts), dtype=np.float64)
    if dtype in (compute, "float64", "complex64", "complex128"):
        return np.asarray(np.abs(actual - value), dtype=np.float64)
    return _beside(stored, dtype, value)


def _beside(stored: NDArray[Any], dtype: str, value: NDArray[Any]) -> NDArray[np.float64]:
    """The distance from the reals that round to what was stored."""
    lower, upper = preimage(stored, dtype)
    return np.asarray(np.maximum(np.maximum(lower - value, value - upper), 0.0), dtype=np.float64)
