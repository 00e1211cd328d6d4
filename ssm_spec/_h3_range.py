"""What honest arithmetic may reach in H3 around its diagonal system, for the analysis of range.

Gates, projection and the adjoint of the shift are sums of products of two: a term is what it is, with the
errors of its factors, and terms count before they cancel. Products within the systems are those systems'.
"""

from __future__ import annotations

import numpy as np

from ssm_spec._convolution import convolve, correlate
from ssm_spec._h3 import Heads
from ssm_spec._products import Inexact, summed
from ssm_spec._validate import Array, Float


def gated_reach(call: Heads, s: Inexact) -> Float:
    """Return Σ_i |q_i s_ij|, (b, d, l), for s (b, i, j, h, l)."""
    return call.joined(summed("bhil,bijhl->bhjl", np.abs(call.split(call.q)), size(s)))


def projected_reach(W: Float | None, y: Inexact) -> Float:
    """Return Σ_d |W y|, (b, o, l)."""
    return size(y) if W is None else summed("od,bdl->bol", np.abs(W), size(y))


def cotangent_reach(W: Float | None, r: Float) -> Float:
    """Return Σ_o |W r|, (b, d, l)."""
    return np.abs(r) if W is None else summed("od,bol->bdl", np.abs(W), np.abs(r))


def keys_cotangent_reach(call: Heads, dx: Inexact) -> Float:
    """Return Σ_j |dx_ij v_j|, (b, d, l), for dx (b, i, j, h, l)."""
    return call.joined(summed("bijhl,bhjl->bhil", size(dx), np.abs(call.split(call.v))))


def gradients_reach(
    call: Heads, r: Float, dy: Inexact, dx: Inexact, keys: Inexact, s: Inexact, y: Inexact
) -> dict[str, Float]:
    """Return what the gradients of all but the diagonal system reach, in their shapes."""
    d_keys = keys_cotangent_reach(call, dx)
    shifted = convolve(d_keys[..., ::-1], np.abs(call.shift))[..., ::-1]
    return {
        "q": call.joined(summed("bijhl,bhjl->bhil", size(s), call.split(size(dy)))),
        "k": shifted + np.abs(call.passing[:, None]) * d_keys,
        "v": call.joined(summed("bijhl,bhil->bhjl", size(dx), call.split(size(keys)))),
        "shift": correlate(d_keys, np.abs(call.k), call.shift.shape[-1]),
        "shift_D": summed("bdl,bdl->d", d_keys, np.abs(call.k)),
        "out_proj": summed("bol,bdl->od", np.abs(r), size(y)),
    }


def size(x: Inexact) -> Float:
    """Return the modulus with its error."""
    largest: Array = np.abs(x.value) + x.error
    return largest
