"""The claimed law of memory, measured over a grid of sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from ssm_backends import outputs_of, run_forward
from ssm_conformance.cases._duality import ssd_inputs
from ssm_conformance.cases._selective import halves, scan_inputs
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.subject import NotAsked, Subject
from ssm_conformance.draw import Draw
from ssm_conformance.memory import STATES_A_FUSED_SCAN_MAY_KEEP, Fit, fit, grid

ELEMENT_BYTES: Final = 4
"""The grid is run in float32, whose states are float32; twice as many where they are complex."""
BASE: Final = {"b": 1, "d": 8, "l": 256, "n": 8}
"""Where the grid begins: at a whole chunk of 256, so that what one chunk holds is not taken for a law."""
LOOSE: Final = 0.1
"""Relative error from which on a fit does not settle a complaint: what is constant still counts."""
LARGER: Final = 2
"""How often the grid is then begun at twice each size."""
WIDTH: Final = 4
"""Channels of a head, where channels come in heads: the grid begins at as many heads as it has channels."""

Direction = Literal["forward", "backward", "saved"]


def growth(subject: Subject) -> Finding:
    """Fit the law of one pass and hold it against the class that is claimed for it.

    A law that breaks the claim and does not fit well is sought again at larger sizes: a peak is the larger of
    several phases, and what one thread holds is padded, which a sum of products may take for growth.

    The option ``direction`` is "forward", "backward" (both passes), or "saved": what the
    forward pass leaves for the backward pass.
    """
    direction: Direction = subject.case.options["direction"]
    if direction == "saved" and _saves_nothing(subject):
        return Finding(details={"claimed": subject.op.memory_class("backward"), "law": "nothing is saved"})
    heads = subject.case.op == "ssd"
    grouped = heads or "grouped" in subject.op.features
    base = dict(BASE) | ({"g": 2} if grouped else {}) | ({"d": BASE["d"] * WIDTH} if heads else {})
    claimed = subject.op.memory_class("forward" if direction == "forward" else "backward")
    element = ELEMENT_BYTES * (2 if subject.case.draws["A"].complex else 1)
    law = _law(subject, base, direction)
    for _ in range(LARGER):
        if not _complaint(claimed, direction, law, element) or law.residual < LOOSE:
            break
        base = {size: 2 * value for size, value in base.items()}
        law = _law(subject, base, direction)
    details = {
        "claimed": claimed,
        "law": str(law),
        "states_in": law.states / element,
        "coefficients": dict(law.coefficients),
    }
    return Finding(message=_complaint(claimed, direction, law, element), details=details)


def _law(subject: Subject, base: Mapping[str, int], direction: Direction) -> Fit:
    """The law of the grid that begins there."""
    points = grid(base)
    _use(_at(subject, points[0]), direction)  # the first call pays for what is made once
    peaks = [_use(_at(subject, point), direction) for point in points]
    return fit([{"g": 1} | point for point in points], peaks)


def _complaint(claimed: str, direction: Direction, law: Fit, element: int) -> str:
    allowed = STATES_A_FUSED_SCAN_MAY_KEEP * element
    if claimed == "materialised" or law.states <= allowed:
        return ""
    what = "what is saved for the backward pass" if direction == "saved" else f"the {direction} pass"
    return (
        f"{what} is claimed fused: at most {allowed:g} bytes for each of b·d·l·n; "
        f"the fit has {law.states:.3g}: {law}"
    )


def _saves_nothing(subject: Subject) -> bool:
    """A ``vjp`` without a ``forward`` is given the inputs alone."""
    return subject.op.vjp is not None and subject.op.forward is None


def _at(subject: Subject, sizes: Mapping[str, int]) -> Subject:
    """The recipe's call at other sizes, with the same options."""
    b, d, l, n = (sizes[name] for name in "bdln")
    groups, given = sizes.get("g"), subject.case.recipe.inputs
    more: dict[str, Any] = {"seq_idx": halves(b, l)} if "seq_idx" in given else {}
    if subject.case.op == "ssd":
        inputs = ssd_inputs(b, l, d // WIDTH, WIDTH, n, g=sizes["g"], return_final_states=False, **more)
    else:
        more |= {"initial_state": Draw((b, d, n))} if "initial_state" in given else {}
        more |= {"b_discretization": "zoh"} if "b_discretization" in given else {}
        more |= {"complex_": given["A"].complex}
        inputs = scan_inputs(b, d, l, n, g_B=groups, g_C=groups, return_last_state=False, **more)
    recipe = replace(subject.case.recipe, inputs=inputs)
    return replace(subject, case=replace(subject.case, recipe=recipe))


def _use(subject: Subject, direction: Direction) -> int:
    """Peak bytes of one pass beyond its inputs and its results; or the bytes that are saved."""
    call = subject.call
    if direction != "forward" and not subject.cotangents:
        raise NotAsked("no cotangent of an output other than the last state is claimed")
    if direction == "saved":
        return _saved(subject)
    if direction == "forward":
        result, used = subject.arrays.peak_memory(lambda: subject.op.fn(**call.inputs))
        return used.peak - _bytes(result)
    result, used = subject.arrays.peak_memory(subject.backward(call))
    return used.peak - _bytes(tuple(result.values()))


def _saved(subject: Subject) -> int:
    """Bytes that are held between the forward and the backward pass, beyond inputs and outputs."""
    call = subject.call
    if subject.op.forward is not None:
        (outputs, _), used = subject.arrays.peak_memory(lambda: run_forward(subject.op, call))
        return used.held - _bytes(outputs)
    held: list[int] = []

    def forward(**given: Any) -> Mapping[str, Any]:
        fixed = {name: value for name, value in call.inputs.items() if name not in given}
        result, used = subject.arrays.peak_memory(lambda: subject.op.fn(**fixed, **given))
        held.append(used.held - _bytes(result))
        return outputs_of(call, result)

    primals = {name: call.inputs[name] for name in subject.wrt}
    subject.arrays.vjp(forward, primals, subject.into_cotangents())
    return held[0]


def _bytes(result: Any) -> int:
    arrays = result if isinstance(result, tuple | list) else (result,)
    return sum(int(array.nbytes) for array in arrays)
