"""What holds for the call of every public function, whatever it computes: names, flags, the arithmetic.

And silence: infinities and NaN follow the rules of IEEE 754, and what overflows is not judged; no
floating-point warning leaves a public function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from ssm_spec._errors import DTypeError
from ssm_spec._roundoff import Arithmetic, ComplexArithmetic

P = ParamSpec("P")
R = TypeVar("R")


def operator(function: Callable[P, R]) -> Callable[P, R]:
    """Hold the flags in the call of an operator to bools; a flag is a parameter whose default is one.

    Raises
    ------
    DTypeError
        If a flag is anything else: an array or a string would pass for True.
    """
    signature = inspect.signature(function)
    flags = _flags(signature)

    @wraps(function)
    def held(*args: P.args, **kwargs: P.kwargs) -> R:
        if flags:
            _check_flags(_given(signature, args, kwargs), flags)
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return held


def arguments_of(value: Callable[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Hold the `inputs` of a gradient or a bound to the signature of the operator.

    Raises
    ------
    TypeError
        If a required input is missing, or there is none of that name.
    DTypeError
        If a flag is no bool, or `arithmetic` no `Arithmetic`.
    """
    wanted = inspect.signature(value)
    flags = _flags(wanted)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def held(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                call = dict(signature.bind(*args, **kwargs).arguments)
            except TypeError as error:
                raise TypeError(f"{function.__name__}(): {error}") from None
            inputs = call.pop("inputs", {}) | {k: v for k, v in call.items() if k not in _OF_THE_FUNCTION}
            try:
                wanted.bind(**inputs)
            except TypeError as error:
                needs = f"{function.__name__}() takes the arguments of {value.__name__}()"
                raise TypeError(f"{needs}: {error}") from None
            _check_flags(inputs, flags)
            if not isinstance(call.get("arithmetic", _NONE_NEEDED), Arithmetic):
                given = call["arithmetic"]
                raise DTypeError(f"`arithmetic` must be an `Arithmetic`; got {type(given).__name__}")
            if "arithmetic" in kwargs and any(_holds_complex(given) for given in inputs.values()):
                kwargs["arithmetic"] = ComplexArithmetic.of(call["arithmetic"])
            with np.errstate(all="ignore"):
                return function(*args, **kwargs)

        return held

    return decorate


_OF_THE_FUNCTION = ("cotangents", "wrt", "arithmetic")
_NONE_NEEDED = Arithmetic()
"""Stands for `arithmetic` in the call of a gradient, which has none."""


def _given(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The arguments by name; none where they do not fit, which the call itself then says."""
    try:
        return signature.bind(*args, **kwargs).arguments
    except TypeError:
        return {}


def _holds_complex(given: object) -> bool:
    """Whether an array of any library, a number, or a list of numbers is complex."""
    try:
        dtype = given.dtype if hasattr(given, "dtype") else np.asarray(given).dtype
    except (ValueError, TypeError, RuntimeError):  # refused by name where it is read
        return False
    return "complex" in str(dtype)


def _flags(signature: inspect.Signature) -> tuple[str, ...]:
    return tuple(name for name, given in signature.parameters.items() if isinstance(given.default, bool))


def _check_flags(given: Mapping[str, Any], flags: Iterable[str]) -> None:
    for name in flags:
        if not isinstance(given.get(name, False), bool | np.bool_):
            raise DTypeError(f"`{name}` must be a bool; got {given[name]!r:.80}")
