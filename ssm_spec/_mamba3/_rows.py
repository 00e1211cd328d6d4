"""The gradient of a chunk's cumulative sum of adt: rows and columns that cancel, but not their errors.

A step t reads the state and a source enters at s: what passes from s to t is added to d(adt) at t, in a row,
and taken away at s, in a column. So with κ = (Q + 1 + n + p)u what is summed from r to its chunk's end
loses

    Σ_{t >= r} [ |c|(loc_S + κM) + |source|(loc_Λ + κM^Λ) + 2|crossing|(loc_Λ + κM^Λ) ]
        + (2Q + 4)u Σ_{t < r} [ |c|M + |source|M^Λ + |crossing|M^Λ ]

c is g q̃ᵀ and, at a chunk's end, the next one's αΛ. Crossing, there, is the early source of the next step:
an author who merges both weights of v_t k̃_tᵀ lets it enter at t, and both the row of what is handed on and
the column of t have it, times α_{t+1} Λ_{t+1}. The last line is there because a sum from r on may be what is
left of the sum of all of the chunk when what comes before r is taken away, as Mamba-3's authors have it:
there each term before r meets Q + 1 additions in the sum of all, Q in the other, and three differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssm_spec._mamba3._near import Near
from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._classes import (
    chunk_begins,
    next_step,
    sum_from_chunk_begin,
    sum_to_chunk_end,
)
from ssm_spec._selective_scan._local_errors import flushed, reached
from ssm_spec._selective_scan._state_errors import StateErrors
from ssm_spec._validate import Float


@dataclass(frozen=True, eq=False)
class Rows:
    """What a chunk's rows and columns are made of, (l, p, n, b, h).

    Attributes
    ----------
    S, adjoint
        The drifts of S and of Λ.
    source, c
        |what a step adds to S|, and what it adds to Λ.
    handed_on
        |α_{t+1} Λ_{t+1}|.
    crossing
        The early source of every step.
    """

    S: StateErrors
    adjoint: StateErrors
    source: Float
    c: Near
    handed_on: Float
    crossing: Near

    @property
    def kappa(self) -> float:
        """κ: a chunk's rows and columns, of sums over n and p."""
        p, n = self.source.shape[1:3]
        return float((self._steps + 1 + n + p) * self._arithmetic.u)

    @property
    def _arithmetic(self) -> Arithmetic:
        return self.c.arithmetic

    @property
    def _steps(self) -> int:
        return min(self._arithmetic.chunk, len(self.source))

    def error(self) -> Float:
        """The error of the sum of rows less columns from each time to its chunk's end, (l, b, h)."""
        a, S, L, kappa, c = self._arithmetic, self.S, self.adjoint, self.kappa, self._reads()
        crossing = self.crossing.mass
        of_columns = L.unshared + kappa * L.mass
        terms = c * (S.unshared + kappa * S.mass) + self.source * of_columns
        terms += flushed(a, c, S.mass) + flushed(a, self.source, L.mass)
        terms += a.eta * self.c.factors * S.pairs
        terms += 2.0 * self._at_end(crossing * of_columns + a.eta * self.crossing.factors * (1.0 + L.mass))
        sizes = c * S.mass + self.source * L.mass + self._at_end(crossing * L.mass)
        before = (2 * self._steps + 4) * a.u * sum_from_chunk_begin(sizes.sum((1, 2)), a.chunk)
        return sum_to_chunk_end(terms.sum((1, 2)), a.chunk) + before

    def reach(self) -> Float:
        """What rows and columns from each time to its chunk's end reach before they cancel, (l, b, h)."""
        S, L = self.S, self.adjoint
        terms = self._reads() * (S.mass + S.error) + self.source * (L.mass + L.error)
        reading = self.c.reach + reached(self._arithmetic, self._handed_on())
        terms = np.maximum(terms, reading * S.meets)
        terms += 2.0 * self._at_end(self.crossing.reach * (L.mass + L.error))
        return sum_to_chunk_end(terms.sum((1, 2)), self._arithmetic.chunk)

    def _reads(self) -> Float:
        """What reads S: |c|, and what is handed on."""
        read: Float = self.c.mass + self._handed_on()
        return read

    def _handed_on(self) -> Float:
        """What is handed on at a chunk's end, else zero."""
        ends = np.roll(self._begins(), -1)
        return np.where(ends, self.handed_on, 0.0)

    def _at_end(self, terms: Float) -> Float:
        """Those of the step that begins the next chunk, at the end of this one; elsewhere zero."""
        at_end: Float = next_step(np.where(self._begins(), terms, 0.0))
        return at_end

    def _begins(self) -> NDArray[np.bool_]:
        return chunk_begins(len(self.source), self._arithmetic.chunk)[:, None, None, None, None]
