"""The layers of the field on the tape, each as the linear system that it is.

Letters: b rows, d channels, h heads, w the width of a head, l steps, n states (or modes kept), p modes of S5.
"""

from __future__ import annotations

import numpy as np

from ssm_spec.certify._functions import conjugated, convolve, the_real_part
from ssm_spec.certify._linear import discretize_bilinear, discretize_zoh, ssm_kernel, ssm_recurrence
from ssm_spec.certify._tape import Variable, constant, join, stack

Outputs = dict[str, Variable]

_ALPHA = {"forward_euler": 0.0, "bilinear": 0.5, "backward_euler": 1.0}


def s4d_kernel(
    delta: Variable, A: Variable, B: Variable, C: Variable, length: int, *, discretization: str = "zoh"
) -> Outputs:
    """K_j = γ Re Σ_n C_n b̄_n ā_nʲ (S4D, arXiv:2206.11893, (6))."""
    bars = _discretised(A, B[..., None], delta, discretization, diagonal=True)
    K = ssm_kernel(*bars, C[:, None, :], length, diagonal=True)["K"]
    return {"K": K[:, 0, 0]}


def s4d(
    u: Variable,
    delta: Variable,
    A: Variable,
    B: Variable,
    C: Variable,
    D: Variable | None = None,
    *,
    initial_state: Variable | None = None,
    discretization: str = "zoh",
    return_last_state: bool = False,
) -> Outputs:
    """h_k = ā h_{k−1} + b̄ u_k, y_k = γ Re Σ_n C_n h_k + D u_k in each channel (S4D, (3) and (6))."""
    del return_last_state  # it is always among the outputs
    bars = _discretised(A, B[..., None], delta, discretization, diagonal=True)
    direct = None if D is None else D[:, None, None]
    found = ssm_recurrence(*bars, C[:, None, :], u[:, :, None], direct, initial_state, diagonal=True)
    return {"y": found["y"][:, :, 0], "last_state": found["last_state"]}


def lssl(
    u: Variable,
    delta: Variable,
    A: Variable,
    B: Variable,
    C: Variable,
    D: Variable | None = None,
    *,
    initial_state: Variable | None = None,
    discretization: str = "bilinear",
    return_last_state: bool = False,
) -> Outputs:
    """h_k = Ā h_{k−1} + B̄ u_k, y_k = C h_k + D u_k, a full system a channel (LSSL, arXiv:2110.13985, (3))."""
    del return_last_state  # it is always among the outputs
    bars = _discretised(A, B[..., None], delta, discretization, diagonal=False)
    direct = None if D is None else D[..., None]
    return ssm_recurrence(*bars, C, u[:, :, None], direct, initial_state)


def s5(
    u: Variable,
    delta: Variable,
    A: Variable,
    B: Variable,
    C: Variable,
    D: Variable | None = None,
    *,
    initial_state: Variable | None = None,
    discretization: str = "zoh",
    return_last_state: bool = False,
) -> Outputs:
    """h_k = ā h_{k−1} + B̄ u_k, y_k = γ Re(C h_k) + D u_k, a Δ for each mode (S5, arXiv:2208.04933)."""
    del return_last_state  # it is always among the outputs
    bars = _discretised(A[:, None], B[:, None], delta, discretization, diagonal=True)
    A_bar, B_bar = (bar[:, 0] for bar in bars)
    found = ssm_recurrence(A_bar, B_bar, C, u, initial_state=initial_state, diagonal=True)
    return found if D is None else {**found, "y": found["y"] + D[:, None] * u}


def s4_kernel(
    delta: Variable,
    Lambda: Variable,
    P: Variable,
    Q: Variable,
    B: Variable,
    C: Variable,
    length: int,
    *,
    paired: bool = False,
    evaluation: str = "dense",
) -> Outputs:
    """K_j = C Āʲ B̄, A = diag(Λ) − P Q*, bilinear (S4, arXiv:2111.00396, (5)); Re of it where mirrored."""
    del evaluation  # two ways to one function
    vectors = [x.promoted(constant(0j)) for x in (Lambda, P, Q, B, C)]
    if paired:
        vectors = [join([x, conjugated(x)], 1) for x in vectors]
    Lambda, P, Q, B, C = vectors
    A = Lambda[..., None] * constant(np.eye(Lambda.shape[-1])) + constant(-1.0) * (
        P[..., None] * conjugated(Q)[..., None, :]
    )
    bars = _discretised(A, B[..., None], delta, "bilinear", diagonal=False)
    K = ssm_kernel(*bars, C[:, None, :], length)["K"][:, 0, 0]
    return {"K": the_real_part(K) if paired else K}


def h3(
    q: Variable,
    k: Variable,
    v: Variable,
    shift: Variable,
    shift_D: Variable,
    delta: Variable,
    A: Variable,
    B: Variable,
    C: Variable,
    D: Variable | None = None,
    out_proj: Variable | None = None,
    *,
    discretization: str = "zoh",
) -> Outputs:
    """k' = shift * k + D_k k, y_j = Σ_i q_i (SSM(k'_i v_j) + D k'_i v_j), then W (H3, arXiv:2212.14052, 3.1).

    The diagonal system as the convolution that it is; channel h w + i is number i of head h.
    """
    d, l = q.shape[1:]
    heads = A.shape[0]
    width = d // heads
    K = s4d_kernel(delta, A, B, C, l, discretization=discretization)["K"]
    keys = convolve(k, shift) + shift_D[:, None] * k
    outputs: list[Variable] = []
    for j in range(width):
        y = constant(np.zeros((q.shape[0], heads, l)))
        for i in range(width):
            x = keys[:, i::width] * v[:, j::width]
            s = convolve(x, K) if D is None else convolve(x, K) + D[:, None] * x
            y = y + q[:, i::width] * s
        outputs.append(y)
    y = stack([outputs[c % width][:, c // width] for c in range(d)], 1, q)
    return {"y": y if out_proj is None else out_proj @ y}


def _discretised(
    A: Variable, B: Variable, delta: Variable, rule: str, *, diagonal: bool
) -> tuple[Variable, Variable]:
    """Ā and B̄ by the rule of that name."""
    if rule == "zoh":
        found = discretize_zoh(A, B, delta, diagonal=diagonal)
    else:
        found = discretize_bilinear(A, B, delta, _ALPHA[rule], diagonal=diagonal)
    return found["A_bar"], found["B_bar"]
