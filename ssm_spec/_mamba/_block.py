"""The Mamba block as users call it, and its gradient by the adjoints of its stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ssm_spec._calls import arguments_of, operator
from ssm_spec._causal_conv1d import causal_conv1d_vjp
from ssm_spec._mamba._stages import PARAMETERS, Block, follow, read
from ssm_spec._selective_scan import selective_scan_vjp
from ssm_spec._validate import Float, as_cotangent, check_cotangent_names, differentiated

OUTPUTS = ("y", "conv_state", "ssm_state")
DIFFERENTIABLE = ("x", *PARAMETERS, "conv_state", "ssm_state")


@operator
def mamba_block(
    x: ArrayLike,
    in_proj: ArrayLike,
    conv1d_weight: ArrayLike,
    conv1d_bias: ArrayLike | None,
    x_proj: ArrayLike,
    dt_proj_weight: ArrayLike,
    dt_proj_bias: ArrayLike,
    A_log: ArrayLike,
    D: ArrayLike,
    out_proj: ArrayLike,
    *,
    conv_state: ArrayLike | None = None,
    ssm_state: ArrayLike | None = None,
    return_states: bool = False,
) -> Float | tuple[Float, Float, Float]:
    """(x', z) = W_in x; c = silu(conv(x')); (δ, B, C) = W_x c; y = W_out scan(c, W_Δ δ, A, B, C, D, z).

    A = −exp(A_log); `scan` is `selective_scan` and `conv` is `causal_conv1d`.
    Gu and Dao, "Mamba" (2023), section 3.4, figure 3, and algorithm 2; the parameters are named as
    in its code, e being its d_model, d its d_inner, r its dt_rank, n its d_state.

    (C1) The first d rows of `in_proj` give x', the last d give z.
    (C2) The first r rows of `x_proj` give δ, then n give B and n give C.
    (C3) `dt_proj_bias` enters once, as the scan's delta_bias, and softplus is on.
    (C4) No norm, no residual.
    (C5) With the states that one call returns, a second goes on as one call for both would.

    Parameters
    ----------
    x
        (b, l, e), real.
    in_proj, out_proj
        (2d, e) and (e, d), real.
    conv1d_weight, conv1d_bias
        (d, w) and (d,) or None, real; as in `causal_conv1d`, which has no middle dimension of one.
    x_proj, dt_proj_weight, dt_proj_bias
        (r + 2n, d), (d, r) and (d,), real.
    A_log
        (d, n), real, at least single precision.
    D
        (d,), real.
    conv_state, ssm_state
        (b, d, w − 1), newest last, and (b, d, n), real. Default zero.

    Returns
    -------
    y, (b, l, e) float64; with `return_states` also both states, float64.
    """
    block = read(
        x,
        in_proj,
        conv1d_weight,
        conv1d_bias,
        x_proj,
        dt_proj_weight,
        dt_proj_bias,
        A_log,
        D,
        out_proj,
        conv_state=conv_state,
        ssm_state=ssm_state,
    )
    with np.errstate(all="ignore"):  # infinities and NaN follow the rules of IEEE 754, silently
        stages = follow(block)
    y = np.ascontiguousarray(stages.y.swapaxes(1, 2))
    return (y, stages.conv_state, stages.ssm_state) if return_states else y


@arguments_of(mamba_block)
def mamba_block_vjp(
    cotangents: Mapping[str, ArrayLike | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Float]:
    """Gradients of ⟨cotangents, outputs⟩, stage by stage backwards; dW = Σ_b r xᵀ and dx = Wᵀ r for y = W x.

    Parameters
    ----------
    cotangents
        "y": (b, l, e), "conv_state": (b, d, w − 1), "ssm_state": (b, d, n); None or missing means zero.
    wrt
        Names of inputs; by default every differentiable one that was given.
    inputs
        The arguments of `mamba_block`.

    Returns
    -------
    For each name the gradient, float64, in the input's shape.
    """
    block, names = read(**inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    r, r_conv, r_ssm = read_cotangents(block, cotangents)
    with np.errstate(all="ignore"):
        found = _backward(block, r, r_conv, r_ssm)
    return {name: found[name] for name in names}


def _backward(block: Block, r: Float, r_conv: Float | None, r_ssm: Float | None) -> dict[str, Float]:
    stages = follow(block)
    scan = selective_scan_vjp({"y": block.out_proj.T @ r, "last_state": r_ssm}, **stages.scan)
    low_rank = np.concatenate([block.dt_proj_weight.T @ scan["delta"], scan["B"], scan["C"]], axis=1)
    filtered = scan["u"] + block.x_proj.T @ low_rank
    conv = causal_conv1d_vjp({"y": filtered, "last_state": r_conv}, **stages.conv)
    inner = np.concatenate([conv["x"], scan["z"]], axis=1)
    found = {
        "x": (block.in_proj.T @ inner).swapaxes(1, 2),
        "in_proj": _outer(inner, block.x),
        "conv1d_weight": conv["weight"],
        "x_proj": _outer(low_rank, stages.filtered),
        "dt_proj_weight": _outer(scan["delta"], stages.low_rank[:, : block.r]),
        "dt_proj_bias": scan["delta_bias"],
        "A_log": scan["A"] * stages.scan["A"],  # A = −exp(A_log) is its own slope
        "D": scan["D"],
        "out_proj": _outer(r, stages.gated),
    }
    optional = {
        "conv1d_bias": conv.get("bias"),
        "conv_state": conv.get("initial_state"),
        "ssm_state": scan.get("initial_state"),
    }
    return found | {name: value for name, value in optional.items() if value is not None}


def _outer(r: Float, x: Float) -> Float:
    """Σ_b r xᵀ over all times: (b, i, l) and (b, j, l) to (i, j)."""
    outer: Float = (r @ x.swapaxes(1, 2)).sum(axis=0)
    return outer


def read_cotangents(
    block: Block, cotangents: Mapping[str, object]
) -> tuple[Float, Float | None, Float | None]:
    """The cotangents of y, (b, e, l), and of the states."""
    check_cotangent_names(cotangents, OUTPUTS)
    b, e, l = block.x.shape
    y = as_cotangent(cotangents, "y", (b, l, e))
    conv = as_cotangent(cotangents, "conv_state", (b, block.d, block.conv1d_weight.shape[1] - 1))
    ssm = as_cotangent(cotangents, "ssm_state", (b, block.d, block.n))
    return np.zeros((b, e, l)) if y is None else y.swapaxes(1, 2), conv, ssm
