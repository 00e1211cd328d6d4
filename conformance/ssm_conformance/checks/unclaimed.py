"""An argument that ``fn`` takes and does not claim is refused, or served right: never ignored."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from ssm_backends import ContractError, outputs_of
from ssm_backends.raised import in_words
from ssm_conformance.checks.accuracy import judge_outputs
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.pieces import along, axes
from ssm_conformance.checks.subject import CheckFailed, Stored, Subject


def unclaimed(subject: Subject) -> Finding:
    """Call ``fn`` itself with it, where the signature has it."""
    argument, value = subject.case.options["argument"], subject.case.options["value"]
    if not _accepts(subject.op.fn, argument):
        return Finding(details={"signature": f"`{argument}` is not in the signature"})
    without, asked = _without(subject, argument), _asked(subject, argument, value)
    inputs = dict(without.call.inputs) | {argument: value} if asked is None else asked.call.inputs
    try:
        result = subject.op.fn(**inputs)
        subject.arrays.synchronize()
    except Exception as error:  # whatever it raises, it does not ignore the argument
        return Finding(details={"raised": in_words(error)})
    if asked is not None and _serves(asked, result, argument) and _matters(without, asked, argument):
        return Finding(details={"served": f"`{argument}` is served right, and may be claimed"})
    shown = f"`{argument}`" if value is None else f"`{argument}` = {value!r}"
    return Finding(
        message=f"{shown}: in the signature of `fn`, not claimed, and accepted with another result than "
        "the argument asks for; expected NotSupportedError"
    )


def _accepts(fn: Any, argument: str) -> bool:
    """Whether a call of ``fn`` with this keyword would bind."""
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError):  # a builtin that has no signature: calling it is the only way to know
        return True
    return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _without(subject: Subject, argument: str) -> Subject:
    """The call to which the argument is added: offsets are of one row."""
    if argument != "cu_seqlens":
        return subject
    symbols = {name: shape for name, shape in axes(subject).items() if "b" in shape}
    rows = {name: shape.index("b") - len(shape) for name, shape in symbols.items()}
    cut = {
        name: item.take(along(rows[name], slice(0, 1))) if name in rows else item
        for name, item in subject.stored.items()
    }
    return subject.under(cut)


def _asked(subject: Subject, argument: str, value: Any) -> Subject | None:
    """The call with the argument, whoever claims it; None where that is no valid call."""
    base = _without(subject, argument)
    if value is None:
        together = [
            other.name
            for other in subject.case.operator.arguments
            if other.feature == subject.case.options["feature"] and _accepts(subject.op.fn, other.name)
        ]  # a state in several parts may show only when all of them are given
        return base.under({**base.stored, **{name: _example(base, name) for name in together}})
    asked = base.under(base.stored, {**base.case.plain, argument: value})
    try:
        asked.case.call()
    except (ValueError, TypeError):
        return None
    return asked


def _example(subject: Subject, argument: str) -> Stored:
    """A value, of the right shape, from which another result follows."""
    sizes = dict(subject.call.sizes)
    declared = subject.case.operator.argument(argument)
    sizes.setdefault("r", sizes["b"])
    if argument == "cu_seqlens":
        return Stored(np.array([0, sizes["l"] // 2, sizes["l"]], dtype=np.int32), "int32")
    shape: list[int] = []
    for symbol in declared.forms[0].shape.split():
        shape += [*subject.call.system] if symbol[0] in "*=" else [sizes[symbol]]
    if declared.kind == "index":
        dtype = declared.choices[0]
        last = np.arange(shape[-1], dtype=dtype)
        index = last >= shape[-1] // 2 if "l" in declared.forms[0].shape.split() else last[::-1]
        return Stored(np.broadcast_to(index, shape).astype(dtype), dtype)
    return Stored(np.ones(tuple(shape), dtype=subject.call.compute), subject.call.compute)


def _serves(asked: Subject, result: Any, argument: str) -> bool:
    """Whether the result is that of the call with the argument."""
    try:
        outputs = {name: asked.out(x, f"`{name}`") for name, x in outputs_of(asked.call, result).items()}
        if argument == "inplace":
            outputs["state"] = asked.out(asked.call.inputs["state"], "`state`")
        return judge_outputs(asked, outputs).passed
    except (CheckFailed, ContractError):
        return False


def _matters(without: Subject, asked: Subject, argument: str) -> bool:
    """Whether one who ignores the argument would have been seen."""
    if argument == "inplace":  # the state is read where it was given
        return True
    pairs = [(without.exact[name], with_it) for name, with_it in asked.exact.items()]
    return any(
        left.value.shape != right.value.shape
        or bool(np.any(np.abs(left.value - right.value) > left.bound + right.bound))
        for left, right in pairs
    )
