"""S4D: one diagonal system per channel, as a recurrence over the input.

    λ = A, (ā, b̄) = rule(λ, B, Δ);   h_k = ā h_{k−1} + b̄ u_k,   y_k = 2 Re Σ_n C_n h_k + D u_k

(S4D, arXiv:2206.11893, (3), (6) and section 3.2; complex modes are one of each conjugate pair.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ssm_spec._calls import arguments_of, operator
from ssm_spec._layer import RULES, System, pull_back, reshaped, run
from ssm_spec._layer_bounds import layer_bounds, layer_vjp_bounds
from ssm_spec._layer_views import cotangents_as, given_back, named
from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec._systems import as_matrix_like
from ssm_spec._validate import (
    Array,
    Dimensions,
    Float,
    as_array,
    as_choice,
    as_real_array,
    at_least_one,
    differentiated,
)

OUTPUTS = ("y", "last_state")
DIFFERENTIABLE = ("u", "delta", "A", "B", "C", "D", "initial_state")


@operator
def s4d(
    u: Float,
    delta: Float,
    A: Array,
    B: Array,
    C: Array,
    D: Float | None = None,
    *,
    initial_state: Array | None = None,
    discretization: str = "zoh",
    return_last_state: bool = False,
) -> Float | tuple[Float, Array]:
    """Run S4D over a whole input.

    (C1) A complex A holds one mode of each conjugate pair, and y = 2 Re(C h) + D u; its dtype decides.
    (C2) A real A holds real modes, and y = C h + D u; B and C are then real.
    (C3) "zoh" unless "bilinear", "forward_euler" or "backward_euler" is asked for; C and D stay as given.
    (C4) The input at k reaches the output at k.
    (C5) At l = 0 the output is empty and the last state is the initial one.

    Parameters
    ----------
    u
        (b, d, l), real.
    delta
        (d,), real, of any sign.
    A, B, C
        (d, n), n the modes kept; float or complex.
    D
        (d,), real; none means zero.
    initial_state
        (b, d, n), of A's kind; none means zeros.
    discretization
        "zoh", "bilinear", "forward_euler" or "backward_euler".
    return_last_state
        Whether to return the last state too.

    Returns
    -------
    y, and last_state if asked for
        (b, d, l), float64, and (b, d, n), float64 or complex128.
    """
    system = _read(u, delta, A, B, C, D, initial_state, discretization)
    y, last = run(system)
    y = y[:, :, 0]
    return (y, last) if return_last_state else y


@arguments_of(s4d)
def s4d_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return the gradients of the inputs of `s4d` named in `wrt` (default: all given)."""
    system = _read_keywords(inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    found = pull_back(system, _cotangents(cotangents, system))
    return {name: given_back(found[name], inputs[name]) for name in names}


@arguments_of(s4d)
def s4d_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return both outputs with what honest arithmetic may do to each: scans, chunks, or declared "fft"."""
    system = _read_keywords(inputs)
    found = layer_bounds(system, arithmetic)
    b, d, _, length = system.u.shape
    return {"y": reshaped(found["y"], (b, d, length)), "last_state": found["last_state"]}


@arguments_of(s4d)
def s4d_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradients of `s4d` with what honest arithmetic may do to each element."""
    system = _read_keywords(inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    found = layer_vjp_bounds(system, _cotangents(cotangents, system), arithmetic)
    return named(found, inputs, names)


def _read(
    u: object,
    delta: object,
    A: object,
    B: object,
    C: object,
    D: object,
    initial_state: object,
    discretization: object,
) -> System:
    dims = Dimensions()
    u_, delta_, A_ = as_real_array("u", u), as_real_array("delta", delta), as_array("A", A)
    complex_ = A_.dtype.kind == "c"
    B_, C_ = as_matrix_like("B", B, complex_), as_matrix_like("C", C, complex_)
    dims.match("u", u_, "b d l")
    dims.match("delta", delta_, "d")
    for name, array in (("A", A_), ("B", B_), ("C", C_)):
        dims.match(name, array, "d n")
    at_least_one("A", "n", dims["n"])
    D_ = None if D is None else as_real_array("D", D)
    if D_ is not None:
        dims.match("D", D_, "d")
    initial = None if initial_state is None else as_matrix_like("initial_state", initial_state, complex_)
    if initial is not None:
        dims.match("initial_state", initial, "b d n")
    rule = as_choice("discretization", discretization, RULES)
    direct = None if D_ is None else D_[:, None, None]
    return System(
        A_, B_[..., None], C_[:, None, :], direct, delta_[:, None], u_[:, :, None, :], initial, rule, True
    )


def _read_keywords(inputs: Mapping[str, Any]) -> System:
    defaults: dict[str, Any] = {"D": None, "initial_state": None, "discretization": "zoh"}
    return _read(**{**defaults, **{k: v for k, v in inputs.items() if k != "return_last_state"}})


def _cotangents(cotangents: Mapping[str, Array | None], system: System) -> dict[str, Array | None]:
    b, d, _, length = system.u.shape
    shapes = {"y": (b, d, length), "last_state": (b, *system.A.shape)}
    complex_ = ("last_state",) if system.A.dtype.kind == "c" else ()
    return cotangents_as(cotangents, shapes, {"y": (b, d, 1, length)}, complex_)
