"""``mamba_split_conv1d_scan_combined``: a Mamba-2 block between its input and output projections."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

from ssm_backends.mamba_ssm._split_inputs import split_sizes
from ssm_backends.mamba_ssm._tensors import (
    check_count,
    check_flag,
    check_state_dtype,
    computed,
    only_pythons,
    under_names,
)
from ssm_backends.mamba_ssm.chunk_scan import mamba_chunk_scan_combined
from ssm_backends.mamba_ssm.convolution import causal_conv1d_fn

if TYPE_CHECKING:
    from torch import Tensor, dtype

_CONVOLVED: Final = {"x": "zxbcdt", "weight": "conv1d_weight", "bias": "conv1d_bias"}
_SCANNED: Final = {"x": "zxbcdt", "dt": "zxbcdt", "z": "zxbcdt", "B": "ngroups", "C": "ngroups"}
"""The name of an argument inside → the name of what it was made of."""


def mamba_split_conv1d_scan_combined(
    zxbcdt: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    chunk_size: int,
    initial_states: Tensor | None = None,
    seq_idx: Tensor | None = None,
    dt_limit: tuple[float, float] = (0.0, inf),
    return_final_states: bool = False,
    activation: str | None = "silu",
    rmsnorm_weight: Tensor | None = None,
    rmsnorm_eps: float = 1e-6,
    outproj_weight: Tensor | None = None,
    outproj_bias: Tensor | None = None,
    headdim: int | None = None,
    ngroups: int = 1,
    norm_before_gate: bool = True,
    state_dtype: dtype | None = None,
) -> Any:
    """Convolution, scan, gate, norm and output projection of a Mamba-2 block, by the best backends.

    Dao & Gu 2024, section 7; b batch, l length, h heads of p channels, g groups, n state, w taps; k channels
    of a gated MLP beside the heads, mostly 0.

    Parameters
    ----------
    zxbcdt
        (b, l, 2k + 2hp + 2gn + h): the MLP's two halves, then z, x, B, C and dt.
    conv1d_weight, conv1d_bias
        (hp + 2gn, w) and (hp + 2gn,): the causal depthwise convolution of x, B and C.
    dt_bias, A
        (h,); Δ = log(1 + exp(dt + dt_bias)).
    D
        (h,) or (h, p).
    chunk_size, initial_states, seq_idx, dt_limit, state_dtype
        As in :func:`mamba_chunk_scan_combined`; the convolution too reads nothing across a change of seq_idx.
        A negative number marks a step that fills up: x, B and C are 0 there.
    return_final_states
        Return (out, final states (b, h, p, n)).
    activation
        After the convolution: None, or "silu", also called "swish".
    rmsnorm_weight, rmsnorm_eps
        (hp,) and the number that is added to the mean square, taken over each group of hp / g channels;
        without the weight nothing is normed, and only the gate silu(z) is applied.
    outproj_weight, outproj_bias
        (m, k + hp) and (m,); without the weight nothing is projected.
    headdim
        p; needed where D is (h,).
    ngroups
        g.
    norm_before_gate
        norm(y) silu(z), instead of norm(y silu(z)).

    Returns
    -------
    out (b, l, m), or (b, l, k + hp) where nothing is projected, alone or with the final states.

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        Naming the argument, the rule and what was given.
    NotSupportedError
        If no backend serves the call here.
    """
    import torch
    from torch.nn.functional import linear

    only_pythons(return_final_states=return_final_states, activation=activation)
    check_count("chunk_size", chunk_size)
    check_flag("norm_before_gate", norm_before_gate)
    check_state_dtype(state_dtype)
    size = split_sizes(
        headdim, ngroups, rmsnorm_eps,
        zxbcdt=zxbcdt, conv1d_weight=conv1d_weight, conv1d_bias=conv1d_bias, dt_bias=dt_bias, A=A, D=D,
        rmsnorm_weight=rmsnorm_weight, outproj_weight=outproj_weight, outproj_bias=outproj_bias,
        initial_states=initial_states, seq_idx=seq_idx,
    )  # fmt: skip
    parts = [2 * size.mlp, size.inner, size.convolved, size.heads]
    halves, z, xBC, dt = torch.split(zxbcdt, parts, dim=-1)
    xBC = under_names(
        _CONVOLVED, causal_conv1d_fn,
        xBC.transpose(1, 2), conv1d_weight, conv1d_bias, seq_idx, activation=activation,
    ).transpose(1, 2)  # fmt: skip
    matrix = ngroups * size.state
    x, B, C = torch.split(xBC, [size.inner, matrix, matrix], dim=-1)
    found = under_names(
        _SCANNED, mamba_chunk_scan_combined,
        _in(size.heads, size.width, x), dt, A,
        _in(ngroups, size.state, B), _in(ngroups, size.state, C), chunk_size,
        D=D, z=_in(size.heads, size.width, z) if rmsnorm_weight is None else None, dt_bias=dt_bias,
        initial_states=initial_states, seq_idx=seq_idx, dt_softplus=True, dt_limit=dt_limit,
        return_final_states=return_final_states, state_dtype=state_dtype,
    )  # fmt: skip
    y, *states = found if return_final_states else (found,)
    y = y.flatten(2)
    if rmsnorm_weight is not None:
        y = _normed(y, z, rmsnorm_weight, rmsnorm_eps, ngroups, norm_before_gate)
    if size.mlp:
        y = _beside(halves, y)
    if outproj_weight is not None:
        y = linear(y, outproj_weight, outproj_bias)
    return (y, *states) if return_final_states else y


def _in(count: int, width: int, x: Tensor) -> Tensor:
    """(b, l, count · width) as (b, l, count, width); there may be no head at all."""
    return x.reshape(*x.shape[:2], count, width)


def _normed(y: Tensor, z: Tensor, weight: Tensor, eps: float, groups: int, norm_before_gate: bool) -> Tensor:
    """norm(y) silu(z) or norm(y silu(z)): y / √(mean y² + eps) · weight, the mean over each group."""
    from torch.nn.functional import silu

    wide, gate = computed(y), silu(computed(z))
    if not norm_before_gate:
        wide = wide * gate
    grouped = _in(groups, wide.shape[-1] // groups, wide)
    scaled = grouped * (grouped.square().mean(-1, keepdim=True) + eps).rsqrt()
    wide = scaled.flatten(2) * weight
    return (wide * gate if norm_before_gate else wide).to(y.dtype)


def _beside(halves: Tensor, y: Tensor) -> Tensor:
    """The gated MLP, silu of the first half times the second, in front of y."""
    import torch
    from torch.nn.functional import silu

    gate, up = computed(halves).chunk(2, dim=-1)
    return torch.cat([(silu(gate) * up).to(y.dtype), y], dim=-1)
