"""From a case and a loaded backend to a verdict. One file a kind of question; this one puts it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from math import inf, isnan
from typing import Any, Final

from ssm_backends import Arrays, Backend, Op, refusal
from ssm_conformance.case import Case
from ssm_conformance.checks.accuracy import gradient, layout, value, worst_ratio
from ssm_conformance.checks.chaining import chaining, steps
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.growth import growth
from ssm_conformance.checks.properties import batches, causality, confinement, packing, repeats
from ssm_conformance.checks.refusals import bad_input, unchanged, unclaimed
from ssm_conformance.checks.subject import CheckFailed, Subject
from ssm_conformance.planning import reason_not_asked
from ssm_conformance.verdict import OutputRatio, Verdict

METHODS: Final[Mapping[str, Callable[[Subject], Finding]]] = {
    "value": value,
    "gradient": gradient,
    "layout": layout,
    "causality": causality,
    "packing": packing,
    "confinement": confinement,
    "batches": batches,
    "chaining": chaining,
    "steps": steps,
    "repeats": repeats,
    "growth": growth,
    "unchanged": unchanged,
    "bad_input": bad_input,
    "unclaimed": unclaimed,
}
"""Name of a question → the function that puts it."""


def perform(case: Case, backend: Backend) -> Verdict:
    """Put one case to a backend, with each of its array libraries.

    Parameters
    ----------
    case
        The case.
    backend
        The backend, loaded.

    Returns
    -------
    Verdict
        The worst of its libraries. What the backend raises on a claimed call is its failure;
        what the suite raises is an error.
    """
    op, reason = _serving(case, backend)
    if op is None:
        return _verdict(case, "not_claimed", message=reason)
    return max((_put(case, backend, op, arrays) for arrays in backend.adapters), key=_severity)


def _serving(case: Case, backend: Backend) -> tuple[Op | None, str]:
    """The Op that serves the case's call, if it also claims what the case asks about."""
    call = case.call()
    for op in backend.implementations(case.op):
        if refusal(op, call) is None:
            reason = reason_not_asked(case, op)
            return (op, "") if reason is None else (None, reason)
    return None, f"{case.op} is not claimed for such a call"


def _put(case: Case, backend: Backend, op: Op, arrays: Arrays) -> Verdict:
    lacking = _lacking(case, op, arrays)
    if lacking:
        return _verdict(case, "unavailable", message=f"{arrays.name} arrays have no {lacking}")
    subject = Subject(case, backend, op, arrays)
    try:
        found = METHODS[case.method](subject)
    except CheckFailed as failure:
        return _verdict(case, "fail", message=str(failure))
    except Exception as error:  # the suite's own: the case could not be judged, and the run goes on
        where = traceback.format_exc(limit=-4)
        return _verdict(case, "error", message=f"the suite raised {type(error).__name__}: {error}\n{where}")
    ratio = worst_ratio(found.judgements) if found.judgements else None
    outputs = tuple(
        OutputRatio(name, judgement.ratio, judgement.where) for name, judgement in found.judgements.items()
    )
    status = "pass" if found.passed else "fail"
    return _verdict(
        case,
        status,
        ratio=ratio,
        outputs=outputs,
        message=found.message,
        details=dict(found.details) | _worst(found) | {"clause": case.clause},
    )


def _lacking(case: Case, op: Op, arrays: Arrays) -> str:
    """The instrument that a question needs and a library does not have."""
    if case.method == "layout" and not arrays.strides:
        return "strides"
    if case.method == "growth" and not arrays.memory:
        return "instrument for memory"
    if case.method == "gradient" and op.vjp is None and not arrays.autograd:
        return "differentiation"
    return ""


def _worst(found: Finding) -> dict[str, Any]:
    """The worst element of all outputs, for a reader."""
    ranked = [(name, j) for name, j in found.judgements.items() if j.where is not None]
    if not ranked:
        return {}
    name, judgement = max(ranked, key=lambda pair: inf if isnan(pair[1].ratio) else pair[1].ratio)
    return {
        "worst": {
            "output": name,
            "where": list(judgement.where or ()),
            "value": str(judgement.value),
            "expected": str(judgement.expected),
            "bound": judgement.bound,
        }
    }


def _severity(verdict: Verdict) -> int:
    return ("pass", "not_claimed", "unavailable", "fail", "error").index(verdict.status)


def _verdict(case: Case, status: Any, **more: Any) -> Verdict:
    return Verdict(id=case.id, op=case.op, dtype=case.dtype, check=case.check, status=status, **more)
