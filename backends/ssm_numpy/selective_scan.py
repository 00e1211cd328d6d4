"""The selective scan in plain NumPy: one step of time after the other, nothing of size b·d·l·n."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_backends import ArgumentError
from ssm_numpy.functions import held_step, quiet, silu, softplus

Array = NDArray[Any]


@dataclass(frozen=True)
class Scan:
    """One call in its compute type.

    Attributes
    ----------
    u, x, delta : (b, d, l)
        Input; step size before and after softplus.
    A : (d, n)
    B, C : (d, n), (b, n, l) or (b, g, n, l)
    initial : (r, d, n)
    reset : (b, l) bool
        Where a sequence starts after t = 0.
    offsets : (r + 1) or None
        The given ``cu_seqlens``.
    zoh : bool
        Whether B is discretised by the exact hold.
    """

    u: Array
    x: Array
    delta: Array
    A: Array
    B: Array
    C: Array
    initial: Array
    reset: Array
    offsets: Array | None
    zoh: bool

    def spans(self) -> Iterator[tuple[range, slice]]:
        """The times that are scanned in one go, and the rows of state they belong to."""
        if self.offsets is None:
            yield range(self.u.shape[2]), slice(None)
            return
        for row, (start, stop) in enumerate(zip(self.offsets[:-1], self.offsets[1:], strict=True)):
            yield range(start, stop), slice(row, row + 1)

    def hold(self, t: int) -> Array:
        """What B u is multiplied by, (b, d, n or 1): Δ ("euler") or expm1(ΔA)/A ("zoh")."""
        delta = self.delta[:, :, t, None]
        return held_step(delta, self.A) if self.zoh else delta

    def step(self, t: int, h: Array) -> tuple[Array, Array]:
        """h_t = exp(Δ_t A) h_{t−1} + b̄_t u_t.

        Returns
        -------
        decayed, h : (b, d, n)
            exp(Δ_t A) h_{t−1}, which a reset replaces by zero; and h_t.
        """
        decayed = np.exp(self.delta[:, :, t, None] * self.A) * h
        decayed[self.reset[:, t]] = 0  # selects: exp(Δ_t A) may be infinite here
        return decayed, decayed + self.hold(t) * self.u[:, :, t, None] * at(self.B, t, self.u.shape[1])

    def output(self, t: int, h: Array) -> Array:
        """Σ_n C_t h_t, or 2 Re of it if A is complex: (b, d)."""
        products = at(self.C, t, self.u.shape[1]) * h
        value: Array = 2 * products.real.sum(-1) if np.iscomplexobj(self.A) else products.sum(-1)
        return value


@quiet
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
    return_last_state: bool = False,
    *,
    initial_state: Array | None = None,
    seq_idx: Array | None = None,
    cu_seqlens: Array | None = None,
    b_discretization: str = "euler",
) -> Array | tuple[Array, Array]:
    """h_t = exp(Δ_t A) h_{t−1} + b̄_t u_t, y_t = (γ Re Σ_n C_t h_t + D u_t) silu(z_t) (Gu & Dao 2023, alg. 2).

    γ is 2 for complex A, 1 for real.

    Parameters
    ----------
    u, delta, z : (b, d, l)
    A : (d, n), real or complex
    B, C : (d, n), (b, n, l) or (b, g, n, l)
        Channel i belongs to group i // (d/g); B's g and C's may differ.
    D, delta_bias : (d)
    delta_softplus
        Δ = log(1 + exp(delta + delta_bias)) instead of delta + delta_bias.
    return_last_state
        Return (y, last_state).
    initial_state : (b, d, n), or (s, d, n) with `cu_seqlens`
    seq_idx : (b, l), int32 or int64
        The state is reset exactly where it changes along l.
    cu_seqlens : (s + 1), int32
        Offsets of packed sequences, from 0 to l; b = 1.
    b_discretization
        "euler": b̄ = ΔB; "zoh": b̄ = expm1(ΔA)/A · B.

    Returns
    -------
    y : (b, d, l), dtype of u
    last_state : as `initial_state`, compute type; only with ``return_last_state``

    Raises
    ------
    ArgumentError
        If `cu_seqlens` does not rise from 0 to l.
    """
    scan = prepare(
        u, delta, A, B, C, delta_bias, delta_softplus, initial_state, seq_idx, cu_seqlens, b_discretization
    )
    y = np.empty_like(scan.u)
    last_state = scan.initial.copy()
    for times, rows in scan.spans():
        h = scan.initial[rows]
        for t in times:
            _, h = scan.step(t, h)
            y[:, :, t] = scan.output(t, h)
        last_state[rows] = h
    if D is not None:
        y += D[:, None] * scan.u
    if z is not None:
        y *= silu(z.astype(y.dtype))
    y = y.astype(u.dtype, copy=False)
    return (y, last_state) if return_last_state else y


def prepare(
    u: Array,
    delta: Array,
    A: Array,
    B: Array,
    C: Array,
    delta_bias: Array | None = None,
    delta_softplus: bool = False,
    initial_state: Array | None = None,
    seq_idx: Array | None = None,
    cu_seqlens: Array | None = None,
    b_discretization: str = "euler",
) -> Scan:
    """Everything that does not depend on the state, in the compute type: the wider of u's and A's."""
    b, d, l = u.shape
    compute = np.result_type(u.dtype, A.real.dtype)
    x = delta.astype(compute)
    if delta_bias is not None:
        x = x + delta_bias[:, None]
    rows = b if cu_seqlens is None else len(cu_seqlens) - 1
    reset = np.zeros((b, l), dtype=bool)
    if seq_idx is not None:
        reset[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    if cu_seqlens is not None:
        _check_offsets(cu_seqlens, l)
    return Scan(
        u=u.astype(compute),
        x=x,
        delta=softplus(x) if delta_softplus else x,
        A=A,
        B=B.astype(np.result_type(B.dtype, compute)),
        C=C.astype(np.result_type(C.dtype, compute)),
        initial=np.zeros((rows, d, A.shape[1]), dtype=A.dtype) if initial_state is None else initial_state,
        reset=reset,
        offsets=cu_seqlens,
        zoh=b_discretization == "zoh",
    )


def at(matrix: Array, t: int, d: int) -> Array:
    """B or C at one time, (b or 1, d or 1, n); channel i reads group i // (d/g)."""
    if matrix.ndim == 2:
        return matrix[None]
    if matrix.ndim == 3:
        return matrix[:, None, :, t]
    return matrix[..., t].repeat(d // matrix.shape[1], axis=1)


def _check_offsets(cu_seqlens: Array, l: int) -> None:
    if cu_seqlens[0] != 0 or cu_seqlens[-1] != l or np.any(np.diff(cu_seqlens) < 0):
        raise ArgumentError(f"`cu_seqlens` must rise from 0 to l = {l}; got {cu_seqlens.tolist()}")
