"""From a continuous system to a discrete one: zero-order hold and the generalised bilinear rule.

Both map h' = A h + B u to h_k = Ā h_{k−1} + B̄ u_k over steps of length Δ. This file reads the
arguments; `_zoh_dense`, `_zoh_diagonal` and `_bilinear` have the mathematics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ssm_spec._bilinear import bilinear, bilinear_gradients
from ssm_spec._calls import arguments_of, operator
from ssm_spec._errors import DomainError, DTypeError
from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec._systems import OWN_UNIT, Parts, Systems, as_matrix_like, gradients, in_blocks
from ssm_spec._validate import (
    Array,
    Float,
    as_array,
    as_cotangent,
    as_real_array,
    check_cotangent_names,
    differentiated,
)
from ssm_spec._zoh_dense import zoh_dense, zoh_dense_gradients
from ssm_spec._zoh_diagonal import zoh_diagonal, zoh_diagonal_gradients

_OUTPUTS = ("A_bar", "B_bar")
_DIFFERENTIABLE = ("A", "B", "delta")
_ELEMENTS_AT_ONCE = 2**17

Rule = Callable[[Array, Array, Float, Arithmetic | None], tuple[Parts, Parts]]
RuleGradients = Callable[[Array, Array, Float, Array, Array, Arithmetic | None], dict[str, Parts]]


@operator
def discretize_zoh(
    A: Array, B: Array, delta: Array | float, *, diagonal: bool = False
) -> tuple[Array, Array]:
    """Hold the input over each step: Ā = exp(ΔA), B̄ = ∫₀^Δ exp(sA) ds B, for every A, singular too.

    Right by entry on LegS up to 256 states, and wherever cancellation eats fewer than some 2^40;
    `own` in `discretize_zoh_bounds` is carried along and says how right each entry is. An entry
    that the structure of A makes zero is exactly zero.

    Parameters
    ----------
    A
        (*s, n, n), or the modes (*s, n) of a diagonal system; float or complex.
    B
        (*s, n, m); complex only beside a complex A.
    delta
        (*s), real: one step length, one per channel, or one per step.
    diagonal
        Whether A is a vector of modes.

    Returns
    -------
    A_bar, B_bar
        (*s, n, n) or (*s, n), and (*s, n, m); float64, or complex128 where A is complex.
    """
    a, b = _both(_read(A, B, delta, diagonal), _zoh(diagonal), None)
    return a.value, b.value


@arguments_of(discretize_zoh)
def discretize_zoh_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return the gradients of the inputs of `discretize_zoh` named in `wrt` (default: all of them)."""
    system, names, G = _read_vjp(cotangents, wrt, inputs)
    result = _pulled_back(system, G, _zoh_gradients(system.diagonal), names, inputs, None)
    return {name: bounded.value for name, bounded in result.items()}


@arguments_of(discretize_zoh)
def discretize_zoh_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return both outputs of `discretize_zoh` with what honest arithmetic may do to each entry.

    A full A: the running analysis of scaling and squaring in `_expm_bounds`; a diagonal one:
    the error of exp and expm1 in `_zoh_diagonal`.
    """
    system = _read_keywords(inputs)
    a, b = _both(system, _zoh(system.diagonal), arithmetic)
    return {"A_bar": a, "B_bar": b}


@arguments_of(discretize_zoh)
def discretize_zoh_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradients of `discretize_zoh` with what honest arithmetic may do to each entry."""
    system, names, G = _read_vjp(cotangents, wrt, inputs)
    return _pulled_back(system, G, _zoh_gradients(system.diagonal), names, inputs, arithmetic)


@operator
def discretize_bilinear(
    A: Array, B: Array, delta: Array | float, alpha: float = 0.5, *, diagonal: bool = False
) -> tuple[Array, Array]:
    """Apply the generalised bilinear rule: Ā = (I − αΔA)⁻¹(I + (1−α)ΔA), B̄ = (I − αΔA)⁻¹ΔB.

    α = 0 is forward Euler, 1/2 the bilinear (Tustin) rule, 1 backward Euler. C and D stay as
    they are. Structural zeros are exact. Entries are right to the last digit down to about 1e-31
    |W⁻¹||W||Ā| in absolute size, W = I − αΔA (64-state LegS: entries above 1e-14 of the largest);
    `own` in `discretize_bilinear_bounds` says how right each one is.

    Parameters
    ----------
    A, B, delta, diagonal
        As for `discretize_zoh`.
    alpha
        A number in [0, 1].

    Returns
    -------
    A_bar, B_bar
        (*s, n, n) or (*s, n), and (*s, n, m); float64, or complex128 where A is complex.

    Raises
    ------
    DomainError
        If I − αΔA is singular to working precision, however its rows and columns are scaled.
    """
    a, b = _both(_read(A, B, delta, diagonal), _bilinear(_read_alpha(alpha), diagonal), None)
    return a.value, b.value


@arguments_of(discretize_bilinear)
def discretize_bilinear_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return the gradients of the array inputs of `discretize_bilinear` named in `wrt` (default: all)."""
    alpha, inputs = _take_alpha(inputs)
    system, names, G = _read_vjp(cotangents, wrt, inputs)
    result = _pulled_back(system, G, _bilinear_gradients(alpha, system.diagonal), names, inputs, None)
    return {name: bounded.value for name, bounded in result.items()}


@arguments_of(discretize_bilinear)
def discretize_bilinear_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return both outputs of `discretize_bilinear` with what an honest solve may do to each entry.

    Entries that are zero by structure have a bound above zero here: Gaussian elimination with
    partial pivoting exchanges rows of a triangular matrix, and leaves rounding errors there.
    """
    alpha, inputs = _take_alpha(inputs)
    system = _read_keywords(inputs)
    a, b = _both(system, _bilinear(alpha, system.diagonal), arithmetic)
    return {"A_bar": a, "B_bar": b}


@arguments_of(discretize_bilinear)
def discretize_bilinear_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradients of `discretize_bilinear` with what honest solves may do to each entry."""
    alpha, inputs = _take_alpha(inputs)
    system, names, G = _read_vjp(cotangents, wrt, inputs)
    return _pulled_back(system, G, _bilinear_gradients(alpha, system.diagonal), names, inputs, arithmetic)


class _System(NamedTuple):
    """The arguments, checked: one row a system."""

    A: Array
    B: Array
    delta: Float
    diagonal: bool
    systems: Systems


def _read(A: object, B: object, delta: object, diagonal: bool) -> _System:
    systems = Systems()
    state = as_array("A", A)
    matrix = as_matrix_like("B", B, state.dtype.kind == "c")
    step = as_real_array("delta", delta)
    systems.bind("A", state, "n" if diagonal else "n n")
    systems.bind("B", matrix, "n m")
    systems.bind("delta", step, "")
    flat = (systems.spread(state, 1 if diagonal else 2), systems.spread(matrix, 2), systems.spread(step, 0))
    return _System(*flat, diagonal, systems)


def _read_keywords(inputs: Mapping[str, Any]) -> _System:
    known = dict(inputs)
    return _read(known.pop("A"), known.pop("B"), known.pop("delta"), **{"diagonal": False, **known})


def _read_alpha(alpha: object) -> float:
    if isinstance(alpha, bool) or not isinstance(alpha, float | int | np.floating):
        raise DTypeError(f"`alpha` must be a real number; got {alpha!r}")
    if not 0.0 <= alpha <= 1.0:
        raise DomainError(f"`alpha` must lie in [0, 1]; got {alpha}")
    return float(alpha)


def _take_alpha(inputs: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
    others = dict(inputs)
    return _read_alpha(others.pop("alpha", 0.5)), others


def _read_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None, inputs: Mapping[str, Any]
) -> tuple[_System, tuple[str, ...], tuple[Array, Array]]:
    system = _read_keywords(inputs)
    names = differentiated(wrt, inputs, _DIFFERENTIABLE)
    check_cotangent_names(cotangents, _OUTPUTS)
    complex_ = system.A.dtype.kind == "c"
    G = []
    for name, flat in zip(_OUTPUTS, (system.A, system.B), strict=True):
        shape = system.systems.shape + flat.shape[1:]
        given = as_cotangent(cotangents, name, shape, complex_=complex_)
        G.append(np.zeros(flat.shape, flat.dtype) if given is None else given.reshape(flat.shape))
    return system, names, (G[0], G[1])


def _both(system: _System, rule: Rule, arithmetic: Arithmetic | None) -> tuple[Bounded, Bounded]:
    def work(A: Array, B: Array, delta: Float) -> tuple[Array, ...]:
        return tuple(field for part in rule(A, B, delta, arithmetic) for field in _fields(part))

    arrays = (system.A, system.B, system.delta)
    fields = in_blocks(work, arrays, _systems_at_once(system, 1))
    shapes = [system.systems.shape + flat.shape[1:] for flat in (system.A, system.B)]
    largest = np.inf if arithmetic is None else arithmetic.largest
    parts = (Parts(*fields[5 * i : 5 * i + 5]).within(largest).reshape(shapes[i]) for i in range(2))
    a, b = (part.bounded() for part in parts)
    return a, b


def _pulled_back(
    system: _System,
    G: tuple[Array, Array],
    rule: RuleGradients,
    names: tuple[str, ...],
    inputs: Mapping[str, Any],
    arithmetic: Arithmetic | None,
) -> dict[str, Bounded]:
    def work(A: Array, B: Array, delta: Float, dA_bar: Array, dB_bar: Array) -> tuple[Array, ...]:
        parts = rule(A, B, delta, dA_bar, dB_bar, arithmetic)
        return tuple(field for name in _DIFFERENTIABLE for field in _fields(parts[name]))

    fields = in_blocks(work, (system.A, system.B, system.delta, *G), _systems_at_once(system, 2))
    parts = {}
    for i, (name, flat) in enumerate(zip(_DIFFERENTIABLE, (system.A, system.B, system.delta), strict=True)):
        shape = system.systems.shape + flat.shape[1:]
        parts[name] = Parts(*fields[5 * i : 5 * i + 5]).reshape(shape)
    if arithmetic is None:
        return gradients(parts, inputs, names, OWN_UNIT)
    return gradients(parts, inputs, names, arithmetic.u, arithmetic.largest)


def _fields(part: Parts) -> tuple[Array, ...]:
    judged, rounded = (np.broadcast_to(field, part.value.shape) for field in (part.judged, part.rounded))
    return part.value, part.bound, part.own, judged, rounded


def _systems_at_once(system: _System, copies: int) -> int:
    """Return how many systems keep the temporaries of one matrix product within a processor's cache."""
    n, m = (int(size) for size in system.B.shape[-2:])
    one = n * m if system.diagonal else (copies * (n + m)) ** 2
    return _ELEMENTS_AT_ONCE // max(one, 1)


def _zoh(diagonal: bool) -> Rule:
    return zoh_diagonal if diagonal else zoh_dense


def _zoh_gradients(diagonal: bool) -> RuleGradients:
    return zoh_diagonal_gradients if diagonal else zoh_dense_gradients


def _bilinear(alpha: float, diagonal: bool) -> Rule:
    def rule(A: Array, B: Array, delta: Float, arithmetic: Arithmetic | None) -> tuple[Parts, Parts]:
        if not diagonal:
            return bilinear(A, B, delta, alpha, arithmetic)
        a, b = bilinear(*_modes_apart(A, B, delta), alpha, arithmetic)
        return a.reshape(A.shape), b.reshape(B.shape)

    return rule


def _bilinear_gradients(alpha: float, diagonal: bool) -> RuleGradients:
    def rule(
        A: Array, B: Array, delta: Float, dA_bar: Array, dB_bar: Array, arithmetic: Arithmetic | None
    ) -> dict[str, Parts]:
        if not diagonal:
            return bilinear_gradients(A, B, delta, alpha, dA_bar, dB_bar, arithmetic)
        G = (dA_bar.reshape(-1, 1, 1), dB_bar.reshape(-1, 1, B.shape[-1]))
        parts = bilinear_gradients(*_modes_apart(A, B, delta), alpha, *G, arithmetic, sharing=A.shape[-1])
        u = OWN_UNIT if arithmetic is None else arithmetic.u
        # One step length serves n modes: bring n to the front, and sum over it as over a broadcast dimension.
        by_mode = parts["delta"].reshape(A.shape)
        front = replace(Parts(*(np.asarray(field).T for field in _fields(by_mode))), rounded=0.0)
        shared = replace(front.summed_to(delta.shape, u), rounded=np.sum(by_mode.rounded, axis=-1))
        return {
            "A": parts["A"].reshape(A.shape),
            "B": parts["B"].reshape(B.shape),
            "delta": shared,
        }

    return rule


def _modes_apart(A: Array, B: Array, delta: Float) -> tuple[Array, Array, Float]:
    """Return each mode as a system of one state."""
    steps = np.broadcast_to(delta[:, None], A.shape).reshape(-1)
    return A.reshape(-1, 1, 1), B.reshape(-1, 1, B.shape[-1]), steps
