"""Zero-order hold of independent modes: right to a few units for every λ and Δ, near λ = 0 too.

    ā = e^p,   φ = (e^p − 1)/λ = Δ φ₁(p),   b̄ = φ B,   p = Δ λ;   φ = Δ at λ = 0

(S4D, arXiv:2206.11893, (3); Mamba, arXiv:2312.00752, (4)). With ψ(p) = (p e^p − e^p + 1)/p²,

    ∂φ/∂λ = Δ² ψ(p),   ∂φ/∂Δ = e^p,   φ₁(p) = ∫₀¹ e^{sp} ds,   ψ(p) = ∫₀¹ s e^{sp} ds,

so that an error ε in p moves φ₁ by at most |ε| ψ(Re p), and ψ by less than |ε| ψ(Re p); nor by more than
|ε| (|a| + |φ₁|)/|p| and |ε| (|a| + 2|ψ|)/|p|, as φ₁′ = (a − φ₁)/p and ψ′ = (a − 2ψ)/p: less for a mode that
turns many times in one step. The product is kept with its rounding error, p + q:
e^{p+q} − 1 = (e^p − 1) + e^p (e^q − 1). Without q such a mode would lose |p| units.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ssm_spec._double_double import UNIT, two_product
from ssm_spec._products import roundings
from ssm_spec._roundoff import ORACLE, Arithmetic
from ssm_spec._systems import Parts
from ssm_spec._validate import Array, Float

_SERIES_TERMS: Final = 24
_OWN_UNITS: Final = 16.0
"""Units of 2^-53 that ā and φ may lose here: exp, sin, cos and expm1 at 1 each, a dozen operations."""


def zoh_diagonal(A: Array, B: Array, delta: Float, arithmetic: Arithmetic | None) -> tuple[Parts, Parts]:
    """Discretise modes A (s, n), B (s, n, m), delta (s): Ā (s, n) and B̄ (s, n, m).

    Errors: of ā |a| expm1(u(k_e + k_p |p|)); of φ
    k_p u |Δ| max(min(|p| ψ(Re p), |a| + |φ₁|), |a|) + (k_e + k_d) u |φ|.
    A flushed p, or a flushed expm1(p), moves φ by η / |λ|.
    Products may be flushed: the rule of the factors.
    """
    step = delta[:, None]
    with np.errstate(all="ignore"):
        a, phi, p, _, a_own, phi_own = _functions(A, step)
        b = phi[..., None] * B
        b_own = phi_own[..., None] * np.abs(B) + 4 * UNIT * np.abs(b) + 2.0**-1022
        if arithmetic is None:
            always = np.ones(a.shape, dtype=bool)
            return Parts(a, a_own, a_own, always), Parts(b, b_own, b_own, np.ones(b.shape, dtype=bool))
        a_bound, phi_bound = _bounds(a, phi, p, A, step, arithmetic)
        b_bound = _times_input(b, phi, phi_bound, step, B, arithmetic)
        judged = _in_range(arithmetic, a, a_bound, p, phi, phi_bound, _inverse(A))
        judged_b = judged[..., None] & _in_range(arithmetic, b, b_bound)
    return Parts(a, a_bound, a_own, judged), Parts(b, b_bound, b_own, judged_b)


def zoh_diagonal_gradients(
    A: Array, B: Array, delta: Float, dA_bar: Array, dB_bar: Array, arithmetic: Arithmetic | None
) -> dict[str, Parts]:
    """Return the gradients of A (s, n), B (s, n, m), delta (s) for cotangents of Ā's and B̄'s shapes.

    With s = Σ_m conj(B) G_B:  dB = conj(φ) G_B,  dλ = conj(Δ a) G_a + conj(Δ² ψ) s,
    dΔ = Re Σ_n conj(λ a) G_a + conj(a) s.
    """
    step = delta[:, None]
    asked = arithmetic if arithmetic is not None else Arithmetic(compute="float64")
    with np.errstate(all="ignore"):
        a, phi, p, psi, a_own, phi_own = _functions(A, step)
        a_bound, phi_bound = _bounds(a, phi, p, A, step, asked)
        k_exp = asked.exponential(_is_complex(p))
        psi_bound = psi_error(p, a, asked.u, asked.k_scale * asked.u, k_exp, asked.k_div)
        psi_own = psi_error(p, a, UNIT, UNIT, _OWN_UNITS, 0.0)
        judged = _in_range(asked, a, a_bound, p, phi, phi_bound, _inverse(A))

        def combine(
            u: float, eta: float, a_error: Float, phi_error: Float, psi_error_: Float
        ) -> tuple[Float, ...]:
            s_error = (roundings(B.shape[-1], _is_complex(p)) + 1) * u * weight
            r = 8 * u
            dB = phi_error[..., None] * np.abs(dB_bar) + r * np.abs(dB_value)
            dA = np.abs(step) * (a_error + r * np.abs(a)) * np.abs(dA_bar) + step**2 * (
                (psi_error_ + r * np.abs(psi)) * weight + np.abs(psi) * s_error
            )
            # The first part may be the first term of the sum over inputs, and loses no more than that is.
            begun = np.minimum(inputs * u * np.abs(step * a) * np.abs(dA_bar), step**2 * np.abs(psi) * weight)
            dA = dA + begun
            per_mode = (np.abs(A) * np.abs(dA_bar) + weight) * (a_error + r * np.abs(a)) + np.abs(a) * s_error
            size = np.abs(a) * (np.abs(A) * np.abs(dA_bar) + weight)
            lost = (eta * part for part in _lost_gradients(A, B, step, dA_bar, dB_bar, (a, phi, psi)))
            errors = dB, dA, per_mode + terms * u * size
            dB, dA, per_mode = (error + part for error, part in zip(errors, lost, strict=True))
            return dB, dA, np.sum(per_mode, axis=-1)

        # dΔ may be one sum; a part of a complex product has two terms.
        inputs = (2 if _is_complex(p) else 1) * B.shape[-1]
        terms = (2 if _is_complex(p) else 1) * A.shape[-1] * (1 + B.shape[-1])
        s = np.sum(np.conj(B) * dB_bar, axis=-1)
        weight = np.sum(np.abs(B) * np.abs(dB_bar), axis=-1)
        dB_value = np.conj(phi)[..., None] * dB_bar
        dA_value = np.conj(step * a) * dA_bar + np.conj(step**2 * psi) * s
        d_step = np.sum((np.conj(A * a) * dA_bar + np.conj(a) * s).real, axis=-1)
        bounds = combine(asked.u, asked.eta, a_bound, phi_bound, psi_bound)
        own = combine(UNIT, ORACLE.eta, a_own, phi_own, psi_own)
        # Π(1 + |f|) is no less than what products reach in any order; in dλ Δ² is formed with ψ.
        most = _lost_gradients(A, B, step, dA_bar, dB_bar, (a, phi, psi))
        source = np.sum((1 + np.abs(B)) * (1 + np.abs(dB_bar)), axis=-1)
        most_A = (1 + np.abs(step)) * (1 + np.abs(a)) * (1 + np.abs(dA_bar)) + (
            1 + step**2 * np.abs(psi)
        ) * source
        judged_B = judged[..., None] & _in_range(asked, most[0], bounds[0])
        judged_A = judged & _in_range(asked, most_A, bounds[1])
        along = np.sum(np.abs(a) * (np.abs(A) * np.abs(dA_bar) + weight), axis=-1)
        judged_step = np.all(judged, axis=-1) & _in_range(asked, np.sum(most[2], axis=-1), bounds[2])
    return {
        "A": Parts(dA_value, bounds[1], own[1], judged_A),
        "B": Parts(dB_value, bounds[0], own[0], judged_B),
        "delta": Parts(d_step, bounds[2], own[2], judged_step, terms * asked.u * along),
    }


def _functions(A: Array, step: Float) -> tuple[Array, Array, Array, Array, Float, Float]:
    """Return a = e^p, φ, p and ψ(p), each (s, n), and bounds on our own errors of a and φ.

    φ's is relative to its two terms: they cancel where p is nearer to 2πik than float64 can say.
    """
    p, q = _product(step, A)
    a = np.exp(p)
    grown, further = expm1(p), a * expm1(q)
    safe = np.where(A == 0, 1.0, A)
    phi = np.where(A == 0, step, (grown + further) / safe)
    size = np.where(A == 0, np.abs(step), (np.abs(grown) + np.abs(further)) / np.abs(safe))
    own_a, own_phi = (_OWN_UNITS * UNIT * x + 2.0**-1022 for x in (np.abs(a), size))
    return a + further, phi, p, psi_function(p, a, grown), own_a, own_phi


def _product(step: Float, A: Array) -> tuple[Array, Array]:
    """Return Δ λ and its rounding error, zero where the product is not finite."""
    step = np.broadcast_to(step, A.shape)
    if not _is_complex(A):
        p, p_low = two_product(step, A)
        return p, np.where(np.isfinite(p_low), p_low, 0.0)
    x, x_low = two_product(step, A.real)
    y, y_low = two_product(step, A.imag)
    low = _complex(np.where(np.isfinite(x_low), x_low, 0.0), np.where(np.isfinite(y_low), y_low, 0.0))
    return _complex(x, y), low


def expm1(z: Array) -> Array:
    """Return e^z − 1, right by modulus near every zero 2πik.

    With z = x + iy: (e^x − 1) cos y − 2 sin²(y/2) + i e^x sin y, no two large terms of which cancel
    unless z is far from every zero.
    """
    if not _is_complex(z):
        return np.expm1(z)
    x, y = z.real, z.imag
    return _complex(np.expm1(x) * np.cos(y) - 2.0 * np.sin(0.5 * y) ** 2, np.exp(x) * np.sin(y))


def psi_function(p: Array, a: Array, grown: Array) -> Array:
    """Return ψ(p) = (p e^p − expm1 p)/p², by Σ_k (k + 1) p^k / (k + 2)! where |p| < 1; ψ(0) = 1/2."""
    near = np.abs(p) < 1.0
    small = np.where(near, p, 0.0)
    series = np.zeros_like(p)
    coefficients = _series_coefficients()
    for c in coefficients[::-1]:
        series = series * small + c
    far = np.where(near, 1.0, p)
    return np.where(near, series, (far * a - grown) / far / far)


def psi_error(p: Array, a: Array, u: float, relative: float, k_exp: float, k_div: float) -> Float:
    """Bound the error of ψ: that of p (`relative`), then cancellation where |p| >= 1, rounding elsewhere.

    Where the formula is used, p e^p and e^p − 1 are each wrong by a few units, and divided by p twice; an
    implementation may change from series to formula anywhere above |p| = 1/2.
    """
    size = np.abs(p)
    x = p.real
    smooth = psi_function(x, np.exp(x), np.expm1(x))
    terms = (size * np.abs(a) + np.abs(a) + 1.0) / np.maximum(size, 0.5) ** 2
    moved: Float = relative * np.minimum(size * smooth, np.where(size < 0.5, np.inf, np.abs(a) + 2.0 * terms))
    rounded = np.where(size < 0.5, 2.0 * smooth, np.maximum(terms, 2.0 * smooth))
    divided = np.where(size < 0.5, 0.0, 2.0 * k_div * u * terms)
    return moved + (k_exp + 6.0) * u * rounded + divided


def _series_coefficients() -> list[float]:
    """Return (k + 1) / (k + 2)! for k = 0, 1, ..."""
    coefficients, factorial = [], 2.0
    for k in range(_SERIES_TERMS):
        coefficients.append((k + 1) / factorial)
        factorial *= k + 3
    return coefficients


def _bounds(
    a: Array, phi: Array, p: Array, A: Array, step: Float, arithmetic: Arithmetic
) -> tuple[Float, Float]:
    """Return the bounds on ā and φ, as stated at `zoh_diagonal`."""
    u, eta, k_exp = arithmetic.u, arithmetic.eta, arithmetic.exponential(_is_complex(p))
    # p may be flushed, or a factor of it read as zero.
    lost = eta * (1 + np.abs(A)) * (1 + np.abs(step))
    moved = arithmetic.k_scale * u * np.abs(p) + lost
    a_bound = np.where(a == 0, 0.0, np.abs(a) * np.expm1(k_exp * u + moved)) + eta
    x = p.real
    # As Δ φ₁(p) an error in p weighs Δ ψ; as expm1(p)/λ, with p wrong in the numerator alone, |a|/|λ|.
    size = np.where(p == 0, 1.0, np.abs(p))
    slope = np.minimum(psi_function(x, np.exp(x), np.expm1(x)), (np.abs(a) + _phi1(phi, step)) / size)
    by_phi1 = np.abs(step) * np.where(p == 0, 0.5, slope) * moved
    by_expm1 = np.abs(a) * np.abs(step) * arithmetic.k_scale * u
    safe = np.where(A == 0, 1.0, np.abs(A))
    by_expm1 += np.where(A == 0, 0.0, np.minimum((eta + lost * np.abs(a)) / safe, np.abs(phi)))
    phi_bound = np.maximum(by_phi1, by_expm1) + (k_exp + arithmetic.k_div) * u * np.abs(phi)
    return a_bound, phi_bound + eta * (1 + np.abs(step)) * (1 + _phi1(phi, step))


def _phi1(phi: Array, step: Float) -> Float:
    """Return |φ₁| = |φ/Δ|, 1 where Δ is zero."""
    return np.where(step == 0, 1.0, np.abs(phi) / np.where(step == 0, 1.0, np.abs(step)))


def _inverse(A: Array) -> Float:
    """Return 1/|λ|, by which e^p − 1 may be multiplied; 0 where λ is."""
    size = np.abs(A)
    return np.divide(1.0, size, out=np.zeros_like(size), where=size != 0)


def _lost_gradients(
    A: Array, B: Array, step: Float, dA_bar: Array, dB_bar: Array, functions: tuple[Array, Array, Array]
) -> tuple[Float, Float, Float]:
    """Return what flushing may lose of dB, dλ, and of each mode's part of dΔ, over η: Π(1 + |f|).

    dB = Δ φ₁ G_B; dλ = Δ a G_a + Δ Δ ψ Σ_m B G_B; dΔ = λ a G_a + a Σ_m B G_B, where a may be taken as
    φ₁ + λ Δ ψ if |p| is small.
    """
    a, phi, psi = functions
    phi1 = 1 + _phi1(phi, step)
    A, step, G_a, G_B, a, psi = (1 + np.abs(x) for x in (A, step, dA_bar, dB_bar, a, psi))
    source = np.sum((1 + np.abs(B)) * G_B, axis=-1)
    dB = (step * phi1)[..., None] * G_B
    dA = step * a * G_a + step**2 * psi * source
    return dB, dA, A * a * G_a + (a + phi1 + A * step * psi) * source


def _times_input(
    b: Array, phi: Array, phi_bound: Float, step: Float, B: Array, arithmetic: Arithmetic
) -> Float:
    """Return the bound on φ B: Δ φ₁ B is two products, any of which may be flushed."""
    lost = (1 + np.abs(step)) * (1 + _phi1(phi, step))
    u_m = arithmetic.product(_is_complex(b))
    return np.asarray(
        phi_bound[..., None] * np.abs(B) * (1 + u_m)
        + (arithmetic.u + u_m) * np.abs(b)
        + arithmetic.eta * lost[..., None] * (1 + np.abs(B))
    )


def _in_range(arithmetic: Arithmetic, *arrays: Array) -> Array:
    """Return where every array stays below the overflow threshold of the compute type."""
    inside = np.ones(np.broadcast_shapes(*(a.shape for a in arrays)), dtype=bool)
    for array in arrays:
        inside &= np.abs(array) < arithmetic.largest
    return inside


def _is_complex(array: Array) -> bool:
    return array.dtype.kind == "c"


def _complex(real: Float, imaginary: Float) -> Array:
    """Return real + i imaginary without the NaN that 1j * inf would make."""
    result = np.empty(np.shape(real), dtype=np.complex128)
    result.real, result.imag = real, imaginary
    return result
