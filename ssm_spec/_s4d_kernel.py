"""The convolution kernel of S4D: a Vandermonde product, in blocks.

    K_j = γ Re Σ_n C_n b̄_n ā_nʲ,   ā = exp(Δλ) or the bilinear rule's       (S4D, arXiv:2206.11893, (6))

With j = qS + r and S ≈ √l the powers factor, ā^j = ā^{qS} ā^r: two tables of √l powers a mode and one
matrix product a channel, so that time is O(d n l) in a product of matrices and memory O(d n √l + d l).
Under zero-order hold a power is exp(jΔλ) with Δλ in twice the working precision; products of a rounded
ā would lose j units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isqrt
from typing import Any, Final, NamedTuple

import numpy as np

from ssm_spec._calls import arguments_of, operator
from ssm_spec._double_double import UNIT, two_product
from ssm_spec._kernel import powers
from ssm_spec._layer import RULES, System, discretised, discretised_vjp
from ssm_spec._layer_views import given_back
from ssm_spec._systems import as_matrix_like
from ssm_spec._validate import (
    Array,
    Dimensions,
    Float,
    as_array,
    as_choice,
    as_cotangent,
    as_real_array,
    as_size,
    at_least_one,
    check_cotangent_names,
    differentiated,
)

OUTPUTS = ("K",)
DIFFERENTIABLE = ("delta", "A", "B", "C")
TABLE_UNITS: Final = 20.0
"""Units of 2^-53 that a power of modes, as a product of two table entries, may lose here."""


class Tables(NamedTuple):
    """Powers of modes: ā^r for r < S, and ā^{qS}, both (d, n, ·); their products in order are ā^j."""

    low: Array
    high: Array


@operator
def s4d_kernel(
    delta: Float, A: Array, B: Array, C: Array, length: int, *, discretization: str = "zoh"
) -> Float:
    """Return the first `length` terms of the kernel of every channel of S4D.

    (C1) A complex A holds one mode of each conjugate pair, and K = 2 Re Σ; a real A real modes, K = Σ.
    (C2) It is the response of `s4d` to an impulse at the first step; D is not in it.
    (C3) "zoh" unless "bilinear", "forward_euler" or "backward_euler" is asked for.

    Parameters
    ----------
    delta
        (d,), real, of any sign.
    A, B, C
        (d, n), n the modes kept; float or complex.
    length
        l >= 0.
    discretization
        "zoh", "bilinear", "forward_euler" or "backward_euler".

    Returns
    -------
    K
        (d, l), float64.
    """
    system, size = read(delta, A, B, C, length, discretization)
    A_bar, B_bar = discretised(system)
    return product(power_tables(system, A_bar, size), system.C[:, 0] * B_bar[..., 0], size)


@arguments_of(s4d_kernel)
def s4d_kernel_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return the gradients of the inputs of `s4d_kernel` named in `wrt` (default: all)."""
    system, size = read_keywords(inputs)
    names, G = read_cotangent(cotangents, wrt, inputs, system, size)
    A_bar, B_bar = discretised(system)
    slopes = pull_back(system, power_tables(system, A_bar, size), B_bar[..., 0], G)
    found = {**discretised_vjp(system, slopes["A_bar"], slopes["B_bar"][..., None]), "C": slopes["C"]}
    return {name: given_back(found[name], inputs[name]) for name in names}


def read(
    delta: object, A: object, B: object, C: object, length: object, discretization: object
) -> tuple[System, int]:
    """Check every argument, and return the channels' systems, without input, and the length."""
    dims = Dimensions()
    delta_, A_ = as_real_array("delta", delta), as_array("A", A)
    complex_ = A_.dtype.kind == "c"
    B_, C_ = as_matrix_like("B", B, complex_), as_matrix_like("C", C, complex_)
    dims.match("delta", delta_, "d")
    for name, array in (("A", A_), ("B", B_), ("C", C_)):
        dims.match(name, array, "d n")
    at_least_one("A", "n", dims["n"])
    size = as_size("length", length)
    rule = as_choice("discretization", discretization, RULES)
    nothing = np.zeros((0, dims["d"], 1, 0))
    system = System(A_, B_[..., None], C_[:, None, :], None, delta_[:, None], nothing, None, rule, True)
    return system, size


def read_keywords(inputs: Mapping[str, Any]) -> tuple[System, int]:
    """Read a call given by keywords."""
    return read(**{"discretization": "zoh", **inputs})


def read_cotangent(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None,
    inputs: Mapping[str, Any],
    system: System,
    length: int,
) -> tuple[tuple[str, ...], Float]:
    """Return the names asked for, and the cotangent of K (d, l)."""
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    check_cotangent_names(cotangents, OUTPUTS)
    G = as_cotangent(cotangents, "K", (system.A.shape[0], length))
    return names, np.zeros((system.A.shape[0], length)) if G is None else G


def power_tables(system: System, A_bar: Array, length: int) -> Tables:
    """Return the two tables of powers; each entry right to a few units (zoh), or 2q + 6 (bilinear)."""
    step = isqrt(max(length - 1, 0)) + 1
    blocks = -(-length // step)
    if system.rule != "zoh":
        low = powers(A_bar, step + 1)
        return Tables(low[..., :step], powers(low[..., step], blocks))
    return Tables(_exponentials(system, np.arange(step)), _exponentials(system, step * np.arange(blocks)))


def moduli(tables: Tables) -> Tables:
    """Return the tables of the moduli."""
    return Tables(np.abs(tables.low), np.abs(tables.high))


def product(tables: Tables, weights: Array, length: int) -> Float:
    """Return γ Re Σ_n w_n ā_n^j, (d, l), for weights (d, n)."""
    with np.errstate(all="ignore"):
        left, right = weights[..., None] * tables.high, tables.low
        if np.iscomplexobj(left):
            # Re(x y) as one real product: twice as many terms, half the work of a complex one.
            left = np.concatenate((left.real, -left.imag), axis=1)
            right = np.concatenate((right.real, right.imag), axis=1)
            left = 2.0 * left
        K = np.swapaxes(left, -1, -2) @ right
    return np.asarray(K.reshape(K.shape[0], K.shape[1] * K.shape[2])[:, :length])


def correlation(tables: Tables, G: Float) -> Array:
    """Return γ Σ_j G_j conj(ā_n^j), (d, n), for G (d, l)."""
    step, blocks = tables.low.shape[-1], tables.high.shape[-1]
    padded = np.zeros((len(G), blocks * step))
    padded[:, : G.shape[-1]] = G
    with np.errstate(all="ignore"):
        inner = padded.reshape(len(G), blocks, step) @ np.swapaxes(np.conj(tables.low), -1, -2)
        total = np.sum(inner * np.swapaxes(np.conj(tables.high), -1, -2), axis=1)
    return np.asarray(2.0 * total if np.iscomplexobj(tables.low) else total)


def pull_back(system: System, tables: Tables, b: Array, G: Float) -> dict[str, Array]:
    """Return the gradients of ā, b̄ and C, each (d, n), for the cotangent G (d, l).

    With S = γ Σ_j G_j conj(ā^j):  dC = conj(b̄) S,  db̄ = conj(C) S,
    dā = conj(C b̄) γ Σ_j (j + 1) G_{j+1} conj(ā^j).
    """
    C = system.C[:, 0]
    with np.errstate(all="ignore"):
        S = correlation(tables, G)
        shifted = np.arange(1.0, G.shape[-1]) * G[:, 1:]
        return {
            "A_bar": np.conj(C * b) * correlation(tables, shifted),
            "B_bar": np.conj(C) * S,
            "C": np.conj(b) * S,
        }


def _exponentials(system: System, j: Array) -> Array:
    """Return exp(j Δ λ), (d, n, len(j)).

    p + q = Δλ and x + y = j p exactly; what is left over, y + j q, is small enough for 1 + (y + j q).
    """
    times = j.astype(np.float64)
    parts = [system.A.real, system.A.imag] if np.iscomplexobj(system.A) else [system.A]
    whole, rest = [], []
    with np.errstate(all="ignore"):
        for part in parts:
            p, q = two_product(np.broadcast_to(system.delta, part.shape), np.ascontiguousarray(part))
            x, y = two_product(*np.broadcast_arrays(times, p[..., None]))
            low = y + times * q[..., None]
            whole.append(x)
            rest.append(np.where(np.isfinite(low), low, 0.0))
        if len(parts) == 1:
            grown = np.exp(whole[0])
            return np.asarray(grown + grown * rest[0])
        grown = np.exp(whole[0] + 1j * whole[1])
        return np.asarray(grown + grown * (rest[0] + 1j * rest[1]))


def own_power_error(system: System, tables: Tables) -> tuple[float, Float]:
    """Return c₀ and c₁ (d, n): a power here is wrong by at most (c₀ + c₁ j) units, past the error of ā."""
    if system.rule == "zoh":
        return TABLE_UNITS * UNIT, np.zeros(system.A.shape)
    return TABLE_UNITS * UNIT, np.full(system.A.shape, 4.0 * UNIT / tables.low.shape[-1])
