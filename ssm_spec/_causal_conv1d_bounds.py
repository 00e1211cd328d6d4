"""What honest arithmetic may do to the short causal convolution and to its gradients.

Every output is a sum of k products, in any order: |err| <= (k + 1)u Σ|terms| and what the terms
were given wrong (Higham, Accuracy and Stability of Numerical Algorithms, (3.5)), η for every
product that may be flushed and every factor that may be read as zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ssm_spec._calls import arguments_of
from ssm_spec._causal_conv1d import (
    DIFFERENTIABLE,
    Conv,
    causal_conv1d,
    causal_conv1d_vjp,
    read,
    read_cotangents,
)
from ssm_spec._functions import sigmoid
from ssm_spec._gate_errors import silu_error, silu_slope_error
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._selective_scan._adjoint import gate_slope
from ssm_spec._selective_scan._local_errors import flushed, reached
from ssm_spec._selective_scan._value import gate
from ssm_spec._validate import Float, differentiated


@arguments_of(causal_conv1d)
def causal_conv1d_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to "y" and "last_state"; a state is copied, not computed.

    Parameters
    ----------
    arithmetic
        The facts about the implementation; the order of evaluation in time changes nothing.
    inputs
        The arguments of `causal_conv1d`; `return_last_state` changes nothing.

    Returns
    -------
    For each output its value, bound, the oracle's own bound, and where it is judged.
    """
    conv = read(**inputs)
    with np.errstate(all="ignore"):
        y, bound, size = output_error(conv, np.zeros_like(conv.line), arithmetic)
        _, own, _ = output_error(conv, np.zeros_like(conv.line), ORACLE)
        last = conv.last_state()
        return {
            "y": Bounded(y, bound, own, size + bound < arithmetic.largest),
            "last_state": Bounded(
                last, np.full_like(last, arithmetic.eta), np.zeros_like(last), np.isfinite(last)
            ),
        }


def output_error(conv: Conv, line_error: Float, arithmetic: Arithmetic) -> tuple[Float, Float, Float]:
    """y, its error where the line is given within `line_error`, and Σ|terms| of p; all (b, d, l)."""
    p, error, size = _filtered_error(conv, line_error, arithmetic)
    return (gate(p), silu_error(p, error, arithmetic), size) if conv.silu else (p, error, size)


def _filtered_error(conv: Conv, line_error: Float, arithmetic: Arithmetic) -> tuple[Float, Float, Float]:
    """p, e_p = Σ|w|e + (w + 2)u(Σ_j |w_j x| + |bias|) + η(...), and that sum."""
    line, weight = np.abs(conv.line), np.abs(conv.weight)
    size = conv.correlate(line, weight)
    if conv.bias is not None:
        size = size + np.abs(conv.bias)[:, None]
    lost = arithmetic.eta * (conv.width + 2.0 + size_of_factors(conv, line, weight))
    carried = conv.correlate(line_error, weight)
    error = carried + (conv.width + 2) * arithmetic.u * (size + carried) + lost
    return conv.before_activation(), error, size


def size_of_factors(conv: Conv, line: Float, weight: Float) -> Float:
    """Σ_j (|w_j| + |x|) over the taps of each time, what a factor read as zero may cost in units of η."""
    return conv.correlate(line, np.ones_like(weight)) + conv.correlate(np.ones_like(line), weight)


@arguments_of(causal_conv1d)
def causal_conv1d_vjp_bounds(
    cotangents: Mapping[str, ArrayLike | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to the gradients of `causal_conv1d_vjp`.

    Parameters
    ----------
    cotangents, wrt, inputs
        As for `causal_conv1d_vjp`.
    arithmetic
        The facts about the implementation.

    Returns
    -------
    For each gradient its value, bound, the oracle's own bound, and where it is judged.
    """
    conv, names = read(**inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    r, last = read_cotangents(conv, cotangents)
    values = causal_conv1d_vjp(cotangents, names, **inputs)
    with np.errstate(all="ignore"):
        bound, sizes = gradient_errors(conv, r, last, Given.exact(conv, r, arithmetic), arithmetic)
        own, _ = gradient_errors(conv, r, last, Given.exact(conv, r, ORACLE), ORACLE)
        return {
            name: Bounded(
                values[name], bound[name], own[name], sizes[name] + bound[name] < arithmetic.largest
            )
            for name in names
        }


@dataclass(frozen=True, eq=False)
class Given:
    """Bounds on the errors of the line, (b, d, w − 1 + l), and of y's cotangent, (b, d, l)."""

    line: Float
    cotangent: Float

    @classmethod
    def exact(cls, conv: Conv, r: Float, arithmetic: Arithmetic) -> Given:
        """Exact but for subnormal numbers, which may be read as zero."""
        return cls(np.zeros_like(conv.line), np.full_like(r, arithmetic.eta))


def gradient_errors(
    conv: Conv, r: Float, last: Float, given: Given, arithmetic: Arithmetic
) -> tuple[dict[str, Float], dict[str, Float]]:
    """The errors of all gradients, and Σ|terms| of each (or what else has to stay in range).

    The last state's cotangent is exact; what it adds to x and to the initial state is not rounded alone.
    """
    u, eta = arithmetic.u, arithmetic.eta
    q, e_q = _cotangent_error(conv, r, given, arithmetic)
    q = np.abs(q)
    line, weight = np.abs(conv.line), np.abs(conv.weight)
    used = line + given.line

    spread = conv.spread(q, weight)
    spread[..., conv.length :] += conv.seen_last(np.abs(last))
    e_line = conv.spread(e_q, weight)
    e_line += (conv.width + 2) * u * (spread + e_line)
    e_line += eta * (conv.spread(np.ones_like(q), weight) + conv.spread(q, np.ones_like(weight)))
    e_line += (conv.width + 2) * eta

    count = q.shape[0] * q.shape[2]
    weighed = conv.weigh(q, line)
    e_weight = conv.weigh(e_q, used) + conv.weigh(q, given.line)
    e_weight += (count + 1) * u * (weighed + e_weight)
    e_weight += eta * (conv.weigh(np.ones_like(q), line) + conv.weigh(q, np.ones_like(line)) + count)
    total = q.sum(axis=(0, 2))
    errors = {
        "x": e_line[..., conv.width - 1 :],
        "weight": e_weight,
        "bias": e_q.sum(axis=(0, 2)) + count * (u * total + 2.0 * eta),
        "initial_state": e_line[..., : conv.width - 1],
    }
    sizes = {
        "x": spread[..., conv.width - 1 :],
        "weight": weighed,
        "bias": total,
        "initial_state": spread[..., : conv.width - 1],
    }
    if conv.silu:  # p, and q on its way, have to stay in range as well, at whatever time they enter
        way = _slope_reach(conv, r, given, arithmetic)
        for name, size in sizes.items():
            sizes[name] = np.maximum(size, way.reshape((-1,) + (1,) * (size.ndim != 1)))
    return errors, sizes


def _slope_reach(conv: Conv, r: Float, given: Given, arithmetic: Arithmetic) -> Float:
    """The largest number of a channel on the way to p and to q = r(σ + p σ(1 − σ)), in any order. (d,).

    The slope of p σ(p) is the sum of two, each with r: what r p reaches, σ(1 − σ) may bring back.
    """
    p, e_p, size = _filtered_error(conv, given.line, arithmetic)
    product = reached(arithmetic, np.abs(r) + given.cotangent, 1.0 + np.abs(p) + e_p)
    reach = np.maximum(size + e_p, product)
    widest: Float = reach.max(axis=(0, 2), initial=0.0)
    return widest


def _cotangent_error(conv: Conv, r: Float, given: Given, arithmetic: Arithmetic) -> tuple[Float, Float]:
    """q = r silu'(p) and its error (|r| + e_r)e_{silu'} + |silu'|e_r + 2u|q| + η; r itself without silu."""
    if not conv.silu:
        return r, given.cotangent
    p, e_p, _ = _filtered_error(conv, given.line, arithmetic)
    slope, size = gate_slope(p), np.abs(r) + given.cotangent
    q = r * slope
    e_slope = silu_slope_error(p, e_p, arithmetic)
    error = size * e_slope + np.abs(slope) * given.cotangent
    error += 2.0 * arithmetic.u * size * (np.abs(slope) + e_slope)
    return q, error + flushed(arithmetic, np.abs(r), np.abs(p), sigmoid(p))
