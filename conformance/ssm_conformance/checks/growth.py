"""The claimed law of memory, measured over a grid of sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ssm_conformance.cases._selective import scan_inputs
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.subject import Subject
from ssm_conformance.memory import STATES_A_FUSED_SCAN_MAY_KEEP, Fit, fit, grid

ELEMENT_BYTES = 4
"""The grid is run in float32, whose states are float32."""


def growth(subject: Subject) -> Finding:
    """Fit the law of one pass and hold it against the class that is claimed for it."""
    direction = subject.case.options["direction"]
    grouped = "grouped" in subject.op.features
    base = {"b": 1, "d": 16, "l": 128, "n": 8} | ({"g": 2} if grouped else {})
    points = grid(base)
    _use(_at(subject, points[0]), direction)  # the first call pays for what is made once
    peaks = [_use(_at(subject, point), direction) for point in points]
    law = fit([{"g": 1} | point for point in points], peaks)
    claimed = subject.op.memory_class(direction)
    details = {"claimed": claimed, "law": str(law), "coefficients": dict(law.coefficients)}
    return Finding(message=_complaint(claimed, direction, law), details=details)


def _complaint(claimed: str, direction: str, law: Fit) -> str:
    allowed = STATES_A_FUSED_SCAN_MAY_KEEP * ELEMENT_BYTES
    if claimed == "materialised" or law.states <= allowed:
        return ""
    return (
        f"{direction} is claimed fused: at most {allowed:g} bytes for each of b·d·l·n; "
        f"the fit has {law.states:.3g}: {law}"
    )


def _at(subject: Subject, sizes: dict[str, int]) -> Subject:
    groups = sizes.get("g")
    inputs = scan_inputs(
        sizes["b"], sizes["d"], sizes["l"], sizes["n"], g_B=groups, g_C=groups, return_last_state=False
    )
    recipe = replace(subject.case.recipe, inputs=inputs)
    return replace(subject, case=replace(subject.case, recipe=recipe))


def _use(subject: Subject, direction: str) -> int:
    """Peak bytes of one pass beyond its inputs and its results."""
    call = subject.call
    if direction == "forward":
        result, used = subject.arrays.peak_memory(lambda: subject.op.fn(**call.inputs))
        return used.peak - _bytes(result)
    result, used = subject.arrays.peak_memory(subject.backward(call))
    return used.peak - _bytes(tuple(result.values()))


def _bytes(result: Any) -> int:
    arrays = result if isinstance(result, tuple | list) else (result,)
    return sum(int(array.nbytes) for array in arrays)
