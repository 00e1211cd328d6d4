"""S5: one diagonal system with many inputs and outputs, each mode with its own step.

    (ā, b̄) = rule(λ, B, Δ);   h_k = ā h_{k−1} + b̄ u_k,   y_k = 2 Re(C h_k) + D u_k

(S5, arXiv:2208.04933, (1), (2) and (6); complex modes are one of each conjugate pair. Its parallel scan
is `ssm_associative_scan` of (ā, b̄ u_k): a way to compute this, not another meaning.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ssm_spec._calls import arguments_of, operator
from ssm_spec._layer import RULES, System, pull_back, run
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
def s5(
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
    """Run an S5 layer's linear system over a whole input; no activation.

    (C1) A complex A holds one mode of each conjugate pair, and y = 2 Re(C h) + D u; its dtype decides.
    (C2) A real A holds real modes, and y = C h + D u; B and C are then real.
    (C3) Δ is one step a mode. "zoh" unless "bilinear" or an Euler rule is asked for.
    (C4) D acts element by element.
    (C5) At l = 0 the output is empty and the last state is the initial one.

    Parameters
    ----------
    u
        (b, h, l), real.
    delta
        (p,), real, of any sign.
    A
        (p,), the modes kept; float or complex.
    B, C
        (p, h) and (h, p); float or complex.
    D
        (h,), real; none means zero.
    initial_state
        (b, p), of A's kind; none means zeros.
    discretization
        "zoh", "bilinear", "forward_euler" or "backward_euler".
    return_last_state
        Whether to return the last state too.

    Returns
    -------
    y, and last_state if asked for
        (b, h, l), float64, and (b, p), float64 or complex128.
    """
    system = _read(u, delta, A, B, C, D, initial_state, discretization)
    y, last = run(system)
    return (y, last) if return_last_state else y


@arguments_of(s5)
def s5_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return the gradients of the inputs of `s5` named in `wrt` (default: all given)."""
    system = _read_keywords(inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    found = pull_back(system, _cotangents(cotangents, system))
    if "D" in found:
        found["D"] = np.diagonal(found["D"])
    return {name: given_back(found[name], inputs[name]) for name in names}


@arguments_of(s5)
def s5_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return both outputs with what honest arithmetic may do to each: scans, chunks, or declared "fft"."""
    system = _read_keywords(inputs)
    return layer_bounds(system, arithmetic)


@arguments_of(s5)
def s5_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradients of `s5` with what honest arithmetic may do to each element."""
    system = _read_keywords(inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    found = layer_vjp_bounds(system, _cotangents(cotangents, system), arithmetic)
    if "D" in found:
        found["D"] = _on_the_diagonal(found["D"])
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
    dims.match("u", u_, "b h l")
    dims.match("A", A_, "p")
    dims.match("delta", delta_, "p")
    dims.match("B", B_, "p h")
    dims.match("C", C_, "h p")
    at_least_one("A", "p", dims["p"])
    at_least_one("u", "h", dims["h"])
    D_ = None if D is None else as_real_array("D", D)
    if D_ is not None:
        dims.match("D", D_, "h")
    initial = None if initial_state is None else as_matrix_like("initial_state", initial_state, complex_)
    if initial is not None:
        dims.match("initial_state", initial, "b p")
    rule = as_choice("discretization", discretization, RULES)
    direct = None if D_ is None else np.diag(D_)
    return System(A_, B_, C_, direct, delta_, u_, initial, rule, diagonal=True)


def _read_keywords(inputs: Mapping[str, Any]) -> System:
    defaults: dict[str, Any] = {"D": None, "initial_state": None, "discretization": "zoh"}
    return _read(**{**defaults, **{k: v for k, v in inputs.items() if k != "return_last_state"}})


def _cotangents(cotangents: Mapping[str, Array | None], system: System) -> dict[str, Array | None]:
    shapes = {"y": system.u.shape, "last_state": (system.u.shape[0], *system.A.shape)}
    complex_ = ("last_state",) if system.A.dtype.kind == "c" else ()
    return cotangents_as(cotangents, shapes, shapes, complex_)


def _on_the_diagonal(found: Bounded) -> Bounded:
    """Return the gradient of D (h,) from that of diag(D)."""
    return Bounded(*(np.diagonal(x).copy() for x in (found.value, found.bound, found.own, found.judged)))
