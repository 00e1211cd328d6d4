"""One row of the table of operators: what the oracle offers for one name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ssm_spec._roundoff import Bounded


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One operator of the oracle.

    Attributes
    ----------
    name
        The operator's name, the same everywhere.
    outputs
        Names of the outputs, in order.
    differentiable
        Names of the inputs that have a gradient, in the signature's order.
    value
        `value(*args, **kwargs)`: the outputs, float64 or complex128.
    vjp
        `vjp(cotangents, wrt=None, **inputs)`: input name -> gradient. None if nothing is differentiable.
    bounds
        `bounds(*, arithmetic, **inputs)`: output name -> Bounded, for every output.
    vjp_bounds
        `vjp_bounds(cotangents, wrt=None, *, arithmetic, **inputs)`: input name -> Bounded.
    equation
        What is computed, in one line.
    source
        The publication and the equation's number in it.
    """

    name: str
    outputs: tuple[str, ...]
    differentiable: tuple[str, ...]
    value: Callable[..., Any]
    vjp: Callable[..., dict[str, NDArray[Any]]] | None
    bounds: Callable[..., dict[str, Bounded]]
    vjp_bounds: Callable[..., dict[str, Bounded]] | None
    equation: str
    source: str
