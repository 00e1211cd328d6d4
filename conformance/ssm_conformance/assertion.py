"""The oracle in a kernel developer's own test: one line, and no tolerance to choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ssm_spec
from ssm_backends import Call, outputs_of, validate
from ssm_backends.dtypes import dtype_name
from ssm_conformance.checks.finding import describe
from ssm_conformance.diagnosis import likely_mistake
from ssm_conformance.judge import Judgement, judge
from ssm_conformance.storage import widen


class ConformanceError(AssertionError):
    """An output or a gradient lies outside its derived bound."""


def assert_conforms(
    op: str,
    actual: Any,
    *,
    gradients: Mapping[str, Any] | None = None,
    cotangents: Mapping[str, Any] | None = None,
    arithmetic: Mapping[str, Any] | None = None,
    **inputs: Any,
) -> None:
    """Hold the result of a kernel to the oracle, element by element.

    Parameters
    ----------
    op
        Name of the operator, as in ``ssm_backends.OPERATORS``.
    actual
        What the kernel returned: an array, a tuple in the order of the operator's outputs,
        or a mapping by name. Arrays may be of NumPy, PyTorch (any device), JAX, or
        anything with DLPack.
    gradients
        Argument name → gradient, to be judged too.
    cotangents
        Output name → the cotangent they belong to; needed with ``gradients``.
    arithmetic
        Facts about the kernel's arithmetic, from ``ssm_backends.vocabulary``.
    **inputs
        What the kernel was called with, under the operator's names.

    Raises
    ------
    ConformanceError
        With the worst element, what was expected there, the bound, and, where it can be
        told, the likely mistake.
    ShapeError, DTypeError, ArgumentError
        If the inputs are no valid call of the operator.
    """
    call = validate(op, **inputs)
    facts = _arithmetic(call, arithmetic)
    exact_inputs = {name: _exact(value) for name, value in call.inputs.items()}
    reference = ssm_spec.REFERENCES[call.operator.name]
    exact = reference.bounds(arithmetic=facts, **exact_inputs)
    outputs = {name: _stored(value) for name, value in _by_name(call, actual).items()}
    complaints = _complaints(call, outputs, exact)
    if complaints:
        widened = {name: widen(array, dtype) for name, (array, dtype) in outputs.items()}
        asked = {name: exact[name] for name in outputs}
        mistake = likely_mistake(call.operator.name, exact_inputs, widened, asked)
        complaints += [f"likely mistake: {mistake}"] if mistake else []
    if gradients is not None:
        if cotangents is None or reference.vjp_bounds is None:
            raise ssm_spec.DomainError("`cotangents` must be given with `gradients`; got None")
        known = {name: _exact(value) for name, value in cotangents.items()}
        bounds = reference.vjp_bounds(known, tuple(gradients), arithmetic=facts, **exact_inputs)
        stored = {name: _stored(value) for name, value in gradients.items()}
        complaints += [f"gradient of {line}" for line in _complaints(call, stored, bounds)]
    if complaints:
        raise ConformanceError(f"{call.operator.name} does not conform\n  " + "\n  ".join(complaints))


def _by_name(call: Call, actual: Any) -> dict[str, Any]:
    if isinstance(actual, Mapping):
        return dict(actual)
    if isinstance(actual, Sequence) or not call.operator.outputs[0].when:
        return outputs_of(call, actual)
    return {call.operator.outputs[0].name: actual}


def _complaints(
    call: Call, actual: Mapping[str, tuple[NDArray[Any], str]], exact: Mapping[str, ssm_spec.Bounded]
) -> list[str]:
    lines = []
    for name, (array, dtype) in actual.items():
        if array.shape != exact[name].value.shape:
            lines.append(f"{name} must have shape {exact[name].value.shape}; got {array.shape}")
            continue
        found: Judgement = judge(array, dtype, call.compute, exact[name])
        if not found.passed:
            beyond = int(np.sum(~(found.ratios <= 1.0)))
            lines.append(f"{describe(name, found)} ({beyond} of {found.size} elements are beyond theirs)")
    return lines


def _arithmetic(call: Call, facts: Mapping[str, Any] | None) -> ssm_spec.Arithmetic:
    compute: Any = call.compute
    storage: Any = call.dtype
    return ssm_spec.Arithmetic(compute=compute, io=storage, **(facts or {}))


def _exact(value: Any) -> Any:
    """An argument as the oracle takes it: exact numbers, index arrays and plain values as they are."""
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        return value
    array, dtype = _stored(value)
    return array if dtype.startswith("int") else widen(array, dtype)


def _stored(value: Any) -> tuple[NDArray[Any], str]:
    """An array of any library as NumPy storage, and its dtype's name; bfloat16 as its bits."""
    name = dtype_name(value)
    if hasattr(value, "detach"):
        value = value.detach().resolve_conj().resolve_neg().cpu()
        if name == "bfloat16":
            import torch

            return np.asarray(value.contiguous().view(torch.int16).numpy()).view(np.uint16), name
        return np.asarray(value.numpy()), name
    array = np.asarray(value) if hasattr(value, "__array__") else np.from_dlpack(value)
    return (np.ascontiguousarray(array).view(np.uint16) if name == "bfloat16" else array), name
