"""The generalised bilinear rule: a linear solve refined in twice the working precision, by entry.

    Ā = W⁻¹ (I + (1 − α) X),  B̄ = W⁻¹ Δ B,  W = I − α X,  X = Δ A

(S4, arXiv:2111.00396, (3) at α = 1/2; Zhang, Chen and Zhou 2007 in general). Modes of a
diagonal system are 1 by 1 matrices to these functions. With C ≈ W⁻¹ from LAPACK and its
structural zeros set, Z ← Z + C (R − W Z) runs with residuals in double-double until nothing is
left; then |W⁻¹R − Z| <= (I − |I − C W|)⁻¹ |C| |R − W Z| by entry (Higham 2002, section 12.2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ssm_spec._bilinear_errors import Solve, adjoint_bound, factorings, solve_bound
from ssm_spec._double_double import UNIT, DoubleDouble, add, dot_error, exact, matmul, multiply, two_product
from ssm_spec._errors import DomainError
from ssm_spec._expm import complex_form, modulus_form, reachable, real_form
from ssm_spec._roundoff import Arithmetic
from ssm_spec._systems import Parts
from ssm_spec._validate import Array, Float

_LARGEST_DEFECT = 2.0**-4
"""|I − C W| beyond which W is singular as far as float64 can tell, however its rows and columns are scaled.

It is asked of the equilibrated matrix, whose rows and columns have entries of size 1 and none above: there it
is some u |W⁻¹||W|, Skeel's condition, which no scaling of rows changes, and of columns none that is undone
here (Higham 2002, sections 7.2 and 7.3, after van der Sluis: no scaling by rows, or by columns, lowers the
norm-wise condition by more than √n). [[1.5, −5·10¹⁹], [0, 5·10¹⁹]] has the condition 10³⁹, and can be solved.
"""

_NOTHING = np.zeros(())


class _Scales(NamedTuple):
    """Powers of two that equilibrate W: D_r W D_c, of diagonals (s, n, 1) and (s, 1, n)."""

    rows: Float
    columns: Float

    @property
    def transposed(self) -> _Scales:
        """Those of Wᵀ."""
        return _Scales(_transpose(self.columns), _transpose(self.rows))


class _System(NamedTuple):
    """One batch of problems in real form: W and R = [I + (1−α)X, ΔB], and W's approximate inverse.

    `step` is |Δ| and `given` [A, B]; `complex_` whether the numbers are.
    """

    W: DoubleDouble
    R: DoubleDouble
    inverse: Float
    scales: _Scales
    X: Float
    Y: Float
    step: Float
    given: Float
    complex_: bool

    def moduli(self, X: Float) -> Float:
        """Return |X|, of complex numbers if they are."""
        return np.abs(self.numbers(X))

    def numbers(self, X: Float) -> Array:
        """Return X, of complex numbers if they are."""
        return np.asarray(complex_form(X) if self.complex_ else X)

    def solve(self, alpha: float) -> Solve:
        """What the bounds know of it."""
        W, R = self.numbers(self.W.hi), self.numbers(self.R.hi)
        inverse, X, Y, given = map(self.moduli, (self.inverse, self.X, self.Y, self.given))
        return Solve(W, R, inverse, X, Y, self.step, given, alpha)


def bilinear(
    A: Array, B: Array, delta: Float, alpha: float, arithmetic: Arithmetic | None
) -> tuple[Parts, Parts]:
    """Discretise A (s, n, n), B (s, n, m), delta (s): Ā (s, n, n) and B̄ (s, n, m)."""
    system, usable = _prepare(A, B, delta, alpha)
    solution, error = _solve(system.W, system.R, system.inverse, system.scales)
    own, bound, judged = error + UNIT * np.abs(solution.hi), None, usable
    if arithmetic is not None:
        Z = system.moduli(solution.hi)
        solve = system.solve(alpha)
        bound, met, solvable = solve_bound(solve, factorings(solve, arithmetic), Z, arithmetic)
        judged = usable & solvable & _in_range(arithmetic, system, Z, bound, *met)
    whole, n = _parts(system, solution.hi, own, bound, usable, judged), A.shape[-1]
    return _cut(whole, slice(0, n)), _cut(whole, slice(n, None))


def bilinear_gradients(
    A: Array,
    B: Array,
    delta: Float,
    alpha: float,
    dA_bar: Array,
    dB_bar: Array,
    arithmetic: Arithmetic | None,
    sharing: int = 1,
) -> dict[str, Parts]:
    """Return the gradients of A, B and delta for cotangents G_A (s, n, n) and G_B (s, n, m).

    With S = W⁻ᴴ G_A, V = W⁻ᴴ G_B:  dX = (1 − α) S + α (S Āᴴ + V B̄ᴴ),  dA = Δ dX,  dB = Δ V,
    dΔ = Re Σ conj(A) dX + conj(B) V. (From W dĀ = (1−α) dX + α dX Ā and W dB̄ = dY + α dX B̄.) Its terms may
    be one sum with those of all systems `sharing` a step.
    """
    system, usable = _prepare(A, B, delta, alpha)
    Z, Z_error = _solve(system.W, system.R, system.inverse, system.scales)
    real = A.dtype.kind != "c"
    G = np.concatenate((dA_bar, dB_bar) if real else (real_form(dA_bar), real_form(dB_bar)), axis=-1)
    usable = usable & np.all(np.isfinite(G), axis=(-2, -1))
    G = np.where(usable[:, None, None], G, 0.0)
    adjoint = DoubleDouble(_transpose(system.W.hi), _transpose(system.W.lo))
    H, H_error = _solve(adjoint, exact(G), _transpose(system.inverse), system.scales.transposed)
    n = system.X.shape[-1]
    product = matmul(H, DoubleDouble(_transpose(Z.hi), _transpose(Z.lo)))
    dX = alpha * product.hi + (1 - alpha) * H.hi[..., :n]
    own = _gradient_error(H.hi, H_error, Z.hi, Z_error, alpha, n, UNIT, dot_error(H.hi.shape[-1]))
    columns = slice(A.shape[-1], None)
    if arithmetic is None:
        dX_parts, H_parts = (
            _parts(system, value, error, None, usable, usable)
            for value, error in ((dX, own), (H.hi, H_error))
        )
        return _chain(A, B, delta, dX_parts, _cut(H_parts, columns), UNIT, sharing)
    solve, g, h, z = system.solve(alpha), system.moduli(G), system.moduli(H.hi), system.moduli(Z.hi)
    factors = factorings(solve, arithmetic)
    Z_bound, Z_met, Z_solvable = solve_bound(solve, factors, z, arithmetic)
    H_bound, H_met, H_solvable = adjoint_bound(solve, factors, system.numbers(G), h, arithmetic)
    u, inverse = arithmetic.u, _transpose(solve.inverse)
    count = (H.hi.shape[-1] + 2) * u
    # dX is a sum of products of W⁻ᴴ G and W⁻¹ Δ [A, B].
    most_H = (1 + inverse) @ (1 + g)
    most_X = most_H @ _transpose(solve.solved)
    lost_X, lost_Y = (solve.eta(arithmetic) * most for most in (most_X, most_H[..., columns]))
    # An explicit inverse gives −W⁻ᴴ(G Rᴴ)W⁻ᴴ, whose products are rounded before they cancel.
    before = (inverse @ g) @ _transpose(solve.inverse @ np.abs(solve.R))
    bound = _gradient_error(h, H_bound, z, Z_bound, alpha, A.shape[-1], u, count) + lost_X
    bound = bound + alpha * count * before
    # Π(1 + |f|) is no less than what products reach in any order.
    inside = _in_range(arithmetic, system, z, bound, most_H, most_X, *Z_met, *H_met)
    judged = usable & Z_solvable & H_solvable & inside
    dX_parts = _parts(system, dX, own, bound, usable, judged)
    dY_parts = _cut(_parts(system, H.hi, H_error, H_bound, usable, judged), columns)
    return _chain(A, B, delta, dX_parts, dY_parts, u, sharing, (lost_X, lost_Y))


def _prepare(A: Array, B: Array, delta: Float, alpha: float) -> tuple[_System, Array]:
    """Form W and R exactly (double-double), and invert W approximately.

    Raises
    ------
    DomainError
        If W is singular to working precision.
    """
    rows, inputs = (real_form(A), real_form(B)) if A.dtype.kind == "c" else (A, B)
    step = delta[:, None, None]
    with np.errstate(over="ignore", invalid="ignore"):
        usable = np.isfinite(delta)
        for M in (rows, inputs):
            usable = usable & np.all(np.isfinite(step * M), axis=(-2, -1))
    rows, inputs = (np.where(usable[:, None, None], M, 0.0) for M in (rows, inputs))
    step = np.where(np.isfinite(step), step, 0.0)
    X = two_product(np.broadcast_to(step, rows.shape), rows)
    Y = two_product(np.broadcast_to(step, inputs.shape), inputs)
    identity = exact(np.broadcast_to(np.eye(rows.shape[-1]), rows.shape).copy())
    W = add(identity, _times(-alpha, X))
    # 1 − α rounds; what it loses is a float64 again, so that R keeps all of it.
    beta_low = (1.0 - (1.0 - alpha)) - alpha
    explicit = add(add(identity, _times(1.0 - alpha, X)), _times(beta_low, X))
    R = DoubleDouble(
        np.concatenate((explicit.hi, Y.hi), axis=-1), np.concatenate((explicit.lo, Y.lo), axis=-1)
    )
    given = np.concatenate((rows, inputs), axis=-1)
    scales = _equilibrating(W.hi)
    inverse = _approximate_inverse(W.hi, scales)
    return _System(W, R, inverse, scales, X.hi, Y.hi, np.abs(step), given, A.dtype.kind == "c"), usable


def _times(factor: float, X: DoubleDouble) -> DoubleDouble:
    return multiply(exact(np.full_like(X.hi, factor)), X)


def _equilibrating(W: Float) -> _Scales:
    """Return what makes the largest entry of every row, then of every column, about 1."""
    size = np.abs(W)
    rows = _power_of_two(np.max(size, axis=-1, keepdims=True))
    return _Scales(rows, _power_of_two(np.max(rows * size, axis=-2, keepdims=True)))


def _power_of_two(size: Float) -> Float:
    """Return the power of two that brings a size into [½, 1); 1 for zero, which W then shows."""
    return np.ldexp(1.0, -np.frexp(size)[1])


def _approximate_inverse(W: Float, scales: _Scales) -> Float:
    """Return W⁻¹ as LAPACK gives it, with exact zeros where no power of W reaches; refuse a singular W."""
    rule = "`delta` must leave I - alpha delta A nonsingular"
    message = rule + "; at system {} it is singular to working precision"
    reach, even = reachable(W), scales.rows * W * scales.columns
    with np.errstate(all="ignore"):
        try:
            inverse = np.where(reach > 0, np.linalg.inv(even), 0.0)
        except np.linalg.LinAlgError:
            singular = int(np.argmin(np.abs(np.linalg.slogdet(even)[0])))
            raise DomainError(message.format(singular)) from None
        # By rows for the solves with W, by columns for those with its transpose.
        left, right = (np.abs(np.eye(W.shape[-1]) - product) for product in (inverse @ even, even @ inverse))
        defect = np.maximum(np.sum(left, axis=-1), np.sum(right, axis=-2)).max(axis=-1, initial=0.0)
    bad = ~(defect < _LARGEST_DEFECT)
    if np.any(bad):
        raise DomainError(message.format(int(np.argmax(bad))))
    return np.asarray(_transpose(scales.columns) * inverse * _transpose(scales.rows))


def _solve(W: DoubleDouble, R: DoubleDouble, inverse: Float, scales: _Scales) -> tuple[DoubleDouble, Float]:
    """Return Z = W⁻¹ R in double-double, and a bound on its error by entry.

    Equilibrated, D_r W D_c times D_c⁻¹ Z, so that the series of the bound converges by its norm; all exact.
    """
    n = W.hi.shape[-1]
    rows, columns = scales.rows, _transpose(scales.columns)
    W, R = _scaled(W, rows * scales.columns), _scaled(R, rows)
    inverse = inverse / (columns * _transpose(rows))
    size, defect = np.abs(inverse), np.abs(np.eye(n) - inverse @ W.hi)
    # Rounding in the computed defect itself.
    defect = defect + (n + 2) * UNIT * (size @ np.abs(W.hi))
    Z = exact(inverse @ R.hi)
    error = np.full_like(Z.hi, np.inf)
    for _ in range(40):
        residual = add(R, matmul(DoubleDouble(-W.hi, -W.lo), Z))
        left = np.abs(residual.hi) + (dot_error(n) + 10 * UNIT**2) * (
            np.abs(R.hi) + np.abs(W.hi) @ np.abs(Z.hi)
        )
        latest = _amplified(defect, size @ left)
        Z = add(Z, exact(inverse @ residual.hi))
        if not np.any(latest < 0.5 * error):
            break
        error = np.minimum(error, latest)
    return _scaled(Z, columns), columns * error * (1 + 2.0**-20)


def _scaled(X: DoubleDouble, factor: Float) -> DoubleDouble:
    """Return X times powers of two."""
    return DoubleDouble(X.hi * factor, X.lo * factor)


def _amplified(defect: Float, d: Float) -> Float:
    """Return a bound on (I − F)⁻¹ d for F >= 0 of norm below 1: enough terms that the rest is nothing."""
    total, term = d, d
    for _ in range(12):
        term = defect @ term
        total = total + term
    return np.asarray(total * (1 + 2.0**-20))


def _gradient_error(
    H: Float, H_error: Float, Z: Float, Z_error: Float, alpha: float, n: int, u: float, count: float
) -> Float:
    """Bound dX = (1−α) S + α H Zᴴ, where each factor has an error and the sum costs `count` |H||Z|ᴴ."""
    h, z = np.abs(H), np.abs(Z)
    product = (h + H_error) @ _transpose(Z_error) + H_error @ _transpose(z)
    rounding = (count + 3 * u) * (h @ _transpose(z))
    S = (1 - alpha) * (H_error[..., :n] + 3 * u * h[..., :n])
    return np.asarray((1 + 4 * u) * (alpha * (product + rounding) + S))


def _chain(
    A: Array,
    B: Array,
    delta: Float,
    dX: Parts,
    dY: Parts,
    u: float,
    sharing: int,
    lost: tuple[Float, Float] = (_NOTHING, _NOTHING),
) -> dict[str, Parts]:
    """Return dA = Δ dX, dB = Δ dY and dΔ. What is `lost`, η Π(1 + |f|), meets one factor more."""
    step = delta[:, None, None]

    def times(part: Parts, flushed: Float) -> Parts:
        value, size = step * part.value, np.abs(step) * np.abs(part.value)
        return Parts(
            value,
            np.abs(step) * part.bound + flushed + 2 * u * size,
            np.abs(step) * part.own + 2 * UNIT * size,
            part.judged,
        )

    axes = (-2, -1)
    pairs = ((A, dX), (B, dY))
    # A real part has two terms of each product.
    parts = 2 if A.dtype.kind == "c" else 1
    count = 2 + parts * sharing * sum(M.shape[-2] * M.shape[-1] for M, _ in pairs)
    size = sum(np.sum(np.abs(M) * np.abs(part.value), axis=axes) for M, part in pairs)
    d_step = Parts(
        sum(np.sum((np.conj(M) * part.value).real, axis=axes) for M, part in pairs),
        sum(
            np.sum(np.abs(M) * part.bound + flushed, axis=axes)
            for (M, part), flushed in zip(pairs, lost, strict=True)
        )
        + count * u * size,
        sum(np.sum(np.abs(M) * part.own, axis=axes) for M, part in pairs) + count * UNIT * size,
        np.all(dX.judged, axis=axes) & np.all(dY.judged, axis=axes),
        count * u * size,
    )
    return {"A": times(dX, lost[0]), "B": times(dY, lost[1]), "delta": d_step}


def _in_range(arithmetic: Arithmetic, system: _System, *arrays: Float) -> Array:
    """Return (s): whether X, ΔB, W's factors and inverse and the results stay in range."""
    everything = (system.X, system.Y, system.inverse, system.W.hi, *arrays)
    inside = np.ones(len(system.X), dtype=bool)
    for array in everything:
        inside &= np.all(np.abs(array) < arithmetic.largest, axis=(-2, -1))
    return inside


def _parts(
    system: _System, value: Float, own: Float, bound: Float | None, usable: Array, judged: Array
) -> Parts:
    """Complex again, if the system is; a bound, of moduli, is `own` if there is none."""
    if system.complex_:
        value, own = complex_form(value), modulus_form(own)
    bad = ~usable[:, None, None]
    own = np.where(bad, np.inf, own)
    return Parts(
        np.where(bad, np.nan, value),
        own if bound is None else np.where(bad, np.inf, bound),
        own,
        np.broadcast_to((usable & judged)[:, None, None], value.shape),
    )


def _cut(whole: Parts, columns: slice) -> Parts:
    """Return some columns."""
    return Parts(*(a[..., columns] for a in (whole.value, whole.bound, whole.own, whole.judged)))


def _transpose(M: Float) -> Float:
    return np.swapaxes(M, -1, -2)
