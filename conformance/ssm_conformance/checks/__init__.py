"""From a case and a loaded backend to a verdict. One file a kind of question; this one puts it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf, isnan
from typing import Any, Final

import ssm_spec
from ssm_backends import Arrays, Backend, Op, refusal
from ssm_conformance.case import Case
from ssm_conformance.checks.accuracy import check_types, gradient, value, worst_ratio
from ssm_conformance.checks.alive import overlapping, written_between
from ssm_conformance.checks.apart import gradients_apart, layouts_apart
from ssm_conformance.checks.autocast import autocast
from ssm_conformance.checks.batches import batches, batches_alone
from ssm_conformance.checks.captured import captured
from ssm_conformance.checks.chaining import chaining, steps
from ssm_conformance.checks.compiled import compiled
from ssm_conformance.checks.confinement import confinement, confinement_gradients
from ssm_conformance.checks.distance import far, far_cotangents
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.growth import growth
from ssm_conformance.checks.guarded import guarded
from ssm_conformance.checks.inputs import in_place, unchanged
from ssm_conformance.checks.kept import bits_kept
from ssm_conformance.checks.lazy import lazily
from ssm_conformance.checks.modes import modes
from ssm_conformance.checks.placement import gradient_layout, layout, poison
from ssm_conformance.checks.poison import can_poison
from ssm_conformance.checks.pools import skipped, unread
from ssm_conformance.checks.properties import anticausality, causality, packing, packing_gradients
from ssm_conformance.checks.reduction import time_invariant
from ssm_conformance.checks.refusals import bad_input, not_supported
from ssm_conformance.checks.repetition import digests, processes, repeats
from ssm_conformance.checks.reuse import reused
from ssm_conformance.checks.scaled import scaled_cotangents
from ssm_conformance.checks.sequences import left_padding, separate, separate_gradients
from ssm_conformance.checks.shared import shared
from ssm_conformance.checks.subject import CheckFailed, NoRoom, NotAsked, Subject, Unobservable
from ssm_conformance.checks.superposition import superposition
from ssm_conformance.checks.twice import backward_again, second_derivative
from ssm_conformance.checks.unclaimed import unclaimed
from ssm_conformance.planning import asks_gradient, reason_claimed, reason_not_asked
from ssm_conformance.verdict import LACKS, MEMORY, OutputRatio, Verdict

METHODS: Final[Mapping[str, Callable[[Subject], Finding]]] = {
    "value": value,
    "gradient": gradient,
    "layout": layout,
    "gradient_layout": gradient_layout,
    "layouts_apart": layouts_apart,
    "gradients_apart": gradients_apart,
    "scaled_cotangents": scaled_cotangents,
    "shared": shared,
    "far": far,
    "far_cotangents": far_cotangents,
    "guarded": guarded,
    "poison": poison,
    "unchanged": unchanged,
    "reused": reused,
    "in_place": in_place,
    "bits_kept": bits_kept,
    "causality": causality,
    "anticausality": anticausality,
    "packing": packing,
    "skipped": skipped,
    "unread": unread,
    "packing_gradients": packing_gradients,
    "separate": separate,
    "separate_gradients": separate_gradients,
    "left_padding": left_padding,
    "confinement": confinement,
    "confinement_gradients": confinement_gradients,
    "batches": batches,
    "batches_alone": batches_alone,
    "superposition": superposition,
    "time_invariant": time_invariant,
    "chaining": chaining,
    "steps": steps,
    "repeats": repeats,
    "processes": processes,
    "compiled": compiled,
    "captured": captured,
    "autocast": autocast,
    "modes": modes,
    "lazily": lazily,
    "overlapping": overlapping,
    "written_between": written_between,
    "backward_again": backward_again,
    "second_derivative": second_derivative,
    "growth": growth,
    "bad_input": bad_input,
    "unclaimed": unclaimed,
    "not_supported": not_supported,
}
"""Name of a question → the function that puts it."""
GRADIENTS_TOO: Final = (
    *("unchanged", "reused", "layouts_apart", "shared", "guarded", "far", "poison", "processes", "lazily"),
)
"""Questions about the outputs, and about the gradients where they are claimed."""
STRIDED: Final = (*("layout", "gradient_layout", "layouts_apart", "far", "far_cotangents", "guarded"),)
"""Questions about how arrays lie in memory."""
PYTORCH: Final = (
    *("compiled", "captured", "autocast", "modes", "lazily"),
    *("backward_again", "second_derivative", "written_between"),
)
"""Questions about PyTorch tensors alone: a backend's other libraries are not asked."""
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
    able, lacking = _able(case, backend)
    if not able:
        # Where no claim is asked about, none is left unverified.
        elsewhere_alone = _reversed(case) or (case.method in PYTORCH and "claim" not in case.options)
        unclaimed = case.method == "not_supported" or elsewhere_alone
        return _verdict(case, "not_claimed" if unclaimed else "unavailable", message=lacking)
    return _worst_of(
        {arrays.name: _put(Subject(case, backend, op, arrays, elsewhere=elsewhere)) for arrays in able}
    )


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


def _able(case: Case, backend: Backend) -> tuple[list[Arrays], str]:
    """The libraries that the case can be put to; and what they lack, if there is none."""
    names = " and ".join(arrays.name for arrays in backend.adapters)
    if case.method in PYTORCH:
        return [
            arrays for arrays in backend.adapters if arrays.name == "torch"
        ], f"{names} arrays are not torch's"
    adapters = backend.adapters
    if _reversed(case):
        adapters = tuple(arrays for arrays in adapters if getattr(arrays, "reverses", False))
        if not adapters:
            return [], f"{names} arrays have no negative strides"
    wanted = set(case.dtypes().values())
    able = [arrays for arrays in adapters if wanted.isdisjoint(getattr(arrays, "lacks", ()))]
    return able, f"{names} arrays have no dtype of this case"


def _reversed(case: Case) -> bool:
    """Whether its arrays have negative strides, which not every library has."""
    return case.options.get("layout") == "reversed"


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
        return _verdict(case, "unavailable", message=lacking)
    try:
        found = METHODS[case.method](subject)
    except CheckFailed as failure:
        return _verdict(case, "fail", message=str(failure))
    except NotAsked as refused:
        return _verdict(case, "not_claimed", message=str(refused))
    except Unobservable as missing:
        details = {LACKS: MEMORY} if isinstance(missing, NoRoom) else {}
        return _verdict(case, "unavailable", message=str(missing), details=details)
    except ssm_spec.DomainError as error:  # the case's numbers are in the domain: the declaration is not
        if not subject.op.arithmetic:
            raise
        return _verdict(case, "fail", message=f"what it declares has no meaning here: {error}")
    except Exception as error:
        misshapen = _misshapen(subject)
        if misshapen:
            return _verdict(case, "fail", message=misshapen)
        # The suite's own: the case could not be judged, and the run goes on.
        where = traceback.format_exc(limit=-4)
        return _verdict(case, "error", message=f"the suite raised {type(error).__name__}: {error}\n{where}")
    if found.passed and case.method in GRADIENTS_TOO and subject.claims_gradients:
        lacking = _lacking_gradients(subject.op, subject.arrays)
        if lacking:
            said = f"the outputs pass; the gradients were not looked at: {lacking}"
            return _verdict(case, "unavailable", message=said)
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


def _misshapen(subject: Subject) -> str:
    """What is no array of the shape and dtype that is meant, so that no question about it makes sense."""
    try:
        check_types(subject)
    except CheckFailed as failure:
        return str(failure)
    except Exception:  # the suite's own, which is told of already
        return ""
    return ""


def _lacking(case: Case, op: Op, arrays: Arrays) -> str:
    """Which instrument a question needs and a library does not have; "" if none."""
    if case.method in STRIDED and not arrays.strides:
        return f"{arrays.name} arrays have no strides"
    if case.method == "poison" and not can_poison(arrays.device, arrays):
        return f"{arrays.name} arrays have no way to poison fresh memory"
    if case.method == "growth" and not arrays.memory:
        return f"{arrays.name} arrays have no instrument for memory"
    return _lacking_gradients(op, arrays) if asks_gradient(case) else ""


def _lacking_gradients(op: Op, arrays: Arrays) -> str:
    """Why there is no way to take a gradient; "" if there is one."""
    if op.vjp is not None or arrays.autograd:
        return ""
    return f"{arrays.name} arrays have no differentiation, and the Op has no `vjp`"


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


def _worst_of(verdicts: Mapping[str, Verdict]) -> Verdict:
    """One verdict of those with each library; it names the libraries where there are several."""
    worst = max(verdicts.values(), key=_severity)
    if len(verdicts) == 1:
        return worst
    alike = {name: verdict for name, verdict in verdicts.items() if verdict.status == worst.status}
    said = [f"with {name} arrays: {verdict.message}" for name, verdict in alike.items() if verdict.message]
    statuses = {name: verdict.status for name, verdict in verdicts.items()}
    return replace(worst, message="\n".join(said), details=dict(worst.details) | {"libraries": statuses})


def _severity(verdict: Verdict) -> tuple[int, float]:
    """How much a verdict weighs: its status, then its ratio. As in a run, a failure outweighs an error."""
    status = ("pass", "not_claimed", "unavailable", "error", "fail").index(verdict.status)
    ratio = 0.0 if verdict.ratio is None else verdict.ratio
    return status, inf if isnan(ratio) else ratio


def _verdict(case: Case, status: Any, **more: Any) -> Verdict:
    return Verdict(id=case.id, op=case.op, dtype=case.dtype, check=case.check, status=status, **more)
