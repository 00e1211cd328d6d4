"""What honest arithmetic may do to the kernel of S4, and to its gradients.

Forming A = diag(Λ) − P Q* leaves it wrong by E_A = u (2 |P||Q|ᵀ·√2 + |A|), which the bilinear rule turns into

    |δĀ| <= ½|Δ| |W⁻¹| E_A (I + |Ā|),   |δB̄| <= ½|Δ| |W⁻¹| E_A |B̄|,   W = I − ½ΔA,

beside its own rounding; Woodbury's identity does otherwise, and the larger counts. The rest is the dense
layer's analysis. Declared "fft", the generating function too. Its error at each root of unity is a running
one, and a term of the kernel takes their mean, plus the transform's. C̃ and the roots ω are wrong as wholes,
and move the kernel as another C̃ and other ω would:

    |δK_j| <= ‖δC̃‖₂ ‖(I − Āˡ)⁻¹ Āʲ B̄‖₂,    |δK̂(ω)| <= k_e u |∂K̂/∂ω|.

The power Āˡ in C̃ is bounded in the 2-norm: its squarings decay there, not by entry. At each root the rule of
the factors holds for Σ C̃ B/D and for c Σ C̃ P/D Σ Q̄ B/D / (1 + c Σ Q̄ P/D): a sum is a factor of these, and
what its terms lose, η Π(1 + |f|), an error of it. What products reach on their way is no more, over η.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import sqrt
from typing import Any, Final

import numpy as np

from ssm_spec._calls import arguments_of
from ssm_spec._convolution import transform_error
from ssm_spec._layer import discretised_bounds, reshaped
from ssm_spec._layer_bounds import finish, layer_bounds, layer_vjp_bounds
from ssm_spec._layer_views import named
from ssm_spec._norm import euclidean, longest
from ssm_spec._products import Inexact, exactly, product_error, roundings
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._s4_kernel import Dplr, folded, impulse_response, read_keywords, read_vjp, s4_kernel
from ssm_spec._selective_scan._local_errors import flushed
from ssm_spec._validate import Array, Float
from ssm_spec._woodbury_errors import woodbury_errors

_COVER: Final = 1.0 + 2.0**-10
"""Covers second-order terms, and the rounding of these bounds."""


@arguments_of(s4_kernel)
def s4_kernel_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return K with what honest arithmetic may do to each term: the dense form, and declared "fft" both."""
    call = read_keywords(inputs)
    in_time = _in_time(arithmetic)
    coefficients = _coefficients(call, in_time)
    y = layer_bounds(impulse_response(call), in_time, coefficients=coefficients)["y"]
    K = reshaped(y, (len(call.delta), call.length))
    bound, judged = K.bound, K.judged
    if arithmetic.evaluation == "fft" and call.length:
        with np.errstate(all="ignore"):
            by_roots, met = _generating_error(call, *coefficients, arithmetic)
        bound = np.maximum(bound, by_roots)
        # Transforms spread what has left the range over all times.
        judged = judged & (met < arithmetic.largest)[:, None]
    value = K.value.real if call.paired else K.value
    return {"K": finish(value, bound, K.own, judged, arithmetic)}


@arguments_of(s4_kernel)
def s4_kernel_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradients of `s4_kernel` with what honest dense arithmetic may do to each element.

    Declared "fft", nothing is judged: gradients through the generating function have no bound here.
    """
    call, names, G = read_vjp(cotangents, wrt, inputs)
    system, in_time = impulse_response(call), _in_time(arithmetic)
    coefficients = _coefficients(call, in_time)
    slopes = layer_vjp_bounds(system, {"y": G[None, :, None, :]}, in_time, coefficients=coefficients)
    dA, conj_dA = slopes["A"], np.conj(np.swapaxes(slopes["A"].value, -1, -2))
    moved = [_moved_adjoint(call, dA.value, slopes["B"].value, a) for a in (in_time, ORACLE)]
    errors = [
        (dA.bound + moved[0][0], slopes["B"].bound + moved[0][1], slopes["delta"].bound + moved[0][2]),
        (dA.own + moved[1][0], slopes["B"].own + moved[1][1], slopes["delta"].own + moved[1][2]),
    ]
    sides = []
    for (e_A, e_B, e_delta), a, e_C in zip(
        errors, (in_time, ORACLE), (slopes["C"].bound, slopes["C"].own), strict=True
    ):
        back = Inexact(conj_dA, np.swapaxes(e_A, -1, -2))
        sides.append(
            {
                "delta": e_delta,
                "Lambda": np.diagonal(e_A, axis1=-2, axis2=-1),
                "P": product_error("dij,dj->di", Inexact(dA.value, e_A), exactly(call.Q), a),
                "Q": product_error("dij,dj->di", back, exactly(call.P), a),
                "B": e_B[..., 0],
                "C": e_C[..., 0, :],
            }
        )
    values = {
        "delta": slopes["delta"].value,
        "Lambda": np.diagonal(dA.value, axis1=-2, axis2=-1),
        "P": -(dA.value @ call.Q[..., None])[..., 0],
        "Q": -(conj_dA @ call.P[..., None])[..., 0],
        "B": slopes["B"].value[..., 0],
        "C": slopes["C"].value[..., 0, :],
    }
    whole = np.all(dA.judged, axis=(-2, -1)) & np.all(slopes["C"].judged, axis=(-2, -1))
    whole = whole & (arithmetic.evaluation != "fft")
    found = {}
    for name in names:
        value = folded(values[name], name, call)
        bound, own = (_folded_error(side[name], name, call, a, np.abs(values[name])) for side, a in zip(
            sides, (arithmetic, ORACLE), strict=True))  # fmt: skip
        judged = np.broadcast_to(whole.reshape(-1, *(1,) * (value.ndim - 1)), value.shape)
        found[name] = finish(value, bound, own, judged, arithmetic)
    return named(found, inputs, names)


def _in_time(arithmetic: Arithmetic) -> Arithmetic:
    return replace(arithmetic, evaluation="any") if arithmetic.evaluation == "fft" else arithmetic


def _formed(call: Dplr, u: float) -> Float:
    """Return E_A."""
    size = np.abs(call.P)[..., :, None] * np.abs(call.Q)[..., None, :]
    return np.asarray(u * (2.0 * sqrt(2.0) * size + np.abs(call.A)))


def _inverse(call: Dplr) -> Float:
    """Return ½|Δ| |W⁻¹|, (d, n, n)."""
    step = 0.5 * call.delta[:, None, None]
    return np.asarray(np.abs(step) * np.abs(np.linalg.inv(np.eye(call.Lambda.shape[-1]) - step * call.A)))


def _coefficients(call: Dplr, arithmetic: Arithmetic) -> tuple[Bounded, Bounded]:
    """Return Ā and B̄ with the error of a formed A in both bounds, or that of Woodbury's identity."""
    A_bar, B_bar = discretised_bounds(impulse_response(call), arithmetic)
    half, found = _inverse(call), []
    eye, formed = np.eye(call.Lambda.shape[-1]), _formed(call, arithmetic.u)
    with np.errstate(all="ignore"):
        by_woodbury = woodbury_errors(call, A_bar.value, B_bar.value, formed, arithmetic)
    growths = eye + np.abs(A_bar.value), np.abs(B_bar.value)
    for bar, grown, other in zip((A_bar, B_bar), growths, by_woodbury, strict=True):
        bound, own = (
            before + half @ _formed(call, a.u) @ grown
            for before, a in ((bar.bound, arithmetic), (bar.own, ORACLE))
        )
        found.append(Bounded(bar.value, np.maximum(bound, other), own, bar.judged))
    return found[0], found[1]


def _moved_adjoint(call: Dplr, dA: Array, dB: Array, arithmetic: Arithmetic) -> tuple[Float, Float, Float]:
    """Bound what a wrong A does to the adjoint of the rule, in dA, dB and dΔ.

    dX = W⁻ᴴ (½ G_A (I + Ā)ᴴ + ½ G_B B̄ᴴ): A moves W⁻ᴴ on the left, and Ā and B̄ on the right, by
    |δ dA| <= R E_Aᵀ |dA| + |dA| E_Aᵀ R, R = ½|Δ| |W⁻ᴴ|. At Δ = 0, where dA says nothing of dX, dΔ is
    not judged.
    """
    back, E = np.swapaxes(_inverse(call), -1, -2), np.swapaxes(_formed(call, arithmetic.u), -1, -2)
    a, b = np.abs(dA), np.abs(dB)
    e_A, e_B = back @ E @ a + a @ E @ back, back @ E @ b
    of_A = np.abs(call.A) * e_A + np.swapaxes(E, -1, -2) * a
    total = np.sum(of_A, axis=(-2, -1)) + np.sum(np.abs(call.B)[..., None] * e_B, axis=(-2, -1))
    still = call.delta == 0
    e_delta = np.where(still, np.inf, total / np.where(still, 1.0, np.abs(call.delta)))
    return _COVER * e_A, _COVER * e_B, _COVER * e_delta


def _folded_error(error: Float, name: str, call: Dplr, arithmetic: Arithmetic, size: Float) -> Float:
    if not call.paired or name == "delta":
        return error
    half = error.shape[-1] // 2
    total = error[..., :half] + error[..., half:]
    return np.asarray(total + arithmetic.u * (size[..., :half] + size[..., half:]))


def _generating_error(
    call: Dplr, A_bar: Bounded, B_bar: Bounded, arithmetic: Arithmetic
) -> tuple[Float, Float]:
    """Bound every term of each channel's kernel by the generating function, (d, l), and what it meets (d).

    C̃ is wrong as a whole, and ω at each root: what these do is the exact function of another C̃ and ω.
    Infinite where rounding cannot tell a divisor from zero.
    """
    u, u_m, length = arithmetic.u, arithmetic.product(complex_=True), call.length
    n, k_exp = call.Lambda.shape[-1], arithmetic.exponential(complex_=True)
    omega = np.exp(-2j * np.pi * np.arange(length) / length)
    c = 0.5 * call.delta[:, None] * (1.0 + omega)
    D = (1.0 - omega)[:, None] - c[..., None] * call.Lambda[:, None, :]
    moved = np.abs(c)[..., None] * np.abs(call.Lambda)[:, None, :]
    e_D = (4 * u_m + k_exp * u) * (np.abs(1.0 - omega)[:, None] + moved)
    # Δ is met by 1 + ω and by λ, in whatever order.
    e_D = e_D + flushed(arithmetic, np.abs(call.delta)[:, None, None], np.abs(call.Lambda)[:, None, :])
    wrong = e_D / np.abs(D)
    relative = (
        (roundings(n, True) + arithmetic.k_div * 4) * u + 4 * u_m + wrong / np.maximum(1.0 - wrong, 0.0)
    )
    power, e_power = _power_norm(A_bar, length, n, arithmetic)
    rows = _powers(call.C[:, None, :], A_bar.value, length)
    truncated = call.C - (call.C[:, None, :] @ power)[:, 0]
    e_C = np.maximum(euclidean(call.C) * e_power, _step_by_step(A_bar, rows, n, arithmetic))
    e_C = e_C + euclidean(call.C) * (n + 2) * u_m
    e_C = e_C + arithmetic.eta * (np.sqrt(n) + euclidean(call.C)) * (n + longest(np.abs(power)))
    most_C = np.abs(truncated) + e_C[:, None]

    def cauchy(x: Array, y: Array, size: Float) -> tuple[Array, Float, Float]:
        """Σ x y/D, its error, and Σ Π(1 + |f|)."""
        terms, moduli = (x * y)[:, None, :] / D, (size * np.abs(y))[:, None, :] / np.abs(D)
        met = np.sum((1.0 + size)[:, None] * (1.0 + np.abs(y))[:, None] * (1.0 + 1.0 / np.abs(D)), axis=-1)
        return np.sum(terms, axis=-1), np.sum(moduli * relative, axis=-1) + arithmetic.eta * met, met

    Q = np.conj(call.Q)
    (k_CB, e_CB, m_CB), (k_CP, e_CP, m_CP) = (cauchy(truncated, y, most_C) for y in (call.B, call.P))
    (k_QB, e_QB, m_QB), (k_QP, e_QP, m_QP) = (cauchy(Q, y, np.abs(Q)) for y in (call.B, call.P))
    k_CP_size = np.abs(k_CP) + e_C[:, None] * euclidean(call.P[:, None, :] / np.abs(D))
    size = np.abs(1.0 + c * k_QP)
    e_size = np.abs(c) * (e_QP + 8 * u_m * np.abs(k_QP)) + u * size
    e_size = e_size + flushed(arithmetic, np.abs(c), np.abs(k_QP))
    product = np.abs(c) * k_CP_size * np.abs(k_QB) / size
    e_product = np.abs(c) * (e_CP * np.abs(k_QB) + (k_CP_size + e_CP) * e_QB) / size
    e_product = e_product + product * (e_size / size + 16 * u_m + 4 * arithmetic.k_div * u)
    e_product = e_product / np.maximum(1.0 - e_size / size, 0.0)
    step = np.abs(call.delta)[:, None]
    factors = (1.0 + step) * (1.0 + np.abs(c)) * (1.0 + 1.0 / size)
    spread = step * (e_CB + e_product + 4 * u_m * (np.abs(k_CB) + product))
    # Each sum is a factor of the whole, with its error.
    spread = spread + arithmetic.eta * factors * (
        (1.0 + k_CP_size + e_CP) * (1.0 + np.abs(k_QB) + e_QB) + 1.0 + np.abs(k_CB) + e_CB
    )
    met = np.max(factors * (m_CP * m_QB + m_QP + m_CB), axis=-1)
    K_hat = step * (np.abs(k_CB) + product)
    by_C, by_omega = _moved_function(rows, A_bar.value, B_bar.value, power)
    spread = spread + k_exp * u * by_omega
    # A term is the mean of the transform: so are its errors; the transform itself adds ε ‖K̂‖₂ / √l.
    mean = np.mean(spread, axis=-1) + transform_error(length, u) * np.sqrt(np.mean(K_hat**2, axis=-1))
    lost = 4.0 * length * arithmetic.eta  # in the butterflies, as `fft_error` has it on the way back
    return np.asarray(_COVER * (mean[:, None] + e_C[:, None] * by_C + lost)), length * met


def _powers(row: Array, A: Array, length: int) -> Array:
    """Return C Āʲ (d, l, n) for C (d, 1, n)."""
    found = []
    for _ in range(length):
        found.append(row[:, 0])
        row = row @ A
    return np.stack(found, axis=1)


def _moved_function(rows: Array, A_bar: Array, B_bar: Array, power: Array) -> tuple[Float, Float]:
    """Return ‖(I − Āˡ)⁻¹ Āʲ B̄‖₂, what a wrong C̃ does to K_j, and |∂K̂/∂ω| at the roots of unity, both (d, l).

    K̂(ω) = r (I − ωĀ) s with r(ω) = C̃ (I − ωĀ)⁻¹ and s(ω) = (I − ωĀ)⁻¹ B̄, the transforms of C Āʲ and of
    (I − Āˡ)⁻¹ Āʲ B̄; hence ∂K̂/∂ω = r Ā s. Infinite where Ā has an l-th root of unity.
    """
    try:
        column = np.linalg.solve(np.eye(A_bar.shape[-1]) - power, B_bar)
    except np.linalg.LinAlgError:
        nowhere = np.full(rows.shape[:2], np.inf)
        return nowhere, nowhere
    columns = _powers(np.swapaxes(column, -1, -2), np.swapaxes(A_bar, -1, -2), rows.shape[1])
    r, s = (np.fft.fft(part, axis=1) for part in (rows, columns))
    return euclidean(columns), np.abs(np.sum((r @ A_bar) * s, axis=-1))


def _step_by_step(A_bar: Bounded, rows: Array, n: int, arithmetic: Arithmetic) -> Float:
    """Bound ‖δ(C Āˡ)‖₂ (d,) where l products of a row make it: Σ_t ‖Āˡ⁻¹⁻ᵗ‖ (‖E‖ + κu‖|Ā|‖) ‖C Āᵗ‖.

    Each entry's n products lose η(1 + |C Āᵗ|)(1 + |Ā|) besides. ‖Āʲ‖ is at most the product of ‖Ā^(2^i)‖ over
    the bits of j.
    """
    length, square = rows.shape[1], A_bar.value
    norms = np.ones((len(rows), 1))
    while norms.shape[-1] < length:
        of_square = np.linalg.norm(square, 2, axis=(-2, -1))[:, None]
        norms, square = np.concatenate((norms, of_square * norms), axis=-1), square @ square
    size = np.abs(A_bar.value)
    each = longest(A_bar.bound) + roundings(n, True) * arithmetic.u * longest(size)
    lost = arithmetic.eta * euclidean((1.0 + np.abs(rows)) @ (1.0 + size))
    made = each[:, None] * euclidean(rows) + lost
    return np.asarray(np.sum(norms[:, :length][:, ::-1] * made, axis=-1))


def _power_norm(A_bar: Bounded, length: int, n: int, arithmetic: Arithmetic) -> tuple[Array, Float]:
    """Return Āˡ, and a bound on its error in the 2-norm, by repeated squaring from the top bit down."""
    first, e_first = A_bar.value, longest(A_bar.bound)
    power, e_power = first, e_first
    for bit in bin(length)[3:]:
        for other, e_other in ((power, e_power), (first, e_first))[: 1 + (bit == "1")]:
            # The second factor of a squaring is the square's own argument.
            norms = np.linalg.norm(power, 2, axis=(-2, -1)), np.linalg.norm(other, 2, axis=(-2, -1))
            sizes = [longest(np.abs(X)) + np.sqrt(n) * e for X, e in ((power, e_power), (other, e_other))]
            # What is rounded has its errors already: a matrix of norm e is at most √n e as long by moduli.
            more = sizes[0] * sizes[1] - longest(np.abs(power)) * longest(np.abs(other))
            rounded = roundings(n, True) * arithmetic.u * (longest(np.abs(power) @ np.abs(other)) + more)
            rounded += arithmetic.eta * (n + sizes[0]) * (n + sizes[1])  # ‖(1 + |X|)(1 + |Y|)‖ at most
            e_power = norms[0] * e_other + e_power * (norms[1] + e_other) + rounded
            power = power @ other
    return power, e_power
