"""Sums over everything that shares one element of B or C: the channels of a group, or all times and rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._selective_scan._inputs import Projection

Array = NDArray[Any]


def add_by_group(
    target: Array,
    projection: Projection,
    span: slice,
    batch: slice,
    terms: Array,
    join: np.ufunc = np.add,
) -> None:
    """Join the terms (l, n, b, d) of a block into `target`, which has `Projection.array`'s layout.

    `join` is `numpy.add`, or `numpy.maximum` for a worst case over the same terms.
    """
    if terms.size == 0:
        return
    groups = projection.groups
    if projection.constant:
        place = target[0, :, 0]
        place[:, groups] = join(place[:, groups], join.reduce(terms, axis=(0, 2)))
        return
    first_of_group = np.flatnonzero(np.diff(groups, prepend=-1))
    place = target[span, :, batch, groups[0] : groups[-1] + 1]
    join(place, join.reduceat(terms, first_of_group, axis=-1), out=place)


def summands(projection: Projection, channels: int, length: int, batch: int) -> int:
    """How many terms one element of the gradient sums."""
    if projection.constant:
        return length * batch
    return channels // int(projection.array.shape[-1])
