"""The selective scan: the value, one step after the other, vectorised over everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._functions import expm1_over, sigmoid, softplus
from ssm_spec._selective_scan._blocks import CACHE, blocks, spans
from ssm_spec._selective_scan._inputs import Scan
from ssm_spec._selective_scan._recurrence import recur

Array = NDArray[Any]
Float = NDArray[np.float64]


def shifted(scan: Scan, span: slice) -> Float:
    """delta + delta_bias, (l, b, d)."""
    x = scan.delta[span]
    return x if scan.delta_bias is None else x + scan.delta_bias


def step_sizes(scan: Scan, span: slice = slice(None)) -> Float:
    """Δ = delta + delta_bias, then softplus if asked for. (l, b, d)."""
    x = shifted(scan, span)
    return softplus(x) if scan.softplus else x


def discretised(scan: Scan, s: Float, span: slice) -> tuple[Array, Array]:
    """a = exp(ΔA), (l, n, b, d), and φ with b̄ = φB: φ = Δ, (l, 1, b, d), or expm1(ΔA)/A, (l, n, b, d).

    Gu and Dao, "Mamba" (2023), eq. (4) and section 3.2, with the Euler rule for B
    as in its code; the zero-order hold is eq. (4) in full.
    """
    step = s[span, None]
    p = step * scan.A
    if scan.zoh:
        return np.exp(p), expm1_over(p, scan.A, step)
    return np.exp(p, out=p), step


def driven(scan: Scan, a: Array, phi: Array, span: slice) -> Array:
    """b̄_t u_t, to which a_t h_{−1} is added where a sequence starts from a given state. (l, n, b, d)."""
    source: Array = (phi * scan.u[span, None]) * scan.B.at(span)
    if source.dtype != a.dtype or source.shape != a.shape:
        source = np.broadcast_to(source, a.shape).astype(a.dtype)
    if scan.initial_state is not None:
        slots = scan.sequences.starts[span]
        t, row = np.nonzero(slots >= 0)
        source[t, :, row] += a[t, :, row] * scan.initial_state[:, slots[t, row]].swapaxes(0, 1)
    return source


def states(scan: Scan, a: Array, phi: Array, span: slice, before: Array | None) -> Array:
    """h_t = a_t h_{t−1} + b̄_t u_t over a span, from the state before it. (l, n, b, d)."""
    first = None if before is None else a[0] * before
    source = driven(scan, a, phi, span)
    return recur(a, source, scan.sequences.cuts(span), first, out=source)


def read_out(scan: Scan, h: Array, span: slice) -> Float:
    """v_t = γ Re Σ_n C h + D u, the output before the gate. (l, b, d)."""
    v: Float = scan.gamma * (h * scan.C.at(span)).real.sum(axis=1)
    return v if scan.D is None else v + scan.D * scan.u[span]


def gate(z: Float) -> Float:
    """silu(z) = z σ(z)."""
    return z * sigmoid(z)


def stream_like(scan: Scan) -> Float:
    """Zeros, (l, b, d), stored as the caller has them, (b, d, l): no copy turns them round in the end.

    At (2, 256, 1024, 16) the gradients' three copies took a twentieth of their time.
    """
    b, d, l, _ = scan.sizes
    return np.zeros((b, d, l)).transpose(2, 0, 1)


def run(scan: Scan) -> tuple[Float, Array]:
    """y, (l, b, d), and the last states, (n, s, d)."""
    b, d, _, n = scan.sizes
    y = stream_like(scan)
    last = np.zeros((n, scan.sequences.slots, d), scan.A.dtype)
    if scan.initial_state is not None:
        last[:, scan.sequences.empty] = scan.initial_state[:, scan.sequences.empty]
    for batch, channels in blocks(b, d, n, CACHE):
        _run_block(scan.block(batch, channels), y[:, batch, channels], last[..., channels])
    return y, last


def _run_block(scan: Scan, y: Float, last: Array) -> None:
    b, d, l, n = scan.sizes
    s, before = np.empty((l, b, d)), None
    for span in spans(l, max(1, CACHE // (n * b * d))):
        s[span] = step_sizes(scan, span)
        a, phi = discretised(scan, s, span)
        h = states(scan, a, phi, span, before)
        v = read_out(scan, h, span)
        y[span] = v if scan.z is None else v * gate(scan.z[span])
        leave(scan, h, span, last)
        before = h[-1]


def leave(scan: Scan, h: Array, span: slice, last: Array) -> None:
    """Store the states with which sequences end within a span."""
    slots = scan.sequences.ends[span]
    t, row = np.nonzero(slots >= 0)
    last[:, slots[t, row]] = h[t, :, row].swapaxes(0, 1)
