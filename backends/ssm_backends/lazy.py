"""Attributes that are computed when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801  it is used as `property` is
    """As ``functools.cached_property``, without the lock that Python holds for it before 3.12.

    It is one for all instances: threads would wait for each other, and a child that is forked meanwhile for
    ever. Two threads that ask for one attribute at once both compute it.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> lazy[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> lazy[T] | T:
        """Compute it, and keep it where the instance's own attributes are: they are found first."""
        if instance is None:
            return self
        found = instance.__dict__[self._name] = self._compute(instance)
        return found
