"""The initial systems against balls and what they are for: LegT, LagT, FouT, NPLR, and S4D's modes."""

from __future__ import annotations

import flint
import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic
from ssm_spec.certify import enclose

from . import lti_exact as exact

F32, F64 = Arithmetic(), Arithmetic(compute="float64")
UNIT = 2.0**-53
SIZES = [2, 4, 14, 22]
FAMILY = ["hippo_legt", "hippo_lagt", "hippo_fout", "hippo_legs_nplr", "s4d_legs", "s4d_inv", "s4d_lin"]


def odd(n: int) -> list[flint.arb]:
    return [flint.arb(2 * k + 1) for k in range(n)]


def legt(n: int, theta: float) -> np.ndarray:
    r = [x.sqrt() for x in odd(n)]
    entry = [[(1 if i < k and (i - k) % 2 else -1) * r[i] * r[k] / theta for k in range(n)] for i in range(n)]
    return np.array([[flint.acb(x) for x in row] for row in entry], dtype=object)


@pytest.mark.parametrize(("n", "theta"), [(1, 1.0), (7, 1.0), (16, 0.3)])
def test_legt_is_right_to_two_units(n, theta):
    """(C1), (C2) of hippo_legt."""
    found = ssm_spec.hippo_legt_bounds(arithmetic=F64, n=n, theta=theta)["A"]
    with exact.precision(200):
        error = exact.distance(found.value, legt(n, theta))
    assert np.all(error <= found.own)
    if theta == 1.0:
        assert np.all(error <= 1.001 * UNIT * np.abs(found.value))


def responses(A, B, times):
    """e^{tA} B at some times, (n, times)."""
    h = ssm_spec.discretize_zoh(A, B, times)[0] @ B
    return h[..., 0].T


def legendre(n, x):
    """Orthonormal on [0, 1], (n, points)."""
    basis = [np.polynomial.legendre.Legendre.basis(k)(2 * x - 1) * np.sqrt(2 * k + 1) for k in range(n)]
    return np.array(basis)


def test_legt_remembers_a_window():
    """Its impulse response is near the Legendre basis in the newer part of the window, and small after it.

    Near: 32 states cut the window off within a fifth of a basis function's height; that is no rounding.
    """
    times = np.linspace(0.1, 0.7, 7)
    A, B = ssm_spec.hippo_legt(32)
    response = responses(A, B, np.array([*times, 2.5]))
    np.testing.assert_allclose(response[:4, :-1], legendre(4, 1 - times), atol=0.2)
    assert np.max(np.abs(response[:4, -1])) < 0.1


def test_lagt_fades_as_laguerre_polynomials():
    """e^{tA} B is e^{−t} L_n(t), with L_n the Laguerre polynomials."""
    times = np.linspace(0.0, 5.0, 7)
    A, B = ssm_spec.hippo_lagt(5)
    polynomials = [np.polynomial.laguerre.Laguerre.basis(k)(times) for k in range(5)]
    np.testing.assert_allclose(
        responses(A, B, times), np.exp(-times) * np.array(polynomials), atol=1e-12
    )  # expm


def test_fout_remembers_a_window_in_cosines_and_sines():
    times = np.linspace(0.1, 0.9, 9)
    A, B = ssm_spec.hippo_fout(32)
    response = responses(A, B, np.array([*times, 1.5]))
    root = np.sqrt(2.0)
    wanted = [np.ones(9), 0 * times, root * np.cos(2 * np.pi * times), root * np.sin(2 * np.pi * times)]
    np.testing.assert_allclose(response[:4, :-1], wanted, atol=0.1)  # cut off at 32 states
    assert np.max(np.abs(response[:4, -1])) < 0.1
    assert not np.any(A[1])
    assert not np.any(A[:, 1])
    assert (A[3, 2], A[2, 2]) == (2 * np.pi, -4.0)


@pytest.mark.parametrize("n", SIZES)
def test_the_normal_part_and_the_rank_one_give_legs_back(n):
    """(C1) to (C4) of hippo_legs_nplr."""
    Lambda, P, B, V = ssm_spec.hippo_legs_nplr(n)
    A, B_legs = ssm_spec.hippo_legs(n)
    back = V @ (np.diag(Lambda) - np.outer(P, P.conj())) @ V.conj().T
    # A backward stable eigensolver: a few n units of the largest entry, n for A, √n for B, 1 for V.
    np.testing.assert_allclose(back, A, atol=1e-13 * n * n)
    np.testing.assert_allclose(V @ B, B_legs[:, 0], atol=1e-13 * n)
    np.testing.assert_allclose(V.conj().T @ V, np.eye(n), atol=1e-12)
    assert np.all(P.real > 0)
    assert not np.any(P.imag)
    assert np.all(np.diff(Lambda.imag[: n // 2]) > 0)
    np.testing.assert_array_equal(V[:, n // 2 :], V[:, : n // 2].conj())


@pytest.mark.parametrize("n", SIZES)
def test_the_eigenvectors_of_legs_are_right_to_two_units(n, record_property):
    """(C2), (C4) of hippo_legs_nplr, by the closed form of an enclosure."""
    found = ssm_spec.hippo_legs_nplr_bounds(arithmetic=F64, n=n)
    enclosures = enclose("hippo_legs_nplr", bits=256, n=n)
    for name in ("V", "P"):
        bounded = found[name]
        error = enclosures[name].farthest(bounded.value)
        assert np.all(error <= bounded.own), name
        assert np.all(bounded.own <= 2.01 * 2.0**-53 * np.abs(bounded.value))
        record_property(name, float(np.max(error / bounded.own)))


def eigenpairs(n):
    """Frequencies ω > 0, rising, and |v* B|, from balls."""
    S = flint.acb_mat(n, n)
    r = [x.sqrt() for x in odd(n)]
    for i in range(n):
        for k in range(n):
            S[i, k] = 0 if i == k else r[i] * r[k] / (-2 if i > k else 2)
    values, vectors = S.eig(right=True, algorithm="approx")
    found = []
    for i in range(n):
        if values[i].imag > 0:
            v = [vectors[k, i] for k in range(n)]
            norm = sum((x.abs_lower() ** 2 for x in v), flint.arb(0)).sqrt()
            through = sum((x.conjugate() * r[k] for k, x in enumerate(v)), flint.acb(0))
            found.append((values[i].imag.mid(), (abs(through) / norm).mid()))
    return sorted(found, key=lambda pair: float(pair[0]))


@pytest.mark.parametrize("n", SIZES)
def test_the_modes_of_legs_are_right_to_the_last_digits(n, record_property):
    """(C1), (C2) of s4d_legs: eigenvalues within 2 units, V*B within its own bound."""
    found = ssm_spec.s4d_legs_bounds(arithmetic=F64, n=n)
    with exact.precision(300):
        pairs = eigenpairs(n)
        for name, column in (("Lambda", 0), ("B", 1)):
            bounded = found[name]
            value = bounded.value.imag if name == "Lambda" else bounded.value.real
            error = np.array(
                [float(abs(flint.arb(x) - pair[column])) for x, pair in zip(value, pairs, strict=True)]
            )
            assert np.all(error <= bounded.own)
            record_property(name, float(np.max(error / bounded.own)))


@pytest.mark.parametrize("n", SIZES)
def test_the_closed_modes_are_right_to_a_few_units(n):
    """(C1) of s4d_inv and of s4d_lin."""
    with exact.precision(200):
        pi, half = flint.arb.pi(), flint.arb(-0.5)
        inverse = [flint.acb(half, (flint.arb(n) / (2 * m + 1) - 1) * n / pi) for m in range(n // 2)]
        linear = [flint.acb(half, pi * m) for m in range(n // 2)]
        for op, modes in (("s4d_inv", inverse), ("s4d_lin", linear)):
            found = ssm_spec.REFERENCES[op].bounds(arithmetic=F64, n=n)
            assert np.all(exact.distance(found["Lambda"].value, np.array(modes)) <= found["Lambda"].own)
            np.testing.assert_array_equal(found["B"].value, np.ones(n // 2))


@pytest.mark.parametrize("n", SIZES)
def test_an_honest_eigensolver_in_float32_stays_within(n):
    A, B = (x.astype(np.float32) for x in ssm_spec.hippo_legs(n))
    root = np.sqrt(np.arange(n, dtype=np.float32) + np.float32(0.5))
    S = A + np.outer(root, root) + np.float32(0.5) * np.eye(n, dtype=np.float32)
    frequency, V = np.linalg.eigh(np.complex64(-1j) * S)
    modes, b = -0.5 + 1j * frequency[n // 2 :], np.abs(V.conj().T @ B[:, 0])[n // 2 :]
    found = ssm_spec.s4d_legs_bounds(arithmetic=F32, n=n)
    for name, value in (("Lambda", modes), ("B", b)):
        assert np.all(np.abs(value - found[name].value) <= found[name].bound)


def test_slips_exceed_the_bound():
    """The other mode of each pair, half of B, a lost real part, and a wrong rule for Inv."""
    found = ssm_spec.s4d_legs_bounds(arithmetic=F32, n=32)
    for name, wrong in (
        ("Lambda", found["Lambda"].value.conj()),
        ("B", found["B"].value / 2),
        ("Lambda", 1j * found["Lambda"].value.imag),
    ):
        assert np.all(np.abs(wrong - found[name].value) > found[name].bound)
    inverse = ssm_spec.s4d_inv_bounds(arithmetic=F32, n=32)["Lambda"]
    m = np.arange(16)
    assert np.all(np.abs(-0.5 + 1j * 32 / np.pi * (32 / (m + 1) - 1) - inverse.value)[1:] > inverse.bound[1:])


@pytest.mark.parametrize("op", FAMILY)
def test_bad_sizes_are_refused(op):
    value = getattr(ssm_spec, op)
    with pytest.raises(ssm_spec.DTypeError, match="`n` must be an integer"):
        value(4.0)
    with pytest.raises(ssm_spec.DomainError, match="`n` must lie in"):
        value(0)
    with pytest.raises(ssm_spec.DTypeError, match="`dtype` must be one of"):
        value(4, dtype="int8")
    if op not in ("hippo_legt", "hippo_lagt"):
        with pytest.raises(ssm_spec.ShapeError, match="`n` must be even"):
            value(3)


@pytest.mark.parametrize("theta", [0.0, -1.0, np.inf, np.nan])
def test_a_window_has_a_positive_length(theta):
    """(C3) of hippo_legt."""
    with pytest.raises(ssm_spec.DomainError, match="`theta` must be positive"):
        ssm_spec.hippo_legt(4, theta=theta)
    with pytest.raises(ssm_spec.DTypeError, match="`theta` must be a real number"):
        ssm_spec.hippo_legt(4, theta="1")
