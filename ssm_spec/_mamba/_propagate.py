"""How the errors of a Mamba block grow from stage to stage.

    linear        e_y = |W|e + ((k + 1)u + 2u_op)|W|(|x| + e) + (η + η_op)(...), k terms in any order;
                  a bias, or what is there before, may be the first of them: min(ku|bias|, |W|(|x| + e))
    convolution   `_causal_conv1d_bounds.output_error`, whose line is given within e
    scan          `_perturbed.perturbed_scan`, whose arguments are given within their e

u_op is the unit roundoff of the type to which operands of matrix products are rounded; where one
is declared, what one stage hands to the next may be stored in it too: e + u_op(|value| + e) + η_op;
Δ's argument with its bias or without. A linear layer that has the bias rounds it as well, as operands are:
u_op|bias| + η_op.
η_op is what rounding a number that is subnormal in float16 loses; the other types' are subnormal in
float32 too, and count as flushed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssm_spec._causal_conv1d import Conv
from ssm_spec._causal_conv1d import read as read_conv
from ssm_spec._causal_conv1d_bounds import output_error
from ssm_spec._mamba._perturbed import Perturbation, perturbed_scan
from ssm_spec._mamba._stages import Block, Stages
from ssm_spec._roundoff import UNIT_ROUNDOFF, Arithmetic, RoundedInputs
from ssm_spec._selective_scan._inputs import Scan
from ssm_spec._selective_scan._inputs import read as read_scan
from ssm_spec._validate import Float


@dataclass(frozen=True, eq=False)
class Propagated:
    """The errors on the way through a block, (b, ·, l) if not said.

    Attributes
    ----------
    conv, scan
        The two stages' arguments, laid out.
    line, low_rank, gated
        Errors of the convolution's line, of (Δ, B, C) as `x_proj` gives them, and of the scan's output.
    given
        Errors of the scan's arguments.
    state
        (b, d, n): error of the last state.
    line_used
        The largest number on the way to each element of the convolution's line.
    used, state_used
        The largest number that any stage up to a time had to hold, (b, l) and (b, d, n).
    """

    conv: Conv
    scan: Scan
    line: Float
    low_rank: Float
    gated: Float
    given: Perturbation
    state: Float
    line_used: Float
    used: Float
    state_used: Float


def propagate(block: Block, stages: Stages, arithmetic: Arithmetic) -> Propagated:
    """Follow one order of evaluation through the stages, up to the scan's output."""
    d, r, n = block.d, block.r, block.n
    inner = np.concatenate([stages.conv["x"], stages.scan["z"]], axis=1)
    e_inner = stored(inner, linear(block.in_proj, block.x, np.zeros_like(block.x), arithmetic), arithmetic)

    conv = read_conv(**stages.conv)
    e_line = np.zeros_like(conv.line)
    e_line[..., conv.width - 1 :] = e_inner[:, :d]
    filtered, e_filtered, taps = output_error(conv, e_line, arithmetic)
    e_filtered = stored(filtered, e_filtered, arithmetic)

    low = stages.low_rank
    e_low = stored(low, linear(block.x_proj, filtered, e_filtered, arithmetic), arithmetic)
    e_delta = linear(block.dt_proj_weight, low[:, :r], e_low[:, :r], arithmetic)
    bias = block.dt_proj_bias[:, None]
    e_delta += begun_with(bias, block.dt_proj_weight, low[:, :r], e_low[:, :r], arithmetic)
    e_delta += rounded_operand(bias, arithmetic)
    delta = stages.scan["delta"]
    largest_step = np.maximum(np.abs(delta), np.abs(delta + bias))  # stored with its bias or without

    scan = read_scan(**stages.scan)
    given = Perturbation(
        u=e_filtered,
        delta=stored(largest_step, e_delta, arithmetic),
        A=arithmetic.u * (arithmetic.k_exp + arithmetic.k_scale * np.abs(block.A_log)),
        B=e_low[:, r : r + n],
        C=e_low[:, r + n :],
        z=e_inner[:, d:],
    )
    e_gated, gated_peak, e_state, state_peak = perturbed_scan(scan, given, arithmetic)
    operands = [np.abs(block.x), np.abs(filtered) + e_filtered, np.abs(low) + e_low]
    sums = [
        summed(block.in_proj, block.x, np.zeros_like(block.x)),
        summed(block.x_proj, filtered, e_filtered),
        summed(block.dt_proj_weight, low[:, :r], e_low[:, :r]),
    ]
    before = [np.abs(part).max(1, initial=0.0) for part in (taps, *operands, *sums)]
    used = np.maximum.accumulate(np.max(before, axis=0), axis=-1)  # what any earlier stage had to hold
    used = np.maximum(used, largest_weight(block))
    # An A that is infinite meets a step of zero: 0 · ∞ is a NaN.
    used = np.maximum(used, (np.abs(scan.A) * (1.0 + given.A.T[:, None])).max(initial=0.0))
    used = np.maximum(used, gated_peak.max(1, initial=0.0))
    reached = used.max(-1, initial=0.0)[:, None, None]
    e_gated = stored(stages.gated, e_gated, arithmetic)
    line_used = np.abs(conv.line)
    first = np.maximum(sums[0][:, :d], operands[0].max(1, initial=0.0)[:, None])
    line_used[..., conv.width - 1 :] = np.maximum(first, largest_weight(block))
    state_used = np.maximum(state_peak, reached)
    return Propagated(conv, scan, e_line, e_low, e_gated, given, e_state, line_used, used, state_used)


def linear(W: Float, x: Float, error: Float, arithmetic: Arithmetic) -> Float:
    """The error of W x, (b, k, l) to (b, ·, l), where x is given within `error`."""
    size, k = np.abs(W), W.shape[1]
    rounding = (k + 1) * arithmetic.u + 2.0 * operand_unit(arithmetic)
    carried = size @ error
    lost = (k + size.sum(axis=1))[:, None] + (np.abs(x) + error).sum(axis=1, keepdims=True)
    total: Float = carried + rounding * (size @ np.abs(x) + carried)
    total += (arithmetic.eta + operand_floor(arithmetic)) * (1.0 + lost)
    return total


def begun_with(first: Float, W: Float, x: Float, error: Float, arithmetic: Arithmetic) -> Float:
    """What a number loses that is the first term of W x, which no addition to it may lose more than."""
    lost: Float = np.minimum(W.shape[1] * arithmetic.u * np.abs(first), summed(W, x, error))
    return lost


def summed(W: Float, x: Float, error: Float) -> Float:
    """The largest partial sum of W x, where x is given within `error`."""
    return np.asarray(np.abs(W) @ (np.abs(x) + error))


def largest_weight(block: Block) -> float:
    """The largest element of the projections, which are operands."""
    projections = (block.in_proj, block.x_proj, block.dt_proj_weight, block.out_proj)
    return max(float(np.abs(W).max(initial=0.0)) for W in projections)


def stored(value: Float, error: Float, arithmetic: Arithmetic) -> Float:
    """What is left where a stage's output is stored in the operands' type."""
    return error + operand_unit(arithmetic) * (np.abs(value) + error) + operand_floor(arithmetic)


def rounded_operand(value: Float, arithmetic: Arithmetic) -> Float:
    """What is lost where a number becomes an operand; nothing, if the type of operands has them all."""
    if RoundedInputs.of(arithmetic, value) is arithmetic:
        return np.zeros_like(value)
    return operand_unit(arithmetic) * np.abs(value) + operand_floor(arithmetic)


def operand_unit(arithmetic: Arithmetic) -> float:
    """u_op; 0 where operands keep the compute type. tf32 may be reached by truncation."""
    if arithmetic.operands == "compute":
        return 0.0
    return 2.0**-10 if arithmetic.operands == "tf32" else UNIT_ROUNDOFF[arithmetic.operands]


def operand_floor(arithmetic: Arithmetic) -> float:
    """η_op: half of the distance of float16's subnormal numbers, which no processor flushes; else 0."""
    return 2.0**-25 if arithmetic.operands == "float16" else 0.0
