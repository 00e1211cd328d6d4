"""The continuous system under an input held over each step, exactly, at the ends of the steps.

    h' = A h + B u,   y = C h + D u,   u(t) = u_k on ((k − 1)Δ, kΔ]
    h(kΔ) = exp(ΔA) h((k − 1)Δ) + ∫₀^Δ exp(sA) ds B u_k

(Åström and Wittenmark, Computer-Controlled Systems, 3rd ed., (2.4); S4, arXiv:2111.00396, (1).) No
approximation is made: this is the meaning that zero-order hold and the recurrence compute.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ssm_spec._calls import arguments_of, operator
from ssm_spec._errors import ShapeError
from ssm_spec._layer import System, pull_back, run
from ssm_spec._layer_bounds import layer_bounds, layer_vjp_bounds, sums_of_systems
from ssm_spec._layer_views import cotangents_as
from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec._systems import Parts, Systems, as_matrix_like, gradients
from ssm_spec._validate import Array, Float, as_array, as_real_array, differentiated

OUTPUTS = ("y", "last_state")
DIFFERENTIABLE = ("A", "B", "C", "u", "delta", "D", "initial_state")


@operator
def continuous_response(
    A: Array,
    B: Array,
    C: Array,
    u: Float,
    delta: Float | float,
    D: Float | None = None,
    initial_state: Array | None = None,
    *,
    return_last_state: bool = False,
    diagonal: bool = False,
) -> Array | tuple[Array, Array]:
    """Return the exact response of h' = A h + B u, y = C h + D u, sampled at the ends of the steps.

    (C1) The input is constant over each step, and the sample at its end already feels it.
    (C2) It equals the recurrence on the zero-order hold, and kernel and convolution.
    (C3) Singular A and Δ = 0 are no exceptions.
    (C4) Complex modes are one of each conjugate pair: y = 2 Re(C h) + D u.

    Parameters
    ----------
    A
        (*s, n, n), or the modes (*s, n) of a diagonal system; float or complex.
    B, C
        (*s, n, m) and (*s, p, n); complex only beside a complex A.
    u
        (b, *s, m, l), real; its *s is the broadcast of the others'.
    delta
        (*s), real.
    D
        (*s, p, m), real; none means zero.
    initial_state
        (b, *s, n), at time 0; none means zeros.
    return_last_state
        Return (y, last_state).
    diagonal
        Whether A is a vector of modes.

    Returns
    -------
    y, last_state
        (b, *s, p, l) and (b, *s, n); float64, or complex128 where A is complex (y: complex and full).
    """
    y, last = run(_read(A, B, C, u, delta, D, initial_state, diagonal))
    return (y, last) if return_last_state else y


@arguments_of(continuous_response)
def continuous_response_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return the gradients of the inputs of `continuous_response` named in `wrt` (default: all given)."""
    system = _read_keywords(inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    found = pull_back(system, _cotangents(cotangents, system))
    parts = {name: _parts(_without_bounds(x)) for name, x in found.items()}
    return {name: b.value for name, b in gradients(_by_system(parts), inputs, names, 0.0).items()}


@arguments_of(continuous_response)
def continuous_response_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return both outputs with what honest arithmetic may do to each: hold, then any order, or "fft"."""
    return layer_bounds(_read_keywords(inputs), arithmetic)


@arguments_of(continuous_response)
def continuous_response_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradients with what honest arithmetic may do to each element."""
    system = _read_keywords(inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    given = _cotangents(cotangents, system)
    found = layer_vjp_bounds(system, given, arithmetic)
    parts = {name: _parts(bounded) for name, bounded in found.items()}
    shared = {name for name, part in parts.items() if as_array(name, inputs[name]).size != part.value.size}
    rounded = sums_of_systems(system, given, arithmetic, shared) if shared else {}
    for name in shared:
        parts[name] = replace(parts[name], rounded=rounded[name].reshape(parts[name].value.shape))
    return gradients(_by_system(parts), inputs, names, arithmetic.u, arithmetic.largest)


def _read(
    A: object,
    B: object,
    C: object,
    u: object,
    delta: object,
    D: object,
    initial_state: object,
    diagonal: bool,
) -> System:
    systems = Systems()
    A_ = as_array("A", A)
    complex_ = A_.dtype.kind == "c"
    B_, C_ = as_matrix_like("B", B, complex_), as_matrix_like("C", C, complex_)
    step, u_ = as_real_array("delta", delta), as_real_array("u", u)
    systems.bind("A", A_, "n" if diagonal else "n n")
    systems.bind("B", B_, "n m")
    systems.bind("C", C_, "p n")
    systems.bind("delta", step, "")
    D_ = None if D is None else as_real_array("D", D)
    if D_ is not None:
        systems.bind("D", D_, "p m")
    lead = systems.shape
    if u_.ndim != len(lead) + 3 or u_.shape[1:-1] != (*lead, systems["m"]):
        whole = ("b", *map(str, lead), f"m = {systems['m']}", "l")
        raise ShapeError(f"`u` must have shape (b, *s, m, l) = ({', '.join(whole)}); got {u_.shape}")
    initial = None if initial_state is None else as_matrix_like("initial_state", initial_state, complex_)
    if initial is not None and initial.shape != (u_.shape[0], *lead, systems["n"]):
        wanted = (u_.shape[0], *lead, systems["n"])
        raise ShapeError(f"`initial_state` must have shape (b, *s, n) = {wanted}; got {initial.shape}")
    spread = [_spread(x, lead, k) for x, k in ((A_, 1 if diagonal else 2), (B_, 2), (C_, 2))]
    D_ = None if D_ is None else _spread(D_, lead, 2)
    step = np.broadcast_to(step, lead)
    step = step[..., None] if diagonal else step
    return System(spread[0], spread[1], spread[2], D_, step, u_, initial, "zoh", diagonal)


def _read_keywords(inputs: Mapping[str, Any]) -> System:
    defaults: dict[str, Any] = {"D": None, "initial_state": None, "diagonal": False}
    return _read(**{**defaults, **{k: v for k, v in inputs.items() if k != "return_last_state"}})


def _spread(array: Array, lead: tuple[int, ...], trailing: int) -> Array:
    return np.broadcast_to(array, lead + array.shape[array.ndim - trailing :])


def _cotangents(cotangents: Mapping[str, Array | None], system: System) -> dict[str, Array | None]:
    b, *middle, _, length = system.u.shape
    shapes = {
        "y": (b, *middle, system.C.shape[-2], length),
        "last_state": (b, *middle, system.C.shape[-1]),
    }
    complex_ = np.iscomplexobj(system.A)
    every = () if not complex_ else ("last_state",) if system.diagonal else ("y", "last_state")
    return cotangents_as(cotangents, shapes, shapes, every)


def _without_bounds(value: Array) -> Bounded:
    none = np.zeros(value.shape)
    return Bounded(value, none, none, np.ones(value.shape, dtype=bool))


def _parts(bounded: Bounded) -> Parts:
    return Parts(bounded.value, bounded.bound, bounded.own, bounded.judged)


def _by_system(parts: Mapping[str, Parts]) -> dict[str, Parts]:
    """Return the gradient of one Δ a system, whose modes shared it along a dimension of size one."""
    found, step = dict(parts), parts["delta"]
    if parts["delta"].value.ndim == parts["C"].value.ndim - 1:
        found["delta"] = step.reshape(step.value.shape[:-1])
    return found
