"""One first-order recurrence in time, for values, adjoints and errors alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = slice | NDArray[np.intp]
Cuts = Mapping[int, Rows]


def cuts_of(fresh: NDArray[np.bool_]) -> dict[int, Rows]:
    """For each time at which some batch row starts afresh, those rows. `fresh`: (l, b)."""
    if not fresh.any():
        return {}
    full: NDArray[np.bool_] = np.all(fresh, axis=1)
    return {
        int(t): slice(None) if full[t] else np.flatnonzero(fresh[t])
        for t in np.flatnonzero(np.any(fresh, axis=1))
    }


def recur(
    decay: Array,
    source: Array,
    cuts: Cuts,
    first: Array | None = None,
    join: np.ufunc = np.add,
    lag: int = 0,
) -> Array:
    """x_t = join(a_t x_{t−1}, s_t), and x_t = s_t at a cut: a cut selects, it does not multiply by zero.

    Parameters
    ----------
    decay
        a, broadcastable to `source` but for its first axis, (l, ...).
    source
        s, (l, ..., b, d), time first.
    cuts
        The batch rows that start afresh, by time.
    first
        a_0 x_{−1}, (..., b, d), where the recurrence goes on from earlier times.
    join
        `numpy.add`, or `numpy.maximum`.
    lag
        1 where `decay[t − 1]` leads to x_t, as on reversed arrays; 0 where `decay[t]` does.

    Returns
    -------
    x, the shape and dtype of `source`.
    """
    out = np.empty_like(source)
    if len(out) == 0:
        return out
    if first is None:
        out[0] = source[0]
    else:
        join(first, source[0], out=out[0])
        _select(out, source, cuts, 0)
    previous = out[0]
    for t in range(1, len(out)):
        x = out[t]
        np.multiply(decay[t - lag], previous, out=x)
        join(x, source[t], out=x)
        if t in cuts:
            _select(out, source, cuts, t)
        previous = x
    return out


def _select(out: Array, source: Array, cuts: Cuts, t: int) -> None:
    rows = cuts.get(t)
    if rows is not None:
        out[t][..., rows, :] = source[t][..., rows, :]
