"""The gradient of the selective scan: its states once more, then the adjoint recurrence backwards in time.

With q the cotangent of the output before the gate, and γ = 2 if A is complex, else 1::

    c_t = γ q_t conj(C_t),   λ_t = c_t + conj(a_{t+1}) λ_{t+1},   λ_{l−1} = c_{l−1} + r_last

For complex x the gradient is ∂L/∂Re x + i ∂L/∂Im x.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_numpy.functions import psi, quiet, sigmoid, silu
from ssm_numpy.selective_scan import Scan, at, prepare

Array = NDArray[Any]


@quiet
def selective_scan_vjp(
    cotangents: Mapping[str, Array | None],
    wrt: tuple[str, ...],
    saved: None,
    *,
    D: Array | None = None,
    z: Array | None = None,
    return_last_state: bool = False,
    **inputs: Any,
) -> dict[str, Array]:
    """Gradients of one call, as the contract's ``vjp``.

    Parameters
    ----------
    cotangents
        "y" (b, d, l) and "last_state" (r, d, n), or None.
    wrt
        Names of the inputs.
    saved
        Nothing is: the states are computed again.
    D, z, return_last_state, **inputs
        The arguments of the call that differ from their defaults.

    Returns
    -------
    Name → gradient, with the shape and dtype of the input.
    """
    scan = prepare(**inputs)
    q = np.zeros_like(scan.u) if cotangents["y"] is None else cotangents["y"].astype(scan.u.dtype)
    carried = np.zeros_like(scan.initial) if cotangents["last_state"] is None else cotangents["last_state"]
    r = q
    gate = None if z is None else z.astype(q.dtype)
    if gate is not None:
        q = r * silu(gate)
    gradients, v = _adjoint(scan, q, carried)
    if D is not None:
        v += D[:, None] * scan.u
        gradients["u"] += D[:, None] * q
        gradients["D"] = (q * scan.u).sum((0, 2))
    if gate is not None:
        gradients["z"] = r * v * sigmoid(gate) * (1 + gate * sigmoid(-gate))
    if inputs.get("delta_softplus", False):
        gradients["delta"] *= sigmoid(scan.x)
    gradients["delta_bias"] = gradients["delta"].sum((0, 2))
    given = inputs | {"D": D, "z": z}
    return {name: _as_given(gradients[name], given[name]) for name in wrt}


def _adjoint(scan: Scan, q: Array, carried: Array) -> tuple[dict[str, Array], Array]:
    """Gradients for the output before D and the gate, and that output, (b, d, l)."""
    zero = {name: np.zeros_like(getattr(scan, name)) for name in ("u", "delta", "initial")}
    wide = {name: np.zeros(getattr(scan, name).shape, dtype=scan.initial.dtype) for name in ("A", "B", "C")}
    total = zero | wide
    v = np.empty_like(scan.u)
    for times, rows in scan.spans():
        h, decayed, states = scan.initial[rows], [], []
        for t in times:
            ah, h = scan.step(t, h)
            decayed.append(ah)
            states.append(h)
            v[:, :, t] = scan.output(t, h)
        below = carried[rows]
        for t in reversed(times):
            i = t - times.start
            adjoint = below + _output_gradients(scan, t, q[:, :, t, None], states[i], total)
            _state_gradients(scan, t, adjoint, decayed[i], total)
            below = np.exp(scan.delta[:, :, t, None] * scan.A).conj() * adjoint
            below[scan.reset[:, t]] = 0
        total["initial"][rows] = below
    total["initial_state"] = total.pop("initial")
    return total, v


def _output_gradients(scan: Scan, t: int, q: Array, h: Array, total: dict[str, Array]) -> Array:
    """Add dC = γ q conj(h) of one step; return c = γ q conj(C), (b, d, n)."""
    gamma = 2 if np.iscomplexobj(scan.A) else 1
    _add(total["C"], t, gamma * q * h.conj())
    return gamma * q * at(scan.C, t, q.shape[1]).conj()


def _state_gradients(scan: Scan, t: int, adjoint: Array, decayed: Array, total: dict[str, Array]) -> None:
    """Add what λ_t gives: the gradients of u, Δ, A and B through exp(ΔA) h_{t−1} and through b̄ u."""
    u, delta = scan.u[:, :, t, None], scan.delta[:, :, t, None]
    B, hold = at(scan.B, t, scan.u.shape[1]), scan.hold(t)
    dp = adjoint * decayed.conj()
    dA = delta * dp
    slope = B  # of the hold in Δ, times B
    if scan.zoh:
        p = delta * scan.A
        slope = np.exp(p) * B
        # Δ²ψ is about 1/A²: Δ², or Δ times another factor, overflows first.
        dA = dA + u * adjoint * (B * (delta * (delta * psi(p)))).conj()
    total["A"] += dA.sum(0)
    total["u"][:, :, t] = (adjoint * (hold * B).conj()).real.sum(-1)
    total["delta"][:, :, t] = (dp * scan.A.conj() + u * adjoint * slope.conj()).real.sum(-1)
    _add(total["B"], t, u * adjoint * np.conj(hold))


def _add(total: Array, t: int, terms: Array) -> None:
    """Add terms (b, d, n) of one step to the gradient of B or C, summing over what shares an element."""
    if total.ndim == 2:
        total += terms.sum(0)
    elif total.ndim == 3:
        total[..., t] += terms.sum(1)
    else:
        b, g, n, _ = total.shape
        total[..., t] += terms.reshape(b, g, terms.shape[1] // g, n).sum(2)


def _as_given(gradient: Array, x: Array) -> Array:
    """In the dtype of the input: a real one gets the real part."""
    return (gradient if np.iscomplexobj(x) else gradient.real).astype(x.dtype, copy=False)
