"""Which backends are asked, in what order, and what it means when the first one does not serve.

Who decides, first to last: the argument ``backend=``, the context manager :func:`use`, the environment
variable ``SSM_BACKENDS`` ("acme,torch"), and the order below. ``SSM_BACKENDS_FALLBACK`` ("warn" or
"error") is to the second what the variable is to the first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from ssm_backends.errors import ArgumentError, NotSupportedError

Fallback = Literal["warn", "error"]
FALLBACKS: Final = ("warn", "error")
BACKENDS_VARIABLE: Final = "SSM_BACKENDS"
FALLBACK_VARIABLE: Final = "SSM_BACKENDS_FALLBACK"

_SCANS: Final = frozenset({"selective_scan", "selective_state_update"})
_SHORT: Final = frozenset({"causal_conv1d", "causal_conv1d_update"})
_HEADS: Final = frozenset({"ssd", "ssd_update"})
ALONE: Final[Mapping[str, frozenset[str]]] = {"triton": _SCANS | _SHORT | _HEADS, "cpu": _SCANS}
"""Backends that serve a few operators alone, and these."""

FASTEST: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("torch", "cuda"): ("triton", "torch"),
    ("torch", "cpu"): ("cpu", "torch"),
    ("numpy", "cpu"): ("cpu", "numpy"),
}
"""(library, kind of device) → the built-in backends, fastest first."""


class FallbackWarning(UserWarning):
    """A call was served by a slower backend than the first one that was asked."""


class FallbackError(NotSupportedError):
    """The same, where it was to be an error."""


@dataclass(frozen=True)
class Order:
    """Backends to ask, first to last.

    Attributes
    ----------
    names
        Their names.
    said_by
        Who says so, in words.
    fallback
        What happens when another than the first serves: "warn" once, or "error".
    named
        Whether the user named them.
    """

    names: tuple[str, ...]
    said_by: str
    fallback: Fallback
    named: bool = True


@dataclass(frozen=True)
class _Wish:
    names: tuple[str, ...]
    fallback: Fallback | None


_WISH: ContextVar[_Wish | None] = ContextVar("ssm_backends_use", default=None)


@contextmanager
def use(*backends: str, fallback: Fallback | None = None) -> Iterator[None]:
    """Within the block, ask these backends, in this order, for every operator of the front door.

    Parameters
    ----------
    *backends
        Names of installed backends; none: the order stays, and `fallback` alone changes.
    fallback
        "warn": a call that the first of them does not serve goes to the next, with one warning.
        "error": it raises :class:`FallbackError`. None: as it was.

    Raises
    ------
    ArgumentError
        If a name is not a string, or `fallback` is another word.
    """
    for name in backends:
        if not isinstance(name, str) or not name:
            raise ArgumentError(f"`backends` must be names of backends; got {name!r}")
    if fallback is not None:
        _check_fallback("fallback", fallback)
    outer = _WISH.get()
    names = backends or (outer.names if outer else ())
    kept = fallback or (outer.fallback if outer else None)
    token = _WISH.set(_Wish(names, kept))
    try:
        yield
    finally:
        _WISH.reset(token)


def under_this_use(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function in the block :func:`use` of this moment, whenever and in whichever thread it is called.

    What a backward pass computes again asks so for the backends that the forward pass asked for; on a GPU
    PyTorch's own threads call it.
    """
    wish = _WISH.get()

    def called(*args: Any) -> Any:
        token = _WISH.set(wish)
        try:
            return function(*args)
        finally:
            _WISH.reset(token)

    return called


def order_for(operator: str, library: str, kind: str, backend: str | None = None) -> Order:
    """Who is asked for a call.

    Parameters
    ----------
    operator
        Its name.
    library, kind
        Of its arrays: "torch", "numpy", …, "" if it has none; "cuda", "cpu", ….
    backend
        The call's own argument, if it was given.
    """
    wish = _WISH.get()
    fallback = (wish and wish.fallback) or _fallback_of_environment()
    if backend is not None:
        if not isinstance(backend, str):
            raise ArgumentError(f"`backend` must be the name of a backend; got {backend!r}")
        return Order((backend,), "the argument `backend`", fallback)
    if wish and wish.names:
        return Order(wish.names, "`use`", fallback)
    if named := _of_environment():
        return Order(named, f"{BACKENDS_VARIABLE} of the environment", fallback)
    library = library or "numpy"  # a call without arrays makes some: NumPy's, if nobody says otherwise
    names = FASTEST.get((library, kind), ())
    asked = tuple(name for name in names if name not in ALONE or operator in ALONE[name])
    return Order(asked, f"the order for {library} on {kind}", fallback, named=False)


def is_named() -> bool:
    """Whether somebody says which backends are asked, besides a call itself."""
    wish = _WISH.get()
    return bool((wish and wish.names) or _of_environment())


def wishes() -> tuple[Any, ...]:
    """Everything but the call itself that an order depends on."""
    return _WISH.get(), os.environ.get(BACKENDS_VARIABLE), os.environ.get(FALLBACK_VARIABLE)


def _of_environment() -> tuple[str, ...]:
    said = os.environ.get(BACKENDS_VARIABLE)
    return tuple(name.strip() for name in said.split(",") if name.strip()) if said else ()


def _fallback_of_environment() -> Fallback:
    word = os.environ.get(FALLBACK_VARIABLE) or "warn"
    _check_fallback(FALLBACK_VARIABLE, word)
    return cast("Fallback", word)


def _check_fallback(name: str, word: str) -> None:
    if word not in FALLBACKS:
        raise ArgumentError(f"`{name}` must be one of {', '.join(FALLBACKS)}; got {word!r}")
