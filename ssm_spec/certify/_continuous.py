"""The continuous system h' = A h + B u, y = C h + D u on the tape: its responses at given times.

Letters: *s systems, n states, m inputs, p outputs, l steps, b rows, q times.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ssm_spec.certify._functions import twice_the_real_part
from ssm_spec.certify._linear import discretize_zoh, ssm_recurrence
from ssm_spec.certify._tape import Variable, constant, stack

Outputs = dict[str, Variable]


def continuous_response(
    A: Variable,
    B: Variable,
    C: Variable,
    u: Variable,
    delta: Variable,
    D: Variable | None = None,
    initial_state: Variable | None = None,
    *,
    return_last_state: bool = False,
    diagonal: bool = False,
) -> Outputs:
    """h(kΔ) = exp(ΔA) h((k−1)Δ) + ∫₀^Δ exp(sA) ds B u_k (Åström and Wittenmark, (2.4))."""
    del return_last_state  # it is always among the outputs
    held = discretize_zoh(A, B, delta, diagonal=diagonal)
    return ssm_recurrence(held["A_bar"], held["B_bar"], C, u, D, initial_state, diagonal=diagonal)


def impulse_response(
    A: Variable, B: Variable, C: Variable, times: ArrayLike, *, diagonal: bool = False
) -> Outputs:
    """C exp(tA) B (Åström and Wittenmark, section 2.3); 2 Re of it for complex modes."""

    def state(t: Variable) -> Variable:
        A_bar = discretize_zoh(A, B, t, diagonal=diagonal)["A_bar"]
        return A_bar[..., None] * B if diagonal else A_bar @ B

    return {"g": _at_times(times, C, state, diagonal)}


def step_response(
    A: Variable,
    B: Variable,
    C: Variable,
    times: ArrayLike,
    D: Variable | None = None,
    *,
    diagonal: bool = False,
) -> Outputs:
    """C ∫₀^t exp(sA) ds B + D (Åström and Wittenmark, section 2.3); 2 Re of the first for complex modes."""
    g = _at_times(times, C, lambda t: discretize_zoh(A, B, t, diagonal=diagonal)["B_bar"], diagonal)
    return {"g": g if D is None else g + D[..., None]}


def _at_times(
    times: ArrayLike, C: Variable, state: Callable[[Variable], Variable], diagonal: bool
) -> Variable:
    """γ Re(C X(t)) for each time, (*s, p, m, q)."""
    found = [C @ state(constant(t)) for t in np.asarray(times, dtype=np.float64)]
    at_rest = C @ state(constant(0.0))  # for its shape, where there are no times
    paired = diagonal and at_rest.complex
    parts = [twice_the_real_part(g) if paired else g for g in found]
    empty = (twice_the_real_part(at_rest) if paired else at_rest)[..., None][..., :0]
    return stack(parts, len(at_rest.shape), empty)
