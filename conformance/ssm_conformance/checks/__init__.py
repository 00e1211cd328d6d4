"""From a case and a loaded backend to a verdict. One file a kind of question; this one puts it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from math import inf, isnan
from typing import Any, Final

import ssm_spec
from ssm_backends import Arrays, Backend, Op, refusal
from ssm_conformance.case import Case
from ssm_conformance.checks.accuracy import gradient, value, worst_ratio
from ssm_conformance.checks.batches import batches, batches_alone
from ssm_conformance.checks.chaining import chaining, steps
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.growth import growth
from ssm_conformance.checks.inputs import in_place, unchanged
from ssm_conformance.checks.placement import far, gradient_layout, guarded, layout, poison
from ssm_conformance.checks.poison import can_poison
from ssm_conformance.checks.properties import causality, confinement, packing, packing_gradients
from ssm_conformance.checks.reduction import time_invariant
from ssm_conformance.checks.refusals import bad_input, not_supported, unclaimed
from ssm_conformance.checks.repetition import digests, processes, repeats
from ssm_conformance.checks.sequences import left_padding, separate, separate_gradients
from ssm_conformance.checks.subject import CheckFailed, NotAsked, Subject, Unobservable
from ssm_conformance.checks.superposition import superposition
from ssm_conformance.planning import asks_gradient, reason_claimed, reason_not_asked
from ssm_conformance.verdict import OutputRatio, Verdict

METHODS: Final[Mapping[str, Callable[[Subject], Finding]]] = {
    "value": value,
    "gradient": gradient,
    "layout": layout,
    "gradient_layout": gradient_layout,
    "far": far,
    "guarded": guarded,
    "poison": poison,
    "unchanged": unchanged,
    "in_place": in_place,
    "causality": causality,
    "packing": packing,
    "packing_gradients": packing_gradients,
    "separate": separate,
    "separate_gradients": separate_gradients,
    "left_padding": left_padding,
    "confinement": confinement,
    "batches": batches,
    "batches_alone": batches_alone,
    "superposition": superposition,
    "time_invariant": time_invariant,
    "chaining": chaining,
    "steps": steps,
    "repeats": repeats,
    "processes": processes,
    "growth": growth,
    "bad_input": bad_input,
    "unclaimed": unclaimed,
    "not_supported": not_supported,
}
"""Name of a question → the function that puts it."""
Elsewhere = Callable[[str, str], Mapping[str, str]]
"""Case id and name of the array library → what another process gets, as :func:`hashes` gives it."""


def perform(case: Case, backend: Backend, elsewhere: Elsewhere | None = None) -> Verdict:
    """Put one case to a backend, with each of its array libraries.

    Parameters
    ----------
    case
        The case.
    backend
        The backend, loaded.
    elsewhere
        Puts a case in another process; None if the backend cannot be loaded there.

    Returns
    -------
    Verdict
        The worst of its libraries, those aside that have no such dtypes. What the backend raises
        on a claimed call is its failure; what the suite raises is an error.
    """
    op, reason = _serving(case, backend)
    if op is None:
        return _verdict(case, "not_claimed", message=reason)
    wanted = set(case.dtypes().values())
    able = [arrays for arrays in backend.adapters if wanted.isdisjoint(getattr(arrays, "lacks", ()))]
    if not able:
        names = " and ".join(arrays.name for arrays in backend.adapters)
        # Of what is not claimed, nothing is left unverified where the library itself cannot hold it.
        status = "not_claimed" if case.method == "not_supported" else "unavailable"
        return _verdict(case, status, message=f"{names} arrays have no dtype of this case")
    subjects = [Subject(case, backend, op, arrays, elsewhere=elsewhere) for arrays in able]
    return max((_put(subject) for subject in subjects), key=_severity)


def hashes(case: Case, backend: Backend, library: str) -> dict[str, str]:
    """The bits of a case's results, as hashes: what another process compares with its own.

    Parameters
    ----------
    case
        A case that the backend's claims accept.
    backend
        The backend, loaded.
    library
        Name of the adapter whose arrays it is given.
    """
    op, reason = _serving(case, backend)
    if op is None:
        raise AssertionError(reason)
    arrays = next(adapter for adapter in backend.adapters if adapter.name == library)
    return digests(Subject(case, backend, op, arrays))


def _serving(case: Case, backend: Backend) -> tuple[Op | None, str]:
    """The Op that serves the case's call, if it also claims what the case asks about."""
    implementations, call = backend.implementations(case.op), case.call()
    claimed = reason_claimed(case, implementations)
    if claimed is not None:
        return None, claimed
    if case.method == "not_supported":
        return implementations[0], ""
    for op in implementations:
        if refusal(op, call) is None:
            reason = reason_not_asked(case, op)
            return (op, "") if reason is None else (None, reason)
    return None, f"{case.op} is not claimed for such a call"


def _put(subject: Subject) -> Verdict:
    case = subject.case
    lacking = _lacking(case, subject.op, subject.arrays)
    if lacking:
        return _verdict(case, "unavailable", message=f"{subject.arrays.name} arrays have no {lacking}")
    try:
        found = METHODS[case.method](subject)
    except CheckFailed as failure:
        return _verdict(case, "fail", message=str(failure))
    except NotAsked as refused:
        return _verdict(case, "not_claimed", message=str(refused))
    except Unobservable as missing:
        return _verdict(case, "unavailable", message=str(missing))
    except ssm_spec.DomainError as error:  # the case's numbers are in the domain: the declaration is not
        if not subject.op.arithmetic:
            raise
        return _verdict(case, "fail", message=f"what it declares has no meaning here: {error}")
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
    if case.method in ("layout", "gradient_layout", "far", "guarded") and not arrays.strides:
        return "strides"
    if case.method == "poison" and not can_poison(arrays.device, arrays):
        return "way to poison fresh memory"
    if case.method == "growth" and not arrays.memory:
        return "instrument for memory"
    if asks_gradient(case) and op.vjp is None and not arrays.autograd:
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
