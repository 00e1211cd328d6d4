"""Two results of one meaning, against each other: each may lie one bound from the truth, so two apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf, isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_conformance.checks.finding import Finding, worst_message
from ssm_conformance.checks.subject import Stored
from ssm_conformance.judge import Judgement, measure, modulo
from ssm_conformance.storage import preimage
from ssm_spec import Bounded

Ends = tuple[NDArray[Any], NDArray[Any]]


def ends(item: Stored, compute: str) -> Ends:
    """The least and the greatest number that may stand behind each element; of a complex one, each part.

    Parameters
    ----------
    item
        What was stored.
    compute
        The type it was computed in: a narrower one was rounded once more on the way out.
    """
    if item.dtype == "complex64" and compute == "float64":  # each part is rounded on its way out
        (low, high), (low_i, high_i) = (preimage(x, "float32") for x in (item.array.real, item.array.imag))
        return _complex(low, low_i), _complex(high, high_i)
    if item.dtype in (compute, "complex64", "complex128"):
        return item.exact, item.exact
    return preimage(item.array, item.dtype)


def _complex(real: NDArray[np.float64], imag: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Of parts that may be infinite."""
    x = real.astype(np.complex128)
    x.imag = imag
    return x


def gap(a: Ends, b: Ends) -> NDArray[np.float64]:
    """How far the numbers between two ends lie at the least from those between two others."""
    if np.iscomplexobj(a[0]):
        parts = (gap(_part(a, name), _part(b, name)) for name in ("real", "imag"))
        return np.asarray(np.hypot(*parts), dtype=np.float64)
    (low_a, high_a), (low_b, high_b) = a, b
    return np.asarray(np.maximum(np.maximum(low_a - high_b, low_b - high_a), 0.0), dtype=np.float64)


def _part(ends: Ends, name: str) -> Ends:
    low, high = ends
    return getattr(low, name), getattr(high, name)


def apart(a: Stored, b: Stored, compute: str, period: float | None = None) -> NDArray[np.float64]:
    """How far two results lie apart at the least, before they were rounded into their dtype.

    Parameters
    ----------
    a, b
        The results.
    compute
        The type they were computed in.
    period
        What they mean the same modulo.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(modulo(gap(ends(a, compute), ends(b, compute)), period))


def agree(
    got: Stored, reference: Stored, exact: Bounded, compute: str, period: float | None = None
) -> Judgement:
    """One result against another of the same meaning: two bounds apart at most.

    Parameters
    ----------
    got, reference
        The result that is judged, and the one it must agree with.
    exact
        The bounds of both.
    compute, period
        The type they were computed in, and what they mean the same modulo.
    """
    allowed = 2 * (exact.bound + exact.own)
    return measure(apart(got, reference, compute, period), allowed, exact.judged, got.exact, reference.exact)


def part(exact: Bounded, key: Any) -> Bounded:
    """The bounds of a part of an array."""
    return exact.map(lambda x: x[key])


def worst_of(found: Mapping[str, Judgement], other: Mapping[str, Judgement]) -> dict[str, Judgement]:
    """Name by name the judgement with the greater ratio; NaN is the greatest."""
    merged = dict(found)
    for name, judgement in other.items():
        kept = merged.get(name)
        if kept is None or _rank(judgement) > _rank(kept):
            merged[name] = judgement
    return merged


def _rank(judgement: Judgement) -> float:
    return inf if isnan(judgement.ratio) else judgement.ratio


def finding(judgements: Mapping[str, Judgement], when: str) -> Finding:
    """The judgements as a finding; a failure says under which circumstances.

    Parameters
    ----------
    judgements
        By output.
    when
        Under which circumstances: the beginning of the message.
    """
    message = worst_message(judgements)
    return replace(Finding(judgements), message=f"{when}: {message}" if message else "")
