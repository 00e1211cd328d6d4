"""The convolution kernel of a discrete system, K_j = C Āʲ B̄, and its gradient.

    K = (C B̄, C Ā B̄, ..., C Ā^{l−1} B̄)      (S4, arXiv:2111.00396, (4); 2 Re of it for paired modes)

A full Ā: the kernel is the response to an impulse in each input, so the recurrence computes it,
and the adjoint recurrence its gradient. Modes: a Vandermonde product, K_j = Σ_n C_n B̄_n ā_nʲ
(S4D, arXiv:2206.11893, (6)), whose powers are products in twice the working precision; exp(j log ā)
would lose j |log ā| units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from ssm_spec._calls import arguments_of, operator
from ssm_spec._double_double import DoubleDouble, add, exact, multiply
from ssm_spec._recurrence import ssm_recurrence, ssm_recurrence_vjp
from ssm_spec._systems import Systems, as_matrix_like, in_blocks
from ssm_spec._validate import (
    Array,
    Float,
    as_array,
    as_cotangent,
    as_size,
    check_cotangent_names,
    differentiated,
)

OUTPUTS = ("K",)
DIFFERENTIABLE = ("A_bar", "B_bar", "C")
_POWERS_AT_ONCE: Final = 2**18


class Kernel(NamedTuple):
    """The arguments, checked, with all of *s flattened to s.

    A (s, n, n) or (s, n); B (s, n, m); C (s, p, n).
    """

    A: Array
    B: Array
    C: Array
    length: int
    systems: Systems

    @property
    def diagonal(self) -> bool:
        """Whether A holds modes."""
        return self.A.ndim == 2

    @property
    def paired(self) -> bool:
        """Whether each complex mode stands for itself and its conjugate."""
        return self.diagonal and self.A.dtype.kind == "c"

    @property
    def gamma(self) -> float:
        """2 where a mode stands for two, else 1."""
        return 2.0 if self.paired else 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of K, (*s, p, m, l)."""
        return (*self.systems.shape, self.C.shape[-2], self.B.shape[-1], self.length)


@operator
def ssm_kernel(A_bar: Array, B_bar: Array, C: Array, length: int, *, diagonal: bool = False) -> Array:
    """Return the first `length` terms of K_j = C Āʲ B̄.

    Parameters
    ----------
    A_bar
        (*s, n, n), or the modes (*s, n) of a diagonal system; float or complex.
    B_bar, C
        (*s, n, m) and (*s, p, n); complex only beside a complex A_bar.
    length
        l >= 0.
    diagonal
        Whether A_bar is a vector of modes. If it is complex, K = 2 Re(...) is real.

    Returns
    -------
    K
        (*s, p, m, l), float64, or complex128 where A_bar is complex and full.
    """
    call = read(A_bar, B_bar, C, length, diagonal)
    if call.diagonal:
        return vandermonde(call, powers(call.A, call.length)).reshape(call.shape)
    y = ssm_recurrence(A_bar, B_bar, C, impulses(call))
    return np.moveaxis(np.asarray(y), 0, -2)


@arguments_of(ssm_kernel)
def ssm_kernel_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return the gradients of the array inputs of `ssm_kernel` named in `wrt` (default: all)."""
    call, names, G = read_vjp(cotangents, wrt, inputs)
    if not call.diagonal:
        return ssm_recurrence_vjp({"y": np.moveaxis(G, -2, 0)}, names, **impulse_response(call, inputs))
    from ssm_spec._kernel_bounds import vandermonde_gradients
    from ssm_spec._roundoff import ORACLE

    parts = vandermonde_gradients(call, G, names, inputs, ORACLE)
    return {name: bounded.value for name, bounded in parts.items()}


def read(A_bar: object, B_bar: object, C: object, length: object, diagonal: bool) -> Kernel:
    """Check every argument, and spread the systems out."""
    systems = Systems()
    A = as_array("A_bar", A_bar)
    complex_ = A.dtype.kind == "c"
    B, C_ = as_matrix_like("B_bar", B_bar, complex_), as_matrix_like("C", C, complex_)
    systems.bind("A_bar", A, "n" if diagonal else "n n")
    systems.bind("B_bar", B, "n m")
    systems.bind("C", C_, "p n")
    size = as_size("length", length)
    flat = systems.spread(A, 1 if diagonal else 2), systems.spread(B, 2), systems.spread(C_, 2)
    return Kernel(*flat, size, systems)


def read_keywords(inputs: Mapping[str, Any]) -> Kernel:
    """Read a call given by keywords."""
    return read(**{"diagonal": False, **inputs})


def read_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None, inputs: Mapping[str, Any]
) -> tuple[Kernel, tuple[str, ...], Array]:
    """Check a call for gradients: the system, the names asked for, and the cotangent (*s, p, m, l)."""
    call = read_keywords(inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    check_cotangent_names(cotangents, OUTPUTS)
    complex_ = call.A.dtype.kind == "c" and not call.diagonal
    G = as_cotangent(cotangents, "K", call.shape, complex_=complex_)
    return call, names, np.zeros(call.shape) if G is None else G


def impulses(call: Kernel) -> Float:
    """Return inputs (m, *s, m, l): in row i, a one in input i at the first step."""
    m = call.B.shape[-1]
    u = np.zeros((m, *call.systems.shape, m, call.length))
    if call.length:
        for i in range(m):
            u[i, ..., i, 0] = 1.0
    return u


def impulse_response(call: Kernel, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recurrence's arguments whose output is the kernel, its inputs first: (m, *s, p, l)."""
    given = {name: inputs[name] for name in DIFFERENTIABLE}
    return {**given, "u": impulses(call)}


def powers(A: Array, length: int) -> Array:
    """Return a^0 ... a^{l−1} of every mode, (s, n) -> (s, n, l), each right to two units, by doubling."""
    modes = A.reshape(-1)
    (table,) = in_blocks(lambda some: (_powers(some, length),), (modes,), _POWERS_AT_ONCE // max(length, 1))
    return table.reshape(*A.shape, length)


def _powers(modes: Array, length: int) -> Array:
    x, y = exact(np.ones((len(modes), 1))), exact(np.zeros((len(modes), 1)))
    step_x, step_y = exact(modes.real[:, None]), exact(modes.imag[:, None])
    with np.errstate(all="ignore"):
        while x.hi.shape[1] < length:
            more_x, more_y = _complex_product(x, y, step_x, step_y)
            x, y = _joined(x, more_x), _joined(y, more_y)
            step_x, step_y = _complex_product(step_x, step_y, step_x, step_y)
    table = x.hi[:, :length]
    if modes.dtype.kind != "c":
        return table
    result = np.empty(table.shape, dtype=np.complex128)
    result.real, result.imag = table, y.hi[:, :length]
    return result


def _complex_product(
    x: DoubleDouble, y: DoubleDouble, v: DoubleDouble, w: DoubleDouble
) -> tuple[DoubleDouble, DoubleDouble]:
    """Return the real and imaginary part of (x + iy)(v + iw)."""
    return add(multiply(x, v), multiply(y, w).scaled(-1.0)), add(multiply(x, w), multiply(y, v))


def _joined(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    return DoubleDouble(np.concatenate((a.hi, b.hi), axis=1), np.concatenate((a.lo, b.lo), axis=1))


def vandermonde(call: Kernel, table: Array) -> Array:
    """Return γ Σ_n C_pn B_nm a_n^j, (s, p, m, l)."""
    with np.errstate(all="ignore"):
        weights = call.C[..., :, None, :] * np.swapaxes(call.B, -1, -2)[..., None, :, :]
        K = weights @ table[..., None, :, :]
    return call.gamma * K.real if call.paired else K
