"""What honest solves, or an explicit inverse, may do to each entry of the bilinear rule and of its adjoint.

Gaussian elimination with partial pivoting finds P L U = W + δ, δ of roundings (Higham 2002, theorem 9.3), and
(W + δ)⁻¹ R is off W⁻¹R = Z by (W + δ)⁻¹ δ Z; what substitutions do besides is in `_elimination_errors`.
(W + δ)⁻¹ = (I + W⁻¹δ)⁻¹ W⁻¹, so that all that is wrong by (I − |W⁻¹||δ|)⁻¹ as much at most, δ then of the
substitutions too. Where that series diverges the arithmetic cannot tell W from a singular matrix, and nothing
is judged.

Flushing subnormals loses η, the smallest normal number, absolutely, in each product, and η |u_jj| in what
is divided by u_jj. What becomes of it depends on where: `Factors.lost` follows it through the
substitutions, `Factors.lost_of_inverse` through U⁻¹ L⁻¹ Pᵀ. A W whose rows or columns are badly scaled
loses so what no entry of W, of W⁻¹ or of Z tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ssm_spec._elimination_errors import Counts, Triangles, factoring
from ssm_spec._products import roundings
from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._local_errors import flushed
from ssm_spec._validate import Array, Float

_LARGEST_MULTIPLIER = 4.0
"""|l| <= 1 by pivoting; where roundings may make it this, another row is taken for the pivot.

In float32, with all roundings to one side, 64 rows of normal numbers reach 1.1; where another row was seen
to be taken, it was 78.
"""


class Solve(NamedTuple):
    """W Z = R, W = I − αΔA and R = [I + (1−α)ΔA, ΔB] real or complex, and the others by modulus.

    `inverse` is W⁻¹, `X` and `Y` are ΔA and ΔB, `step` is Δ and `given` [A, B].
    """

    W: Array
    R: Array
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
    """P L U = W, by modulus: P|L||U|, no less than |W|; P, |L|, |L⁻¹|, |U⁻¹| and |U|.

    `forth` and `back` are L⁻¹Pᵀ and U⁻¹ themselves; an arithmetic makes at most lower |L⁻¹PᵀR| of R, and so
    for Uᵀ. Of complex numbers no part of a sum of n products loses more than √2 η a term.
    """

    product: Float
    P: Float
    L: Float
    L_inverse: Float
    U_inverse: Float
    U: Float
    forth: Array
    back: Array
    lower: Float
    upper: Float
    complex_: bool

    @property
    def L_inverse_P(self) -> Float:  # noqa: N802 - the papers' names of the matrices
        """|L⁻¹|Pᵀ."""
        return np.asarray(self.L_inverse @ _transpose(self.P))

    @property
    def diagonal(self) -> Float:
        """The pivots."""
        return np.asarray(np.diagonal(self.U, axis1=-2, axis2=-1))

    def substitutions(self, inverse: Float, arithmetic: Arithmetic) -> Triangles:
        """Solve with W: with L, then U."""
        counts, one = Counts.of(arithmetic, self.complex_), _identity(self.P)
        return Triangles(
            self.P, self.L, self.L_inverse, self.U, self.U_inverse, one, inverse, counts, upper_divides=True
        )

    def substitutions_of_transpose(self, inverse: Float, arithmetic: Arithmetic) -> Triangles:
        """Solve with Wᵀ, of which |W⁻ᵀ| is given: with Uᵀ, then Lᵀ."""
        counts, one = Counts.of(arithmetic, self.complex_), _identity(self.P)
        L, M, U, V = map(_transpose, (self.U, self.U_inverse, self.L, self.L_inverse))
        return Triangles(one, L, M, U, V, self.P, inverse, counts, upper_divides=False)

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
        V, identity = self.U_inverse, _identity(self.U)
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
        rounded = arithmetic.u * (self.P @ factoring(self.L, self.U, Counts.of(arithmetic, self.complex_)))
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
        found = replace(
            self,
            product=np.maximum(self.product, self.P @ L @ U),
            L=L,
            L_inverse=lower @ self.L_inverse,
            U_inverse=self.U_inverse @ upper,
            U=U,
            lower=lower,
            upper=upper,
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
    one = _identity(size)
    with np.errstate(all="ignore"):
        if not len(W) or W.shape[-1] == 1:  # a mode, which nobody factors
            return Factors(size, one, one, one, 1 / size, size, one, 1 / W, one, one, complex_)
        P, L, U = (np.stack(part) for part in zip(*(lu(one) for one in W), strict=True))
        forth, back = np.linalg.inv(L), np.linalg.inv(U)
        return Factors(
            np.maximum(size, P @ (np.abs(L) @ np.abs(U))),
            P.real,
            np.abs(L),
            np.abs(forth),
            np.abs(back),
            np.abs(U),
            forth @ _transpose(P),
            back,
            one,
            one,
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

    (I − |W⁻¹|g)⁻¹ ( |W⁻¹| ( δ |Z| + u (|R| + 3 |I + X|, |ΔB|) ) + s + u |Z| + what is flushed ),

    δ of forming W and factoring it, g of the substitutions' L and U besides, and s what they lose. By the
    rule of one half Ā is 2W⁻¹ − I as well: twice what an inverse is wrong by, however short Ā is, and u|Ā|.
    """
    u, R = arithmetic.u, np.abs(solve.R)
    explicit = np.concatenate((3 * (1 - solve.alpha) * solve.X, 2 * solve.Y), axis=-1)
    formed = u * (R + explicit) + _flushed_right(solve, arithmetic)
    any_order = _flushes(factors.direct.n) * solve.solved
    found = _bound(solve, factors, (solve.R, formed, any_order), Z, arithmetic)
    if solve.alpha != 0.5:
        return found
    A_bar, inverse = np.s_[..., : solve.W.shape[-1]], solve.inverse
    eye = np.broadcast_to(np.eye(inverse.shape[-1], dtype=solve.W.dtype), inverse.shape)
    any_order = _flushes(factors.direct.n) * (1 + inverse)
    inverted = _bound(solve, factors, (eye, np.zeros(inverse.shape), any_order), inverse, arithmetic)
    # There it is not rounded once more, nor multiplied by R.
    n = inverse.shape[-1]
    unspent = u * (1.0 + (roundings(n, factors.direct.complex_) if n > 1 else 0.0)) * inverse
    doubled = 2 * (inverted.error - unspent) + u * Z[A_bar]
    doubled = doubled + np.where(inverse > 0, solve.eta(arithmetic), 0.0)
    found.error[A_bar] = np.maximum(found.error[A_bar], doubled)
    return Bound(found.error, (*found.met, *inverted.met), found.solvable & inverted.solvable)


def adjoint_bound(solve: Solve, factors: Factorings, G: Array, H: Float, arithmetic: Arithmetic) -> Bound:
    """Bound the solve with Wᴴ in the same way, as Wᵀ H̄ = Ḡ; the cotangent is exact."""
    inverse = _transpose(solve.inverse)
    adjoint = solve._replace(W=_transpose(solve.W), inverse=inverse)
    swapped = Factorings(factors.transposed, factors.direct, _transpose(factors.moved), factors.exist)
    any_order = _flushes(factors.direct.n) * ((1 + inverse) @ (1 + np.abs(G)))
    return _bound(adjoint, swapped, (np.conj(G), np.zeros(G.shape), any_order), H, arithmetic)


def _bound(
    solve: Solve, factors: Factorings, right: tuple[Array, Float, Float], Z: Float, arithmetic: Arithmetic
) -> Bound:
    """Bound W⁻¹ R, R wrong by `formed`, where products in any order lose `any_order` η besides.

    The factors are of W, or of Wᵀ; R is as those of W, and not of its conjugate, have it. The terms of a
    substitution are at most |L||U||W⁻¹||R|, before they cancel.
    """
    u, size, (given, formed, any_order) = arithmetic.u, solve.inverse, right
    direct, other, moved, exist = factors
    R = np.abs(given)
    with np.errstate(over="ignore", invalid="ignore"):
        inverse = direct.lost_of_inverse + _transpose(other.lost_of_inverse)
        lost = direct.lost(R) + other.lost_of_transpose(R) + inverse @ R
        lost = solve.eta(arithmetic) * (lost + np.where(_pattern(size, R) > 0, any_order, 0.0))
        substituted, all_moved = np.zeros_like(Z), moved
        for triangles, y, which in _ways(solve, factors, given, Z, arithmetic):
            more, converges = _series(u * (triangles.L_inverse @ triangles.forward()))
            lost_there = np.where(which, u * triangles.substituted(more @ y, Z, R), 0.0)
            substituted = np.maximum(substituted, lost_there)
            all_moved = np.maximum(all_moved, moved + np.where(which, u * triangles.moved(), 0.0))
            exist = exist & (converges | ~which[:, 0, 0])
        amplified, solvable = _series(size @ all_moved)
        error = amplified @ (size @ (moved @ Z + formed) + substituted + u * Z + lost)
        product = np.maximum(direct.product, _transpose(other.product))
        met = (product @ (size @ R), *direct.met, *other.met)
    return Bound(error, met, exist & solvable)


def _ways(
    solve: Solve, factors: Factorings, given: Array, Z: Float, arithmetic: Arithmetic
) -> Iterator[tuple[Triangles, Float, Array]]:
    """Yield the triangles that are solved with, |L⁻¹PᵀR|, and whose they are (s, 1, 1).

    W's factors are everybody's, and those of Wᵀ; where W is triangular, it may be solved with at once.
    """
    direct, other = factors.direct, factors.transposed
    size, W, one = solve.inverse, np.abs(solve.W), _identity(solve.inverse)
    counts, everybody = Counts.of(arithmetic, direct.complex_), np.ones((len(W), 1, 1), dtype=bool)
    yield direct.substitutions(size, arithmetic), direct.lower @ np.abs(direct.forth @ given), everybody
    y = _transpose(other.upper) @ np.abs(_transpose(other.back) @ given)
    yield other.substitutions_of_transpose(size, arithmetic), y, everybody
    lower, upper = (np.all(cut(W) == W, axis=(-2, -1))[:, None, None] for cut in (np.tril, np.triu))
    if np.any(lower):
        L, M = np.tril(W), np.tril(size)
        yield Triangles(one, L, M, one, one, one, size, counts, upper_divides=False), Z, lower
    if np.any(upper):
        U, V = np.triu(W), np.triu(size)
        yield Triangles(one, one, one, U, V, one, size, counts, upper_divides=True), np.abs(given), upper


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


def _identity(like: Float) -> Float:
    return np.broadcast_to(np.eye(like.shape[-1]), like.shape)


def _pattern(first: Float, second: Float) -> Float:
    """Return 1 where a product of two matrices has a term, else 0."""
    found = (first > 0).astype(np.float64) @ (second > 0).astype(np.float64)
    return np.asarray((found > 0).astype(np.float64))


def _transpose(M: Float) -> Float:
    return np.swapaxes(M, -1, -2)
