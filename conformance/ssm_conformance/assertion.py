"""The oracle in a kernel developer's own test: one line, and no tolerance to choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ssm_spec
from ssm_backends import OPERATORS, ArgumentError, DTypeError
from ssm_backends.dtypes import REAL, real_of
from ssm_backends.vocabulary import INTEGERS, WORDS
from ssm_conformance.checks.finding import describe
from ssm_conformance.diagnosis import likely_gradient_mistake, likely_mistake, mistaken_shape
from ssm_conformance.judge import judge
from ssm_conformance.question import Question, Stored, all_exact, all_stored, question
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
        Name of the operator, any of ``ssm_spec.REFERENCES``.
    actual
        What the kernel returned: an array, which is the first output; a tuple of all outputs
        in order; or a mapping by name. Arrays may be of NumPy, PyTorch (any device), JAX, or
        anything with DLPack, in any floating dtype: the numbers are judged, not the dtype.
    gradients
        Argument name → gradient, to be judged too. A complex one is ∂L/∂Re + i ∂L/∂Im, as
        PyTorch has it; JAX's is the conjugate.
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
        If the inputs are no valid call of the operator, `actual` or `gradients` no arrays of its
        outputs and inputs, or an array has no numbers to read, as on PyTorch's meta device. Also
        if of all outputs that are given, or of all gradients, no element can be judged: with
        inputs that hold a NaN or overflow, an assertion would hold of anything.
    """
    asked = question(op, actual, inputs)
    _check_mappings(gradients, cotangents, arithmetic)
    if not asked.answers and gradients is None:
        raise ArgumentError(f"`actual` must hold an output of {op}, or `gradients` be given; got {actual!r}")
    _check_dtypes("actual", asked.answers)
    facts = _arithmetic(asked, arithmetic)
    reference = ssm_spec.REFERENCES[op]
    expected = reference.bounds(arithmetic=facts, **asked.inputs)
    complaints = _complaints("actual", asked, asked.answers, expected)
    if complaints:
        complaints += _likely(likely_mistake(op, asked.inputs, *_widened(asked.answers), expected))
    if gradients is not None:
        if reference.vjp_bounds is None:
            raise ArgumentError(f"`gradients` must be None: {op} has none; got {', '.join(gradients)}")
        if cotangents is None:
            raise ArgumentError("`cotangents` must be given with `gradients`; got None")
        found = all_stored("gradients", gradients)
        known = all_exact("cotangents", cotangents)
        try:
            slopes = reference.vjp_bounds(known, tuple(gradients), arithmetic=facts, **asked.inputs)
        except ssm_spec.DomainError as error:  # the oracle's `wrt` are their names
            raise ArgumentError(str(error).replace("`wrt`", "`gradients`")) from error
        _check_dtypes("gradients", found)
        wrong = [f"gradient of {line}" for line in _complaints("gradients", asked, found, slopes)]
        if wrong:
            wrong += _likely(likely_gradient_mistake(op, asked.inputs, known, *_widened(found), slopes))
        complaints += wrong
    if complaints:
        raise ConformanceError(f"{op} does not conform\n  " + "\n  ".join(complaints))


def _check_mappings(gradients: Any, cotangents: Any, arithmetic: Any) -> None:
    """Refuse what maps no names, gradients of nothing, and facts that nobody knows."""
    for name, value in {"gradients": gradients, "cotangents": cotangents, "arithmetic": arithmetic}.items():
        if value is not None and not isinstance(value, Mapping):
            raise DTypeError(f"`{name}` must be a mapping by name; got {type(value).__name__}")
    if gradients is not None and not gradients:
        raise ArgumentError("`gradients` must hold at least one, or be None; got {}")
    if cotangents is not None and gradients is None:
        raise ArgumentError(f"`cotangents` must be None without `gradients`; got {', '.join(cotangents)}")
    known = [*WORDS, *INTEGERS]
    for fact in arithmetic or {}:
        if fact not in known:
            raise ArgumentError(f"`arithmetic` must name facts among {', '.join(known)}; got {fact!r}")


def _check_dtypes(argument: str, arrays: Mapping[str, Stored]) -> None:
    """Refuse numbers that no preimage is known of: integers, bools, floats of more than 64 bits."""
    for name, (_, dtype) in arrays.items():
        if real_of(dtype) not in REAL:
            raise DTypeError(
                f"`{argument}` must hold {', '.join(REAL)} or complex numbers; got {dtype} for {name}"
            )


def _complaints(
    argument: str, asked: Question, actual: Mapping[str, Stored], expected: Mapping[str, ssm_spec.Bounded]
) -> list[str]:
    """A line on each array that is wrong; arrays of which nothing at all can be judged are refused."""
    declared = OPERATORS[asked.op].outputs if asked.op in OPERATORS else ()
    periods = {output.name: output.period for output in declared}
    lines, size, excused = [], 0, 0
    for name, (array, dtype) in actual.items():
        if array.shape != expected[name].value.shape:
            shape = expected[name].value.shape
            what = f"the gradient of {name}" if argument == "gradients" else name
            lines.append(f"{name} must have shape {shape}; got {array.shape}")
            lines[-1] += "".join(f"\n  {line}" for line in _likely(mistaken_shape(what, shape, array.shape)))
            continue
        found = judge(array, dtype, asked.compute, expected[name], periods.get(name))
        size, excused = size + found.size, excused + found.excused
        if not found.passed:
            lines.append(describe(name, found))
    if excused == size > 0 and not lines:
        raise ArgumentError(
            f"`{argument}`: none of the {size} elements of {', '.join(actual)} can be judged: what is exact "
            f"there leaves the range of {asked.compute}; give smaller inputs, without NaN and infinities"
        )
    return lines


def _likely(mistake: str) -> list[str]:
    return [f"likely mistake: {mistake}"] if mistake else []


def _widened(arrays: Mapping[str, Stored]) -> tuple[dict[str, Any], dict[str, str]]:
    """Numbers of float64, and the dtypes in which they were given."""
    numbers = {name: widen(array, dtype) for name, (array, dtype) in arrays.items()}
    return numbers, {name: dtype for name, (_, dtype) in arrays.items()}


def _arithmetic(asked: Question, facts: Mapping[str, Any] | None) -> ssm_spec.Arithmetic:
    compute: Any = asked.compute
    storage: Any = asked.storage
    return ssm_spec.Arithmetic(compute=compute, io=storage, **(facts or {}))
