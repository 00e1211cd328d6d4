"""The decode step of Mamba-2 as PyTorch sees it: in place or not, over rows or over slots of a pool."""

from __future__ import annotations

from math import inf
from typing import Any

import torch
from torch import Tensor

from ssm_backends.checked import checked
from ssm_backends.direct import is_direct
from ssm_backends.writable import check_writable, read_first
from ssm_triton._heads_step import heads_step
from ssm_triton._inputs import FUSED, strides
from ssm_triton._plan import power_of_two
from ssm_triton.launching import launch, without_sign
from ssm_triton.no_gradient import refuse_gradients
from ssm_triton.pools import look_at_slots
from ssm_triton.stepping import Step

NUMBERS = 1024
"""Of a state that a program has, where heads are wide enough: sixteen a lane."""
WARPS = 2
"""Of a program."""
STREAMS = ("state", "x", "dt", "A", "B", "C", "D", "z", "dt_bias")
"""What may have a tangent, or require a gradient."""


@torch.library.custom_op("ssm_triton::heads_step", mutates_args=("new",))
def heads_update(
    state: Tensor,
    new: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    slots: Tensor | None,
    softplus: bool,
    low: float,
    high: float,
) -> Tensor:
    """y (b, h, p); the state after the step is written to `new`, from `state`."""
    return _run(state, new, x, dt, A, B, C, D, z, dt_bias, slots, softplus, low, high)


@torch.library.custom_op("ssm_triton::heads_step_inplace", mutates_args=("state",))
def heads_update_inplace(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    slots: Tensor | None,
    softplus: bool,
    low: float,
    high: float,
) -> Tensor:
    """y (b, h, p); the state after the step is written over `state`."""
    return _run_inplace(state, x, dt, A, B, C, D, z, dt_bias, slots, softplus, low, high)


@heads_update.register_fake
def _(state: Tensor, new: Tensor, x: Tensor, *rest: object) -> Tensor:
    return torch.empty_like(x)


@heads_update_inplace.register_fake
def _(state: Tensor, x: Tensor, *rest: object) -> Tensor:
    return torch.empty_like(x)


def _run_inplace(state: Tensor, *rest: Any) -> Tensor:
    """Over `state`, in whose memory others of the arrays may lie: all are read first."""
    *given, softplus, low, high = rest
    x, dt, A, B, C, D, z, dt_bias, slots = read_first(state, given)
    return _run(state, state, x, dt, A, B, C, D, z, dt_bias, slots, softplus, low, high)


def _run(
    state: Tensor, new: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
    z: Tensor | None, dt_bias: Tensor | None, slots: Tensor | None, softplus: bool, low: float, high: float,
) -> Tensor:  # fmt: skip
    y = torch.empty_like(x)
    batch, heads, width = x.shape
    n, groups = B.shape[2], B.shape[1]
    N = power_of_two(n)
    P = max(min(NUMBERS // N, power_of_two(width)), 1)
    tiles = -(-width // P)
    if not batch * heads * tiles:
        return y
    with torch.cuda.device_of(x):  # Triton launches on the current one
        launch(
            heads_step, (batch * heads * tiles,),
            [state, new, x, dt, A, B, C, D, z, dt_bias, slots, y],
            [heads, width, n, heads // groups, state.shape[0],
             *state.stride(), *new.stride(), *x.stride(), *dt.stride(), *B.stride(), *C.stride(),
             *_by_head(D), *strides(z, 3), *y.stride(), *strides(slots, 1)],
            N=N, P=P, HAS_D=D is not None, HAS_Z=z is not None, HAS_BIAS=dt_bias is not None,
            SOFTPLUS=softplus, LOW=low, HIGH=high, SLOTS=slots is not None,
            LANES=32 * WARPS, num_warps=WARPS, enable_fp_fusion=FUSED,
        )  # fmt: skip
    return y


def _by_head(D: Tensor | None) -> tuple[int, ...]:
    """Strides of D as (h, p)."""
    return strides(D, 2) if D is None or D.ndim == 2 else (D.stride(0), 0)


_STEP = Step(_run, heads_update, _run_inplace, heads_update_inplace)


@checked("ssd_update")
def ssd_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, inf),
    *,
    state_indices: Tensor | None = None,
    inplace: bool = False,
) -> tuple[Tensor, Tensor]:
    """One step of :func:`ssm_triton.ssd`: S ← exp(ΔA) S + Δ x Bᵀ, y = (S C + D x) silu(z).

    Parameters
    ----------
    state
        (b, h, p, n), or a pool (slots, h, p, n) with `state_indices`; A's dtype, or bfloat16 or float16.
    x, z
        (b, h, p); float64, float32, bfloat16 or float16. z: x's dtype or float32.
    dt
        (b, h), x's dtype or float32.
    A, dt_bias
        (h,), float32 or float64.
    B, C
        (b, g, n), x's dtype or float32.
    D
        (h,) or (h, p), A's dtype.
    dt_softplus
        Δ = log(1 + exp(dt + dt_bias)).
    dt_limit
        (low, high): Δ is clamped to it, always. Each pair is compiled for by itself.
    state_indices
        (b,), int32 or int64: each row's slot in the pool; −1 skips the row, and its y is 0.
    inplace
        Write the new state over `state`. Others of the arrays may lie in its memory: all are read first.

    Returns
    -------
    (y, new state): y (b, h, p) in x's dtype; the state in its own dtype, `state` itself if `inplace`.

    Raises
    ------
    ArgumentError
        If a slot is none of the pool's, or named twice, and `state_indices` is on a CPU. A GPU would have to
        be waited for: there a row with a slot that does not exist gets NaN, and nothing is written for it.
    NotSupportedError
        If an input has a tangent of forward mode, or requires a gradient outside of ``torch.no_grad()``.
    """
    if inplace and not torch.compiler.is_compiling():
        check_writable("state", state)
    streams = (state, x, dt, A, B, C, D, z, dt_bias)
    refuse_gradients("ssd_update", STREAMS, streams)
    look_at_slots(state_indices, state)
    direct = is_direct((*streams, state_indices))
    A = A.contiguous()
    if dt_bias is not None:
        dt_bias = dt_bias.contiguous()
    low, high = without_sign(dt_limit)
    rest = (x, dt, A, B, C, D, z, dt_bias, state_indices, dt_softplus, low, high)
    return _STEP(state, rest, direct=direct, pooled=state_indices is not None, inplace=inplace)
