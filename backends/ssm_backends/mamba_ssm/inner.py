"""``mamba_inner_fn`` and ``mamba_inner_ref``: a Mamba block between its input and output projections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ssm_backends.errors import REFUSALS, ArgumentError
from ssm_backends.front.functions import causal_conv1d
from ssm_backends.front.preference import under_this_use
from ssm_backends.mamba_ssm._inner_inputs import check, width_of
from ssm_backends.mamba_ssm._tensors import check_number, only_pythons, paired, under_names
from ssm_backends.mamba_ssm.selective_scan import selective_scan_fn
from ssm_backends.transforms import in_forward_mode, is_within_a_gradient

if TYPE_CHECKING:
    from torch import Tensor

_CONVOLVED: Final = {"x": "xz", "weight": "conv1d_weight", "bias": "conv1d_bias"}
_SCANNED: Final = {"u": "xz", "z": "xz", "delta": "delta_proj_weight"}
"""The name of an argument inside → the name of what it was made of."""


def mamba_inner_fn(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    A: Tensor,
    B: Tensor | None = None,
    C: Tensor | None = None,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    B_proj_bias: Tensor | None = None,
    C_proj_bias: Tensor | None = None,
    delta_softplus: bool = True,
    checkpoint_lvl: int = 1,
    b_rms_weight: Tensor | None = None,
    c_rms_weight: Tensor | None = None,
    dt_rms_weight: Tensor | None = None,
    b_c_dt_rms_eps: float = 1e-6,
) -> Tensor:
    """Convolution, projections, selective scan and output projection of a Mamba block, by the best backends.

    Gu & Dao 2023, section 3.4; b batch, d channels, l length, n state, w filter, r rank of Δ.

    Parameters
    ----------
    xz
        (b, 2d, l): x, then z.
    conv1d_weight, conv1d_bias
        (d, 1, w) and (d,): the causal depthwise convolution of x, before SiLU.
    x_proj_weight
        (r + n·k, d): Δ's r rows, then those of B and of C where they are not given; k = 2 where A
        is complex, real and imaginary part side by side, else 1.
    delta_proj_weight
        (d, r).
    out_proj_weight, out_proj_bias
        (m, d) and (m,).
    A
        (d, n), real or complex.
    B, C
        (d, n), constant in time; None: projected from x.
    D, delta_bias
        (d,).
    B_proj_bias, C_proj_bias
        (n·k,), added to the projected B and C.
    delta_softplus
        Δ = log(1 + exp(delta + delta_bias)).
    checkpoint_lvl
        0 keeps what the gradient needs. 1 keeps the inputs alone and computes it all again.
    b_rms_weight, c_rms_weight, dt_rms_weight
        (n·k,), (n·k,), (d,): root-mean-square norms of the projected B and C and of Δ, if given.
    b_c_dt_rms_eps
        Added to the mean square.

    Returns
    -------
    (b, l, m)

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        Naming the argument, the rule and what was given.
    NotSupportedError
        If no backend serves the call here.
    """
    only_pythons(delta_softplus=delta_softplus, checkpoint_lvl=checkpoint_lvl, b_c_dt_rms_eps=b_c_dt_rms_eps)
    if (
        isinstance(checkpoint_lvl, bool)
        or not isinstance(checkpoint_lvl, (int, np.integer))
        or checkpoint_lvl not in (0, 1)
    ):
        raise ArgumentError(f"`checkpoint_lvl` must be 0 or 1; got {checkpoint_lvl!r}")
    check_number("b_c_dt_rms_eps", b_c_dt_rms_eps)
    check(
        xz=xz, conv1d_weight=conv1d_weight, conv1d_bias=conv1d_bias, x_proj_weight=x_proj_weight,
        delta_proj_weight=delta_proj_weight, out_proj_weight=out_proj_weight, out_proj_bias=out_proj_bias,
        A=A, B=B, C=C, D=D, delta_bias=delta_bias, B_proj_bias=B_proj_bias, C_proj_bias=C_proj_bias,
        b_rms_weight=b_rms_weight, c_rms_weight=c_rms_weight, dt_rms_weight=dt_rms_weight,
    )  # fmt: skip
    eps = float(b_c_dt_rms_eps)

    def inner(B_norm: Any, C_norm: Any, delta_norm: Any, *given: Any) -> Tensor:
        return _inner(_Norms(B_norm, C_norm, delta_norm, eps), delta_softplus, *given)

    # Every tensor is an input: PyTorch tells if one that is needed again was written meanwhile.
    inputs = (
        b_rms_weight, c_rms_weight, dt_rms_weight, xz, conv1d_weight, conv1d_bias, x_proj_weight,
        delta_proj_weight, A, B, C, D, delta_bias, B_proj_bias, C_proj_bias,
    )  # fmt: skip
    call = _computed_again if checkpoint_lvl == 1 and _may_compute_again(inputs) else _computed_once
    return _out(call(inner, *inputs), out_proj_weight, out_proj_bias)


def _may_compute_again(inputs: tuple[Tensor | None, ...]) -> bool:
    """Whether there is a gradient to compute it for, and PyTorch has the hooks for that.

    In forward mode PyTorch 2.8 computes nothing again, and within a gradient of torch.func none does.
    """
    import torch

    if not torch.is_grad_enabled() or not any(x is not None and x.requires_grad for x in inputs):
        return False
    return not in_forward_mode() and not is_within_a_gradient()


def _computed_once(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    return function(*inputs)


def _computed_again(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """The function's result, of which its inputs alone are kept: the backward pass calls it again.

    A refusal is carried out as a value. One that is raised within leaves the hooks of PyTorch up to 2.10 in
    place while somebody has the error: what others differentiate then would be taken for a part of this.
    """
    from torch.compiler import is_compiling
    from torch.utils.checkpoint import checkpoint

    if is_compiling():  # a graph has its backends already, and no hooks
        found: Tensor = checkpoint(function, *inputs, use_reentrant=False)
        return found

    def carried(*given: Any) -> Tensor | Exception:
        try:
            return function(*given)
        except REFUSALS as error:
            return error

    y: Tensor | Exception = checkpoint(under_this_use(carried), *inputs, use_reentrant=False)
    if isinstance(y, Exception):
        try:
            raise y
        finally:
            del y  # which would keep this frame, and the inputs, alive
    return y


def mamba_inner_ref(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    A: Tensor,
    B: Tensor | None = None,
    C: Tensor | None = None,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    B_proj_bias: Tensor | None = None,
    C_proj_bias: Tensor | None = None,
    delta_softplus: bool = True,
) -> Tensor:
    """The stages of :func:`mamba_inner_fn` one by one, by the best backends; nothing is recomputed.

    Arguments, result and errors are those of that function.
    """
    only_pythons(delta_softplus=delta_softplus)
    check(
        xz=xz, conv1d_weight=conv1d_weight, conv1d_bias=conv1d_bias, x_proj_weight=x_proj_weight,
        delta_proj_weight=delta_proj_weight, out_proj_weight=out_proj_weight, out_proj_bias=out_proj_bias,
        A=A, B=B, C=C, D=D, delta_bias=delta_bias, B_proj_bias=B_proj_bias, C_proj_bias=C_proj_bias,
    )  # fmt: skip
    y = _inner( _Norms(), delta_softplus, xz, conv1d_weight, conv1d_bias, x_proj_weight,
        delta_proj_weight, A, B, C, D, delta_bias, B_proj_bias, C_proj_bias,
    )  # fmt: skip
    return _out(y, out_proj_weight, out_proj_bias)


@dataclass(frozen=True)
class _Norms:
    """Root-mean-square norms of B, C and Δ; None: none."""

    B: Tensor | None = None
    C: Tensor | None = None
    delta: Tensor | None = None
    eps: float = 1e-6

    def apply(self, weight: Tensor | None, x: Tensor) -> Tensor:
        """x / √(mean x² + eps) · weight over the last dimension, in float32 or wider."""
        if weight is None:
            return x
        wide = x.to(_wider(x))
        scale = (wide.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        return (wide * scale * weight).to(x.dtype)


def _inner(
    norms: _Norms,
    delta_softplus: bool,
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    A: Tensor,
    B: Tensor | None,
    C: Tensor | None,
    D: Tensor | None,
    delta_bias: Tensor | None,
    B_proj_bias: Tensor | None,
    C_proj_bias: Tensor | None,
) -> Tensor:
    """Everything before the output projection, (b, d, l)."""
    from torch.nn.functional import linear

    x, z = xz.chunk(2, dim=1)
    x = under_names(_CONVOLVED, causal_conv1d, x, conv1d_weight.squeeze(1), conv1d_bias, "silu")
    rank, width = delta_proj_weight.shape[1], width_of(A)
    projected = linear(x.transpose(1, 2), x_proj_weight)
    delta = linear(projected[..., :rank], delta_proj_weight).to(x.dtype)  # autocast may have narrowed them
    projected = projected.to(x.dtype)
    if B is None:
        B = _matrix(projected[..., rank : rank + width], B_proj_bias, norms, norms.B, A)
    if C is None:
        C = _matrix(projected[..., -width:], C_proj_bias, norms, norms.C, A)
    delta = norms.apply(norms.delta, delta).transpose(1, 2)
    y: Tensor = under_names(
        _SCANNED, selective_scan_fn,
        x, delta, A, B, C, D, z=z, delta_bias=delta_bias, delta_softplus=delta_softplus,
    )  # fmt: skip
    return y


def _matrix(rows: Tensor, bias: Tensor | None, norms: _Norms, weight: Tensor | None, A: Tensor) -> Tensor:
    """Projected B or C: (b, l, n) as (b, n, l), or pairs (b, l, 2n) as complex numbers (b, n, l)."""
    if bias is not None:
        rows = rows + bias.to(rows.dtype)
    rows = norms.apply(weight, rows)
    return (paired(rows) if A.is_complex() else rows).transpose(1, 2)


def _wider(x: Tensor) -> Any:
    """x's dtype, at least float32."""
    import torch

    return torch.promote_types(x.dtype, torch.float32)


def _out(y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    from torch.nn.functional import linear

    return linear(y.transpose(1, 2), weight, bias)
