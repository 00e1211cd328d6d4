"""The angles of Mamba-3: what honest arithmetic may do to them, and to what they turn.

    increment      |i|(k_t + 3)u, i = Δ π tanh: tanh, the constant, two products
    θ              e_θ ← e_θ + that + u(min(T, 2K) + |i| + 6π), and ⌈log₂ l⌉uT: a part of the sum is no
                   more than T, the sum of |i|, nor than 2K, K the largest |θ| yet, being the
                   difference of two; parts one after the other, in a tree, or a tree in each block.
                   Not reduced, or reduced at each step: then the sum, 2π itself, and what is left
                   round by 2π + |i| or less
    cos, sin       e_r = min(e_θ, 2) + k_s u
    k̃, q̃           (|x₂ᵢ| + |x₂ᵢ₊₁|)(e_r + 3u), x with its bias; u|x| where nothing turns

k_t = 10 and k_s = 8 (5 and 4 ulp), after the limits of the OpenCL specification.

Keys and queries are turned by the same angles, forward and back, and products of the two do not change
when both are turned further. So errors may be seen from a frame that turns by what θ has lost: there a key
or a query has lost ⌈log₂ l⌉uT alone, and S and its adjoint turn at each step by what that step adds, which
moves them by (|S₂ᵢ| + |S₂ᵢ₊₁|)ε. What decays forgets it. Roundings, which happen outside of the frame, are
`seen` in it. A frame that stands gives the same bounds with ε = 0 and all of e_θ in k̃ and q̃: every error is
bounded by the smaller of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ssm_spec._mamba3._inputs import Siso
from ssm_spec._roundoff import Arithmetic
from ssm_spec._selective_scan._local_errors import flushed
from ssm_spec._validate import Float

TANH: Final = 10.0
"""k_t, in units of u."""
SINE: Final = 8.0
"""k_s."""


@dataclass(frozen=True, eq=False)
class Turns:
    """The error of θ, (l, b, h, a), seen from a frame.

    Attributes
    ----------
    step, drift
        By how much the frame turns at a step, and has turned in all.
    apart
        What is left: the error of one angle in its frame.
    """

    step: Float
    drift: Float
    apart: Float

    @property
    def theta(self) -> Float:
        """e_θ."""
        return self.drift + self.apart


def frames(siso: Siso, theta: Float, arithmetic: Arithmetic) -> tuple[Turns, Turns]:
    """A frame that turns along with what accumulates, and one that stands: both bound every error."""
    turning = _turning(siso, theta, arithmetic)
    still = np.zeros_like(theta)
    return turning, Turns(still, still, turning.theta)


def _turning(siso: Siso, theta: Float, arithmetic: Arithmetic) -> Turns:
    """A part of the sum of the angles rounds against the smaller of T and 2K."""
    u = arithmetic.u
    turns = np.abs(siso.dt[..., None] * np.pi * np.tanh(siso.angles))
    made_of = np.abs(siso.dt[..., None]), np.pi, np.abs(siso.angles)
    local = (TANH + 3.0) * u * turns + flushed(arithmetic, *made_of)
    depth = np.ceil(np.log2(max(len(turns), 2)))
    step, drift, apart = (np.empty_like(turns) for _ in range(3))
    total = reach = np.abs(siso.angle_state)
    carried = np.full_like(total, arithmetic.eta)
    for t, turn in enumerate(turns):
        fresh = siso.fresh[t, :, None, None]
        total = np.where(fresh, 0.0, total) + turn
        reach = np.maximum(np.where(fresh, 0.0, reach), np.abs(theta[t]))
        part = reduction_error(np.minimum(total, 2.0 * reach), arithmetic)
        step[t] = local[t] + u * turn + part
        drift[t] = carried = np.where(fresh, 0.0, carried) + step[t]
        apart[t] = depth * u * total
    return Turns(step, drift, apart)


def reduction_error(size: Float, arithmetic: Arithmetic) -> Float:
    """What an angle may lose that is brought between 0 and 2π, or between −π and π, as no step asks for.

    Also where no step was taken: a state is returned then that means the same.
    """
    return arithmetic.u * (size + 6.0 * np.pi) + arithmetic.eta


def turn_error(e_theta: Float, arithmetic: Arithmetic) -> Float:
    """e_r, of a cosine and a sine of θ."""
    error: Float = np.minimum(e_theta, 2.0) + SINE * arithmetic.u
    return error


def pairs(x: Float, a: int) -> Float:
    """|x₂ᵢ| + |x₂ᵢ₊₁| at both places of each of the first a pairs, |x| elsewhere. (..., n)."""
    size = np.abs(x)
    both = size[..., 0 : 2 * a : 2] + size[..., 1 : 2 * a : 2]
    size[..., 0 : 2 * a : 2] = both
    size[..., 1 : 2 * a : 2] = both
    return size


def moved(x: Float, angle: Float) -> Float:
    """How far R(angle) may move R(θ)x: (|x₂ᵢ| + |x₂ᵢ₊₁|) min(angle, 2), (..., n) from (..., a)."""
    a, size = angle.shape[-1], pairs(x, angle.shape[-1])
    size[..., 2 * a :] = 0.0
    size[..., : 2 * a] *= np.repeat(np.minimum(angle, 2.0), 2, axis=-1)
    return size


def seen(x: Float, drift: Float) -> Float:
    """|x| or more: what is rounded outside of a frame that is turned by so much, seen in it. (..., n).

    Turned out of the frame |x₂ᵢ| is at most |x₂ᵢ| + m|x₂ᵢ₊₁|, m = min(drift, 1), and so is its rounding on
    the way back.
    """
    size: Float = np.abs(x) + 2.0 * moved(x, np.minimum(drift, 1.0))
    return size


def state_moved(S: Float, angle: Float) -> Float:
    """`moved` of states, (l, p, n, b, h)."""
    return np.moveaxis(moved(np.moveaxis(S, 2, -1), angle[:, None]), -1, 2)


def state_seen(S: Float, drift: Float) -> Float:
    """`seen` of states, (l, p, n, b, h)."""
    return np.moveaxis(seen(np.moveaxis(S, 2, -1), drift[:, None]), -1, 2)


def rotation_error(x: Float, e_theta: Float, arithmetic: Arithmetic) -> Float:
    """The error of R(θ)x, x = k + bias. (l, b, h, n)."""
    u, a = arithmetic.u, e_theta.shape[-1]
    error: Float = u * np.abs(x) + 3.0 * arithmetic.eta
    sizes, e_r = pairs(x, a)[..., 0 : 2 * a : 2], turn_error(e_theta, arithmetic)
    turned = sizes * (e_r + 3.0 * u) + 3.0 * flushed(arithmetic, sizes)
    error[..., 0 : 2 * a : 2] = turned
    error[..., 1 : 2 * a : 2] = turned
    return error
