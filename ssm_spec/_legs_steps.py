"""The steps of the LegS memory: Ā_k and B̄_k, how long they are, and what may be wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from ssm_spec._discretize import discretize_bilinear_bounds, discretize_zoh_bounds
from ssm_spec._hippo import UNITS, hippo_legs
from ssm_spec._legs_exact_errors import exact_errors
from ssm_spec._norm import euclidean, longest
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._systems import OWN_UNIT
from ssm_spec._validate import Float

_STEPS_AT_ONCE: Final = 64


class Wrong(NamedTuple):
    """What is wrong with [Ā, B̄] of some steps.

    `entries` (s, n, n + 1) bounds its entries, `norms` (s, 2) the 2-norms of its blocks; what the rounding of
    A and B adds to either is no longer than `stored` (s, 2).
    """

    entries: Float
    norms: Float
    stored: Float

    def forward(self, i: int, before: Float) -> Float:
        """Bound what step i makes of [c, f] (·, n + 1) that it should not, in the 2-norm (·)."""
        size = np.column_stack((euclidean(before[:, :-1]), np.abs(before[:, -1])))
        by_entry = euclidean(np.abs(before) @ self.entries[i].T)
        return np.asarray(np.minimum(by_entry, size @ self.norms[i]) + size @ self.stored[i])

    def backward(self, i: int, adjoint: Float) -> Float:
        """Bound what is wrong with Āᵀλ and with B̄ᵀλ, (·, 2), for λ (·, n)."""
        size, by_entry = euclidean(adjoint)[:, None], np.abs(adjoint) @ self.entries[i]
        both = np.column_stack((euclidean(by_entry[:, :-1]), by_entry[:, -1]))
        return np.asarray(np.minimum(both, size * self.norms[i]) + size * self.stored[i])

    def longest(self, i: int) -> Float:
        """Bound ‖δĀ‖₂ and ‖δB̄‖₂ of step i."""
        return np.asarray(self.norms[i] + self.stored[i])


class Steps(NamedTuple):
    """Some steps k in order: `first` is the earliest k.

    `both` is [Ā, B̄] (s, n, n + 1), `norm` bounds ‖Ā‖₂ (s), `by_step` is what an error in Δ does to `both`,
    times Δ. `found` are the blocks with their bounds.
    """

    first: int
    both: Float
    norm: Float
    by_step: Float
    found: tuple[Bounded, Bounded]
    delta: Float
    method: str

    def own_wrong(self) -> Wrong:
        """What is wrong with the oracle's own matrices: A and B are given as they are."""
        entries = np.concatenate([x.own for x in self.found], axis=-1)
        return Wrong(entries, _norms(entries), np.zeros((len(entries), 2)))

    def wrong(self, arithmetic: Arithmetic) -> Wrong:
        """What is wrong with the matrices of honest arithmetic, which made A and B too."""
        A, B = hippo_legs(self.both.shape[-2])
        entries = np.concatenate([x.bound for x in self.found], axis=-1)
        norms = _norms(entries)
        if self.method == "exact":
            norms = np.fmin(norms, exact_errors(A, B, self.delta, arithmetic))
        return Wrong(entries, norms, _stored(A, B, self.delta, arithmetic))


def steps_of(
    n: int, length: int, method: str, arithmetic: Arithmetic = ORACLE, *, backwards: bool = False
) -> Iterator[Steps]:
    """Return the steps k = 2 ... length, some at a time."""
    A, B = hippo_legs(n)
    starts = range(2, length + 1, _STEPS_AT_ONCE)
    eye = np.eye(n)
    for first in reversed(starts) if backwards else starts:
        k = np.arange(first, min(first + _STEPS_AT_ONCE, length + 1), dtype=np.float64)
        if method == "exact":
            step = np.log1p(1.0 / (k - 1.0))
            found = discretize_zoh_bounds(arithmetic=arithmetic, A=A, B=B, delta=step)
            A_bar, B_bar = found["A_bar"].value, found["B_bar"].value
            slopes = A @ A_bar, A @ B_bar + B
        else:
            step = 1.0 / (k - 1.0)
            found = discretize_bilinear_bounds(arithmetic=arithmetic, A=A, B=B, delta=step)
            A_bar, B_bar = found["A_bar"].value, found["B_bar"].value
            # W⁻¹ = (I + Ā)/2.
            half = 0.5 * (eye + A_bar)
            slopes = half @ A @ half, half @ (0.5 * A @ B_bar + B)
        # A, as rounded, moves its logarithmic norm −½ by no more than u ‖A‖.
        decay = -0.5 if method == "exact" else 0.0
        norm = np.exp(step * (decay + OWN_UNIT * np.linalg.norm(A)))
        both, by_step = (np.concatenate(x, axis=-1) for x in ((A_bar, B_bar), slopes))
        yield Steps(
            first, both, norm, step[:, None, None] * by_step, (found["A_bar"], found["B_bar"]), step, method
        )


def _norms(entries: Float) -> Float:
    """Return bounds on the 2-norms of the blocks, (s, 2), of matrices of such entries."""
    return np.column_stack((longest(entries[:, :, :-1]), euclidean(entries[:, :, -1])))


def _stored(A: Float, B: Float, delta: Float, arithmetic: Arithmetic) -> Float:
    """Return what the rounding of A and B, 4u an entry, may do to Ā and B̄ in the 2-norm, (s, 2).

    Whole numbers are exact. ‖e^{sA}‖₂ and ‖W⁻¹‖₂ are at most 1: δX = ΔδA moves Ā by ‖δX‖e^{‖δX‖}. At every
    moment of the step B̄ = (I − Ā)e₀, for A e₀ = −B, is at most 2 long: it moves by (‖ΔδB‖ + 2‖δX‖)e^{‖δX‖}.
    """
    unit = UNITS * arithmetic.u * delta
    of_A, of_B = unit * longest(np.tril(np.abs(A), -1)), unit * np.linalg.norm(B[1:])
    return np.asarray(np.exp(of_A)[:, None] * np.column_stack((of_A, of_B + 2.0 * of_A)))
