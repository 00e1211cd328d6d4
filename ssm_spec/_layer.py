"""A layer that is one linear system: discretise, then run. What S4D, LSSL, S5 and H3 have in common.

    (Ā, B̄) = rule(A, B, Δ);   h_k = Ā h_{k−1} + B̄ u_k,   y_k = γ Re(C h_k) + D u_k

Values and gradients are compositions of `discretize_*` and `ssm_recurrence`. A layer names its arguments
and their shapes; this file has them as systems: A (*s, n) modes or (*s, n, n), B (*s, n, m), C (*s, p, n),
D (*s, p, m), delta (*s, 1) or (*s, n) beside modes and (*s) beside a full A, u (b, *s, m, l),
initial_state (b, *s, n).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from ssm_spec._discretize import (
    discretize_bilinear,
    discretize_bilinear_bounds,
    discretize_bilinear_vjp,
    discretize_bilinear_vjp_bounds,
    discretize_zoh,
    discretize_zoh_bounds,
    discretize_zoh_vjp,
    discretize_zoh_vjp_bounds,
)
from ssm_spec._recurrence import ssm_recurrence, ssm_recurrence_vjp
from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec._validate import Array

_ALPHA: Final = {"forward_euler": 0.0, "bilinear": 0.5, "backward_euler": 1.0}
RULES: Final = ("zoh", *_ALPHA)


class System(NamedTuple):
    """One linear system in continuous time, its step and its input, checked; shapes as at the top."""

    A: Array
    B: Array
    C: Array
    D: Array | None
    delta: Array
    u: Array
    initial_state: Array | None
    rule: str
    diagonal: bool

    def arrays(self) -> dict[str, Array]:
        """Return the array arguments that were given, by name."""
        every = {name: getattr(self, name) for name in ("A", "B", "C", "D", "delta", "u", "initial_state")}
        return {name: array for name, array in every.items() if array is not None}


def run(system: System) -> tuple[Array, Array]:
    """Return y (b, *s, p, l) and the last state (b, *s, n)."""
    A_bar, B_bar = discretised(system)
    y, last = ssm_recurrence(
        A_bar,
        B_bar,
        system.C,
        system.u,
        system.D,
        system.initial_state,
        return_last_state=True,
        diagonal=system.diagonal,
    )
    return y, last


def pull_back(system: System, cotangents: Mapping[str, Array | None]) -> dict[str, Array]:
    """Return the gradient of every array that was given, in the shapes of `System`."""
    slopes = ssm_recurrence_vjp(cotangents, **recurrence_arguments(system))
    through = discretised_vjp(system, slopes.pop("A_bar"), slopes.pop("B_bar"))
    return {**through, **slopes}


def recurrence_arguments(system: System) -> dict[str, Any]:
    """Return the keywords of `ssm_recurrence` that run the discretised system."""
    A_bar, B_bar = discretised(system)
    kept = {name: getattr(system, name) for name in ("C", "D", "u", "initial_state", "diagonal")}
    return {"A_bar": A_bar, "B_bar": B_bar, **kept}


def discretised(system: System) -> tuple[Array, Array]:
    """Return Ā and B̄ in the shapes of A and B."""
    given = _arguments(system)
    if system.rule == "zoh":
        A_bar, B_bar = discretize_zoh(**given)
    else:
        A_bar, B_bar = discretize_bilinear(alpha=_ALPHA[system.rule], **given)
    return A_bar.reshape(system.A.shape), B_bar.reshape(system.B.shape)


def discretised_bounds(system: System, arithmetic: Arithmetic) -> tuple[Bounded, Bounded]:
    """Return Ā and B̄ with what honest arithmetic may do to them, in the shapes of A and B."""
    given = _arguments(system)
    if system.rule == "zoh":
        found = discretize_zoh_bounds(arithmetic=arithmetic, **given)
    else:
        found = discretize_bilinear_bounds(arithmetic=arithmetic, alpha=_ALPHA[system.rule], **given)
    return reshaped(found["A_bar"], system.A.shape), reshaped(found["B_bar"], system.B.shape)


def discretised_vjp(system: System, dA_bar: Array, dB_bar: Array) -> dict[str, Array]:
    """Return the gradients of A, B and delta for cotangents of Ā's and B̄'s shapes."""
    given = _arguments(system)
    cotangents = _cotangents(system, dA_bar, dB_bar)
    if system.rule == "zoh":
        slopes = discretize_zoh_vjp(cotangents, **given)
    else:
        slopes = discretize_bilinear_vjp(cotangents, alpha=_ALPHA[system.rule], **given)
    return {name: slopes[name].reshape(getattr(system, name).shape) for name in ("A", "B", "delta")}


def discretised_vjp_bounds(
    system: System, dA_bar: Array, dB_bar: Array, arithmetic: Arithmetic
) -> dict[str, Bounded]:
    """Return the same with what honest arithmetic may do to them, the cotangents being exact."""
    given = _arguments(system)
    cotangents = _cotangents(system, dA_bar, dB_bar)
    if system.rule == "zoh":
        found = discretize_zoh_vjp_bounds(cotangents, arithmetic=arithmetic, **given)
    else:
        alpha = _ALPHA[system.rule]
        found = discretize_bilinear_vjp_bounds(cotangents, arithmetic=arithmetic, alpha=alpha, **given)
    return {name: reshaped(found[name], getattr(system, name).shape) for name in ("A", "B", "delta")}


def alpha_of(rule: str) -> float:
    """Return α of a rule of the bilinear family."""
    return _ALPHA[rule]


def reshaped(bounded: Bounded, shape: tuple[int, ...]) -> Bounded:
    """Return all four arrays in another shape."""
    return Bounded(
        *(np.reshape(a, shape) for a in (bounded.value, bounded.bound, bounded.own, bounded.judged))
    )


def _arguments(system: System) -> dict[str, Any]:
    """Return the keywords of `discretize_*`; each mode is a system of one state, so that Δ may be its own."""
    if not system.diagonal:
        return {"A": system.A, "B": system.B, "delta": system.delta}
    one_by_one = {"A": system.A[..., None], "B": system.B[..., None, :], "delta": system.delta}
    return {**one_by_one, "diagonal": True}


def _cotangents(system: System, dA_bar: Array, dB_bar: Array) -> dict[str, Array]:
    if not system.diagonal:
        return {"A_bar": dA_bar, "B_bar": dB_bar}
    return {"A_bar": dA_bar[..., None], "B_bar": dB_bar[..., None, :]}
