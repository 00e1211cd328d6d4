"""What honest arithmetic may do to the convolution kernel and to its gradient.

Modes. The power a^j is a product of j factors in any bracketing, or exp(j log a):

    ρ_j = max(j u_m, u (k_e + (k_l + k_p) j |log a|)),   e_K = γ Σ_n |C||B̄||a|^j (expm1 ρ_j + k + 2 u_m),

k = max(n u + u_m, 2n u): the last product may be two real ones that are summed apart.

A full Ā. Sequential powers from either side, or repeated doubling, V_{j+2^i} = P_i V_j with P_i = Ā^{2^i}:

    ε_{i+1} = |P_i| ε_i + ε_i |P_i| + ε_i² + w |P_i|²,
    e_{j+2^i} = |P_i| e_j + ε_i (|V_j| + e_j) + w |P_i||V_j|,

w = κ u, κ that of a sum of n products. What declares nothing gets the element-wise maximum of all of them.
The gradient likewise from either side: dB̄ = Σ_j (C Ā^j)ᴴ G_j by the rows C Ā^j is dC of the mirrored system,
Ā, B̄, C transposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ssm_spec._calls import arguments_of
from ssm_spec._double_double import UNIT
from ssm_spec._kernel import (
    Kernel,
    impulse_response,
    powers,
    read_keywords,
    read_vjp,
    ssm_kernel,
    vandermonde,
)
from ssm_spec._products import met, roundings
from ssm_spec._recurrence import adjoint
from ssm_spec._recurrence_bounds import ssm_recurrence_bounds, ssm_recurrence_vjp_bounds
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._state_error import log_modulus
from ssm_spec._systems import Parts, gradients
from ssm_spec._validate import Array, Float


@arguments_of(ssm_kernel)
def ssm_kernel_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return the kernel with what honest arithmetic may do to each of its terms."""
    call = read_keywords(inputs)
    if call.diagonal:
        table = powers(call.A, call.length)
        K = vandermonde(call, table)
        with np.errstate(all="ignore"):
            bound = _vandermonde_error(call, table, _power_error(call, arithmetic), arithmetic)
            own = _vandermonde_error(call, table, np.full(table.shape, 4 * UNIT), ORACLE)
            judged = np.all(np.abs(table) < arithmetic.largest, axis=-2)[..., None, None, :]
            judged = judged & (_product_sizes(call, 1 + np.abs(table)) < arithmetic.largest)
        return {"K": Parts(K, bound, own, judged).reshape(call.shape).bounded()}
    in_order = ssm_recurrence_bounds(arithmetic=arithmetic, **impulse_response(call, inputs))["y"]
    from_C = _from_output(call, inputs, arithmetic)
    bound = np.maximum(_from_impulses(in_order.bound), np.swapaxes(_from_impulses(from_C.bound), -2, -3))
    value, own, judged = (_from_impulses(a) for a in (in_order.value, in_order.own, in_order.judged))
    judged = judged & np.swapaxes(_from_impulses(from_C.judged), -2, -3)
    with np.errstate(all="ignore"):
        for error, reach in _doublings(call, inputs, arithmetic):
            bound = np.maximum(bound, error)
            judged = judged & (reach < arithmetic.largest)
    return {"K": Parts(value, bound, own, judged).bounded()}


@arguments_of(ssm_kernel)
def ssm_kernel_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradients of `ssm_kernel` with what honest arithmetic may do to each element."""
    call, names, G = read_vjp(cotangents, wrt, inputs)
    if call.diagonal:
        return vandermonde_gradients(call, G, names, inputs, arithmetic)
    mirrored = _mirrored(call, inputs)
    ahead = _from_impulses_back(call, inputs, G, names, arithmetic)
    other = tuple(_MIRRORED[name] for name in names)
    back = _from_impulses_back(read_keywords(mirrored), mirrored, np.swapaxes(G, -2, -3), other, arithmetic)
    return {name: _larger(ahead[name], back[_MIRRORED[name]]) for name in names}


_MIRRORED = {"A_bar": "A_bar", "B_bar": "C", "C": "B_bar"}


def _from_impulses_back(
    call: Kernel, inputs: Mapping[str, Any], G: Array, names: tuple[str, ...], arithmetic: Arithmetic
) -> dict[str, Bounded]:
    """Return the gradients of the recurrence whose responses to impulses are the kernel."""
    response = impulse_response(call, inputs)
    return ssm_recurrence_vjp_bounds({"y": np.moveaxis(G, -2, 0)}, names, arithmetic=arithmetic, **response)


def _larger(gradient: Bounded, mirrored: Bounded) -> Bounded:
    """Return the gradient with the larger of its bound and that of the transposed gradient."""
    bound = np.maximum(gradient.bound, np.swapaxes(mirrored.bound, -1, -2))
    judged = gradient.judged & np.swapaxes(mirrored.judged, -1, -2)
    return Bounded(gradient.value, bound, gradient.own, judged)


def vandermonde_gradients(
    call: Kernel, G: Array, names: tuple[str, ...], inputs: Mapping[str, Any], arithmetic: Arithmetic
) -> dict[str, Bounded]:
    """Return the gradients of modes, B̄ and C with their bounds.

    With S_pmn = γ Σ_j G_pmj conj(a_n^j) and T_nj = γ Σ_pm conj(C_pn B_nm) G_pmj:
    dC = Σ_m conj(B) S, dB̄ = Σ_p conj(C) S, dā = Σ_j j conj(a^{j−1}) T. The terms of all j and of all that is
    summed with them may be one sum in any order, of either part if they are complex: κ units (`roundings`).
    """
    G = G.reshape(call.A.shape[0], *call.shape[-3:])
    p, m, length = G.shape[-3:]
    with np.errstate(all="ignore"):
        table = powers(call.A, length)
        j = np.arange(length, dtype=np.float64)
        slope = j[1:] * table[..., : max(length - 1, 0)]
        B, C = np.swapaxes(call.B, -1, -2)[..., None, :, :], call.C[..., :, None, :]
        S = call.gamma * (G @ adjoint(table)[..., None, :, :])
        T = call.gamma * np.einsum("sbn,sbj->snj", np.conj(_merged(C * B)), _merged(G))
        values = {
            "A_bar": np.sum(np.conj(slope) * T[..., 1:], axis=-1),
            "B_bar": np.swapaxes(np.sum(np.conj(C) * S, axis=-3), -1, -2),
            "C": np.sum(np.conj(B) * S, axis=-2),
        }
        T_size = call.gamma * np.einsum("sbn,sbj->snj", np.abs(_merged(C * B)), np.abs(_merged(G)))

        def errors(rho: Float, unit: float, unit_m: float, eta: float) -> dict[str, Float]:
            size = np.abs(table)
            wrong = [
                size * (np.expm1(rho) + roundings(joint * length, call.paired) * unit + unit_m)
                for joint in (p, m)
            ]
            of_p, of_m = (
                call.gamma * (np.abs(G) @ np.swapaxes(one, -1, -2)[..., None, :, :]) for one in wrong
            )
            joined = np.abs(slope) * T_size[..., 1:]
            lost = _lost_gradients(call, table, G, eta)
            sums = roundings(p * m * length, call.paired) + 9
            per_step = np.expm1(rho[..., 1:]) + sums * unit + 4 * unit_m
            return {
                "A_bar": np.sum(joined * per_step, axis=-1) + lost["A_bar"],
                "B_bar": lost["B_bar"] + np.swapaxes(np.sum(np.abs(C) * of_p, axis=-3), -1, -2),
                "C": lost["C"] + np.sum(np.abs(B) * of_m, axis=-2),
            }

        u, u_m = arithmetic.u, arithmetic.product(call.paired)
        bound = errors(_power_error(call, arithmetic), u, u_m, arithmetic.eta)
        own = errors(np.full(table.shape, 4 * UNIT), UNIT, ORACLE.product(call.paired), ORACLE.eta)
        rounded = _rounded_by_sums(call, table, G, T_size, u)
        good = np.all(np.abs(table) < arithmetic.largest, axis=-1)
        # Π(1 + |f|), over η what may be lost, is no less than what is reached.
        most = {name: lost / ORACLE.eta for name, lost in _lost_gradients(call, table, G, ORACLE.eta).items()}
    lead, parts = call.systems.shape, {}
    for name in names:
        per_mode = {"A_bar": good, "B_bar": good[..., None], "C": good[..., None, :]}[name]
        value = values[name]
        judged = np.broadcast_to(per_mode, value.shape) & (most[name] < arithmetic.largest)
        of_system = Parts(value, bound[name], own[name], judged, rounded[name])
        parts[name] = of_system.reshape(lead + value.shape[1:])
    return gradients(parts, inputs, names, u, arithmetic.largest)


def _rounded_by_sums(call: Kernel, table: Array, G: Array, T_size: Float, u: float) -> dict[str, Float]:
    """Return what the sums round that the gradients of modes are."""
    p, m, length = G.shape[-3:]
    S = call.gamma * (np.abs(G) @ np.swapaxes(np.abs(table), -1, -2)[..., None, :, :])
    B, C = np.abs(np.swapaxes(call.B, -1, -2))[..., None, :, :], np.abs(call.C)[..., :, None, :]
    j = np.arange(1.0, length)
    dA = np.sum(j * np.abs(table)[..., : max(length - 1, 0)] * T_size[..., 1:], axis=-1)
    found = {"A_bar": dA, "B_bar": np.swapaxes(np.sum(C * S, axis=-3), -1, -2), "C": np.sum(B * S, axis=-2)}
    joined = {"A_bar": p * m, "B_bar": p, "C": m}
    return {name: roundings(joined[name] * length, call.paired) * u * size for name, size in found.items()}


def _from_impulses(response: Array) -> Array:
    """Return (m, *s, p, l), one response an input, as (*s, p, m, l)."""
    return np.moveaxis(response, 0, -2)


def _power_error(call: Kernel, arithmetic: Arithmetic) -> Float:
    """Return ρ_j (s, n, l), the relative error of the power a^j."""
    u, j = arithmetic.u, np.arange(call.length, dtype=np.float64)
    by_products = np.broadcast_to(j * arithmetic.product(call.paired), (*call.A.shape, call.length))
    per_step = (arithmetic.k_log + arithmetic.k_scale) * log_modulus(call.A)
    by_logarithm = u * (arithmetic.exponential(call.paired) + per_step[..., None] * j)
    return np.maximum(by_products, by_logarithm)


def _vandermonde_error(call: Kernel, table: Array, rho: Float, arithmetic: Arithmetic) -> Float:
    """Return the error of K (s, p, m, l) for powers with relative errors ρ (s, n, l)."""
    u, u_m, n = arithmetic.u, arithmetic.product(call.paired), call.A.shape[-1]
    B, C = np.abs(np.swapaxes(call.B, -1, -2))[..., None, :, :], np.abs(call.C)[..., :, None, :]
    wrong = np.abs(table) * (np.expm1(rho) + met(n, 0, call.paired).read * u + 2 * u_m)
    flushed = arithmetic.eta * _product_sizes(call, 1 + np.abs(table) + powers_lost(table))
    return np.asarray(call.gamma * (C * B) @ wrong[..., None, :, :] + flushed)


def _product_sizes(call: Kernel, of_power: Float) -> Float:
    """Return γ Σ_n Π(1 + |f|) over the factors C, B̄, a^j, (s, p, m, l), that of a^j (s, n, l) being given.

    In any order their products reach no more, and lose no more than η times that, beside `powers_lost`.
    """
    B, C = 1 + np.abs(np.swapaxes(call.B, -1, -2))[..., None, :, :], 1 + np.abs(call.C)[..., :, None, :]
    return np.asarray(call.gamma * (C * B) @ of_power[..., None, :, :])


def powers_lost(table: Array) -> Float:
    """Return over η what products of j factors a, in any bracketing, may lose of a^j, (…, l).

    A real power that is flushed is zero from there on, once. Of a complex one it may be one component, in
    product after product, while the other goes on: η |a|^{j−k} where the product is the power k, and with
    S_j = Σ_{i<j} |a|^i in all no more than (2S_j − 1)η. For two parts, of k and j − k factors, that is

        |a|^{j−k}(2S_k − 1) + |a|^k(2S_{j−k} − 1) + 1 <= 2S_j − 1,

    by S_j = S_k + |a|^k S_{j−k} the same as S_k + S_{j−k} <= 2 S_k S_{j−k}, for |a| <= 1. For a larger |a|
    every power is above 1, and what its components lose is nothing beside what they round.
    """
    if not np.iscomplexobj(table):
        return np.zeros(())
    before = np.zeros(table.shape)
    before[..., 1:] = np.cumsum(np.abs(table[..., :-1]), axis=-1)
    return 2.0 * before


def _lost_gradients(call: Kernel, table: Array, G: Array, eta: float) -> dict[str, Float]:
    """Return what flushing may lose of each gradient: η Π(1 + |f|) for the factors of each term.

    dC = γ Σ_mj G B a^j, dB̄ = γ Σ_pj G C a^j and dā = γ Σ_pmj G C B j a^{j−1}, where the last power may be the
    product of two, in j ways: Σ_k (1 + a^k)(1 + a^{j−1−k}) <= 4 j (1 + a^{j−1}). What such powers lost before
    (`powers_lost`), 2 S_k at |a|^{j−1−k}, is no more than 4 j S_{j−1} in all, as |a|^{j−1−k} S_k <= S_{j−1};
    of one power it is half of that. By way of exp(j log a), or from a table, it is a^j/a: that loses
    η j (1 + 2 S_j)/|a|, but no more than all and what is left in its place, which is no longer.
    """
    B, C, G = 1 + np.abs(np.swapaxes(call.B, -1, -2)), 1 + np.abs(call.C), 1 + np.abs(G)
    size, a = np.abs(table), np.abs(call.A)[..., None]
    again = np.broadcast_to(powers_lost(table), size.shape)
    power = 1 + size + again
    j = np.arange(1.0, call.length)
    before, again_before = (x[..., : max(call.length - 1, 0)] for x in (size, again))
    a_safe = np.where(a == 0, 1.0, a)
    quotient = np.where(a == 0, 0.0, np.minimum(eta * (1 + again[..., 1:]) / a_safe, 2 * before))
    slopes = (1 + j) * (eta * (4 * (1 + before) + 2 * again_before) + quotient)
    return {
        "A_bar": call.gamma * np.einsum("spn,smn,spmj,snj->sn", C, B, G[..., 1:], slopes, optimize=True),
        "B_bar": eta * call.gamma * np.einsum("spn,spmj,snj->snm", C, G, power, optimize=True),
        "C": eta * call.gamma * np.einsum("smn,spmj,snj->spn", B, G, power, optimize=True),
    }


def _from_output(call: Kernel, inputs: Mapping[str, Any], arithmetic: Arithmetic) -> Bounded:
    """Bound sequential powers from C's side: y of the mirrored system."""
    mirrored = _mirrored(call, inputs)
    response = impulse_response(read_keywords(mirrored), mirrored)
    return ssm_recurrence_bounds(arithmetic=arithmetic, **response)["y"]


def _doublings(call: Kernel, inputs: Mapping[str, Any], arithmetic: Arithmetic) -> list[tuple[Float, Float]]:
    """Bound doubling from both sides, and what it meets; each (*s, p, m, l)."""
    mirrored = read_keywords(_mirrored(call, inputs))
    ahead, back = (
        [part.reshape(one.shape) for part in _doubling_error(one, arithmetic)] for one in (call, mirrored)
    )
    return [(ahead[0], ahead[1]), (np.swapaxes(back[0], -2, -3), np.swapaxes(back[1], -2, -3))]


def _mirrored(call: Kernel, inputs: Mapping[str, Any]) -> dict[str, Any]:
    T = {name: np.swapaxes(np.asarray(inputs[name]), -1, -2) for name in ("A_bar", "B_bar", "C")}
    return {"A_bar": T["A_bar"], "B_bar": T["C"], "C": T["B_bar"], "length": call.length}


def _doubling_error(call: Kernel, arithmetic: Arithmetic) -> tuple[Float, Float]:
    """Return the error of K (s, p, m, l) by repeated doubling, as stated above, and what it meets.

    V_{j+2^i} meets all of Ā^{2^i}, whatever B̄ and C leave of it: where an entry overflows 0 · ∞ is a NaN.
    The terms of the sums count without their errors: where these are larger, so is the bound.
    """
    n, m = call.B.shape[-2:]
    w, eta = roundings(n, np.iscomplexobj(call.A)) * arithmetic.u, arithmetic.eta
    V, e = call.B, np.zeros(call.B.shape)
    P, eps = call.A, np.zeros(call.A.shape)
    most, met = np.zeros((len(P), 1, 1)), np.zeros(call.B.shape)
    while V.shape[-1] < m * call.length:
        size, v = np.abs(P), np.abs(V)
        lost = eta * ((1 + size) @ (1 + v))
        most = np.maximum(most, np.max(size @ v, axis=(-2, -1), keepdims=True, initial=0.0))
        met = np.concatenate((met, np.broadcast_to(most, v.shape)), axis=-1)
        e = np.concatenate((e, size @ e + eps @ (v + e) + w * (size @ v) + lost), axis=-1)
        V = np.concatenate((V, P @ V), axis=-1)
        # Of the next power, as the sums of moduli that its entries are.
        most = np.maximum(most, np.max(size @ size, axis=(-2, -1), keepdims=True))
        eps = size @ eps + eps @ size + eps @ eps + w * (size @ size) + eta * ((1 + size) @ (1 + size))
        P = P @ P
    C = np.abs(call.C)
    wrong = C @ (e + w * (np.abs(V) + e)) + eta * ((1 + C) @ (1 + np.abs(V)))
    met = np.broadcast_to(np.max(met, axis=-2, keepdims=True), wrong.shape)

    def by_step(x: Float) -> Float:
        each = x.reshape(*x.shape[:-1], x.shape[-1] // m, m)[..., : call.length, :]
        return np.asarray(np.swapaxes(each, -1, -2))

    return by_step(wrong), by_step(met)


def _merged(array: Array) -> Array:
    """Return (s, p, m, ·) as (s, p m, ·)."""
    return array.reshape(array.shape[0], array.shape[1] * array.shape[2], array.shape[-1])
