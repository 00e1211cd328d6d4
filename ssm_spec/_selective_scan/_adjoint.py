"""The gradient of the selective scan: the analytic adjoint, segment by segment from saved states."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._functions import psi, sigmoid, sigmoids
from ssm_spec._selective_scan._blocks import CACHE, blocks, spans
from ssm_spec._selective_scan._inputs import Projection, Scan
from ssm_spec._selective_scan._recurrence import recur
from ssm_spec._selective_scan._sums import add_products_by_group, over_states, over_times
from ssm_spec._selective_scan._value import discretised, states, step_sizes

Array = NDArray[Any]
Float = NDArray[np.float64]

ROOM = 4 * CACHE
"""Numbers of a segment: with four times the forward's, (2, 256, 1024, 16) is a tenth faster."""


@dataclass(frozen=True, eq=False)
class Cotangents:
    """∂L/∂y, (l, b, d), and ∂L/∂(last state), (n, s, d) or None for zero."""

    y: Float
    last_state: Array | None

    def block(self, batch: slice, channels: slice) -> Cotangents:
        """The cotangents of some batch rows and channels."""
        last = None if self.last_state is None else self.last_state[..., channels]
        return Cotangents(self.y[:, batch, channels], last)


def gradients(scan: Scan, cotangents: Cotangents) -> dict[str, Array]:
    """Every gradient, laid out as `Scan` lays out the input it belongs to."""
    b, d, l, n = scan.sizes
    out: dict[str, Array] = {
        "u": np.zeros((l, b, d)),
        "delta": np.zeros((l, b, d)),
        "A": np.zeros_like(scan.A),
        "B": np.zeros_like(scan.B.array),
        "C": np.zeros_like(scan.C.array),
        "D": np.zeros(d),
        "z": np.zeros((l, b, d)),
        "delta_bias": np.zeros(d),
        "initial_state": np.zeros((n, scan.sequences.slots, d), scan.A.dtype),
    }
    if cotangents.last_state is not None:
        empty = scan.sequences.empty
        out["initial_state"][:, empty] = cotangents.last_state[:, empty]
    for batch, channels in blocks(b, d, n * _shortest_segment(l), ROOM):
        block = scan.block(batch, channels)
        _accumulate(block, cotangents.block(batch, channels), _Views(out, batch, channels, block))
    return out


def _shortest_segment(l: int) -> int:
    """√l/2 steps: 2 √l saved states, and room for twice the channels side by side that √l steps would leave.

    At (2, 256, 1024, 16) a tenth faster than √l: half as many steps of Python.
    """
    return isqrt(l) // 2 + 1


class _Views:
    """Where one block's gradients go: views of the whole arrays, and sums over groups."""

    def __init__(self, out: dict[str, Array], batch: slice, channels: slice, block: Scan) -> None:
        self.u, self.delta, self.z = (out[name][:, batch, channels] for name in ("u", "delta", "z"))
        self.A, self.initial_state = out["A"][..., channels], out["initial_state"][..., channels]
        self.D, self.delta_bias = out["D"][channels], out["delta_bias"][channels]
        self._out, self._batch, self._block = out, batch, block

    def add_B(self, span: slice, weights: Float, terms: Array) -> None:  # noqa: N802 — the matrix's name
        self._add("B", self._block.B, span, weights, terms)

    def add_C(self, span: slice, weights: Float, terms: Array) -> None:  # noqa: N802 — the matrix's name
        self._add("C", self._block.C, span, weights, terms)

    def _add(self, name: str, projection: Projection, span: slice, weights: Float, terms: Array) -> None:
        add_products_by_group(self._out[name], projection, span, self._batch, weights, terms)


def _accumulate(scan: Scan, cotangents: Cotangents, out: _Views) -> None:
    """Forward once to save the states between segments; then backward through each."""
    b, d, l, n = scan.sizes
    s = step_sizes(scan)
    segments = spans(l, max(_shortest_segment(l), ROOM // (n * b * d)))
    entering: list[Array | None] = [None]
    for span in segments[:-1]:
        h = states(scan, *discretised(scan, s, span), span, entering[-1])
        entering.append(h[-1].copy())
    carried: Array | None = None
    for span in reversed(segments):
        carried = _segment(scan, cotangents, s, span, entering.pop(), carried, out)
    if scan.softplus:
        x = scan.delta if scan.delta_bias is None else scan.delta + scan.delta_bias
        out.delta *= sigmoid(x)
    out.delta_bias += out.delta.sum(axis=(0, 1))


def _segment(
    scan: Scan,
    cotangents: Cotangents,
    s: Float,
    span: slice,
    before: Array | None,
    carried: Array | None,
    out: _Views,
) -> Array:
    """Add one segment's part of each gradient; return conj(a)λ at its start, for the one before it.

    With c_t = γ q_t conj(C_t): λ_t = c_t + conj(a_{t+1})λ_{t+1}, and dp = λ conj(a h_{t−1}).
    """
    a, phi = discretised(scan, s, span)
    h = states(scan, a, phi, span, before)
    q = cotangents.y[span]
    if scan.z is not None:
        gate, slope = _gate_and_slope(scan.z[span])
        v = scan.gamma * over_states(h, scan.C.at(span))
        out.z[span] = q * slope * (v if scan.D is None else v + scan.D * scan.u[span])
        q = q * gate
    if scan.D is not None:
        out.D += (q * scan.u[span]).sum(axis=(0, 1))
    adjoint = adjoint_states(scan, cotangents, q, a, span, carried)
    out.add_C(span, scan.gamma * q, conj(h))

    u, step, B = scan.u[span], s[span], conj(scan.B.at(span))
    dp = _decayed_states(scan, a, h, span, before)
    dp = np.multiply(adjoint, conj(dp), out=dp)
    ds = over_states(dp, conj(scan.A))
    out.A += over_times(dp, step)[:, None]
    if scan.zoh:
        held = adjoint * conj(phi)
        du = over_states(held, B)
        ds += u * over_states(adjoint * conj(a), B)
        out.A += over_times(adjoint * B * conj(hold_slope(scan, s, span)), u)[:, None]
        out.add_B(span, u, held)
    else:
        through_B = over_states(adjoint, B)
        du = step * through_B
        ds += u * through_B
        out.add_B(span, u * step, adjoint)
    out.u[span] = du if scan.D is None else du + scan.D * q
    out.delta[span] = ds
    t, row = np.nonzero(scan.sequences.starts[span] >= 0)
    slots = scan.sequences.starts[span][t, row]
    out.initial_state[:, slots] = (a[t, :, row].conj() * adjoint[t, :, row]).swapaxes(0, 1)
    first: Array = conj(a[0]) * adjoint[0]
    return first


def adjoint_states(
    scan: Scan, cotangents: Cotangents, q: Float, a: Array, span: slice, carried: Array | None
) -> Array:
    """λ_t over a span, from conj(a)λ just after it. (l, n, b, d)."""
    c = np.multiply((scan.gamma * q)[:, None], conj(scan.C.at(span)), out=np.empty_like(a))
    if cotangents.last_state is not None:
        slots = scan.sequences.ends[span]
        t, row = np.nonzero(slots >= 0)
        c[t, :, row] += cotangents.last_state[:, slots[t, row]].swapaxes(0, 1)
    cuts = scan.sequences.cuts_reversed(span)
    return recur(conj(a)[::-1], c[::-1], cuts, carried, lag=1)[::-1]


def conj(x: Array) -> Array:
    """The conjugate; a real array itself, since NumPy would copy it."""
    return x.conj() if x.dtype.kind == "c" else x


def previous_states(scan: Scan, h: Array, span: slice, before: Array | None) -> Array:
    """h_{t−1}: the initial state where a sequence starts, zero where it starts from nothing."""
    previous = np.empty_like(h)
    previous[1:] = h[:-1]
    previous[0] = 0.0 if before is None else before
    t, row, entering = _entering(scan, h, span)
    previous[t, :, row] = entering
    return previous


def _decayed_states(scan: Scan, a: Array, h: Array, span: slice, before: Array | None) -> Array:
    """a_t h_{t−1}, without a copy of the states; nothing is multiplied across a reset."""
    decayed = np.empty_like(h)
    np.multiply(a[1:], h[:-1], out=decayed[1:])
    decayed[0] = 0.0 if before is None else a[0] * before
    t, row, entering = _entering(scan, h, span)
    decayed[t, :, row] = a[t, :, row] * entering
    return decayed


def _entering(scan: Scan, h: Array, span: slice) -> tuple[Array, Array, Array]:
    """Where in a span sequences start, and the states from which they do, (starts, n, d)."""
    t, row = np.nonzero(scan.sequences.fresh[span])
    entering = np.zeros((len(t), h.shape[1], h.shape[3]), h.dtype)
    if scan.initial_state is not None:
        slots = scan.sequences.starts[span][t, row]
        given = slots >= 0
        entering[given] = scan.initial_state[:, slots[given]].swapaxes(0, 1)
    return t, row, entering


def hold_slope(scan: Scan, s: Float, span: slice) -> Array:
    """∂φ/∂A = Δ² ψ(ΔA) for the zero-order hold. (l, n, b, d)."""
    step = s[span, None]
    value: Array = step * step * psi(step * scan.A)
    return value


def gate_slope(z: Float) -> Float:
    """silu'(z) = σ(z)(1 + z(1 − σ(z)))."""
    return _gate_and_slope(z)[1]


def _gate_and_slope(z: Float) -> tuple[Float, Float]:
    sigma, rest = sigmoids(z)
    return z * sigma, sigma * (1.0 + z * rest)
