"""Zero-order hold of a full state matrix: one exponential, its Fréchet derivative's adjoint, their bounds.

    [[Ā, B̄], [0, I]] = exp(Δ [[A, B], [0, 0]])   (Van Loan, IEEE Trans. Autom. Control 23 (1978), theorem 1)

holds for every A, singular ones and Δ = 0 included. The gradient is the adjoint of the
Fréchet derivative L, read off a block-triangular exponential:

    exp([[Xᴴ, G], [0, Xᴴ]]) = [[·, L(Xᴴ, G)], [0, ·]]   (Higham, Functions of Matrices, (3.16)),

and dX = L(Xᴴ, G) for the cotangent G of exp(X). It is linear in G, and taken of a G of norm one: to halve
the block until a large G is small takes as many bits from X. Complex matrices enter as real ones of twice
the size.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from ssm_spec._double_double import SPLITTABLE, UNIT, two_product
from ssm_spec._expm import complex_form, exponential, modulus_form, real_form
from ssm_spec._expm_bounds import exponential_bound, reached_backwards
from ssm_spec._roundoff import ORACLE, Arithmetic
from ssm_spec._selective_scan._local_errors import flushed
from ssm_spec._systems import Parts
from ssm_spec._validate import Array, Float

LEAST_SCALE: Final = 2.0**-900
"""Of a cotangent: a product of 2⁹⁰⁰ is still taken apart without overflow."""


def zoh_dense(A: Array, B: Array, delta: Float, arithmetic: Arithmetic | None) -> tuple[Parts, Parts]:
    """Discretise systems A (s, n, n), B (s, n, m), delta (s): Ā (s, n, n) and B̄ (s, n, m).

    Without an arithmetic, `bound` repeats `own`.
    """
    layout = _Layout(A, B)
    exponent, usable = _finite(layout.augmented(A, B), delta)
    found = _exponential(exponent, delta, arithmetic)
    judged = (usable & found.in_range)[:, None, None]
    parts = Parts(
        *layout.complexify(found.value, found.own, found.bound, usable),
        np.broadcast_to(judged, found.value.shape),
    )
    return layout.blocks(parts)


def zoh_dense_gradients(
    A: Array, B: Array, delta: Float, dA_bar: Array, dB_bar: Array, arithmetic: Arithmetic | None
) -> dict[str, Parts]:
    """Return the gradients of A (s, n, n), B (s, n, m) and delta (s), for cotangents of Ā's and B̄'s shapes.

    With dX the gradient of the augmented Δ[A, B]: dA = Δ dX_A, dB = Δ dX_B, dΔ = Re Σ conj([A, B]) dX.
    """
    asked = ORACLE if arithmetic is None else arithmetic
    layout = _Layout(A, B)
    rows = layout.augmented(A, B)
    adjoint = np.swapaxes(rows, -1, -2)
    size = rows.shape[-1]
    G = layout.augmented(dA_bar, dB_bar)
    doubled = np.zeros((len(delta), 2 * size, 2 * size))
    doubled[:, :size, :size] = doubled[:, size:, size:] = adjoint
    exponent, usable = _finite(doubled, delta)
    # The cotangent is not multiplied by Δ, but brought to norm one.
    scale = np.ones_like(doubled) * delta[:, None, None]
    finite_G = np.all(np.abs(G) < SPLITTABLE, axis=(-2, -1))
    G = np.where((usable & finite_G)[:, None, None], G, 0.0)
    of_G = _power_of_two(np.max(np.sum(np.abs(G), axis=-2), axis=-1, initial=0.0), asked)[:, None, None]
    exponent[:, :size, size:] = G
    scale[:, :size, size:] = 1.0 / of_G
    found = _exponential(exponent, scale, arithmetic)
    corner = (slice(None), slice(0, size), slice(size, None))
    usable = usable & finite_G
    judged = usable & found.in_range
    if arithmetic is not None:
        levels = [level[:, :size, :size] for level in found.levels]
        X = np.where(usable[:, None, None], delta[:, None, None] * adjoint, 0.0)
        judged &= reached_backwards(X, levels, G) < arithmetic.largest
    dX = Parts(
        *layout.complexify(
            of_G * found.value[corner], of_G * found.own[corner], of_G * found.bound[corner], usable
        ),
        np.broadcast_to(judged[:, None, None], G.shape),
    )
    dX_A, dX_B = layout.blocks(dX)
    step = delta[:, None, None]
    return {
        "A": _times(step, dX_A, asked),
        "B": _times(step, dX_B, asked),
        "delta": _step(A, B, dX_A, dX_B, asked),
    }


class _Layout:
    """Where A and B stand in the augmented matrix, and how complex entries are laid out.

    Inputs come first beside a lower-triangular A, last otherwise, so that the augmented
    matrix of a triangular A is triangular too and its products skip what is zero.
    """

    def __init__(self, A: Array, B: Array) -> None:
        self.complex = A.dtype.kind == "c"
        scale = 2 if self.complex else 1
        n, m = scale * A.shape[-1], scale * B.shape[-1]
        lower = not np.any(np.triu(A, 1))
        self.state = slice(m, m + n) if lower else slice(0, n)
        self.input = slice(0, m) if lower else slice(n, n + m)
        self.size = n + m

    def augmented(self, A: Array, B: Array) -> Float:
        """Return [[A, B], [0, 0]] in this order, real."""
        M = np.zeros((A.shape[0], self.size, self.size))
        M[:, self.state, self.state] = real_form(A) if self.complex else A
        M[:, self.state, self.input] = real_form(B) if self.complex else B
        return M

    def complexify(self, value: Float, own: Float, bound: Float, usable: Array) -> tuple[Array, Float, Float]:
        """Return value, bound and own error, NaN and infinite where the input was not finite."""
        bad = ~usable[:, None, None]
        value, own, bound = (
            np.where(bad, np.nan, value),
            np.where(bad, np.inf, own),
            np.where(bad, np.inf, bound),
        )
        return value, bound, own

    def blocks(self, parts: Parts) -> tuple[Parts, Parts]:
        """Cut out the blocks of A and B, complex again if they were."""
        return self._block(parts, self.state), self._block(parts, self.input)

    def _block(self, parts: Parts, columns: slice) -> Parts:
        index = (slice(None), self.state, columns)
        value, bound, own, judged = (a[index] for a in (parts.value, parts.bound, parts.own, parts.judged))
        if not self.complex:
            return Parts(value, bound, own, judged)
        return Parts(complex_form(value), modulus_form(bound), modulus_form(own), judged[..., 0::2, 0::2])


def _power_of_two(size: Float, arithmetic: Arithmetic) -> Float:
    """The greatest one that a size reaches; one where it is zero.

    None below what is flushed, and none whose inverse cannot be split in two.
    """
    _, exponent = np.frexp(size)
    _, least = np.frexp(max(arithmetic.eta, LEAST_SCALE))
    return np.where(size > 0, np.ldexp(1.0, np.maximum(exponent, least) - 1), 1.0)


def _finite(M: Float, delta: Float) -> tuple[Float, Array]:
    """Return the matrices with those of systems not finite zeroed, and which are, in double-double too."""
    with np.errstate(over="ignore", invalid="ignore"):
        step = delta[:, None, None]
        usable = np.isfinite(M * step) & (np.abs(M) < SPLITTABLE) & (np.abs(step) < SPLITTABLE)
        usable = np.all(usable, axis=(-2, -1))
    return np.where(usable[:, None, None], M, 0.0), usable


class _Exponential(NamedTuple):
    """exp(scale ∘ M), bounds on its own error and on that of an arithmetic, and which stay in range.

    `levels[i]` is exp(scale ∘ M / 2^i).
    """

    value: Float
    own: Float
    bound: Float
    in_range: Array
    levels: list[Float]


def _exponential(M: Float, scale: Float, arithmetic: Arithmetic | None) -> _Exponential:
    """Exponentiate; without an arithmetic `bound` repeats `own`, and everything is in range."""
    scale = scale[:, None, None] if scale.ndim == 1 else scale
    scale = np.where(np.abs(scale) < SPLITTABLE, scale, 0.0)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        X = two_product(np.broadcast_to(scale, M.shape), M)
        T = exponential(X)
        own = np.where(np.isfinite(T.error), T.error, np.inf) + UNIT * np.abs(T.value.hi)
        if arithmetic is None:
            return _Exponential(T.value.hi, own, own, np.ones(len(M), dtype=bool), T.levels)
        # Zeros of A and B are zeros however they are read.
        lost = np.where(M == 0, 0.0, flushed(arithmetic, np.abs(scale), np.abs(M)))
        bound, in_range = exponential_bound(X.hi, T.levels, arithmetic, lost)
    return _Exponential(T.value.hi, own, bound, in_range, T.levels)


def _times(step: Float, dX: Parts, asked: Arithmetic) -> Parts:
    """Return Δ dX, rounded once, or flushed, and any of its factors read as zero."""
    value = step * dX.value
    step, size = np.abs(step), np.abs(dX.value)
    bound, own = (
        step * error + 2 * a.u * step * size + flushed(a, step, size + error)
        for error, a in ((dX.bound, asked), (dX.own, ORACLE))
    )
    return Parts(value, bound, own, dX.judged)


def _step(A: Array, B: Array, dX_A: Parts, dX_B: Parts, asked: Arithmetic) -> Parts:
    """Return dΔ = Re Σ conj(A) dX_A + conj(B) dX_B, a sum of n (n + m) products in any order.

    Where an exponential overflowed, an infinite bound may meet a zero of A or B: it stays infinite.
    """
    axes = (-2, -1)
    value = np.zeros(len(A))
    size, bound, own = np.zeros(len(A)), np.zeros(len(A)), np.zeros(len(A))
    judged = np.ones(len(A), dtype=bool)
    # A real part has two terms of each product.
    parts, count = (2 if A.dtype.kind == "c" else 1), 2
    with np.errstate(over="ignore", invalid="ignore"):
        for M, dX in ((A, dX_A), (B, dX_B)):
            given, found = np.abs(M), np.abs(dX.value)
            value += np.sum((np.conj(M) * dX.value).real, axis=axes)
            size += np.sum(given * found, axis=axes)
            bound += np.sum(given * dX.bound + flushed(asked, given, found + dX.bound), axis=axes)
            own += np.sum(given * dX.own + flushed(ORACLE, given, found + dX.own), axis=axes)
            judged &= np.all(dX.judged, axis=axes)
            count += parts * M.shape[-2] * M.shape[-1]
        rounded = count * asked.u * size
        bound, own = bound + rounded, own + count * UNIT * size
        judged &= size + bound < asked.largest
    return Parts(value, _known(bound), _known(own), judged, _known(rounded))


def _known(bound: Float) -> Float:
    """Return the bound, infinite where it came out as no number."""
    return np.where(np.isnan(bound), np.inf, bound)
