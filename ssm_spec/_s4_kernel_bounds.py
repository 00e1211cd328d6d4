"""What honest arithmetic may do to the kernel of S4, and to its gradients.

Forming A = diag(Λ) − P Q* leaves it wrong by E_A = u (2 |P||Q|ᵀ·√2 + |A|), which the bilinear rule turns into

    |δĀ| <= ½|Δ| |W⁻¹| E_A (I + |Ā|),   |δB̄| <= ½|Δ| |W⁻¹| E_A |B̄|,   W = I − ½ΔA,

beside its own rounding; the rest is the dense layer's analysis. Declared "fft", the generating function
too. Its error at each root of unity is a running one, and a term of the kernel takes their mean, plus the
transform's. The power Āˡ in C̃ is bounded in the 2-norm: its squarings decay there, not by entry.
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
from ssm_spec._norm import euclidean
from ssm_spec._products import Inexact, exactly, product_error, roundings
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._s4_kernel import Dplr, folded, impulse_response, read_keywords, read_vjp, s4_kernel
from ssm_spec._validate import Array, Float

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
    bound = K.bound
    if arithmetic.evaluation == "fft" and call.length:
        with np.errstate(all="ignore"):
            by_roots = _generating_error(call, coefficients[0], arithmetic)
        bound = np.maximum(bound, by_roots[:, None])
    value = K.value.real if call.paired else K.value
    return {"K": finish(value, bound, K.own, K.judged, arithmetic)}


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
    """Return Ā and B̄ with the error of a formed A in both bounds."""
    A_bar, B_bar = discretised_bounds(impulse_response(call), arithmetic)
    half, found = _inverse(call), []
    eye = np.eye(call.Lambda.shape[-1])
    for bar, grown in ((A_bar, eye + np.abs(A_bar.value)), (B_bar, np.abs(B_bar.value))):
        bound, own = (
            before + half @ _formed(call, a.u) @ grown
            for before, a in ((bar.bound, arithmetic), (bar.own, ORACLE))
        )
        found.append(Bounded(bar.value, bound, own, bar.judged))
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


def _generating_error(call: Dplr, A_bar: Bounded, arithmetic: Arithmetic) -> Float:
    """Bound every term of a channel's kernel by the generating function, (d,)."""
    u, u_m, length = arithmetic.u, arithmetic.product(complex_=True), call.length
    n, k_exp = call.Lambda.shape[-1], arithmetic.exponential(complex_=True)
    omega = np.exp(-2j * np.pi * np.arange(length) / length)
    c = 0.5 * call.delta[:, None] * (1.0 + omega)
    D = (1.0 - omega)[:, None] - c[..., None] * call.Lambda[:, None, :]
    moved = np.abs(c)[..., None] * np.abs(call.Lambda)[:, None, :]
    step = 0.5 * np.abs(call.delta)[:, None, None] * np.abs(call.Lambda)[:, None, :]
    e_D = k_exp * u * (1.0 + step) + 4 * u_m * (np.abs(1.0 - omega)[:, None] + moved)
    relative = (roundings(n, True) + arithmetic.k_div * 4) * u + 4 * u_m + e_D / np.abs(D)
    power, e_power = _power_norm(A_bar, length, n, u, u_m)
    truncated = call.C - (call.C[:, None, :] @ power)[:, 0]
    e_C = euclidean(call.C) * (e_power + (n + 2) * u_m)

    def cauchy(x: Array, y: Array, e_x: Float | None = None) -> tuple[Array, Float]:
        terms = (x * y)[:, None, :] / D
        error = np.sum(np.abs(terms) * relative, axis=-1)
        if e_x is not None:
            error = error + e_x[:, None] * euclidean(y[:, None, :] / np.abs(D))
        return np.sum(terms, axis=-1), error

    Q = np.conj(call.Q)
    (k_CB, e_CB), (k_CP, e_CP) = (cauchy(truncated, y, e_C) for y in (call.B, call.P))
    (k_QB, e_QB), (k_QP, e_QP) = (cauchy(Q, y) for y in (call.B, call.P))
    size = np.abs(1.0 + c * k_QP)
    e_size = np.abs(c) * (e_QP + 8 * u_m * np.abs(k_QP)) + u * size
    product = np.abs(c * k_CP * k_QB) / size
    e_product = np.abs(c) * (e_CP * np.abs(k_QB) + (np.abs(k_CP) + e_CP) * e_QB) / size
    e_product = e_product + product * (e_size / size + 16 * u_m + 4 * arithmetic.k_div * u)
    spread = np.abs(call.delta)[:, None] * (e_CB + e_product + 4 * u_m * (np.abs(k_CB) + product))
    K_hat = np.abs(call.delta)[:, None] * (np.abs(k_CB) + product)
    # A term is the mean of the transform: so are its errors; the transform itself adds ε ‖K̂‖₂ / √l.
    return np.asarray(
        np.mean(spread, axis=-1) + transform_error(length, u) * np.sqrt(np.mean(K_hat**2, axis=-1))
    )


def _power_norm(A_bar: Bounded, length: int, n: int, u: float, u_m: float) -> tuple[Array, Float]:
    """Return Āˡ, and a bound on its error in the 2-norm, by repeated squaring from the top bit down."""
    first, e_first = A_bar.value, euclidean(A_bar.bound, (-2, -1))
    power, e_power = first, e_first
    for bit in bin(length)[3:]:
        for other, e_other in ((power, e_power), (first, e_first))[: 1 + (bit == "1")]:
            # The second factor of a squaring is the square's own argument. ‖|P||O|‖₂ <= ‖P‖_F ‖O‖_F.
            norms = np.linalg.norm(power, 2, axis=(-2, -1)), np.linalg.norm(other, 2, axis=(-2, -1))
            rounded = roundings(n, True) * u * euclidean(power, (-2, -1)) * euclidean(other, (-2, -1))
            e_power = norms[0] * e_other + e_power * (norms[1] + e_other) + rounded
            power = power @ other
    return power, e_power
