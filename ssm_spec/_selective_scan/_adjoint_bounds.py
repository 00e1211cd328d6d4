"""What honest arithmetic may do to the scan's gradients: the terms' bounds, gathered into sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._adjoint import Cotangents
from ssm_spec._selective_scan._adjoint_terms import Analysis, Terms
from ssm_spec._selective_scan._blocks import blocks
from ssm_spec._selective_scan._bounds import ANALYSED, Worst, analyses
from ssm_spec._selective_scan._inputs import Projection, Scan
from ssm_spec._selective_scan._local_errors import flushed
from ssm_spec._selective_scan._sums import add_by_group, summands
from ssm_spec._selective_scan._trajectory import follow, follow_back

Array = NDArray[Any]
Float = NDArray[np.float64]


def gradient_bounds(
    scan: Scan, cotangents: Cotangents, names: tuple[str, ...], arithmetic: Arithmetic
) -> dict[str, Worst]:
    """For each gradient named, laid out as `Scan` lays out the input it belongs to."""
    b, d, l, n = scan.sizes
    orders = analyses(arithmetic)
    sums = [{name: Sums.of(scan, name, order) for name in names} for order, _ in orders]
    for batch, channels in blocks(b, d, n * l, ANALYSED):
        block = scan.block(batch, channels)
        forward = follow(block)
        backward = follow_back(forward, cotangents.block(batch, channels))
        for (order, _), found in zip(orders, sums, strict=True):
            analysis = Analysis(forward, backward, order)
            for name, total in found.items():
                total.add(block, batch, channels, analysis.terms(name))
    worst = {name: Worst.of(*sums[0][name].error.shape) for name in names}
    for (_, own), found in zip(orders, sums, strict=True):
        for name, total in found.items():
            worst[name].raise_to(..., total.error, total.peak, own=own)
    if "initial_state" in worst and cotangents.last_state is not None:
        # An empty sequence hands its last state's cotangent on.
        empty = (slice(None), scan.sequences.empty)
        size = np.abs(cotangents.last_state[empty])
        worst["initial_state"].raise_to(empty, np.full_like(size, arithmetic.eta), size, own=False)
    return worst


@dataclass(frozen=True, eq=False)
class Sums:
    """One gradient's bound under one order of evaluation, block by block.

    A sum of k terms in any order adds (k − 1)u Σ|terms| to the terms' own errors
    (Higham, Accuracy and Stability of Numerical Algorithms, section 4.2), and (2√2 k − 1)u Σ|terms| where
    they are products of complex numbers, of which either part is two real ones. The terms' reaches are joined
    by their maximum; by their sum where terms may be summed before a factor that they share.
    """

    name: str
    error: Float
    size: Float
    reach: Float
    rounding: float
    join: np.ufunc = np.maximum

    @classmethod
    def of(cls, scan: Scan, name: str, arithmetic: Arithmetic) -> Sums:
        """Nothing summed yet."""
        b, d, l, n = scan.sizes
        shape: tuple[int, ...] = (l, b, d)
        k = 1
        if name in ("B", "C"):
            projection = _projection(scan, name)
            shape, k = projection.array.shape, summands(projection, d, l, b)
        elif name == "A":
            # Under zoh a step has two terms, by way of a and of φ.
            shape, k = scan.A.shape, (2 if scan.zoh else 1) * l * b
        elif name in ("D", "delta_bias"):
            shape, k = (d,), l * b
        elif name == "initial_state":
            shape = (n, scan.sequences.slots, d)
        error = np.full(shape, k * flushed(arithmetic))
        of_products = scan.complex and (name == "A" or (name == "B" and scan.zoh))
        rounding = k * arithmetic.product(of_products) - arithmetic.u
        if name == "delta_bias" and not scan.softplus:
            # No slope comes between: the terms of dΔ, 2n a step, meet those of all other steps.
            rounding = 2 * n * (2 if scan.complex else 1) * (k - 1) * arithmetic.u
        return cls(name, error, np.zeros(shape), np.zeros(shape), rounding)

    @property
    def peak(self) -> Float:
        """The range used: the worst of the terms', and of their sum before anything cancels."""
        return np.maximum(self.reach, self.size + self.error)

    def add(self, scan: Scan, batch: slice, channels: slice, terms: Terms) -> None:
        """Sum one block's terms."""
        error = terms.error + self.rounding * terms.size
        self._join(np.add, self.error, scan, batch, channels, error)
        self._join(np.add, self.size, scan, batch, channels, terms.size)
        self._join(self.join, self.reach, scan, batch, channels, terms.peak)

    def _join(
        self, join: np.ufunc, target: Float, scan: Scan, batch: slice, channels: slice, terms: Float
    ) -> None:
        """Join one block's numbers into `target`, where they belong."""
        if self.name in ("B", "C"):
            everything, projection = slice(0, scan.sizes[2]), _projection(scan, self.name)
            add_by_group(target, projection, everything, batch, terms, join=join)
        elif self.name in ("A", "D", "delta_bias"):
            axes = (0, 2) if self.name == "A" else (0, 1)
            place = target[:, 0, channels] if self.name == "A" else target[channels]
            join(place, join.reduce(terms, axis=axes, initial=0.0), out=place)
        elif self.name == "initial_state":
            slots = scan.sequences.starts
            t, row = np.nonzero(slots >= 0)
            where = slice(None), slots[t, row], channels
            target[where] = join(target[where], terms[t, :, row].swapaxes(0, 1))
        else:
            place = target[:, batch, channels]
            join(place, terms, out=place)


def _projection(scan: Scan, name: str) -> Projection:
    return scan.B if name == "B" else scan.C
