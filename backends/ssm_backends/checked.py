"""A backend's own functions: checked for whoever calls them directly, and the same for who has checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from ssm_backends.imported import imported_torch
from ssm_backends.once import validate_once
from ssm_backends.tracing import validate_traced

P = ParamSpec("P")
R = TypeVar("R")


def checked(
    op: str, also: Callable[[Mapping[str, Any]], None] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Validate a call before the function that serves it, once for each kind, and in a graph.

    Parameters
    ----------
    op
        Name of the operator, whose arguments the function has.
    also
        What else is asked of the inputs, outside of a graph: as :func:`validate_once` takes it. It must hold
        of every call that the front door gives the backend.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        names = tuple(signature(function).parameters)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            inputs = {**dict(zip(names[: len(args)], args, strict=True)), **kwargs}
            if _compiling():
                validate_traced(op, **inputs)
            else:
                validate_once(op, also, **inputs)
            return function(*args, **kwargs)

        call.unchecked = function  # type: ignore[attr-defined] # read below
        return call

    return decorate


def unchecked(function: Callable[..., Any]) -> Callable[..., Any]:
    """What serves a call that is known to be valid: the function within :func:`checked`, or any other itself.

    Parameters
    ----------
    function
        Of an Op.
    """
    inner: Callable[..., Any] = getattr(function, "unchecked", function)
    return inner


def _compiling() -> bool:
    """Whether torch.compile traces this call."""
    torch = imported_torch()
    return torch is not None and bool(torch.compiler.is_compiling())
