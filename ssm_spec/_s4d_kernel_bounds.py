"""What honest arithmetic may do to the kernel of S4D, and to its gradients.

A power of a mode is a product of j factors in any bracketing, exp(jΔλ), or exp(j log ā):

    ρ_j = c₀ + c₁ j,   c₀ = k_e u,   c₁ = u_m + u (k_l + k_p) |log ā|     (the last not under zoh: E_a has it)
    e_K = γ Σ_n |C| ã^j e^{ρ_j} [ |b̄| (ρ_j + j E_a/ã + 2n u + 3 u_m) + E_b ],   ã = |ā| + E_a,

as ã^j e^{ρ_j} − |ā|^j is no more than ã^j (e^{ρ_j} − 1) + j E_a ã^{j−1}. E_a/|ā| in ρ_j instead would be no
number where ā is lost in what flushing loses: a mode that is over after one step would take all along.

What underflows on its way is η Π(1 + |f|) over the factors C, b̄ and a power in any order, that of the last
being F_j = 1 + |ā|^j + 2S_j, S_j = Σ_{i<j}|ā|^i (`_kernel_bounds.powers_lost`; no S_j where modes are real).
A gradient has the cotangent besides, that of ā a power which may be the product of two, or |ā|^j/ā: there it
is 4(1 + j)(1 + |ā|^{j−1} + S_{j−1}) in place of F_j. Π(1 + |f|), without S_j, is no less than products reach.

Every sum over j or n is a blocked product of moduli, as the kernel itself is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ssm_spec._calls import arguments_of
from ssm_spec._layer import System, discretised_bounds, discretised_vjp_bounds
from ssm_spec._layer_adjoint import majorant
from ssm_spec._layer_bounds import finish
from ssm_spec._layer_views import named
from ssm_spec._products import roundings
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._s4d_kernel import (
    Tables,
    correlation,
    moduli,
    own_power_error,
    power_tables,
    product,
    pull_back,
    read_cotangent,
    read_keywords,
    s4d_kernel,
)
from ssm_spec._state_error import log_modulus
from ssm_spec._validate import Array, Float


@arguments_of(s4d_kernel)
def s4d_kernel_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return K with what honest arithmetic may do to each of its terms."""
    system, length = read_keywords(inputs)
    A_bar, B_bar = discretised_bounds(system, arithmetic)
    tables = power_tables(system, A_bar.value, length)
    K = product(tables, system.C[:, 0] * B_bar.value[..., 0], length)
    sides = []
    with np.errstate(all="ignore"):
        for a, own in ((arithmetic, False), (ORACLE, True)):
            powers = _power_error(system, tables, A_bar, a, own)
            sides.append(_kernel_error(system, tables, B_bar, powers, length, a, own))
        reached, _ = _factors(system, tables, B_bar.bound[..., 0], B_bar.value[..., 0], length)
        judged = _judged(tables, A_bar, B_bar, arithmetic)[:, None] & (reached < arithmetic.largest)
    return {"K": finish(K, sides[0], sides[1], judged, arithmetic)}


@arguments_of(s4d_kernel)
def s4d_kernel_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradients of `s4d_kernel` with what honest arithmetic may do to each element."""
    system, length = read_keywords(inputs)
    names, G = read_cotangent(cotangents, wrt, inputs, system, length)
    A_bar, B_bar = discretised_bounds(system, arithmetic)
    tables = power_tables(system, A_bar.value, length)
    slopes = pull_back(system, tables, B_bar.value[..., 0], G)
    through = discretised_vjp_bounds(system, slopes["A_bar"], slopes["B_bar"][..., None], arithmetic)
    sides = []
    with np.errstate(all="ignore"):
        for a, own in ((arithmetic, False), (ORACLE, True)):
            powers = _power_error(system, tables, A_bar, a, own)
            errors = _slope_errors(system, tables, A_bar, B_bar, powers, G, a, own)
            moved = majorant(system, errors["A_bar"], errors["B_bar"][..., None])
            sides.append({**moved, "C": errors["C"]})
        judged = _judged(tables, A_bar, B_bar, arithmetic)[:, None]
        most = _met_by_slopes(system, tables, B_bar.bound[..., 0], B_bar.value[..., 0], G)
        inside = {name: judged & (met < arithmetic.largest) for name, met in most.items()}
        of_B = np.all(inside["B_bar"], axis=-1)
        both = of_B & np.all(inside["A_bar"], axis=-1)
    found = {}
    for name in ("delta", "A", "B"):
        one = through[name]
        channels = of_B if name == "B" else both
        whole = one.judged & channels.reshape(-1, *(1,) * (one.value.ndim - 1))
        bounds = (one.bound + sides[0][name], one.own + sides[1][name])
        found[name] = finish(one.value, *bounds, whole, arithmetic)
    errors_C = (sides[0]["C"], sides[1]["C"])
    found["C"] = finish(slopes["C"], *errors_C, inside["C"], arithmetic)
    return named(found, inputs, names)


class _Powers(NamedTuple):
    """The tables of ã^j, c₀ and c₁ (d, n) of ρ_j, and c₁ + E_a/ã."""

    sizes: Tables
    c0: float
    c1: Float
    per_step: Float


def _power_error(
    system: System, tables: Tables, A_bar: Bounded, arithmetic: Arithmetic, own: bool
) -> _Powers:
    if own:
        c0, c1 = own_power_error(system, tables)
        if system.rule == "zoh":  # there the powers come from Δλ itself, not from a rounded ā
            return _Powers(moduli(tables), c0, c1, c1)
        return _of_wider(tables, A_bar, A_bar.own, c0, c1)
    complex_ = np.iscomplexobj(A_bar.value)
    c1 = np.full(A_bar.value.shape, arithmetic.product(complex_))
    if system.rule != "zoh":
        c1 = c1 + arithmetic.u * (arithmetic.k_log + arithmetic.k_scale) * log_modulus(A_bar.value)
    return _of_wider(tables, A_bar, A_bar.bound, arithmetic.exponential(complex_) * arithmetic.u, c1)


def _of_wider(tables: Tables, A_bar: Bounded, E_a: Float, c0: float, c1: Float) -> _Powers:
    wider = np.abs(A_bar.value) + E_a
    step, blocks = tables.low.shape[-1], tables.high.shape[-1]
    sizes = Tables(wider[..., None] ** np.arange(step), wider[..., None] ** (step * np.arange(blocks)))
    return _Powers(sizes, c0, c1, c1 + np.where(wider > 0, E_a / np.where(wider > 0, wider, 1.0), 0.0))


def _kernel_error(
    system: System,
    tables: Tables,
    B_bar: Bounded,
    powers: _Powers,
    length: int,
    arithmetic: Arithmetic,
    own: bool,
) -> Float:
    C, b = np.abs(system.C[:, 0]), np.abs(B_bar.value[..., 0])
    E_b = (B_bar.own if own else B_bar.bound)[..., 0]
    n, u, complex_ = C.shape[-1], arithmetic.u, np.iscomplexobj(tables.low)
    gamma, (sizes, c0, c1, per_step) = (2.0 if complex_ else 1.0), powers
    j = np.arange(length, dtype=np.float64)
    spread = np.exp(c0 + j * np.max(c1, axis=-1, initial=0.0)[:, None])
    fixed = c0 + (2 * n) * u + 3 * arithmetic.product(complex_)
    error = product(sizes, C * (b * fixed + E_b), length) + j * product(sizes, C * b * per_step, length)
    reached, more = _factors(system, tables, E_b, b, length)
    return np.asarray(gamma * spread * error + arithmetic.eta * (reached + more))


def _factors(system: System, tables: Tables, E_b: Float, b: Array, length: int) -> tuple[Float, Float]:
    """Return γ Σ_n Π(1 + |f|) over the factors of each term, (d, l), and what the rest of F_j adds."""
    weights = (1.0 + np.abs(system.C[:, 0])) * (1.0 + np.abs(b) + E_b)
    by_power = product(moduli(tables), weights, length)
    if not np.iscomplexobj(tables.low):
        return np.sum(weights, axis=-1, keepdims=True) + by_power, np.zeros(())
    more = np.zeros_like(by_power)
    more[:, 1:] = 4.0 * np.cumsum(by_power[:, :-1], axis=-1)
    return 2.0 * (np.sum(weights, axis=-1, keepdims=True) + by_power), more


def _met_by_slopes(system: System, tables: Tables, E_b: Float, b: Array, G: Float) -> dict[str, Float]:
    """Return Σ Π(1 + |f|) of the gradients of ā, b̄ and C, each (d, n): no less than products reach."""
    sizes, (met, steps) = moduli(tables), _terms(G)
    powers = np.sum(met, axis=-1, keepdims=True) + correlation(sizes, met)
    of_slope = 4.0 * (np.sum(steps, axis=-1, keepdims=True) + correlation(sizes, steps))
    return _with_others(system, tables, E_b, b, of_slope, powers)


def _terms(G: Float) -> tuple[Float, Float]:
    """Return 1 + |G_j|, and (1 + j)(1 + |G_j|) from j = 1 on."""
    met = 1.0 + np.abs(G)
    return met, np.arange(2.0, met.shape[-1] + 1) * met[:, 1:]


def _with_others(
    system: System, tables: Tables, E_b: Float, b: Array, of_slope: Float, powers: Float
) -> dict[str, Float]:
    """Return what powers and their slopes make of each gradient, with the other factors of its terms."""
    gamma = 2.0 if np.iscomplexobj(tables.low) else 1.0
    C, B = 1.0 + np.abs(system.C[:, 0]), 1.0 + np.abs(b) + E_b
    return {"A_bar": gamma * C * B * of_slope, "B_bar": gamma * C * powers, "C": gamma * B * powers}


def _lost_by_slopes(
    system: System, tables: Tables, A_bar: Bounded, E_b: Float, b: Array, G: Float, eta: float
) -> dict[str, Float]:
    """Return what flushing may lose of them; of a^j, divided by a when it is lost, no more than twice all."""
    found, sizes = _met_by_slopes(system, tables, E_b, b, G), moduli(tables)
    steps, a = np.arange(1.0, G.shape[-1]) * np.abs(G[:, 1:]), np.abs(A_bar.value)
    divided, complex_ = np.sum(steps, axis=-1, keepdims=True), np.iscomplexobj(tables.low)
    if complex_:  # Σ_j x_j Σ_{i<j} |a|^i is Σ_i |a|^i Σ_{j>i} x_j
        met, slopes = _terms(G)
        powers, of_slope = (correlation(sizes, _later(x)) for x in (met, slopes))
        again = _with_others(system, tables, E_b, b, 4.0 * of_slope, 2.0 * powers)
        found = {name: one + again[name] for name, one in found.items()}
        divided = divided + 2.0 * correlation(sizes, _later(steps) + steps)
    divided = np.minimum(eta / np.where(a > 0, a, 1.0) * divided, 2.0 * correlation(sizes, steps))
    gamma, C = (2.0 if complex_ else 1.0), np.abs(system.C[:, 0])
    quotient = gamma * C * (np.abs(b) + E_b) * np.where(a > 0, divided, 0.0)
    return {name: eta * met + (quotient if name == "A_bar" else 0.0) for name, met in found.items()}


def _later(x: Float) -> Float:
    """Return Σ_{j>i} x_j, (…, l)."""
    found = np.zeros_like(x)
    found[..., :-1] = np.cumsum(x[..., :0:-1], axis=-1)[..., ::-1]
    return found


def _slope_errors(
    system: System,
    tables: Tables,
    A_bar: Bounded,
    B_bar: Bounded,
    powers: _Powers,
    G: Float,
    arithmetic: Arithmetic,
    own: bool,
) -> dict[str, Float]:
    """Bound the gradients of ā, b̄ and C, each (d, n)."""
    C, b = np.abs(system.C[:, 0]), np.abs(B_bar.value[..., 0])
    E_b = (B_bar.own if own else B_bar.bound)[..., 0]
    length, complex_ = G.shape[-1], np.iscomplexobj(tables.low)
    gamma, (sizes, c0, c1, per_step) = (2.0 if complex_ else 1.0), powers
    j, size = np.arange(length, dtype=np.float64), np.abs(G)
    spread = np.exp(c0 + c1 * length)
    # C and b̄ may meet the powers before the sum over them.
    fixed = c0 + (roundings(length, complex_) + 3) * arithmetic.u + 4 * arithmetic.product(complex_)
    shifted = j[1:] * size[:, 1:]
    S, S_j = (gamma * correlation(sizes, x) for x in (size, j * size))
    T, T_j = (gamma * correlation(sizes, x) for x in (shifted, j[:-1] * shifted))
    lost = _lost_by_slopes(system, tables, A_bar, E_b, b, G, arithmetic.eta)
    e_S = spread * (fixed * S + per_step * S_j)
    e_T = spread * (fixed * T + per_step * T_j)
    return {
        "A_bar": C * (b * e_T + E_b * (T + e_T)) + lost["A_bar"],
        "B_bar": C * e_S + lost["B_bar"],
        "C": b * e_S + E_b * (S + e_S) + lost["C"],
    }


def _judged(tables: Tables, A_bar: Bounded, B_bar: Bounded, arithmetic: Arithmetic) -> Array:
    """Return (d,): whether every coefficient and power of a channel stays in range."""
    inside = np.all(A_bar.judged, axis=-1) & np.all(B_bar.judged, axis=(-2, -1))
    low, high = (np.max(x, axis=-1, initial=0.0) for x in moduli(tables))
    grown = low * high
    return np.asarray(inside & np.all(grown < arithmetic.largest, axis=-1))
