"""What honest solves, or an explicit inverse, may do to each entry of the bilinear rule and of its adjoint.

Gaussian elimination with partial pivoting, W = P L U, leaves (W + δ) Z = R + ρ with δ and ρ of roundings
(Higham 2002, theorem 9.4). (W + δ)⁻¹ = (I + W⁻¹δ)⁻¹ W⁻¹, so that what W⁻¹ makes of δ and ρ is wrong by
(I − |W⁻¹||δ|)⁻¹ as much at most. Where that series diverges the arithmetic cannot tell W from a
singular matrix, and nothing is judged.

Flushing subnormals loses η, the smallest normal number, absolutely, in each product, and η |u_jj| in what
is divided by u_jj. What becomes of it depends on where: `Factors.lost` follows it through the
substitutions, `Factors.lost_of_inverse` through U⁻¹ L⁻¹ Pᵀ. A W whose rows or columns are badly scaled
loses so what no entry of W, of W⁻¹ or of Z tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._local_errors import flushed
from ssm_spec._validate import Array, Float

_LARGEST_MULTIPLIER = 4.0
"""|l| <= 1 by pivoting; where roundings may make it this, another row is taken for the pivot.

In float32, with all roundings to one side, 64 rows of normal numbers reach 1.1; where another row was seen
to be taken, it was 78.
"""


class Solve(NamedTuple):
    """W Z = R, W = I − αΔA real or complex, and by modulus R = [I + (1−α)ΔA, ΔB] and the others.

    `inverse` is W⁻¹, `X` and `Y` are ΔA and ΔB, `step` is Δ and `given` [A, B].
    """

    W: Array
    R: Float
    inverse: Float
    X: Float
    Y: Float
    step: Float
    given: Float
    alpha: float

    @property
    def solved(self) -> Float:
        """What flushing may lose of W⁻¹ Δ [A, B], over η: Σ Π(1 + |f|) over the factors of each term."""
        return np.asarray((1 + self.step) * ((1 + self.inverse) @ (1 + self.given)))

    def eta(self, arithmetic: Arithmetic) -> float:
        """What flushing an operation may lose: of a complex number both parts."""
        return arithmetic.eta * (2.0**0.5 if self.W.dtype.kind == "c" else 1.0)


@dataclass(frozen=True)
class Factors:
    """P L U = W by modulus: |L||U| in W's order, no less than |W|; P|L|, |L⁻¹|, |L⁻¹|Pᵀ, |U⁻¹|, |U|.

    Of complex numbers each counts twice: a product rounds by 2√2 u (Higham, lemma 3.5), n of them and a
    sum by less than 2n u, and no part of it loses more than √2 η a term.
    """

    product: Float
    L: Float
    L_inverse: Float
    L_inverse_P: Float
    U_inverse: Float
    U: Float
    diagonal: Float
    complex_: bool

    @property
    def n(self) -> int:
        """The rows of W, each twice if they are complex."""
        return int(self.U.shape[-1]) * (2 if self.complex_ else 1)

    @cached_property
    def row(self) -> Float:
        """What a row of a substitution with U may lose (s, n, 1), over η: products, their sum, a quotient."""
        return np.asarray(self.n + 1 + self.diagonal)[..., None]

    def lost(self, R: Float) -> Float:
        """What the substitutions may lose of W⁻¹ R, over η."""
        y = _pattern(self.L_inverse_P, R)
        x = _pattern(self.U_inverse, y)
        return np.asarray(self.U_inverse @ (self.L_inverse @ ((self.n + 1) * y) + self.row * x))

    def lost_of_transpose(self, R: Float) -> Float:
        """What substitutions with Uᵀ, then Lᵀ, may lose of W⁻ᵀ R, over η."""
        back, forth = _transpose(self.U_inverse), _transpose(self.L_inverse_P)
        y = _pattern(back, R)
        return np.asarray(forth @ (back @ (self.row * y) + (self.n + 1) * y))

    @cached_property
    def lost_of_inverse(self) -> Float:
        """What an inverse may lose, over η: by substitution, or U⁻¹ by rows or columns times L⁻¹Pᵀ."""
        V, identity = self.U_inverse, np.broadcast_to(np.eye(self.U.shape[-1]), self.U.shape)
        entries = (V > 0).astype(np.float64)
        inverted = V @ (self.row * entries) + (entries * _transpose(self.row)) @ V
        return np.asarray((inverted + (self.n + 1) * entries) @ self.L_inverse_P + self.lost(identity))

    @cached_property
    def met(self) -> tuple[Float, ...]:
        """What an explicit inverse meets on its way."""
        return (self.U_inverse, self.U_inverse @ self.U, self.U_inverse @ self.L_inverse_P)

    def moved(self, arithmetic: Arithmetic) -> Float:
        """|P L U − W|, rounded and flushed: a multiplier that is flushed moves W by η |u_jj|.

        Of the reciprocal of a complex pivot one part may be flushed, and with it η |u_jj| of a quotient.
        """
        rounded = 3 * (self.n + 2) * arithmetic.u * self.product
        if self.complex_:
            rounded = rounded + 2 * arithmetic.eta * self.diagonal[..., None, :] * self.product
        flushed_away = arithmetic.eta * np.swapaxes(2 * self.row, -1, -2)
        return np.asarray(rounded + np.where(self.product > 0, flushed_away, 0.0))

    def found_in(self, arithmetic: Arithmetic, formed: Float) -> tuple[Factors, Array]:
        """Return what factors an arithmetic may find at most, of a W wrong by `formed`, and which exist (s).

        They are of some W + δ = P L (I + F) U with F = L⁻¹Pᵀδ U⁻¹, and I + F has factors of at most the
        triangles of T = (I − |F|)⁻¹, as have their inverses: with I − |F| = L_c U_c, T = U_c⁻¹L_c⁻¹ is no
        less than either of the two, and these are no less than what belongs to I + F, an H-matrix. Pivots
        that all but cancel may be rounding errors in a lower precision, and the growth then another one;
        where a multiplier may become several times 1, other rows are taken for pivots.
        """
        moved = formed + self.moved(arithmetic)
        T, exist = _series(self.L_inverse_P @ moved @ self.U_inverse)
        lower, upper = np.tril(T), np.triu(T)
        L, U = self.L @ lower, upper @ self.U
        found = Factors(
            np.maximum(self.product, L @ U),
            L,
            lower @ self.L_inverse,
            lower @ self.L_inverse_P,
            self.U_inverse @ upper,
            U,
            np.diagonal(U, axis1=-2, axis2=-1),
            self.complex_,
        )
        pivots = np.all(L < _LARGEST_MULTIPLIER, axis=(-2, -1))
        # LAPACK multiplies by the reciprocal of a pivot, which may be flushed if it is subnormal.
        return found, exist & pivots & np.all(found.diagonal * arithmetic.eta < 1, axis=-1)


class Bound(NamedTuple):
    """An error by entry; what was met on the way, by entry; whether the arithmetic can solve at all (s)."""

    error: Float
    met: tuple[Float, ...]
    solvable: Array


def factors_of(W: Array) -> Factors:
    """Factor each W (s, n, n) as LAPACK does."""
    from scipy.linalg import lu

    size, complex_ = np.abs(W), W.dtype.kind == "c"
    with np.errstate(all="ignore"):
        if not len(W) or W.shape[-1] == 1:  # a mode, which nobody factors
            one = np.broadcast_to(np.eye(W.shape[-1]), W.shape)
            return Factors(size, one, one, one, 1 / size, size, size[..., 0], complex_)
        P, L, U = (np.stack(part) for part in zip(*(lu(one) for one in W), strict=True))
        lower, back, upper = P @ np.abs(L), np.abs(np.linalg.inv(L)), np.abs(U)
        return Factors(
            np.maximum(size, lower @ upper),
            lower,
            back,
            back @ _transpose(P),
            np.abs(np.linalg.inv(U)),
            upper,
            np.diagonal(upper, axis1=-2, axis2=-1),
            complex_,
        )


class Factorings(NamedTuple):
    """What an arithmetic may find: factors of W, or of Wᵀ where rows are stored; |δ|; which exist (s)."""

    direct: Factors
    transposed: Factors
    moved: Float
    exist: Array


def factorings(solve: Solve, arithmetic: Arithmetic) -> Factorings:
    """Factor W and Wᵀ: with δ of forming and factoring them (W + δ) Z = R is solved, either way."""
    with np.errstate(over="ignore", invalid="ignore"):
        formed = _forming(solve, arithmetic)
        direct, exist = factors_of(solve.W).found_in(arithmetic, formed)
        transposed, too = factors_of(_transpose(solve.W)).found_in(arithmetic, _transpose(formed))
        factored = np.maximum(direct.moved(arithmetic), _transpose(transposed.moved(arithmetic)))
    return Factorings(direct, transposed, formed + factored, exist & too)


def solve_bound(solve: Solve, factors: Factorings, Z: Float, arithmetic: Arithmetic) -> Bound:
    """Bound a solve in this arithmetic, by LU factors or by an explicit inverse.

    (I − |W⁻¹|g)⁻¹ ( |W⁻¹| ( g |W⁻¹||R| + u (|R| + 3 |I + X|, |ΔB|) ) + u |Z| + what is flushed ),
    g = 3 (n + 2) u |L||U| + u (|W| + 3 α |X|) + what W loses.

    (Higham 2002, theorem 9.4 and section 14.1; |W⁻¹||R| for the |Z| of a plain solve covers inversion).
    """
    u, R = arithmetic.u, solve.R
    explicit = np.concatenate((3 * (1 - solve.alpha) * solve.X, 2 * solve.Y), axis=-1)
    formed = u * (R + explicit) + _flushed_right(solve, arithmetic)
    any_order = _flushes(factors.direct.n) * solve.solved
    return _bound(solve, factors, (R, formed, any_order), Z, arithmetic)


def adjoint_bound(solve: Solve, factors: Factorings, G: Float, H: Float, arithmetic: Arithmetic) -> Bound:
    """Bound the solve with Wᴴ in the same way; the cotangent is exact."""
    inverse = _transpose(solve.inverse)
    adjoint = solve._replace(W=_transpose(solve.W), inverse=inverse)
    swapped = Factorings(factors.transposed, factors.direct, _transpose(factors.moved), factors.exist)
    any_order = _flushes(factors.direct.n) * ((1 + inverse) @ (1 + G))
    return _bound(adjoint, swapped, (G, np.zeros_like(G), any_order), H, arithmetic)


def _bound(
    solve: Solve, factors: Factorings, right: tuple[Float, Float, Float], Z: Float, arithmetic: Arithmetic
) -> Bound:
    """Bound W⁻¹ R, R wrong by `formed`, where products in any order lose `any_order` η besides.

    The terms of a substitution are at most |L||U||W⁻¹||R|, before they cancel.
    """
    size, (R, formed, any_order) = solve.inverse, right
    direct, other, moved, exist = factors
    with np.errstate(over="ignore", invalid="ignore"):
        inverse = direct.lost_of_inverse + _transpose(other.lost_of_inverse)
        lost = direct.lost(R) + other.lost_of_transpose(R) + inverse @ R
        lost = solve.eta(arithmetic) * (lost + np.where(_pattern(size, R) > 0, any_order, 0.0))
        amplified, solvable = _series(size @ moved)
        error = amplified @ (size @ (moved @ (size @ R) + formed) + arithmetic.u * Z + lost)
        product = np.maximum(direct.product, _transpose(other.product))
        met = (product @ (size @ R), *direct.met, *other.met)
    return Bound(error, met, exist & solvable)


def _forming(solve: Solve, arithmetic: Arithmetic) -> Float:
    """Return what I − αΔA is wrong by; zeros that stay zero are none."""
    A = solve.given[..., : solve.W.shape[-1]]
    rounded = arithmetic.u * (np.abs(solve.W) + 3 * solve.alpha * solve.X)
    if solve.alpha == 0:
        return np.asarray(rounded)
    return np.asarray(rounded + np.where(A == 0, 0.0, 2.0**0.5 * flushed(arithmetic, solve.step, A)))


def _flushed_right(solve: Solve, arithmetic: Arithmetic) -> Float:
    """Return what flushing may lose of R as it is formed; (1 − α)ΔA is not where α is 1."""
    lost = np.where(solve.given == 0, 0.0, flushed(arithmetic, solve.step, solve.given))
    if solve.alpha == 1:
        lost[..., : solve.W.shape[-1]] = 0.0
    return np.asarray(lost)


def _flushes(n: int) -> float:
    """Return how many losses of η of Δ W⁻¹ [A, B] in any order of these factors an entry may add up."""
    return 2.0 * n * n


def _series(G: Float) -> tuple[Float, Array]:
    """Return (I − G)⁻¹, or more, of G >= 0, right by entry, and whether its series converges (s).

    T = I + G + … + G²⁵⁵ as a product of sums: if G²⁵⁶ T <= ε T, then what is left out is at most ε/(1 − ε) T.
    That is so, or is not, whatever the scales of rows and columns.
    """
    total, power = np.eye(G.shape[-1]) + G, G
    for _ in range(7):
        power = power @ power
        total = total + total @ power
    left = (power @ power) @ total
    return (1 + 2.0**-9) * total, np.all(left <= 2.0**-10 * total, axis=(-2, -1))


def _pattern(first: Float, second: Float) -> Float:
    """Return 1 where a product of two matrices has a term, else 0."""
    found = (first > 0).astype(np.float64) @ (second > 0).astype(np.float64)
    return np.asarray((found > 0).astype(np.float64))


def _transpose(M: Float) -> Float:
    return np.swapaxes(M, -1, -2)
