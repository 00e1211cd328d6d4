"""What honest arithmetic may reach in H3 around its diagonal system, for the analysis of range.

Gates, projection and the adjoint of the shift are sums of products of two: a term is what it is, with the
errors of its factors, and terms count before they cancel. Products within the systems are those systems'; q
may meet C and D before their sums, and v B, so that Σ max(1, |w|) of what the diagonal system reaches counts.
"""

from __future__ import annotations

import numpy as np

from ssm_spec._convolution import convolve, correlate
from ssm_spec._h3 import Heads
from ssm_spec._products import Inexact, summed
from ssm_spec._validate import Array, Float


def gated_reach(call: Heads, s: Inexact, on_its_way: Float) -> Float:
    """Return Σ_i |q_i s_ij|, (b, d, l), for s (b, i, j, h, l); and what s reaches on its way, weighted."""
    return call.joined(_weighted("bhil,bijhl->bhjl", np.abs(call.split(call.q)), size(s), on_its_way))


def projected_reach(W: Float | None, y: Inexact) -> Float:
    """Return Σ_d |W y|, (b, o, l)."""
    return size(y) if W is None else summed("od,bdl->bol", np.abs(W), size(y))


def cotangent_reach(W: Float | None, r: Float) -> Float:
    """Return Σ_o |W r|, (b, d, l)."""
    return np.abs(r) if W is None else summed("od,bol->bdl", np.abs(W), np.abs(r))


def keys_cotangent_reach(call: Heads, dx: Inexact, on_its_way: Float) -> Float:
    """Return Σ_j |dx_ij v_j|, (b, d, l), for dx (b, i, j, h, l); and what dx reaches on its way, weighted."""
    return call.joined(_weighted("bhjl,bijhl->bhil", np.abs(call.split(call.v)), size(dx), on_its_way))


def gradients_reach(
    call: Heads,
    r: Float,
    dy: Inexact,
    dx: Inexact,
    keys: Inexact,
    s: Inexact,
    y: Inexact,
    way_of_s: Float,
    way_of_dx: Float,
) -> dict[str, Float]:
    """Return what the gradients of all but the diagonal system reach, in their shapes."""
    d_keys = keys_cotangent_reach(call, dx, way_of_dx)
    weights = call.split(size(dy)), call.split(size(keys))
    shifted = convolve(d_keys[..., ::-1], np.abs(call.shift))[..., ::-1]
    return {
        "q": call.joined(_weighted("bhjl,bijhl->bhil", weights[0], size(s), way_of_s)),
        "k": shifted + np.abs(call.passing[:, None]) * d_keys,
        "v": call.joined(_weighted("bhil,bijhl->bhjl", weights[1], size(dx), way_of_dx)),
        "shift": correlate(d_keys, np.abs(call.k), call.shift.shape[-1]),
        "shift_D": summed("bdl,bdl->d", d_keys, np.abs(call.k)),
        "out_proj": summed("bol,bdl->od", np.abs(r), size(y)),
    }


def _weighted(subscripts: str, weights: Float, x: Float, on_its_way: Float) -> Float:
    """Return the larger of Σ w x and Σ max(1, w) way."""
    before = summed(subscripts, np.maximum(weights, 1.0), on_its_way)
    return np.maximum(summed(subscripts, weights, x), before)


def size(x: Inexact) -> Float:
    """Return the modulus with its error."""
    largest: Array = np.abs(x.value) + x.error
    return largest
