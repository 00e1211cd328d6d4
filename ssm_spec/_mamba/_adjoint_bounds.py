"""What honest arithmetic may do to a Mamba block's gradients: its stages' errors, followed backwards.

dx = Wᵀr   |Wᵀ|e_r + ((k + 1)u + 2u_op)|Wᵀ|(|r| + e_r)
dW = Σ r xᵀ   Σ e_r(|x| + e_x) + |r|e_x, and ((k + 1)u + 2u_op) Σ (|r| + e_r)(|x| + e_x), k = b·l terms
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ssm_spec._calls import arguments_of
from ssm_spec._causal_conv1d import causal_conv1d_vjp
from ssm_spec._causal_conv1d_bounds import Given, gradient_errors
from ssm_spec._mamba._block import DIFFERENTIABLE, mamba_block, mamba_block_vjp, read_cotangents
from ssm_spec._mamba._perturbed_adjoint import perturbed_gradients
from ssm_spec._mamba._propagate import begun_with, linear, operand_floor, operand_unit, propagate, stored
from ssm_spec._mamba._stages import Block, Stages, follow, read
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._selective_scan import selective_scan_vjp
from ssm_spec._selective_scan._adjoint import Cotangents
from ssm_spec._selective_scan._classes import alternatives
from ssm_spec._selective_scan._local_errors import flushed
from ssm_spec._validate import Float, differentiated

Errors = dict[str, Float]


@arguments_of(mamba_block)
def mamba_block_vjp_bounds(
    cotangents: Mapping[str, ArrayLike | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to the gradients of `mamba_block_vjp`.

    Judged all together: where any number of the block leaves the compute type's range, none is.

    Parameters
    ----------
    cotangents, wrt, inputs
        As for `mamba_block_vjp`.
    arithmetic
        The facts about the implementation, as for `mamba_block_bounds`.

    Returns
    -------
    For each gradient its value, bound, the oracle's own bound, and where it is judged.
    """
    block, names = read(**inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    given = read_cotangents(block, cotangents)
    values = mamba_block_vjp(cotangents, names, **inputs)
    with np.errstate(all="ignore"):
        stages = follow(block)
        own, _ = _errors(block, stages, given, ORACLE)
        found = [_errors(block, stages, given, order) for order in alternatives(arithmetic)]
        within = max(peak for _, peak in found) < arithmetic.largest
        out = {}
        for name in names:
            bound = np.max([errors[name] for errors, _ in found], axis=0)
            judged = within & (np.abs(values[name]) + bound < arithmetic.largest)
            out[name] = Bounded(values[name], bound, own[name], judged)
    return out


def _errors(
    block: Block,
    stages: Stages,
    given: tuple[Float, Float | None, Float | None],
    arithmetic: Arithmetic,
) -> tuple[Errors, float]:
    """The errors of all gradients, and the largest number on the way."""
    r, r_conv, r_ssm = given
    way = propagate(block, stages, arithmetic)
    none, k = np.zeros_like(r), block.r

    r_gated = block.out_proj.T @ r
    e_gated = stored(r_gated, linear(block.out_proj.T, r, none, arithmetic), arithmetic)
    exact = selective_scan_vjp({"y": r_gated, "last_state": r_ssm}, **stages.scan)
    cotangents = Cotangents(
        np.ascontiguousarray(np.moveaxis(r_gated, -1, 0)),
        None if r_ssm is None else np.ascontiguousarray(r_ssm.transpose(2, 0, 1)),
    )
    scan = perturbed_gradients(way.scan, cotangents, e_gated, way.given, arithmetic)
    e = {name: stored(exact[name], scan.errors[name], arithmetic) for name in ("u", "delta", "B", "C", "z")}

    e_delta = linear(block.dt_proj_weight.T, exact["delta"], e["delta"], arithmetic)
    low = np.concatenate([block.dt_proj_weight.T @ exact["delta"], exact["B"], exact["C"]], axis=1)
    e_low = np.concatenate([stored(low[:, :k], e_delta, arithmetic), e["B"], e["C"]], axis=1)
    through = block.x_proj.T @ low
    filtered = exact["u"] + through
    e_filtered = e["u"] + linear(block.x_proj.T, low, e_low, arithmetic)
    e_filtered += begun_with(np.abs(exact["u"]) + e["u"], block.x_proj.T, low, e_low, arithmetic)
    e_filtered += arithmetic.u * (np.abs(filtered) + e_filtered)
    e_filtered = stored(filtered, e_filtered, arithmetic)

    last = np.zeros_like(stages.conv_state) if r_conv is None else r_conv
    conv, conv_sizes = gradient_errors(way.conv, filtered, last, Given(way.line, e_filtered), arithmetic)
    values = _conv_gradient(stages, filtered, r_conv)
    inner = np.concatenate([values, exact["z"]], axis=1)
    e_inner = np.concatenate([stored(values, conv["x"], arithmetic), e["z"]], axis=1)

    rates = np.abs(stages.scan["A"])
    e_rates = scan.errors["A"] + (arithmetic.u + way.given.A) * (np.abs(exact["A"]) + scan.errors["A"])
    errors = {
        "x": linear(block.in_proj.T, inner, e_inner, arithmetic).swapaxes(1, 2),
        "in_proj": _outer_error(inner, e_inner, block.x, np.zeros_like(block.x), arithmetic),
        "conv1d_weight": conv["weight"],
        "conv1d_bias": conv["bias"],
        "x_proj": _outer_error(low, e_low, stages.filtered, way.given.u, arithmetic),
        "dt_proj_weight": _outer_error(
            exact["delta"], e["delta"], stages.low_rank[:, :k], way.low_rank[:, :k], arithmetic
        ),
        "dt_proj_bias": scan.errors["delta_bias"],
        "A_log": rates * e_rates + flushed(arithmetic, rates, np.abs(exact["A"]) + scan.errors["A"]),
        "D": scan.errors["D"],
        "out_proj": _outer_error(r, none, stages.gated, way.gated, arithmetic),
        "conv_state": conv["initial_state"],
    }
    if "initial_state" in scan.errors:
        errors["ssm_state"] = scan.errors["initial_state"]
    operands = (r, stages.gated, exact["delta"], low, inner, filtered)
    sizes = [way.used, way.state_used, *conv_sizes.values(), *(np.abs(x) for x in operands)]
    return errors, max([scan.peak, *(float(size.max(initial=0.0)) for size in sizes)])


def _conv_gradient(stages: Stages, r: Float, r_last: Float | None) -> Float:
    """What the convolution hands back to its input. (b, d, l)."""
    return causal_conv1d_vjp({"y": r, "last_state": r_last}, ["x"], **stages.conv)["x"]


def _outer_error(r: Float, e_r: Float, x: Float, e_x: Float, arithmetic: Arithmetic) -> Float:
    """The error of Σ_b r xᵀ, (b, i, l) and (b, j, l) to (i, j)."""
    size_r, size_x = np.abs(r) + e_r, np.abs(x) + e_x
    terms = r.shape[0] * r.shape[2]
    rounding = (terms + 1) * arithmetic.u + 2.0 * operand_unit(arithmetic)

    def summed(left: Float, right: Float) -> Float:
        total: Float = (left @ right.swapaxes(1, 2)).sum(axis=0)
        return total

    lost = size_r.sum(axis=(0, 2))[:, None] + size_x.sum(axis=(0, 2)) + terms + 1.0
    error: Float = summed(e_r, size_x) + summed(np.abs(r), e_x) + rounding * summed(size_r, size_x)
    error += (arithmetic.eta + operand_floor(arithmetic)) * lost
    return error
