"""What the roundings of Gaussian elimination do to a solve, or to an inverse, once factors are there.

With W + δ = P L U the roundings of factoring are those of one W, and reach Z = W⁻¹R alone. Those of the
substitutions are another L and U for each column that is solved for: of R, with y = L⁻¹PᵀR,

    Z moves by   −W⁻¹P δL y − U⁻¹ δU Z,

of the identity, or of an inverse of a factor, by what is listed at `substituted`. How many roundings a term
meets depends on where it stands (Higham 2002, lemma 8.4): computed in any order, c − Σ_{k<s} a_k b_k − x is
at most (s − 1)u|x| + s u Σ|a_k||b_k|. Of complex numbers either part is a sum of 2(s − 1) products and c, so
that it is 2(s − 1)u|x| + √2(2s − 1)u Σ|a_k||b_k| there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ssm_spec._products import roundings
from ssm_spec._roundoff import Arithmetic
from ssm_spec._validate import Float


class Counts(NamedTuple):
    """How many units of u a sum's terms meet, and a quotient, among real or among complex numbers."""

    complex_: bool
    quotient: float

    @classmethod
    def of(cls, arithmetic: Arithmetic, complex_: bool) -> Counts:
        """A quotient may be a product with a reciprocal; complex, x ȳ/|y|² rounds 2√2 + 2 + k_d."""
        return cls(complex_, (2.0 if complex_ else 1.0) * (arithmetic.k_div + 1.0))

    def products(self, k: Float) -> Float:
        """Of a sum of k products, no less than `roundings`: zero of none."""
        return np.asarray(2.0 * 2.0**0.5 * k if self.complex_ else k)

    def others(self, s: Float) -> Float:
        """Of c − Σ a b of s terms, c beside: those of the products."""
        return np.asarray(2.0**0.5 * (2.0 * s - 1.0) if self.complex_ else s)

    def last(self, s: Float) -> Float:
        """Of the same, what the result itself is wrong by."""
        return np.asarray((2.0 if self.complex_ else 1.0) * (s - 1.0))


def factoring(L: Float, U: Float, counts: Counts) -> Float:
    """Return |P L U − W| over u, rows as the pivots come: entry (i, j) is a sum of min(i, j) terms."""
    i = _places(L)
    terms = np.minimum(i[:, None], i)
    last = np.tril(L, -1) * _diagonal(U)[..., None, :] + _diagonal(L)[..., :, None] * np.triu(U)
    rest = np.maximum(L @ U - last, 0.0)
    divided = counts.quotient * np.tril(np.ones_like(terms), -1)
    return np.asarray(counts.others(terms) * rest + (counts.last(terms) + divided) * last)


class Triangles(NamedTuple):
    """W + δ = P L U Qᵀ by modulus, one of L and U with a unit diagonal: which quotients there are.

    `inverse` is |W⁻¹|; L_inverse and U_inverse are |L⁻¹| and |U⁻¹|.
    """

    P: Float
    L: Float
    L_inverse: Float
    U: Float
    U_inverse: Float
    Q: Float
    inverse: Float
    counts: Counts
    upper_divides: bool

    @property
    def _lower_quotient(self) -> float:
        return 0.0 if self.upper_divides else self.counts.quotient

    @property
    def _upper_quotient(self) -> float:
        return self.counts.quotient if self.upper_divides else 0.0

    def forward(self) -> Float:
        """Return |δL| over u of Ly = c, row by row."""
        return _by_rows(self.L, _places(self.L), self.counts, self._lower_quotient)

    def back(self) -> Float:
        """Return |δU| over u of Ux = y, from the last row up."""
        return _by_rows(self.U, _places(self.U)[::-1], self.counts, self._upper_quotient)

    def moved(self) -> Float:
        """Return |δL||U| + |L||δU| over u, in W's order."""
        return np.asarray(
            self.P @ (self.forward() @ self.U + self.L @ self.back()) @ np.swapaxes(self.Q, -1, -2)
        )

    def substituted(self, y: Float, Z: Float, R: Float) -> Float:
        """Bound over u what Z = W⁻¹R loses beside the factors; y is |L⁻¹PᵀR|, a majorant of what is computed.

        By substitution, W⁻¹P δL y and U⁻¹δU Z. An inverse by columns, by rows, as U⁻¹ and then X L = U⁻¹ or
        U X = L⁻¹ (LAPACK), or as U⁻¹ times L⁻¹: inverses of the triangles are wrong by T⁻¹ δ or by δ T⁻¹, δ
        bounded by |T||T⁻¹| or |T⁻¹||T|, entry (i, j) a sum of |i − j| products (Higham 2002, section 14.2).
        The product with R rounds besides, and that of U⁻¹ and L⁻¹.
        """
        counts, P, Q, n = self.counts, self.P, self.Q, self.L.shape[-1]
        PT, QT, WP = np.swapaxes(P, -1, -2), np.swapaxes(Q, -1, -2), self.inverse @ P
        L, M, U, V = self.L, self.L_inverse, self.U, self.U_inverse
        R, X = PT @ R, QT @ self.inverse @ R
        Z = QT @ Z
        by_columns = np.swapaxes(
            _by_rows(np.swapaxes(L, -1, -2), _places(L)[::-1], counts, self._lower_quotient), -1, -2
        )
        lower = np.maximum.reduce(
            [
                WP @ (np.maximum(self.forward(), by_columns) @ y),
                WP @ (_inverted(L, M, counts, self._lower_quotient, first=True) @ R),
                Q @ (V @ (_inverted(M, L, counts, self._lower_quotient, first=False) @ y)),
            ]
        )
        solved, of_columns = V @ (self.back() @ Z), V @ (self.back() @ X)
        if n == 1:
            return np.asarray(lower + solved)
        apart = np.maximum.reduce(
            [
                solved,
                _inverted(V, U, counts, self._upper_quotient, first=False) @ Z,
                V @ (_inverted(U, V, counts, self._upper_quotient, first=True) @ y),
            ]
        )
        i = _places(L)
        joined = (counts.products(n + 1.0 - np.maximum(i[:, None], i)) * (V @ M)) @ R
        upper = Q @ np.maximum(of_columns, apart + joined)
        return np.asarray(lower + upper + roundings(n, counts.complex_) * (self.inverse @ (P @ R)))


def _by_rows(T: Float, terms: Float, counts: Counts, quotient: float) -> Float:
    """Return |δT| over u where row i of T is a sum of `terms`[i] terms, the diagonal's the last."""
    diagonal = _diagonal(T)[..., None] * np.eye(T.shape[-1])
    rest = np.maximum(T - diagonal, 0.0)
    return np.asarray(
        counts.others(terms)[:, None] * rest + (counts.last(terms) + quotient)[:, None] * diagonal
    )


def _inverted(T: Float, S: Float, counts: Counts, quotient: float, *, first: bool) -> Float:
    """Return what T S − I is wrong by over u; what divides is the diagonal of T (`first`) or that of S."""
    i = _places(T)
    divided = _diagonal(T)[..., :, None] * S if first else T * _diagonal(S)[..., None, :]
    return np.asarray(counts.products(np.abs(i[:, None] - i)) * (T @ S) + quotient * divided)


def _diagonal(T: Float) -> Float:
    return np.asarray(np.diagonal(T, axis1=-2, axis2=-1))


def _places(T: Float) -> Float:
    """Return 1, …, n."""
    return np.arange(1.0, T.shape[-1] + 1.0)
