"""With parameters that do not change in time the selective scan is a linear time-invariant system."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import ssm_spec
from ssm_conformance.checks.accuracy import judge_all, summary
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.pieces import streamed
from ssm_conformance.checks.subject import Stored, Subject
from ssm_spec import Arithmetic, Bounded

FREE: Final = ("u", "z")
"""The streams that may change in time."""
DOUBLE: Final = Arithmetic(compute="float64")


def time_invariant(subject: Subject) -> Finding:
    """The outputs against the recurrence with Ā and B̄, and against the convolution with its kernel."""
    plain = dict(subject.case.plain)
    stored = {
        name: _held(item) if name in streamed(subject) and name not in FREE else item
        for name, item in subject.stored.items()
        if name not in ("z", "initial_state")
    }
    held = subject.put(stored, plain)
    outputs = held.forward(held.call)
    for name, exact in _systems(held).items():
        found = summary(judge_all(held, outputs, exact))
        if not found.passed:
            return Finding(found.judgements, f"against the {name}: {found.message}", found.details)
    return found


def _held(item: Stored) -> Stored:
    """The first step's values at every step."""
    return Stored(np.repeat(item.array[..., :1], item.array.shape[-1], axis=-1), item.dtype)


def _systems(subject: Subject) -> dict[str, dict[str, Bounded]]:
    """Two other ways to the same numbers, each with the bound of the scan and its own error."""
    x = subject.oracle_inputs
    b, d, l = x["u"].shape
    A, B, C = np.broadcast_to(x["A"], (b, *x["A"].shape)), _at(x["B"], b, d), _at(x["C"], b, d)
    A_bar, B_bar = _discrete(x, A, B[..., None])
    u = x["u"].reshape(1, b, d, 1, l)
    recurrence = ssm_spec.REFERENCES["ssm_recurrence"].bounds(
        A_bar=A_bar, B_bar=B_bar, C=C[:, :, None, :], u=u, diagonal=True, arithmetic=DOUBLE
    )
    kernel = ssm_spec.ssm_kernel(A_bar, B_bar, C[:, :, None, :], l, diagonal=True)
    convolved = ssm_spec.causal_convolution(x["u"].reshape(1, b * d, l), kernel.reshape(b * d, l))
    through = x["D"][:, None] * x["u"] if "D" in x else 0.0
    y = recurrence["y"].map(lambda v: v.reshape(b, d, l))
    last = recurrence["last_state"].map(lambda v: v.reshape(b, d, -1))
    ways = {
        "recurrence": {"y": (y.value + through, y.bound), "last_state": (last.value, last.bound)},
        "convolution": {"y": (convolved.reshape(b, d, l) + through, y.bound)},
    }
    return {
        way: {
            name: _other(subject.exact[name], *found)
            for name, found in outputs.items()
            if name in subject.exact
        }
        for way, outputs in ways.items()
    }


def _other(scan: Bounded, value: NDArray[Any], own: NDArray[Any]) -> Bounded:
    """The value by another way: Ā and B̄ carry the oracle's own error once more, the sums theirs."""
    return Bounded(value, scan.bound, 2 * scan.own + own, scan.judged)


def _discrete(x: dict[str, Any], A: NDArray[Any], B: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """exp(ΔA) and ΔB, or the exact hold, for each row and channel."""
    delta = x["delta"][..., 0] + x.get("delta_bias", 0.0)
    step = np.logaddexp(0.0, delta) if x.get("delta_softplus") else delta
    A_bar, B_bar = ssm_spec.discretize_zoh(A, B, step, diagonal=True)
    exact = x.get("b_discretization", "euler") == "zoh"
    return A_bar, B_bar if exact else step[..., None, None] * B


def _at(matrix: NDArray[Any], b: int, d: int) -> NDArray[Any]:
    """B or C as each row and channel reads it, (b, d, n)."""
    if matrix.ndim == 2:
        return np.broadcast_to(matrix, (b, *matrix.shape))
    if matrix.ndim == 3:
        return np.repeat(matrix[:, None, :, 0], d, axis=1)
    return np.repeat(matrix[..., 0], d // matrix.shape[1], axis=1)
