"""What the definitions of LegS build on: closed forms of its modes, held to the equations that they solve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flint import acb_mat, arb

from ssm_spec import hippo_legs
from ssm_spec.certify import correctly_rounded, enclose
from ssm_spec.certify._balls import Balls, conjugate, exact, precision


def every_ball_holds(found: Balls, wanted: Balls, radius: float) -> None:
    """Every ball holds the number, and is small."""
    for ball, number in zip(found.flat, wanted.flat, strict=True):
        away = ball - number
        assert away.real.contains(0)
        assert away.imag.contains(0)
        assert away.abs_upper() < radius


@pytest.mark.parametrize("n", [2, 4, 10, 64])
def test_the_modes_give_legs_back(n: int) -> None:
    """nplr-1, nplr-2, nplr-4: A = V(diag(Λ) − PP*)V*, V*V = I, VP = √(n + ½), VB = √(2n + 1)."""
    found = enclose("hippo_legs_nplr", n=n, bits=400)
    with precision(400):
        Lambda, P, B, V = (found[name].balls for name in ("Lambda", "P", "B", "V"))
        V_star = conjugate(V).T
        square = [[arb((2 * i + 1) * (2 * k + 1)).sqrt() for k in range(n)] for i in range(n)]
        A = np.array([[-square[i][k] * (i > k) - (i + 1) * (i == k) for k in range(n)] for i in range(n)])
        inside = np.diag(Lambda) - P[:, None] * conjugate(P)
        every_ball_holds(V @ inside @ V_star, A, 1e-60)
        every_ball_holds(V_star @ V, exact(np.eye(n)), 1e-60)
        every_ball_holds(V @ P, np.array([(arb(i) + arb(0.5)).sqrt() for i in range(n)]), 1e-60)
        every_ball_holds(V @ B, np.array([arb(2 * i + 1).sqrt() for i in range(n)]), 1e-60)
    half = slice(0, n // 2)
    assert np.all(np.diff(found["Lambda"].lower.imag[half]) > 0)
    assert np.all(found["P"].lower.real > 0)


def test_the_modes_are_the_eigenvalues_that_an_eigensolver_certifies() -> None:
    n = 8
    with precision(200):
        N = exact(np.zeros((n, n)))
        for i, k in np.ndindex(n, n):
            N[i, k] = -((arb(i) + arb(0.5)) * (arb(k) + arb(0.5))).sqrt() * (1 if i > k else -1)
            N[i, k] = arb(-0.5) if i == k else N[i, k]
        certified = acb_mat(n, n, [arb(x) for x in N.flat]).eig()
    ours = enclose("hippo_legs_nplr", n=n, bits=200)["Lambda"].balls
    for mode in ours:
        assert sum(mode.overlaps(other) for other in certified) == 1


@pytest.mark.parametrize("method", ["exact", "bilinear"])
@pytest.mark.parametrize("n", [1, 2, 9, 24])
def test_compression_by_modes_is_compression_by_matrices(n: int, method: str) -> None:
    """compress-1, compress-2, with the discretisations of the whole matrix."""
    A, B = hippo_legs(n)
    f = np.random.default_rng(n).standard_normal(6)
    found = enclose("hippo_legs_compress", bits=700, f=f, n=n, method=method, prefixes=True)["c"].balls
    op = "discretize_zoh" if method == "exact" else "discretize_bilinear"
    with precision(700):
        c = exact(np.zeros(n))
        c[0] = arb(f[0])
        every_ball_holds(found[:, 0], c, 1e-60)
        for k in range(2, 7):
            step = (arb(k) / (k - 1)).log() if method == "exact" else arb(1) / (k - 1)
            bars = bars_of(op, A, B, step)
            c = bars["A_bar"] @ c + bars["B_bar"][:, 0] * arb(f[k - 1])
            every_ball_holds(found[:, k - 1], c, 1e-50)


def bars_of(op: str, A: Any, B: Any, step: Any) -> dict[str, Balls]:
    """A discretisation over a step that is no float."""
    from ssm_spec.certify import DEFINITIONS
    from ssm_spec.certify._tape import Variable, constant

    delta = Variable(np.array(step, dtype=object), False)
    return {name: bar.value for name, bar in DEFINITIONS[op](constant(A), constant(B), delta).items()}


def test_known_modes() -> None:
    """n = 2: s² + s + 1 has the roots −½ ± i√3/2, and p = √(n²/2)/√n = 1."""
    found = correctly_rounded("hippo_legs_nplr", n=2)
    assert found["Lambda"].tolist() == [-0.5 + 0.8660254037844386j, -0.5 - 0.8660254037844386j]
    assert found["P"].tolist() == [1.0, 1.0]
    assert found["B"].tolist() == [2**0.5, 2**0.5]
