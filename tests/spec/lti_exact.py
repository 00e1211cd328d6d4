"""Linear time-invariant systems in balls, from the definitions: no code or formula of the oracle's.

Arrays are NumPy object arrays of `flint.acb`. A gradient is a difference quotient with a step of
2^-400 at 1200 bits: it knows no calculus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import flint
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Exact = Callable[..., dict[str, Array]]


@contextmanager
def precision(bits: int) -> Iterator[None]:
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def balls(array: Any) -> Array:
    """Exactly the numbers of a float or complex array."""
    array = np.asarray(array)
    result = np.empty(array.shape, dtype=object)
    for i in np.ndindex(array.shape):
        result[i] = flint.acb(float(array[i].real), float(array[i].imag))
    return result


def matrix(array: Array) -> flint.acb_mat:
    return flint.acb_mat(*array.shape, list(array.reshape(-1)))


def from_matrix(M: flint.acb_mat) -> Array:
    result = np.empty((M.nrows(), M.ncols()), dtype=object)
    result.reshape(-1)[:] = M.entries()
    return result


def full(A: Array) -> Array:
    """Modes (n,) as a diagonal matrix, a matrix as it is."""
    return np.diag(A) + balls(np.zeros((len(A), len(A)))) if A.ndim == 1 else A


def like(A: Array, M: Array) -> Array:
    return np.diagonal(M) if A.ndim == 1 else M


def zoh(A: Array, B: Array, delta: Array) -> dict[str, Array]:
    n, m = B.shape
    X = balls(np.zeros((n + m, n + m)))
    X[:n] = np.concatenate((full(A), B), axis=1) * delta[()]
    E = from_matrix(matrix(X).exp())
    return {"A_bar": like(A, E[:n, :n]), "B_bar": E[:n, n:]}


def bilinear(A: Array, B: Array, delta: Array, alpha: float) -> dict[str, Array]:
    X, identity = full(A) * delta[()], balls(np.eye(len(A)))
    W = matrix(identity - X * flint.acb(alpha))
    A_bar = W.solve(matrix(identity + X * (1 - flint.acb(alpha))))
    return {"A_bar": like(A, from_matrix(A_bar)), "B_bar": from_matrix(W.solve(matrix(B * delta[()])))}


def recurrence(
    A_bar: Array, B_bar: Array, C: Array, u: Array, D: Array, initial_state: Array, *, paired: bool
) -> dict[str, Array]:
    """One system; u (b, m, l)."""
    A, y = full(A_bar), np.empty((len(u), len(C), u.shape[-1]), dtype=object)
    h = initial_state.T
    for t in range(u.shape[-1]):
        h = A @ h + B_bar @ u[..., t].T
        through = C @ h
        if paired:
            through = np.vectorize(lambda x: flint.acb(2 * x.real), otypes=[object])(through)
        y[..., t] = (through + D @ u[..., t].T).T
    return {"y": y, "last_state": h.T}


def kernel(A_bar: Array, B_bar: Array, C: Array, length: int, *, paired: bool) -> dict[str, Array]:
    A, V = full(A_bar), B_bar
    K = np.empty((len(C), B_bar.shape[1], length), dtype=object)
    for j in range(length):
        term = C @ V
        K[..., j] = np.vectorize(lambda x: flint.acb(2 * x.real), otypes=[object])(term) if paired else term
        V = A @ V
    return {"K": K}


def convolution(u: Array, K: Array) -> dict[str, Array]:
    y = balls(np.zeros(u.shape))
    for t in range(u.shape[-1]):
        for j in range(min(t + 1, K.shape[-1])):
            y[..., t] = y[..., t] + K[:, j] * u[..., t - j]
    return {"y": y}


def gradient(
    function: Exact, inputs: Mapping[str, Array], cotangents: Mapping[str, Array], name: str
) -> Array:
    """∂L/∂Re x + i ∂L/∂Im x for L = Re Σ conj(r) output, real inputs: the first alone."""
    with precision(1200):
        exact = {key: balls(value) for key, value in inputs.items()}
        step = flint.acb(flint.arb(2) ** -400)

        def loss() -> Any:
            out = function(**exact)
            total = flint.arb(0)
            for key, r in cotangents.items():
                for x, y in zip(out[key].reshape(-1), balls(np.conj(r)).reshape(-1), strict=True):
                    total += (x * y).real
            return total

        start, result = loss(), np.empty(exact[name].shape, dtype=object)
        directions = [flint.acb(1), flint.acb(0, 1)] if np.iscomplexobj(inputs[name]) else [flint.acb(1)]
        for i in np.ndindex(result.shape):
            kept, result[i] = exact[name][i], flint.acb(0)
            for direction in directions:
                exact[name][i] = kept + direction * step
                result[i] += direction * ((loss() - start) / step.real)
            exact[name][i] = kept
        return result


def distance(found: Array, exact: Array) -> Array:
    """|found − exact|, rounded up, element by element."""
    result = np.empty(np.shape(found))
    for i in np.ndindex(result.shape):
        x = np.asarray(found)[i]
        result[i] = float((exact[i] - flint.acb(float(x.real), float(x.imag))).abs_upper())
    return result


def modulus(exact: Array) -> Array:
    """|exact| as floats."""
    return np.vectorize(lambda x: float(x.abs_upper()), otypes=[np.float64])(exact)
