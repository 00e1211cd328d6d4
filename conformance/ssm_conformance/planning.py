"""Which cases a backend is asked, from its claims alone: the plugin is not imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ssm_backends import Op, claims_from_data, refusal
from ssm_conformance.case import Case, Level
from ssm_conformance.cases import catalogue

GRADIENTS: Final = (
    *("gradient", "gradient_layout", "packing_gradients", "separate_gradients"),
    *("gradients_apart", "scaled_cotangents", "confinement_gradients", "anticausality"),
    *("backward_again", "second_derivative", "far_cotangents"),
    *("overlapping", "written_between"),
)
"""The questions that are about gradients alone."""
MANY_KINDS: Final = (
    *("layouts_apart", "gradients_apart", "guarded", "far", "far_cotangents", "growth", "compiled"),
)
"""Questions that make many calls, each of another kind or size, or compile them: each may take its time."""


@dataclass(frozen=True)
class Planned:
    """A case and, where it will not be run, its status and the reason."""

    case: Case
    status: Literal["not_claimed", "unavailable"] | None = None
    reason: str = ""


def plan(
    claims: Mapping[str, Any],
    *,
    level: Level,
    ops: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    checks: Sequence[str] = (),
) -> list[Planned]:
    """Match the catalogue of a level against claims.

    Parameters
    ----------
    claims
        As ``ssm_backends.claims_as_data`` gives them, possibly through JSON.
    level
        "smoke", "quick" or "full".
    ops, dtypes, checks
        Keep only these; all if empty.
    """
    known = claims_from_data(claims)
    return [
        _judge_claims(case, known.get(case.op, ()), claims["withheld"])
        for case in catalogue(level)
        if (not ops or case.op in ops)
        and (not dtypes or case.dtype in dtypes)
        and (not checks or case.check in checks)
    ]


def plan_cases(claims: Mapping[str, Any], cases: Sequence[Case]) -> list[Planned]:
    """Match given cases against claims.

    Parameters
    ----------
    claims
        As for :func:`plan`.
    cases
        Of the catalogue, or found by a search.
    """
    known = claims_from_data(claims)
    return [_judge_claims(case, known.get(case.op, ()), claims["withheld"]) for case in cases]


def _judge_claims(case: Case, implementations: tuple[Op, ...], withheld: Mapping[str, str]) -> Planned:
    if not implementations:
        return Planned(case, "not_claimed", withheld.get(case.op, f"{case.op} is not claimed"))
    claimed = reason_claimed(case, implementations)
    if claimed is not None:
        return Planned(case, "not_claimed", claimed)
    if case.method == "not_supported":
        return Planned(case)
    reasons = [reason_not_asked(case, op) for op in implementations]
    if None in reasons:
        return Planned(case)
    return Planned(case, "not_claimed", "; ".join(dict.fromkeys(filter(None, reasons))))


def reason_not_asked(case: Case, op: Op) -> str | None:
    """Why a case does not apply to an Op's claims; None if it does."""
    reason = refusal(op, case.call())
    if reason is not None:
        return reason
    if case.method == "chaining" and "initial_state" not in op.features:
        return "features not claimed: initial_state"
    if case.method == "processes" and not (op.is_deterministic("forward") or op.is_deterministic("backward")):
        return "determinism is not claimed"
    claim = case.options.get("claim")
    if claim is not None and claim not in op.features:
        return f"features not claimed: {claim}"
    if asks_gradient(case):
        if not op.differentiable(case.operator):
            return "no gradient is claimed"
        if case.dtype not in (op.dtypes if op.grad_dtypes is None else op.grad_dtypes):
            return f"no gradient in {case.dtype} is claimed"
        if not set(op.differentiable(case.operator)) & set(case.draws):
            return "no gradient of an argument of this call is claimed"
        if not set(op.takes_cotangents(case.operator)) & set(case.returned):
            return "no cotangent of an output of this call is claimed"
    if case.method == "repeats" and not op.is_deterministic(case.options["direction"]):
        return "determinism is not claimed"
    return None


def reason_claimed(case: Case, implementations: tuple[Op, ...]) -> str | None:
    """Why a case that must be refused is not asked: some Op claims it; None if none does."""
    if case.method == "not_supported" and any(refusal(op, case.call()) is None for op in implementations):
        return "it is claimed"
    feature = case.options.get("feature")
    if case.method == "unclaimed" and any(feature in op.features for op in implementations):
        return f"feature {feature} is claimed"
    return None


def asks_gradient(case: Case) -> bool:
    """Whether a case needs gradients."""
    return case.method in GRADIENTS or case.options.get("direction") in ("backward", "saved")
