"""The decode step as PyTorch sees it: in place or not, over rows or over slots of a pool."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssm_backends.checked import checked
from ssm_backends.direct import is_direct
from ssm_backends.writable import check_writable, read_first
from ssm_triton._inputs import FUSED, real, strides
from ssm_triton._plan import power_of_two, step_states
from ssm_triton._step import step
from ssm_triton.launching import launch
from ssm_triton.no_gradient import refuse_gradients
from ssm_triton.pools import look_at_slots
from ssm_triton.stepping import Step

REGISTERS = 64
"""At most, where a program has many states, of float32: so eight programs run on a multiprocessor."""
WARPS = 4
"""Of a program."""
_STREAMS = ("state", "u", "delta", "A", "B", "C", "D", "z", "delta_bias")
"""What may have a tangent, or require a gradient."""


@torch.library.custom_op("ssm_triton::step", mutates_args=("new",))
def state_update(
    state: Tensor,
    new: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    slots: Tensor | None,
    softplus: bool,
    zoh: bool,
) -> Tensor:
    """y (b, d); the state after the step is written to `new`, from `state`."""
    return _run(state, new, u, delta, A, B, C, D, z, delta_bias, slots, softplus, zoh)


@torch.library.custom_op("ssm_triton::step_inplace", mutates_args=("state",))
def state_update_inplace(
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    slots: Tensor | None,
    softplus: bool,
    zoh: bool,
) -> Tensor:
    """y (b, d); the state after the step is written over `state`."""
    return _run_inplace(state, u, delta, A, B, C, D, z, delta_bias, slots, softplus, zoh)


@state_update.register_fake
def _(state: Tensor, new: Tensor, u: Tensor, *rest: object) -> Tensor:
    return torch.empty_like(u)


@state_update_inplace.register_fake
def _(state: Tensor, u: Tensor, *rest: object) -> Tensor:
    return torch.empty_like(u)


def _run_inplace(state: Tensor, *rest: Any) -> Tensor:
    """Over `state`, in whose memory others of the arrays may lie: all are read first."""
    *given, softplus, zoh = rest
    u, delta, A, B, C, D, z, delta_bias, slots = read_first(state, given)
    return _run(state, state, u, delta, A, B, C, D, z, delta_bias, slots, softplus, zoh)


def _run(
    state: Tensor, new: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
    z: Tensor | None, delta_bias: Tensor | None, slots: Tensor | None, softplus: bool, zoh: bool,
) -> Tensor:  # fmt: skip
    y = torch.empty_like(u)
    batch, dim = u.shape
    n = A.shape[1]
    N = power_of_two(n)
    states = step_states(batch * dim * N, A.dtype == torch.float32)
    DT = max(min(states // N, power_of_two(dim)), 1)
    tiles = -(-dim // DT)
    if not batch * tiles:
        return y
    with torch.cuda.device_of(u):  # Triton launches on the current one
        launch(
            step, (batch * tiles,),
            [real(state), real(new), u, delta, real(A), real(B), real(C), D, z, delta_bias, slots, y],
            [dim, n, dim // _groups(B), dim // _groups(C), state.shape[0],
             *strides(state, 3), *strides(new, 3), *u.stride(), *delta.stride(), *strides(A, 2),
             *_grouped(B), *_grouped(C), *strides(z, 2), *y.stride(), *strides(slots, 1)],
            N=N, DT=DT, HAS_D=D is not None, HAS_Z=z is not None, HAS_BIAS=delta_bias is not None,
            SOFTPLUS=softplus, ZOH=zoh, SLOTS=slots is not None, COMPLEX=A.is_complex(),
            LANES=32 * WARPS, num_warps=WARPS, maxnreg=REGISTERS if states > 512 else None,
            enable_fp_fusion=FUSED,
        )  # fmt: skip
    return y


def _groups(x: Tensor) -> int:
    """The groups of B or C, (b, n) or (b, g, n)."""
    return x.shape[1] if x.ndim == 3 else 1


def _grouped(x: Tensor) -> tuple[int, ...]:
    """Strides of B or C as (b, g, n)."""
    found = strides(x, 3)
    return found if x.ndim == 3 else (found[0], 0, found[1])


_STEP = Step(_run, state_update, _run_inplace, state_update_inplace)


@checked("selective_state_update")
def selective_state_update(
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    b_discretization: str = "euler",
    state_indices: Tensor | None = None,
    inplace: bool = False,
) -> tuple[Tensor, Tensor]:
    """One step of :func:`ssm_triton.selective_scan`: h ← exp(ΔA) h + b̄ u, y = (γ Re Σ_n C h + D u) silu(z).

    Parameters
    ----------
    state
        (b, d, n), or a pool (slots, d, n) with `state_indices`; A's dtype, or bfloat16 or float16.
    u, delta, z
        (b, d); float64, float32, bfloat16 or float16. delta and z: u's dtype or float32.
    A
        (d, n), float32 or float64, real or complex.
    B, C
        (b, n) or (b, g, n); u's dtype or float32, complex only with complex A.
    D, delta_bias
        (d,), A's real dtype.
    delta_softplus
        Δ = log(1 + exp(delta + delta_bias)).
    b_discretization
        "euler" or "zoh".
    state_indices
        (b,), int32 or int64: each row's slot in the pool; −1 skips the row, and its y is 0.
    inplace
        Write the new state over `state`. Others of the arrays may lie in its memory: all are read first.

    Returns
    -------
    (y, new state): y (b, d) in u's dtype; the state in its own dtype, `state` itself if `inplace`.

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
    streams = (state, u, delta, A, B, C, D, z, delta_bias)
    refuse_gradients("selective_state_update", _STREAMS, streams)
    look_at_slots(state_indices, state)
    direct = is_direct((*streams, state_indices))
    if A.is_complex():
        B, C = B.to(A.dtype), C.to(A.dtype)
    if D is not None:
        D = D.contiguous()
    if delta_bias is not None:
        delta_bias = delta_bias.contiguous()
    zoh = b_discretization == "zoh"
    rest = (u, delta, A, B, C, D, z, delta_bias, state_indices, delta_softplus, zoh)
    return _STEP(state, rest, direct=direct, pooled=state_indices is not None, inplace=inplace)
