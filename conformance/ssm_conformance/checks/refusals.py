"""Bad input is refused with its name, what is not claimed is refused too, and nothing is written."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np

from ssm_backends import NotSupportedError, call
from ssm_conformance.cases._questions import shared_axis
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.subject import Stored, Subject
from ssm_conformance.draw import Draw


def unchanged(subject: Subject) -> Finding:
    """A call writes none of its inputs, forward and backward."""
    inputs = subject.call
    subject.forward(inputs)
    messages = [_written(subject, inputs.inputs, "the forward call")]
    if subject.wrt and _has_gradient(subject):
        subject.gradients(inputs)
        messages.append(_written(subject, inputs.inputs, "the backward call"))
    return Finding(message="; ".join(filter(None, messages)))


def bad_input(subject: Subject) -> Finding:
    """One rule is broken: the error is a ValueError or TypeError that names an argument."""
    argument, fault = subject.case.options["argument"], subject.case.options["fault"]
    inputs = dict(subject.call.inputs)
    _spoil(subject, inputs, argument, fault)
    others = {name: value for name, value in inputs.items() if name != argument}
    try:
        call(subject.backend, subject.case.op, **inputs)
    except (ValueError, TypeError) as error:
        names = [a.name for a in subject.case.operator.arguments]
        accepted = names if fault == "size" else [argument]
        if not any(re.search(rf"\b{re.escape(name)}\b", str(error)) for name in accepted):
            return Finding(message=f"the error does not name `{argument}`: {type(error).__name__}: {error}")
        return Finding(message=_written(subject, others, "the refused call"))
    return Finding(message=f"`{argument}` with a wrong {fault} was accepted")


def unclaimed(subject: Subject) -> Finding:
    """An argument that ``fn`` has in its signature and does not claim must raise, not be ignored."""
    argument = subject.case.options["argument"]
    if not _accepts(subject.op.fn, argument):
        return Finding(details={"signature": f"`{argument}` is not in the signature"})
    inputs = dict(subject.call.inputs) | {argument: _example(subject, argument)}
    try:
        subject.op.fn(**inputs)
    except (NotSupportedError, ValueError, TypeError) as error:
        return Finding(details={"raised": f"{type(error).__name__}: {error}"})
    return Finding(
        message=f"`{argument}` is in the signature of `fn`, is not claimed, and was accepted without an error"
    )


def _has_gradient(subject: Subject) -> bool:
    allowed = subject.op.dtypes if subject.op.grad_dtypes is None else subject.op.grad_dtypes
    return subject.case.dtype in allowed


def _written(subject: Subject, inputs: dict[str, Any] | Any, what: str) -> str:
    changed = [
        f"`{name}`"
        for name, item in subject.stored.items()
        if name in inputs and subject.arrays.to_numpy(inputs[name]).tobytes() != item.array.tobytes()
    ]
    return f"{what} changed its input {', '.join(changed)}" if changed else ""


def _spoil(subject: Subject, inputs: dict[str, Any], argument: str, fault: str) -> None:
    """Break one rule about one argument."""
    if fault == "missing":
        del inputs[argument]
    elif fault == "choice":
        inputs[argument] = "no such choice"
    elif fault == "interval":
        inputs[argument] = -1 if isinstance(subject.case.plain.get(argument), int) else -1.0
    else:
        inputs[argument] = _spoiled_array(subject, argument, fault)


def _spoiled_array(subject: Subject, argument: str, fault: str) -> Any:
    item = subject.stored[argument]
    if fault == "rank":
        spoiled = Stored(np.expand_dims(item.array, (0, 1)), item.dtype)
    elif fault == "size":
        axis = shared_axis(subject.case.recipe, argument)
        if axis is None:
            raise AssertionError(f"no size of `{argument}` is shared with another argument")
        repeated = np.concatenate([item.array, np.take(item.array, [0], axis=axis)], axis=axis)
        spoiled = Stored(repeated, item.dtype)
    else:
        spoiled = Stored(np.ones(item.array.shape, dtype=np.int64), "int64")
    return subject.arrays.from_numpy(spoiled.array, spoiled.dtype)


def _accepts(fn: Any, argument: str) -> bool:
    """Whether a call of ``fn`` with this keyword would bind."""
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError):  # a builtin that has no signature: calling it is the only way to know
        return True
    return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _example(subject: Subject, argument: str) -> Any:
    """A value for an argument that the case does not give, of the right shape."""
    sizes = dict(subject.call.sizes)
    declared = subject.case.operator.argument(argument)
    sizes.setdefault("r", sizes["b"])
    if argument == "cu_seqlens":
        return subject.arrays.from_numpy(np.array([0, sizes["l"]], dtype=np.int32), "int32")
    shape: list[int] = []
    for symbol in declared.forms[0].shape.split():
        shape += [*subject.call.system] if symbol[0] in "*=" else [sizes[symbol]]
    if declared.kind == "index":
        drawn = Draw(tuple(shape), "choice", dtype=declared.choices[0], parameters={"values": (0,)})
        return subject.arrays.from_numpy(drawn.values(subject.case.id), declared.choices[0])
    return subject.arrays.from_numpy(np.ones(tuple(shape), dtype=subject.call.compute), subject.call.compute)
