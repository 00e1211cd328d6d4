"""LSSL: a full linear system per channel, with m outputs each, stacked side by side.

    (Ā, B̄) = rule(A, B, Δ);   h_k = Ā h_{k−1} + B̄ u_k,   y_k = C h_k + D u_k

(LSSL, arXiv:2110.13985, section 3.1 and (3); no activation, no mixing of the channels.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ssm_spec._calls import arguments_of, operator
from ssm_spec._layer import RULES, System, pull_back, run
from ssm_spec._layer_bounds import layer_bounds, layer_vjp_bounds
from ssm_spec._layer_views import cotangents_as, given_back, named
from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec._validate import (
    Array,
    Dimensions,
    Float,
    as_choice,
    as_real_array,
    at_least_one,
    differentiated,
)

OUTPUTS = ("y", "last_state")
DIFFERENTIABLE = ("u", "delta", "A", "B", "C", "D", "initial_state")


@operator
def lssl(
    u: Float,
    delta: Float,
    A: Float,
    B: Float,
    C: Float,
    D: Float | None = None,
    *,
    initial_state: Float | None = None,
    discretization: str = "bilinear",
    return_last_state: bool = False,
) -> Float | tuple[Float, Float]:
    """Run an LSSL over a whole input.

    (C1) Channel i runs its own system (A_i, B_i, C_i, D_i, Δ_i); its m outputs are not mixed.
    (C2) "bilinear" unless "zoh", "forward_euler" or "backward_euler" is asked for; C and D stay as given.
    (C3) The input at k reaches the output at k.
    (C4) At l = 0 the output is empty and the last state is the initial one.

    Parameters
    ----------
    u
        (b, d, l), real.
    delta
        (d,), real.
    A, B
        (d, n, n) and (d, n), real.
    C
        (d, m, n), real.
    D
        (d, m), real; none means zero.
    initial_state
        (b, d, n), real; none means zeros.
    discretization
        "zoh", "bilinear", "forward_euler" or "backward_euler".
    return_last_state
        Whether to return the last state too.

    Returns
    -------
    y, and last_state if asked for
        (b, d, m, l) and (b, d, n), float64.
    """
    system = _read(u, delta, A, B, C, D, initial_state, discretization)
    y, last = run(system)
    return (y, last) if return_last_state else y


@arguments_of(lssl)
def lssl_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return the gradients of the inputs of `lssl` named in `wrt` (default: all given)."""
    system = _read_keywords(inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    found = pull_back(system, _cotangents(cotangents, system))
    return {name: given_back(found[name], inputs[name]) for name in names}


@arguments_of(lssl)
def lssl_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return both outputs with what honest arithmetic may do to each: in time order, or declared "fft"."""
    system = _read_keywords(inputs)
    return layer_bounds(system, arithmetic)


@arguments_of(lssl)
def lssl_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradients of `lssl` with what honest arithmetic may do to each element."""
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
    given = {"u": u, "delta": delta, "A": A, "B": B, "C": C}
    given |= {k: v for k, v in (("D", D), ("initial_state", initial_state)) if v is not None}
    arrays = {name: as_real_array(name, value) for name, value in given.items()}
    patterns = {"u": "b d l", "delta": "d", "A": "d n n", "B": "d n", "C": "d m n", "D": "d m"}
    patterns["initial_state"] = "b d n"
    for name, array in arrays.items():
        dims.match(name, array, patterns[name])
    at_least_one("A", "n", dims["n"])
    at_least_one("C", "m", dims["m"])
    D_ = arrays.get("D")
    return System(
        arrays["A"],
        arrays["B"][..., None],
        arrays["C"],
        None if D_ is None else D_[..., None],
        arrays["delta"],
        arrays["u"][:, :, None, :],
        arrays.get("initial_state"),
        as_choice("discretization", discretization, RULES),
        diagonal=False,
    )


def _read_keywords(inputs: Mapping[str, Any]) -> System:
    defaults: dict[str, Any] = {"D": None, "initial_state": None, "discretization": "bilinear"}
    return _read(**{**defaults, **{k: v for k, v in inputs.items() if k != "return_last_state"}})


def _cotangents(cotangents: Mapping[str, Array | None], system: System) -> dict[str, Array | None]:
    b, d, _, length = system.u.shape
    shapes = {"y": (b, d, system.C.shape[-2], length), "last_state": (b, d, system.A.shape[-1])}
    return cotangents_as(cotangents, shapes, shapes, ())
