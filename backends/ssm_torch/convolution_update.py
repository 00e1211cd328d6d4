"""One step of the short convolution, on a state for each row or on a pool of states."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_backends.writable import check_writable
from ssm_torch import pools
from ssm_torch.functions import compute_dtype, rounded, silu
from ssm_torch.optional import may_be_differentiated
from ssm_torch.precision import not_cast_down


@not_cast_down
def causal_conv1d_update(
    x: Tensor,
    state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    *,
    state_indices: Tensor | None = None,
    inplace: bool = False,
) -> tuple[Tensor, Tensor]:
    """One step of :func:`causal_conv1d`: y = bias + Σ_{j<w−1} w_j state_{k−w+1+j} + w_{w−1} x.

    With ``state_indices`` and without ``inplace`` the rows to skip are found first: a GPU is waited for once.

    Parameters
    ----------
    x : (b, d)
    state : (b, d, k), or a pool (slots, d, k) with `state_indices`
        The last k ≥ w − 1 inputs, newest last.
    weight : (d, w)
    bias : (d)
    activation
        "silu", also called "swish"; None for none.
    state_indices : (b), int32 or int64
        The slot of each row, each at most once; −1 skips the row.
    inplace
        Write the new state over `state`.

    Returns
    -------
    y : (b, d), dtype of x; 0 in skipped rows
    state : as `state`, in its dtype; ``state`` itself with ``inplace``

    Raises
    ------
    ArgumentError
        If `state` cannot be written element by element where `inplace` is set.
        If `state_indices` names a slot that the pool does not have, or one twice: on a CPU alone, since a
        GPU would have to be waited for.
    """
    if inplace and not torch.compiler.is_compiling():
        check_writable("state", state)
    if state_indices is None:
        line = _line(state, x)
        y, new = _filtered(line, weight, bias, activation).to(x.dtype), line[..., 1:]
        return y, state.copy_(rounded(new, state.dtype)) if inplace else rounded(
            new, state.dtype
        ).contiguous()
    slots = pools.checked(state_indices, len(state))
    before, skipped = pools.before(state, slots), None
    differentiated = may_be_differentiated(x, state, weight, bias)
    if differentiated:  # what a skipped row holds has no part in a gradient, nor has its bias alone
        skipped = slots < 0
        before, x = pools.served(slots, (before, x))
    line = _line(before, x)
    (y,) = pools.served(slots, (_filtered(line, weight, bias, activation, skipped),))
    advanced = rounded(line[..., 1:], state.dtype)
    after = pools.after(state, slots, advanced, inplace=inplace, differentiated=differentiated)
    return y.to(x.dtype), after


def _line(state: Tensor, x: Tensor) -> Tensor:
    """The states followed by x, (b, d, k + 1), in the compute type: their gradients are rounded once."""
    compute = compute_dtype(x)
    return torch.cat([state.to(compute), x.to(compute).unsqueeze(-1)], dim=-1)


def _filtered(
    line: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, skipped: Tensor | None = None
) -> Tensor:
    """y in the compute type, (b, d), a tap at a time from the newest; some rows take no step."""
    read = line[..., line.shape[-1] - weight.shape[1] :].unbind(-1)
    *taps, newest = weight.to(line.dtype).unbind(1)
    p = read[-1] * newest if bias is None else torch.addcmul(bias.to(line.dtype), read[-1], newest)
    for inputs, tap in zip(read[:-1], taps, strict=True):
        p = torch.addcmul(p, inputs, tap)
    if skipped is not None:
        p = p.masked_fill(skipped[:, None], 0)
    return p if activation is None else silu(p)
