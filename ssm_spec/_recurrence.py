"""The discrete state space model as a recurrence, in time order; its gradient by the adjoint recurrence.

    h_k = Ā h_{k−1} + B̄ u_k,   y_k = C h_k + D u_k       (S4, arXiv:2111.00396, (3))

and y_k = 2 Re(C h_k) + D u_k for complex modes, one kept of each conjugate pair (S4D,
arXiv:2206.11893, section 3.2). The input at k reaches the output at k.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ssm_spec._calls import arguments_of, operator
from ssm_spec._errors import ShapeError
from ssm_spec._systems import Systems, as_matrix_like
from ssm_spec._validate import (
    Array,
    Float,
    as_array,
    as_cotangent,
    as_real_array,
    check_cotangent_names,
    differentiated,
)

OUTPUTS = ("y", "last_state")
DIFFERENTIABLE = ("A_bar", "B_bar", "C", "u", "D", "initial_state")


class Recurrence(NamedTuple):
    """The arguments, checked, with all of *s flattened to s.

    A (s, n, n) or (s, n); B (s, n, m); C (s, p, n); D (s, p, m); u (b, s, m, l); initial (b, s, n).
    γ is 2 for complex modes, else 1.
    """

    A: Array
    B: Array
    C: Array
    D: Float
    u: Float
    initial: Array
    systems: Systems

    @property
    def diagonal(self) -> bool:
        """Whether A holds modes."""
        return self.A.ndim == 2

    @property
    def paired(self) -> bool:
        """Whether each complex mode stands for itself and its conjugate: outputs are then real."""
        return self.diagonal and self.A.dtype.kind == "c"

    @property
    def gamma(self) -> float:
        """2 where a mode stands for two, else 1."""
        return 2.0 if self.paired else 1.0


@operator
def ssm_recurrence(
    A_bar: Array,
    B_bar: Array,
    C: Array,
    u: Array,
    D: Array | None = None,
    initial_state: Array | None = None,
    *,
    return_last_state: bool = False,
    diagonal: bool = False,
) -> Array | tuple[Array, Array]:
    """Run h_k = Ā h_{k−1} + B̄ u_k, y_k = C h_k + D u_k over a whole input.

    Parameters
    ----------
    A_bar
        (*s, n, n), or the modes (*s, n) of a diagonal system; float or complex.
    B_bar, C
        (*s, n, m) and (*s, p, n); complex only beside a complex A_bar.
    u
        (b, *s, m, l), real; its *s is the broadcast of the others'.
    D
        (*s, p, m), real; none means zero.
    initial_state
        (b, *s, n), the state before the first step; none means zeros.
    return_last_state
        Return (y, last_state).
    diagonal
        Whether A_bar is a vector of modes. If it is complex, y = 2 Re(C h) + D u is real.

    Returns
    -------
    y, last_state
        (b, *s, p, l) and (b, *s, n); float64, or complex128 where A_bar is complex (y: complex and full).
    """
    call = read(A_bar, B_bar, C, u, D, initial_state, diagonal)
    states = run(call)
    y = output(call, states)
    return (y, shaped(call, states[-1])) if return_last_state else y


@arguments_of(ssm_recurrence)
def ssm_recurrence_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return the gradients of the array inputs of `ssm_recurrence` named in `wrt` (default: all given)."""
    call, names, r, r_last = read_vjp(cotangents, wrt, inputs)
    states = run(call)
    terms = pull_back(call, states, run_back(call, r, r_last), r)
    return {name: _brought_back(terms[name], inputs[name]) for name in names}


def read(
    A_bar: object, B_bar: object, C: object, u: object, D: object, initial_state: object, diagonal: bool
) -> Recurrence:
    """Check every argument, and spread the systems out."""
    systems = Systems()
    A = as_array("A_bar", A_bar)
    complex_ = A.dtype.kind == "c"
    B, C_ = as_matrix_like("B_bar", B_bar, complex_), as_matrix_like("C", C, complex_)
    systems.bind("A_bar", A, "n" if diagonal else "n n")
    systems.bind("B_bar", B, "n m")
    systems.bind("C", C_, "p n")
    D_ = np.zeros((systems["p"], systems["m"])) if D is None else as_real_array("D", D)
    systems.bind("D", D_, "p m")
    u_ = as_real_array("u", u)
    whole = ("b", *(str(size) for size in systems.shape), f"m = {systems['m']}", "l")
    if u_.ndim != len(whole) or u_.shape[1:-1] != (*systems.shape, systems["m"]):
        raise ShapeError(f"`u` must have shape (b, *s, m, l) = ({', '.join(whole)}); got {u_.shape}")
    state_shape = (u_.shape[0], *systems.shape, systems["n"])
    if initial_state is None:
        initial = np.zeros(state_shape, dtype=A.dtype)
    else:
        initial = as_matrix_like("initial_state", initial_state, complex_)
    if initial.shape != state_shape:
        raise ShapeError(f"`initial_state` must have shape (b, *s, n) = {state_shape}; got {initial.shape}")
    flat = systems.spread(A, 1 if diagonal else 2), systems.spread(B, 2), systems.spread(C_, 2)
    b, count = u_.shape[0], flat[0].shape[0]
    return Recurrence(
        *flat,
        systems.spread(D_, 2),
        u_.reshape(b, count, *u_.shape[-2:]),
        initial.reshape(b, count, systems["n"]),
        systems,
    )


def read_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None, inputs: Mapping[str, Any]
) -> tuple[Recurrence, tuple[str, ...], Array, Array]:
    """Check a call for gradients: the system, the names asked for, and r (b, s, p, l), r_last (b, s, n)."""
    call = read_keywords(inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    check_cotangent_names(cotangents, OUTPUTS)
    complex_ = call.A.dtype.kind == "c"
    b, count, _, length = call.u.shape
    p, n = call.C.shape[-2:]
    y_complex = complex_ and not call.diagonal
    r = as_cotangent(cotangents, "y", (b, *call.systems.shape, p, length), complex_=y_complex)
    last = as_cotangent(cotangents, "last_state", (b, *call.systems.shape, n), complex_=complex_)
    r = np.zeros((b, count, p, length)) if r is None else r.reshape(b, count, p, length)
    last = np.zeros((b, count, n)) if last is None else last.reshape(b, count, n)
    return call, names, r, last


def read_keywords(inputs: Mapping[str, Any]) -> Recurrence:
    """Read a call given by keywords; `return_last_state` changes nothing here."""
    defaults: dict[str, Any] = {"D": None, "initial_state": None, "diagonal": False}
    known = {name: value for name, value in inputs.items() if name != "return_last_state"}
    return read(**{**defaults, **known})


def run(call: Recurrence) -> Array:
    """Return the states (l + 1, b, s, n), the initial one first."""
    with np.errstate(all="ignore"):
        added = np.moveaxis(call.B @ call.u, -1, 0)
        states = np.empty((len(added) + 1, *call.initial.shape), dtype=call.A.dtype)
        states[0] = call.initial
        for t, v in enumerate(added):
            states[t + 1] = apply(call.A, states[t]) + v
    return states


def output(call: Recurrence, states: Array) -> Array:
    """Return y = γ C h + D u in the caller's shape, real for paired modes."""
    with np.errstate(all="ignore"):
        y = call.C @ np.moveaxis(states[1:], 0, -1)
        y = (call.gamma * y.real if call.paired else y) + call.D @ call.u
    return shaped(call, y)


def run_back(call: Recurrence, r: Array, r_last: Array) -> Array:
    """Return the adjoint states λ (l + 1, b, s, n), λ_{l} the last state's cotangent.

    λ_t = γ Cᴴ r_t + Āᴴ λ_{t+1}, with λ_{l−1} = γ Cᴴ r_{l−1} + r_last; row t holds λ_t, and the last row
    r_last itself, which enters λ_{l−1} without Ā.
    """
    with np.errstate(all="ignore"):
        entering = np.moveaxis(call.gamma * (adjoint(call.C) @ r), -1, 0)
        adjoints = np.empty((len(entering) + 1, *call.initial.shape), dtype=call.A.dtype)
        adjoints[-1] = r_last
        for t in range(len(entering) - 1, -1, -1):
            later = adjoints[t + 1]
            adjoints[t] = entering[t] + (later if t == len(entering) - 1 else apply_adjoint(call.A, later))
    return adjoints


def pull_back(call: Recurrence, states: Array, adjoints: Array, r: Array) -> dict[str, Array]:
    """Return every gradient in the spread shape: *s, then the input's own dimensions.

    dĀ = Σ λ_t h_{t−1}ᴴ, dB̄ = Σ λ_t u_tᵀ, dC = γ Σ r_t h_tᴴ, dD = Σ r_t u_tᵀ, du = B̄ᴴ λ + Dᵀ r, dh₋₁ = Āᴴ λ_0.
    """
    with np.errstate(all="ignore"):
        lam, before = np.moveaxis(adjoints[:-1], 0, -1), np.moveaxis(states[:-1], 0, -1)
        after = np.moveaxis(states[1:], 0, -1)
        lead = call.systems.shape
        if call.diagonal:
            dA = np.sum(lam * np.conj(before), axis=(0, -1))
        else:
            dA = np.sum(lam @ adjoint(before), axis=0)
        length = call.u.shape[-1]
        first = adjoints[0] if length == 0 else apply_adjoint(call.A, adjoints[0])
        u_adjoint = adjoint(call.u)
        flat = {
            "A_bar": dA,
            "B_bar": np.sum(lam @ u_adjoint, axis=0),
            "C": call.gamma * np.sum(r @ adjoint(after), axis=0),
            "D": np.sum((r @ u_adjoint).real, axis=0),
        }
        spread = {name: array.reshape(lead + array.shape[1:]) for name, array in flat.items()}
        du = (adjoint(call.B) @ lam + adjoint(call.D) @ r).real
    return {**spread, "u": shaped(call, du), "initial_state": shaped(call, first)}


def apply(A: Array, x: Array) -> Array:
    """Return A x for states (b, s, n)."""
    return np.asarray((A @ x[..., None])[..., 0] if A.ndim == 3 else A * x)


def apply_adjoint(A: Array, x: Array) -> Array:
    """Return Aᴴ x for states (b, s, n)."""
    return apply(adjoint(A) if A.ndim == 3 else np.conj(A), x)


def adjoint(M: Array) -> Array:
    """Return the conjugate transpose of the last two dimensions."""
    return np.conj(np.swapaxes(M, -1, -2))


def shaped(call: Recurrence, array: Array) -> Array:
    """Give an array (b, s, ...) the caller's *s."""
    return array.reshape(array.shape[0], *call.systems.shape, *array.shape[2:])


def _brought_back(gradient: Array, given: object) -> Array:
    """Sum a gradient over broadcast dimensions, and keep the real part for a real input."""
    like = np.asarray(given)
    value = gradient if like.dtype.kind == "c" else gradient.real
    lead = value.ndim - like.ndim
    axes = tuple(range(lead)) + tuple(
        lead + i for i, size in enumerate(like.shape) if size == 1 and value.shape[lead + i] != 1
    )
    return np.asarray(np.sum(value, axis=axes).reshape(like.shape)) if axes else np.asarray(value)
