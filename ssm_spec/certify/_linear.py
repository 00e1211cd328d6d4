"""Linear time-invariant systems on the tape, written down as they are defined.

Letters as everywhere: *s systems, n states, m inputs, p outputs, l steps, b rows.
"""

from __future__ import annotations

import numpy as np

from ssm_spec.certify._functions import (
    convolve,
    exp,
    held,
    matrix_exp,
    reciprocal,
    solve,
    twice_the_real_part,
)
from ssm_spec.certify._tape import Variable, constant, join, stack

Outputs = dict[str, Variable]


def discretize_zoh(A: Variable, B: Variable, delta: Variable, *, diagonal: bool = False) -> Outputs:
    """[[Ā, B̄], [0, I]] = exp(Δ [[A, B], [0, 0]]) (Van Loan 1978, theorem 1); φ for each mode."""
    s = _systems((A, 1 if diagonal else 2), (B, 2), (delta, 0))
    (n, m), step = B.shape[-2:], delta[..., None, None]
    if diagonal:
        x = (delta[..., None] * A).broadcast((*s, n))
        return {"A_bar": exp(x), "B_bar": step * held(x)[..., None] * B}
    upper = join([A.broadcast((*s, n, n)), B.broadcast((*s, n, m))], len(s) + 1)
    X = join([upper, constant(np.zeros((*s, m, n + m)))], len(s))
    E = matrix_exp(step * X)
    return {"A_bar": E[..., :n, :n], "B_bar": E[..., :n, n:]}


def discretize_bilinear(
    A: Variable, B: Variable, delta: Variable, alpha: float = 0.5, *, diagonal: bool = False
) -> Outputs:
    """Ā = (I − αΔA)⁻¹(I + (1−α)ΔA), B̄ = (I − αΔA)⁻¹ΔB (S4, arXiv:2111.00396, (3) for α = 1/2)."""
    s = _systems((A, 1 if diagonal else 2), (B, 2), (delta, 0))
    behind, ahead = constant(-alpha), constant(1.0) + constant(-alpha)
    n, step = B.shape[-2], delta[..., None, None]
    right = (step * B).broadcast((*s, *B.shape[-2:]))
    if diagonal:
        x, one = (delta[..., None] * A).broadcast((*s, n)), constant(1.0)
        inverse = reciprocal(one + behind * x)
        return {"A_bar": inverse * (one + ahead * x), "B_bar": inverse[..., None] * right}
    X, identity = (step * A).broadcast((*s, n, n)), constant(np.eye(n))
    W = identity + behind * X
    return {"A_bar": solve(W, identity + ahead * X), "B_bar": solve(W, right)}


def ssm_recurrence(
    A_bar: Variable,
    B_bar: Variable,
    C: Variable,
    u: Variable,
    D: Variable | None = None,
    initial_state: Variable | None = None,
    *,
    return_last_state: bool = False,
    diagonal: bool = False,
) -> Outputs:
    """h_k = Ā h_{k−1} + B̄ u_k, y_k = C h_k + D u_k; y_k = 2 Re(C h_k) + D u_k for complex modes."""
    del return_last_state  # it is always among the outputs
    b, *s, _, l = u.shape
    shape = (b, *s, A_bar.shape[-1])
    h = constant(np.zeros(shape)) if initial_state is None else initial_state
    h = h.broadcast(shape).promoted(A_bar)
    drive = B_bar @ u
    states = []
    for t in range(l):
        h = (A_bar * h if diagonal else (A_bar @ h[..., None])[..., 0]) + drive[..., t]
        states.append(h)
    y = C @ stack(states, len(shape), constant(np.zeros((*shape, 0), complex if h.complex else float)))
    y = twice_the_real_part(y) if diagonal and A_bar.complex else y
    return {"y": y if D is None else y + D @ u, "last_state": h}


def ssm_kernel(
    A_bar: Variable, B_bar: Variable, C: Variable, length: int, *, diagonal: bool = False
) -> Outputs:
    """K_j = C Āʲ B̄ (S4, (5)); 2 Re of it for complex modes."""
    s = _systems((A_bar, 1 if diagonal else 2), (B_bar, 2), (C, 2))
    V = B_bar.broadcast((*s, *B_bar.shape[-2:])).promoted(A_bar)
    terms = []
    for j in range(length):
        if j > 0:
            V = A_bar[..., None] * V if diagonal else A_bar @ V
        term = C @ V
        terms.append(twice_the_real_part(term) if diagonal and A_bar.complex else term)
    shape = (*s, C.shape[-2], B_bar.shape[-1], 0)
    empty = constant(np.zeros(shape, complex if A_bar.complex and not diagonal else float))
    return {"K": stack(terms, len(s) + 2, empty)}


def causal_convolution(u: Variable, K: Variable) -> Outputs:
    """y_t = Σ_{j ≤ t} K_j u_{t−j} (S4, (4))."""
    return {"y": convolve(u, K)}


def ssm_associative_scan(
    a: Variable, x: Variable, evaluation: str = "sequential", *, chunk: int = 64
) -> Outputs:
    """h_t = a_t h_{t−1} + x_t from h₋₁ = 0, so that a₀ is not used (Blelloch 1990, section 1.4)."""
    del evaluation, chunk  # orders of one function
    dense, x = len(a.shape) > len(x.shape), x.promoted(a)
    states: list[Variable] = []
    for t in range(x.shape[-1]):
        now = x[..., t]
        if t > 0:
            a_t, h = a[..., t], states[-1]
            now = (a_t @ h[..., None])[..., 0] + now if dense else a_t * h + now
        states.append(now)
    return {"h": stack(states, len(x.shape) - 1, x)}


def _systems(*arrays: tuple[Variable, int]) -> tuple[int, ...]:
    """*s, from arrays with so many trailing dimensions of their own."""
    return np.broadcast_shapes(*(x.shape[: len(x.shape) - trailing] for x, trailing in arrays))
