"""The definitions, one number at a time in plain loops, for small shapes."""

from __future__ import annotations

import cmath
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def group_of(channel: int, d: int, matrix: Array, row: int, t: int) -> Array:
    """B or C of one channel at one time, (n)."""
    if matrix.ndim == 2:
        return np.asarray(matrix[channel])
    if matrix.ndim == 3:
        return np.asarray(matrix[row, :, t])
    return np.asarray(matrix[row, channel // (d // matrix.shape[1]), :, t])


def selective_scan(
    u: Array,
    delta: Array,
    A: Array,
    B: Array,
    C: Array,
    D: Array | None = None,
    z: Array | None = None,
    delta_bias: Array | None = None,
    delta_softplus: bool = False,
    *,
    initial_state: Array | None = None,
    seq_idx: Array | None = None,
    cu_seqlens: Array | None = None,
    b_discretization: str = "euler",
) -> tuple[Array, Array]:
    """y (b, d, l) and the last state (r, d, n)."""
    b, d, l = u.shape
    n = A.shape[1]
    packed = cu_seqlens is not None
    starts = [0] if cu_seqlens is None else cu_seqlens.tolist()[:-1]
    stops = [l] if cu_seqlens is None else cu_seqlens.tolist()[1:]
    last = np.zeros((len(starts) if packed else b, d, n), dtype=A.dtype)
    if initial_state is not None:
        last[...] = initial_state
    y = np.zeros(u.shape)
    for row in range(b):
        for i in range(d):
            for sequence, (start, stop) in enumerate(zip(starts, stops, strict=True)):
                owner = sequence if packed else row
                h = last[owner, i].copy()
                for t in range(start, stop):
                    if seq_idx is not None and t > 0 and seq_idx[row, t] != seq_idx[row, t - 1]:
                        h[:] = 0
                    step = delta[row, i, t] + (0.0 if delta_bias is None else delta_bias[i])
                    step = softplus(step) if delta_softplus else step
                    out: complex = 0.0
                    for k in range(n):
                        a = cmath.exp(step * A[i, k])
                        hold = step if b_discretization == "euler" else (a - 1) / A[i, k]
                        new = a * h[k] + hold * group_of(i, d, B, row, t)[k] * u[row, i, t]
                        h[k] = new if np.iscomplexobj(A) else new.real
                        out += group_of(i, d, C, row, t)[k] * h[k]
                    v = (2 if np.iscomplexobj(A) else 1) * out.real
                    v += 0.0 if D is None else D[i] * u[row, i, t]
                    if z is not None:
                        v *= z[row, i, t] / (1 + math.exp(-z[row, i, t]))
                    y[row, i, t] = v
                last[owner, i] = h
    return y, last


def ssm_recurrence(
    A_bar: Array, B_bar: Array, C: Array, u: Array, D: Array | None, h: Array
) -> tuple[Array, Array]:
    """One dense system without further dimensions: u (m, l), h (n); y (p, l) and the last state."""
    outputs = []
    for k in range(u.shape[1]):
        h = A_bar @ h + B_bar @ u[:, k]
        outputs.append(C @ h + (0 if D is None else D @ u[:, k]))
    return np.stack(outputs, axis=-1), h


def exponential(M: Array) -> Array:
    """exp(M) by scaling, sixty terms of the series, and squaring."""
    halvings = 2
    term = total = np.eye(len(M), dtype=np.result_type(M, float))
    for j in range(1, 60):
        term = term @ (M / 2**halvings) / j
        total = total + term
    for _ in range(halvings):
        total = total @ total
    return total
