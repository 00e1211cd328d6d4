"""The convolution kernel of S4: a diagonal plus low-rank system, directly and by its generating function.

    A = diag(Λ) − P Q*,   (Ā, B̄) bilinear,   K_j = C Āʲ B̄           (S4, arXiv:2111.00396, theorem 3 and 5)

At the l-th roots of unity ω the generating function is Σ_j K_j ωʲ = C̃ (I − Ā ω)⁻¹ B̄ with
C̃ = C (I − Āˡ). With D_n = (1 − ω) − ½Δ(1 + ω) λ_n, c = ½Δ(1 + ω) and the Cauchy sums
k(x, y) = Σ_n x_n y_n / D_n, Woodbury's identity gives

    K̂(ω) = Δ [ k(C̃, B) − c k(C̃, P) k(Q̄, B) / (1 + c k(Q̄, P)) ].

(1 + ω) multiplies and never divides, so that ω = −1 is no exception. What the kernel means is the first
line; "dense" evaluates that, and has a bound for every term.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from ssm_spec._calls import arguments_of, operator
from ssm_spec._errors import DomainError
from ssm_spec._layer import System, discretised, pull_back, run
from ssm_spec._layer_views import given_back
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
DIFFERENTIABLE = ("delta", "Lambda", "P", "Q", "B", "C")
EVALUATIONS: Final = ("dense", "generating_function")


class Dplr(NamedTuple):
    """The arguments, checked, all n states present, complex128: delta (d); the others (d, n)."""

    delta: Float
    Lambda: Array
    P: Array
    Q: Array
    B: Array
    C: Array
    length: int
    paired: bool

    @property
    def A(self) -> Array:  # noqa: N802 - the papers' name of the matrix
        """diag(Λ) − P Q*, (d, n, n)."""
        low_rank = self.P[..., :, None] * np.conj(self.Q)[..., None, :]
        return np.asarray(self.Lambda[..., None] * np.eye(self.Lambda.shape[-1]) - low_rank)


@operator
def s4_kernel(
    delta: Float,
    Lambda: Array,
    P: Array,
    Q: Array,
    B: Array,
    C: Array,
    length: int,
    *,
    paired: bool = False,
    evaluation: str = "dense",
) -> Array:
    """Return the first `length` terms of S4's kernel, one system a channel.

    (C1) A = diag(Λ) − P Q* with Q conjugated; C is not.
    (C2) With `paired`, the arrays hold one of each conjugate pair, and the system meant is the whole one:
         diag(Λ, Λ̄) − [P; P̄][Q; Q̄]*, B and C mirrored too; K is then real.
    (C3) The rule is the bilinear one.
    (C4) Both evaluations are one function. By the generating function, no eigenvalue of Ā may be an l-th
         root of unity, and no λ may lie on the imaginary axis where it meets one: refused. Re λ < 0 suffices.

    Parameters
    ----------
    delta
        (d,), real.
    Lambda, P, Q, B, C
        (d, n), float or complex.
    length
        l >= 0.
    paired
        Whether one of each conjugate pair is given.
    evaluation
        "dense" or "generating_function".

    Returns
    -------
    K
        (d, l), complex128, or float64 if `paired`.
    """
    call = read(delta, Lambda, P, Q, B, C, length, paired)
    as_choice("evaluation", evaluation, EVALUATIONS)
    K = by_generating_function(call) if evaluation == "generating_function" else by_recurrence(call)
    return K.real if paired else K


@arguments_of(s4_kernel)
def s4_kernel_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return the gradients of the inputs of `s4_kernel` named in `wrt` (default: all).

    With dA from the dense system: dΛ = diag(dA), dP = −dA Q, dQ = −dAᴴ P. Mirrored halves fold together.
    """
    call, names, G = read_vjp(cotangents, wrt, inputs)
    system = impulse_response(call)
    slopes = pull_back(system, {"y": G[None, :, None, :]})
    dA = slopes["A"]
    found = {
        "delta": slopes["delta"],
        "Lambda": np.diagonal(dA, axis1=-2, axis2=-1),
        "P": -(dA @ call.Q[..., None])[..., 0],
        "Q": -(np.conj(np.swapaxes(dA, -1, -2)) @ call.P[..., None])[..., 0],
        "B": slopes["B"][..., 0],
        "C": slopes["C"][..., 0, :],
    }
    return {name: given_back(folded(found[name], name, call), inputs[name]) for name in names}


def read(
    delta: object, Lambda: object, P: object, Q: object, B: object, C: object, length: object, paired: bool
) -> Dplr:
    """Check every argument, and mirror the halves of a paired system."""
    dims = Dimensions()
    delta_ = as_real_array("delta", delta)
    dims.match("delta", delta_, "d")
    vectors = []
    for name, value in (("Lambda", Lambda), ("P", P), ("Q", Q), ("B", B), ("C", C)):
        array = as_array(name, value).astype(np.complex128, copy=False)
        dims.match(name, array, "d n")
        vectors.append(np.concatenate((array, np.conj(array)), axis=-1) if paired else array)
    at_least_one("Lambda", "n", dims["n"])
    size = as_size("length", length)
    Lambda_, P_, Q_, B_, C_ = vectors
    return Dplr(delta_, Lambda_, P_, Q_, B_, C_, size, paired)


def read_keywords(inputs: Mapping[str, Any]) -> Dplr:
    """Read a call given by keywords; `evaluation` changes no meaning."""
    as_choice("evaluation", inputs.get("evaluation", "dense"), EVALUATIONS)
    return read(**{"paired": False, **{k: v for k, v in inputs.items() if k != "evaluation"}})


def read_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None, inputs: Mapping[str, Any]
) -> tuple[Dplr, tuple[str, ...], Array]:
    """Return the call, the names asked for, and the cotangent of K (d, l)."""
    call = read_keywords(inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    check_cotangent_names(cotangents, OUTPUTS)
    shape = (len(call.delta), call.length)
    G = as_cotangent(cotangents, "K", shape, complex_=not call.paired)
    return call, names, np.zeros(shape) if G is None else G


def impulse_response(call: Dplr) -> System:
    """Return the dense system whose output is the kernel, with the impulse (1, d, 1, l) that asks for it."""
    u = np.zeros((1, len(call.delta), 1, call.length))
    u[..., :1] = 1.0
    return System(call.A, call.B[..., None], call.C[:, None, :], None, call.delta, u, None, "bilinear", False)


def by_recurrence(call: Dplr) -> Array:
    """Return K (d, l) as the dense system's response to an impulse."""
    y, _ = run(impulse_response(call))
    return y[0, :, 0]


def by_generating_function(call: Dplr) -> Array:
    """Return K (d, l) from K̂ at the roots of unity, as at the top of this file."""
    if call.length == 0:
        return np.zeros((len(call.delta), 0), dtype=np.complex128)
    A_bar, _ = discretised(impulse_response(call))
    truncated = call.C - (call.C[:, None, :] @ np.linalg.matrix_power(A_bar, call.length))[:, 0]
    omega = np.exp(-2j * np.pi * np.arange(call.length) / call.length)
    c = 0.5 * call.delta[:, None] * (1.0 + omega)
    D = (1.0 - omega)[:, None] - c[..., None] * call.Lambda[:, None, :]
    with np.errstate(all="ignore"):

        def cauchy(x: Array, y: Array) -> Array:
            return np.asarray(np.sum((x * y)[:, None, :] / D, axis=-1))

        Q = np.conj(call.Q)
        denominator = 1.0 + c * cauchy(Q, call.P)
        corrected = c * cauchy(truncated, call.P) * cauchy(Q, call.B) / denominator
        K_hat = call.delta[:, None] * (cauchy(truncated, call.B) - corrected)
    if not np.all(np.isfinite(K_hat)):
        bad = int(np.argmin(np.all(np.isfinite(K_hat), axis=-1)))
        raise DomainError(
            "`Lambda` must leave every I - omega A_bar, omega an l-th root of unity, invertible by modes; "
            f"channel {bad} does not"
        )
    return np.fft.ifft(K_hat, axis=-1)


def folded(gradient: Array, name: str, call: Dplr) -> Array:
    """Return the gradient of the half given: x and x̄ both moved."""
    if not call.paired or name == "delta":
        return gradient
    half = gradient.shape[-1] // 2
    return np.asarray(gradient[..., :half] + np.conj(gradient[..., half:]))
