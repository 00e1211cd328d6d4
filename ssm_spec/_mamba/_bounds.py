"""What honest arithmetic may do to a Mamba block: each stage's own errors, and what it does to those before.

    linear        e_y = |W|e + ((k + 1)u + 2u_op)|W|(|x| + e) + η(...), k terms in any order
    convolution   `_causal_conv1d_bounds.output_error`, whose line is given within e
    scan          `_perturbed.perturbed_scan`, whose arguments are given within their e

u_op is the unit roundoff of the type to which operands of matrix products are rounded; where one
is declared, what one stage hands to the next may be stored in it too: e + u_op(|value| + e).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ssm_spec._causal_conv1d import read as read_conv
from ssm_spec._causal_conv1d_bounds import output_error
from ssm_spec._mamba._perturbed import Perturbation, perturbed_scan
from ssm_spec._mamba._stages import Block, Stages, follow, read
from ssm_spec._roundoff import ORACLE, UNIT_ROUNDOFF, Arithmetic, Bounded
from ssm_spec._selective_scan._classes import alternatives
from ssm_spec._selective_scan._inputs import read as read_scan
from ssm_spec._validate import Float


@dataclass(frozen=True, eq=False)
class Errors:
    """The errors of the three outputs, and the largest number that feeds each; y is (b, e, l)."""

    y: Float
    conv_state: Float
    ssm_state: Float
    peaks: tuple[Float, Float, Float]


def mamba_block_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to "y", "conv_state" and "ssm_state".

    Parameters
    ----------
    arithmetic
        The facts about the implementation; `evaluation` is that of the scan, `operands` the type
        of the projections' operands.
    inputs
        The arguments of `mamba_block`; `return_states` changes nothing.

    Returns
    -------
    For each output its value, bound, the oracle's own bound, and where it is judged.
    """
    block = read(**inputs)
    with np.errstate(all="ignore"):
        stages = follow(block)
        own = _errors(block, stages, ORACLE)
        found = [_errors(block, stages, order) for order in alternatives(arithmetic)]
        values = {"y": stages.y, "conv_state": stages.conv_state, "ssm_state": stages.ssm_state}
        out = {}
        for i, (name, value) in enumerate(values.items()):
            bound = np.max([getattr(one, name) for one in found], axis=0)
            peak = np.max([one.peaks[i] for one in found], axis=0)
            judged = (peak < arithmetic.largest) & (np.abs(value) + bound < arithmetic.largest)
            out[name] = Bounded(value, bound, getattr(own, name), judged)
    return {**out, "y": out["y"].map(lambda part: part.swapaxes(1, 2))}


def _errors(block: Block, stages: Stages, arithmetic: Arithmetic) -> Errors:
    """Follow one order of evaluation through the stages."""
    d, r, n = block.d, block.r, block.n
    inner = np.concatenate([stages.conv["x"], stages.scan["z"]], axis=1)
    e_inner = _stored(inner, _linear(block.in_proj, block.x, np.zeros_like(block.x), arithmetic), arithmetic)

    conv = read_conv(**stages.conv)
    e_line = np.zeros_like(conv.line)
    e_line[..., conv.width - 1 :] = e_inner[:, :d]
    filtered, e_filtered, taps = output_error(conv, e_line, arithmetic)
    e_filtered = _stored(filtered, e_filtered, arithmetic)

    low = stages.low_rank
    e_low = _stored(low, _linear(block.x_proj, filtered, e_filtered, arithmetic), arithmetic)
    e_delta = _linear(block.dt_proj_weight, low[:, :r], e_low[:, :r], arithmetic)

    scan = read_scan(**stages.scan)
    given = Perturbation(
        u=e_filtered,
        delta=_stored(stages.scan["delta"], e_delta, arithmetic),
        A=arithmetic.u * (arithmetic.k_exp + arithmetic.k_scale * np.abs(block.A_log)),
        B=e_low[:, r : r + n],
        C=e_low[:, r + n :],
        z=e_inner[:, d:],
    )
    e_gated, gated_peak, e_state, state_peak = perturbed_scan(scan, given, arithmetic)
    e_gated = _stored(stages.gated, e_gated, arithmetic)
    e_y = _linear(block.out_proj, stages.gated, e_gated, arithmetic)

    before = [np.abs(part).max(1, initial=0.0) for part in (inner, taps, low)]
    used = np.maximum.accumulate(np.max(before, axis=0), axis=-1)  # what any earlier stage had to hold
    used = np.maximum(used, gated_peak.max(1, initial=0.0))
    reached = used.max(-1, initial=0.0)[:, None, None]
    e_conv = conv.seen_last(e_line[..., conv.length :])
    return Errors(
        e_y,
        e_conv + arithmetic.eta,
        e_state,
        (
            np.maximum(used[:, None], np.abs(block.out_proj) @ np.abs(stages.gated)),
            np.abs(stages.conv_state),
            np.maximum(state_peak, reached),
        ),
    )


def _linear(W: Float, x: Float, error: Float, arithmetic: Arithmetic) -> Float:
    """The error of W x, (b, k, l) to (b, ·, l), where x is given within `error`."""
    size, k = np.abs(W), W.shape[1]
    rounding = (k + 1) * arithmetic.u + 2.0 * _operand_unit(arithmetic)
    carried = size @ error
    lost = (k + size.sum(axis=1))[:, None] + (np.abs(x) + error).sum(axis=1, keepdims=True)
    total: Float = carried + rounding * (size @ np.abs(x) + carried) + arithmetic.eta * (1.0 + lost)
    return total


def _stored(value: Float, error: Float, arithmetic: Arithmetic) -> Float:
    """What is left where a stage's output is stored in the operands' type."""
    return error + _operand_unit(arithmetic) * (np.abs(value) + error)


def _operand_unit(arithmetic: Arithmetic) -> float:
    """u_op; 0 where operands keep the compute type. tf32 may be reached by truncation."""
    if arithmetic.operands == "compute":
        return 0.0
    return 2.0**-10 if arithmetic.operands == "tf32" else UNIT_ROUNDOFF[arithmetic.operands]
