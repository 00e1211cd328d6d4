"""What a step only hands on keeps its bits: slots that no row names, and inputs that are only shifted."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.perturb import Mask, bits
from ssm_conformance.checks.pooled import Pool
from ssm_conformance.checks.subject import Stored, Subject
from ssm_conformance.checks.vacuous import some
from ssm_conformance.storage import store

UNUSUAL: Final = (-0.0, np.inf, 1.5, -0.0, -np.inf, -3.0, np.nan)
"""What arithmetic does not leave as it is, −0 + 0 being 0 and ∞ times 0 NaN, and numbers among it.

As many as divide no size of a state: neighbours along any axis differ.
"""


def bits_kept(subject: Subject) -> Finding:
    """States of what is unusual, and an x in which every second number is −0, come back in their places.

    A NaN may come back as another one.
    """
    stored = _unusual(subject)
    expected, kept = _handed_on(subject, stored)
    some(np.flatnonzero(kept), "element that is handed on")
    after = subject.forward(subject.into(stored))["state"]
    wrong = kept & (bits(after.array) != bits(expected.array))
    wrong &= ~(np.isnan(after.exact) & np.isnan(expected.exact))
    if not wrong.any():
        return Finding()
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    return Finding(
        message=f"state{list(where)} is {after.exact[where]:.9g}, and must have the bits of "
        f"{expected.exact[where]:.9g} ({int(wrong.sum())} of {int(kept.sum())} elements)"
    )


def _unusual(subject: Subject) -> dict[str, Stored]:
    """The case's arrays with such numbers in the state, and in x where that enters it."""
    stored, state = dict(subject.stored), subject.stored["state"]
    stored["state"] = _put(np.resize(UNUSUAL, state.array.shape), state.dtype)
    if "x" in stored:
        x = stored["x"]
        odd = np.arange(x.array.size).reshape(x.array.shape) % 2 == 1
        stored["x"] = _put(np.where(odd, -0.0, x.exact), x.dtype)
    return stored


def _put(values: NDArray[Any], dtype: str) -> Stored:
    return Stored(store(values, dtype), dtype)


def _handed_on(subject: Subject, stored: dict[str, Stored]) -> tuple[Stored, Mask]:
    """The new states as far as they are old ones, and where they are."""
    pool, state = Pool.of(subject), stored["state"]
    expected = state.array.copy()
    kept = np.broadcast_to(~pool.named.reshape(-1, *[1] * (expected.ndim - 1)), expected.shape).copy()
    # All shift by one, and x is the newest: copied where it has the state's dtype.
    if subject.case.op == "causal_conv1d_update":
        rows = np.flatnonzero(pool.indices >= 0)
        slots = pool.indices[rows]
        expected[slots, :, :-1] = state.array[slots, :, 1:]
        kept[slots, :, :-1] = True
        if stored["x"].dtype == state.dtype:
            expected[slots, :, -1] = stored["x"].array[rows]
            kept[slots, :, -1] = True
    return Stored(expected, state.dtype), kept
