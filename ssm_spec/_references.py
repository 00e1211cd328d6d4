"""The table of operators: the value of each, its gradient, the two bounds, and its equation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from numpy.typing import NDArray

from ssm_spec import _selective_scan, _selective_state_update
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


_ROWS: tuple[Reference, ...] = (
    Reference(
        name="selective_scan",
        outputs=("y", "last_state"),
        differentiable=("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state"),
        value=_selective_scan.selective_scan,
        vjp=_selective_scan.selective_scan_vjp,
        bounds=_selective_scan.selective_scan_bounds,
        vjp_bounds=_selective_scan.selective_scan_vjp_bounds,
        equation="h_t = exp(Δ_t A) h_{t−1} + b̄_t u_t; y_t = (γ Re Σ_n C_t h_t + D u_t) · silu(z_t)",
        source="Gu and Dao, Mamba (2023), eq. (2) and (4), algorithm 2",
    ),
    Reference(
        name="selective_state_update",
        outputs=("y", "state"),
        differentiable=("state", "u", "delta", "A", "B", "C", "D", "z", "delta_bias"),
        value=_selective_state_update.selective_state_update,
        vjp=_selective_state_update.selective_state_update_vjp,
        bounds=_selective_state_update.selective_state_update_bounds,
        vjp_bounds=_selective_state_update.selective_state_update_vjp_bounds,
        equation="h = exp(ΔA) h⁻ + b̄ u; y = (γ Re Σ_n C h + D u) · silu(z)",
        source="Gu and Dao, Mamba (2023), eq. (2) and (4), one step",
    ),
)

REFERENCES: Final[Mapping[str, Reference]] = MappingProxyType({row.name: row for row in _ROWS})
"""Every operator of the oracle, by name."""
