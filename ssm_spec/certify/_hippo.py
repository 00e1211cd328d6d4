"""The initialisations whose entries have a closed form, in balls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ssm_spec.certify._balls import Balls
from ssm_spec.certify._flint import acb, arb
from ssm_spec.certify._tape import Variable

Outputs = dict[str, Variable]


def hippo_legs(n: int, *, dtype: str = "float64") -> Outputs:
    """A_nk = −√((2n+1)(2k+1)) below the diagonal, −(n+1) on it; B_n = √(2n+1) (HiPPO, theorem 2)."""
    del dtype  # the numbers meant do not depend on it

    def entry(i: int, k: int) -> arb:
        return -arb((2 * i + 1) * (2 * k + 1)).sqrt() if i > k else arb(-(i + 1) if i == k else 0)

    return {"A": _matrix(n, n, entry), "B": _matrix(n, 1, lambda i, _: arb(2 * i + 1).sqrt())}


def hippo_legt(n: int, *, theta: float = 1.0, dtype: str = "float64") -> Outputs:
    """A_nk = −√((2n+1)(2k+1))/θ, times (−1)^(n−k) above the diagonal; B_n = √(2n+1)/θ."""
    del dtype

    def entry(i: int, k: int) -> arb:
        sign = 1 if k > i and (i - k) % 2 else -1
        return sign * arb((2 * i + 1) * (2 * k + 1)).sqrt() / arb(theta)

    return {"A": _matrix(n, n, entry), "B": _matrix(n, 1, lambda i, _: arb(2 * i + 1).sqrt() / arb(theta))}


def hippo_lagt(n: int, *, dtype: str = "float64") -> Outputs:
    """A_nk = −1 for n >= k; B_n = 1."""
    del dtype
    return {"A": _matrix(n, n, lambda i, k: arb(-int(i >= k))), "B": _matrix(n, 1, lambda i, k: arb(1))}


def hippo_fout(n: int, *, dtype: str = "float64") -> Outputs:
    """A = R − 2ββᵀ, R_{2k,2k+1} = −2πk = −R_{2k+1,2k}; B = 2β, β = (1, 0, √2, 0, √2, 0, ...)."""
    del dtype

    def root(i: int) -> int:
        """β_i²; products of roots are roots of products, exact where they are whole."""
        return 0 if i % 2 else (1 if i == 0 else 2)

    def entry(i: int, k: int) -> arb:
        turning = arb(0)
        if i // 2 == k // 2 and i != k:
            turning = 2 * arb.pi() * (i // 2) * (1 if i % 2 else -1)
        return turning - 2 * arb(root(i) * root(k)).sqrt()

    return {"A": _matrix(n, n, entry), "B": _matrix(n, 1, lambda i, _: 2 * arb(root(i)).sqrt())}


def s4d_inv(n: int) -> Outputs:
    """λ_m = −½ + i (n/π)(n/(2m+1) − 1), B = 1 (S4D, arXiv:2206.11893, (8))."""
    return _modes(n, lambda m: n / arb.pi() * (n / arb(2 * m + 1) - 1))


def s4d_lin(n: int) -> Outputs:
    """λ_m = −½ + iπm, B = 1 (S4D, (9))."""
    return _modes(n, lambda m: arb.pi() * m)


def _modes(n: int, frequency: Callable[[int], Any]) -> Outputs:
    modes = np.empty(n // 2, object)
    modes[:] = [acb(-0.5, frequency(m)) for m in range(n // 2)]
    ones: Balls = np.full(n // 2, acb(1), object)
    return {"Lambda": Variable(modes, True), "B": Variable(ones, True)}


def _matrix(rows: int, columns: int, entry: Callable[[int, int], Any]) -> Variable:
    balls = np.empty((rows, columns), object)
    for i, k in np.ndindex(rows, columns):
        balls[i, k] = entry(i, k)
    return Variable(balls, False)
