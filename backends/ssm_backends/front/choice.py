"""Who serves a call, and why not the others."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from ssm_backends.backend import Backend, Op
from ssm_backends.dispatch import refusal
from ssm_backends.errors import DTypeError, NotSupportedError, UnavailableError, UnknownBackendError
from ssm_backends.front.preference import FallbackError, FallbackWarning, Order, order_for
from ssm_backends.registry import load
from ssm_backends.validation import Call, find, validate

Sizes = tuple[tuple[str, int], ...]
"""Of symbols."""


@dataclass(frozen=True)
class PassedOver:
    """A backend that was asked and does not serve, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Choice:
    """Who serves a call.

    Attributes
    ----------
    operator
        Its name.
    backend, op
        The backend and its implementation.
    order
        Who was asked, and who said so.
    passed_over
        Those asked before, with their reasons.
    """

    operator: str
    backend: Backend
    op: Op
    order: Order
    passed_over: tuple[PassedOver, ...] = ()

    def __str__(self) -> str:
        """One line: who serves, who said so, who was passed over and why."""
        line = f"{self.operator} is served by {self.backend.name!r} ({self.order.said_by})"
        return line + "".join(f"; not by {p.name!r}: {p.reason}" for p in self.passed_over)


def explain(op: str, *, backend: str | None = None, **inputs: Any) -> Choice:
    """Who would serve this call of an operator, and why. Nothing is computed.

    Parameters
    ----------
    op
        Name of the operator.
    backend
        As in the call.
    **inputs
        Its arguments by name.

    Returns
    -------
    Choice
        Its text is one sentence.

    Raises
    ------
    As the call itself, if it is not valid or nobody serves it.
    """
    return settle(validate(op, **inputs), backend)


def choose(call: Call, backend: str | None = None) -> Choice:
    """As :func:`settle`, for a call that is made: it is told who was passed over.

    Raises
    ------
    FallbackError
        If somebody was, and that was to be an error.
    """
    choice = settle(call, backend)
    _tell(choice)
    return choice


def settle(call: Call, backend: str | None = None) -> Choice:
    """The first backend of the order whose claims accept a valid call.

    A backend is passed over if it is not available here, takes arrays of another library, or does
    not claim the call, its gradients included.

    Raises
    ------
    UnknownBackendError, PluginError
        If the order names a backend that is not installed, or a broken one.
    UnavailableError
        If one was asked for and it cannot run here.
    NotSupportedError
        If nobody in the order serves the call; the message has each one's reason.
    """
    library, device = where(call)
    order = order_for(call.operator.name, library, device.partition(":")[0], backend)
    passed: list[PassedOver] = []
    for name in order.names:
        found = _ask(name, device, order)
        if isinstance(found, Backend):
            op, reason = _offer(found, call, library)
            if op is not None:
                return Choice(call.operator.name, found, op, order, tuple(passed))
        elif len(order.names) == 1:
            raise UnavailableError(found)
        else:
            reason = found
        passed.append(PassedOver(name, reason))
    raise NotSupportedError(_nobody(call, library, device, order, passed))


def where(call: Call) -> tuple[str, str]:
    """Library and device of a call's arrays; no library and the CPU, if it has none.

    Raises
    ------
    DTypeError
        If they are arrays of several libraries.
    """
    kinds = {argument.name: argument.kind for argument in call.operator.arguments}
    arrays = {name: x for name, x in call.inputs.items() if kinds[name] in ("array", "index")}
    if not arrays:
        return "", "cpu"
    first, x = next(iter(arrays.items()))
    library = _library(x)
    for name, other in arrays.items():
        if _library(other) != library:
            raise DTypeError(
                f"`{name}` must be an array of {library}, as `{first}` is; got one of {_library(other)}"
            )
    if library == "jax":
        return library, "cpu" if not hasattr(x, "devices") else next(iter(x.devices())).platform
    return library, str(getattr(x, "device", "cpu")) if library != "numpy" else "cpu"


def _library(x: Any) -> str:
    """Whose array it is: that of a subclass is its base's."""
    roots = [cls.__module__.partition(".")[0] for cls in type(x).__mro__]
    known = (_LIBRARIES[root] for root in roots if root in _LIBRARIES)
    return next(known, roots[0])


_LIBRARIES: Final = {"numpy": "numpy", "torch": "torch", "jax": "jax", "jaxlib": "jax"}
"""Top-level module → the library whose arrays it defines."""


def _ask(name: str, device: str, order: Order) -> Backend | str:
    """A backend, or why it does not serve here; one that somebody named has to be installed."""
    try:
        return _loaded(name, device)
    except UnknownBackendError as error:
        if order.named:
            raise
        return str(error)


@cache
def _loaded(name: str, device: str) -> Backend | str:
    """A backend, once for each device; or what makes it unavailable here."""
    try:
        return load(name, device)
    except UnavailableError as error:
        return str(error)


def _offer(backend: Backend, call: Call, library: str) -> tuple[Op | None, str]:
    """The implementation that accepts a call; or None, and why none does."""
    libraries = [arrays.name for arrays in backend.adapters]
    if library and library not in libraries:
        return None, f"it takes arrays of {' and '.join(libraries)}, not of {library}"
    reasons = []
    for op in backend.implementations(call.operator.name):
        reason = refusal(op, call) or _no_gradient(op, call)
        if reason is None:
            return op, ""
        reasons.append(reason)
    return None, "; ".join(dict.fromkeys(reasons)) or backend.not_claimed(call.operator.name)


_REMEDY: Final = "none is asked for under torch.no_grad()"


def _no_gradient(op: Op, call: Call) -> str | None:
    """Why an Op that serves the call without gradients cannot give those it asks for; None if it can."""
    wanted = [name for name, x in call.inputs.items() if getattr(x, "requires_grad", False)]
    if not wanted or not _recording():
        return None
    lacking = [name for name in wanted if name not in op.differentiable(call.operator)]
    if lacking:
        return f"no gradient in {', '.join(f'`{name}`' for name in lacking)} ({_REMEDY})"
    if op.grad_dtypes is not None and call.dtype not in op.grad_dtypes:
        return f"no gradient in {call.dtype} ({_REMEDY})"
    return None


def _recording() -> bool:
    """Whether PyTorch records a graph (an array that requires a gradient is PyTorch's)."""
    import torch

    return torch.is_grad_enabled()


_TOLD: Final[set[str]] = set()


def _tell(choice: Choice) -> None:
    """A fallback is never silent: an error if that was asked for, else a warning, once each."""
    if not choice.passed_over:
        return
    if choice.order.fallback == "error":
        raise FallbackError(f"{choice}. Falling back is an error here")
    if str(choice) not in _TOLD:
        warnings.warn(str(choice), FallbackWarning, stacklevel=_callers_level())
        _TOLD.add(str(choice))  # not where the warning was raised: the call did not go on


def _callers_level() -> int:
    """The stack level, seen from who asks, of the first frame outside this package."""
    level, frame = 1, sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("ssm_backends"):
        level, frame = level + 1, frame.f_back
    return level + 1


def _nobody(call: Call, library: str, device: str, order: Order, passed: list[PassedOver]) -> str:
    if not order.names:
        return (
            f"no built-in backend serves {library} arrays on {device}; name one that does: `backend=`, "
            "`use`, or the environment variable SSM_BACKENDS"
        )
    why = "; ".join(f"{p.name!r}: {p.reason}" for p in passed)
    return f"no backend serves this call of {call.operator.name} ({order.said_by}): {why}"


def serves_as_soon(
    one: tuple[str, tuple[str, ...], Sizes],
    other: tuple[str, tuple[str, ...], Sizes],
    library: str,
    device: str,
    dtype: str,
) -> bool:
    """Whether one of two ways to do the same is served, by nobody who is asked after who serves the other.

    PyTorch takes what it returns for a constant of a graph.

    Parameters
    ----------
    one, other
        Name of an operator, the features that the call needs, and sizes that a backend may limit.
    library, device, dtype
        Of the calls' arrays.
    """

    def place(op: str, features: tuple[str, ...], sizes: Sizes) -> int | None:
        needed = frozenset(features)
        said = outlook(op, library, device, dtype=dtype, features=needed, sizes=dict(sizes))[1]
        return next((i for i, reason in enumerate(said.values()) if reason is None), None)

    first, second = place(*one), place(*other)
    return first is not None and (second is None or first <= second)


serves_as_soon._dynamo_marked_constant = True  # type: ignore[attr-defined] # torch.compiler.assume_constant_result


def outlook(
    op: str,
    library: str,
    device: str,
    *,
    dtype: str = "float32",
    features: frozenset[str] = frozenset(),
    sizes: Mapping[str, int] | None = None,
    backend: str | None = None,
) -> tuple[Order, Mapping[str, str | None]]:
    """For calls of a kind: who is asked, and each one's reason not to serve (None: it does).

    Parameters
    ----------
    op
        Name of the operator.
    library, device
        Of the arrays.
    dtype
        Of the primary argument.
    features
        That the call needs.
    sizes
        By symbol, as far as they are known: a backend may have limits.
    backend
        As in the call.
    """
    operator = find(op)
    call = Call(operator, {}, dtype, dtype, sizes or {}, (), features)
    order = order_for(op, library, device.partition(":")[0], backend)
    said: dict[str, str | None] = {}
    for name in order.names:
        found = _ask(name, device, order)
        said[name] = (_offer(found, call, library)[1] or None) if isinstance(found, Backend) else found
    return order, said
