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
from ssm_spec._selective_scan._recurrence import recur_back
from ssm_spec._selective_scan._sums import add_products_by_group, over_states, over_times
from ssm_spec._selective_scan._value import discretised, shifted, states, step_sizes, stream_like

Array = NDArray[Any]
Float = NDArray[np.float64]
Index = tuple[NDArray[np.intp], slice, NDArray[np.intp]]

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
        "u": stream_like(scan),
        "delta": stream_like(scan),
        "A": np.zeros_like(scan.A),
        "B": np.zeros_like(scan.B.array),
        "C": np.zeros_like(scan.C.array),
        "D": np.zeros(d),
        "z": stream_like(scan),
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
    segments = spans(l, max(_shortest_segment(l), ROOM // (n * b * d)))
    s, entering = np.empty((l, b, d)), list[Array | None]([None])
    for span in segments:
        s[span] = step_sizes(scan, span)
    for span in segments[:-1]:
        h = states(scan, *discretised(scan, s, span), span, entering[-1])
        entering.append(h[-1].copy())
    carried: Array | None = None
    for span in reversed(segments):
        carried = _segment(scan, cotangents, s, span, entering.pop(), carried, out)
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
    starts, entering = _entering(scan, h, span)
    entering *= a[starts]
    q = cotangents.y[span]
    if scan.z is not None:
        gate, slope = _gate_and_slope(scan.z[span])
        v = scan.gamma * over_states(h, scan.C.at(span))
        out.z[span] = q * slope * (v if scan.D is None else v + scan.D * scan.u[span])
        q = q * gate
    if scan.D is not None:
        out.D += (q * scan.u[span]).sum(axis=(0, 1))
    out.add_C(span, scan.gamma * q, conj(h))
    # conj(a)λ takes a's place, and dp then its: with fewer arrays in cache, a tenth faster.
    adjoint, decayed = adjoint_states(scan, cotangents, q, a, span, carried, out=a)
    first: Array = decayed[0].copy()
    _add_initial(scan, decayed, span, out)
    du, ds = _through_source(scan, adjoint, decayed, phi, s, span, out)
    dp = _decay_gradient(adjoint, decayed, h, before, starts, entering)
    ds += over_states(dp, conj(scan.A))
    out.A += over_times(dp, s[span])[:, None]
    out.u[span] = du if scan.D is None else du + scan.D * q
    out.delta[span] = ds * sigmoid(shifted(scan, span)) if scan.softplus else ds
    return first


def _add_initial(scan: Scan, decayed: Array, span: slice, out: _Views) -> None:
    """d(initial) = conj(a)λ where a sequence starts from a given state."""
    slots = scan.sequences.starts[span]
    t, row = np.nonzero(slots >= 0)
    out.initial_state[:, slots[t, row]] = decayed[t, :, row].swapaxes(0, 1)


def _through_source(
    scan: Scan, adjoint: Array, decayed: Array, phi: Array, s: Float, span: slice, out: _Views
) -> tuple[Float, Float]:
    """du and dΔ through φB u, (l, b, d): ∂φ/∂Δ is 1, or a under the zero-order hold. dB is added, and dA."""
    u, B = scan.u[span], conj(scan.B.at(span))
    if not scan.zoh:
        through_B = over_states(adjoint, B)
        out.add_B(span, u * s[span], adjoint)
        return s[span] * through_B, u * through_B
    held = adjoint * conj(phi)
    out.add_B(span, u, held)
    out.A += over_times(adjoint * B * conj(hold_slope(scan, s, span)), u)[:, None]
    return over_states(held, B), u * over_states(decayed, B)


def adjoint_states(
    scan: Scan,
    cotangents: Cotangents,
    q: Float,
    a: Array,
    span: slice,
    carried: Array | None,
    out: Array | None = None,
) -> tuple[Array, Array]:
    """λ_t and conj(a_t)λ_t over a span, from conj(a)λ just after it. (l, n, b, d).

    conj(a)λ is stored in `out`; a itself may be given, to be overwritten.
    """
    adjoint, decayed = np.empty_like(a), np.empty_like(a) if out is None else out
    np.multiply((scan.gamma * q)[:, None], conj(scan.C.at(span)), out=adjoint)
    if cotangents.last_state is not None:
        slots = scan.sequences.ends[span]
        t, row = np.nonzero(slots >= 0)
        adjoint[t, :, row] += cotangents.last_state[:, slots[t, row]].swapaxes(0, 1)
    recur_back(conj(a), adjoint, decayed, scan.sequences.ends_within(span), carried)
    return adjoint, decayed


def _decay_gradient(
    adjoint: Array, decayed: Array, h: Array, before: Array | None, starts: Index, entering: Array
) -> Array:
    """dp = λ conj(a h_{t−1}), in the place of conj(a)λ; `entering` is a h_{t−1} where sequences start.

    There conj(a)λ may be out of range while dp is zero.
    """
    dp = decayed
    np.multiply(decayed[1:], conj(h[:-1]), out=dp[1:])
    if before is not None:
        dp[0] = decayed[0] * conj(before)
    dp[starts] = adjoint[starts] * conj(entering)
    return dp


def conj(x: Array) -> Array:
    """The conjugate; a real array itself, since NumPy would copy it."""
    return x.conj() if x.dtype.kind == "c" else x


def previous_states(scan: Scan, h: Array) -> Array:
    """h_{t−1} for all times: the initial state where a sequence starts, zero where it starts from nothing."""
    previous = np.empty_like(h)
    previous[1:] = h[:-1]
    starts, entering = _entering(scan, h, slice(0, len(h)))
    previous[starts] = entering
    return previous


def _entering(scan: Scan, h: Array, span: slice) -> tuple[Index, Array]:
    """Where in a span sequences start, an index into (l, n, b, d); and from which states, (starts, n, d)."""
    t, row = np.nonzero(scan.sequences.fresh[span])
    entering = np.zeros((len(t), h.shape[1], h.shape[3]), h.dtype)
    if scan.initial_state is not None:
        slots = scan.sequences.starts[span][t, row]
        given = slots >= 0
        entering[given] = scan.initial_state[:, slots[given]].swapaxes(0, 1)
    return (t, slice(None), row), entering


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
