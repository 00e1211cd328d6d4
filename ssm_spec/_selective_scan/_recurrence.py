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
    out: Array | None = None,
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
    out
        Where x is stored; `source` itself may be given, to be overwritten.

    Returns
    -------
    x, the shape and dtype of `source`.
    """
    out = np.empty_like(source) if out is None else out
    if len(out) == 0:
        return out
    if first is None:
        out[0] = source[0]
    else:
        _join(join, first, source[0], out[0], cuts.get(0))
    moved = np.empty_like(out[0])
    for t in range(1, len(out)):
        np.multiply(decay[t], out[t - 1], out=moved)
        _join(join, moved, source[t], out[t], cuts.get(t))
    return out


def recur_back(decay: Array, source: Array, decayed: Array, cuts: Cuts, last: Array | None = None) -> None:
    """x_t = s_t + a_{t+1} x_{t+1}, back in time, in the place of s; a_t x_t in `decayed`, which may be a.

    Parameters
    ----------
    decay, source, decayed
        a, s, and where a_t x_t is stored; (l, ..., b, d), time first.
    cuts
        The batch rows that end, by time: there x_t = s_t.
    last
        a_l x_l, (..., b, d), where the recurrence comes from later times.
    """
    moved = last
    for t in reversed(range(len(source))):
        x = source[t]
        if moved is not None:
            _join(np.add, moved, x, x, cuts.get(t))
        moved = np.multiply(decay[t], x, out=decayed[t])


def _join(join: np.ufunc, moved: Array, source: Array, out: Array, rows: Rows | None) -> None:
    """out = join(moved, source), and `source` itself in the rows that are cut; `out` may be `source`."""
    if rows is None:
        join(moved, source, out=out)
    else:
        fresh = source[..., rows, :].copy()
        join(moved, source, out=out)
        out[..., rows, :] = fresh
