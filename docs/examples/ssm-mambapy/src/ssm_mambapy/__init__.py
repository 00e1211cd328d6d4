"""The parallel scan of mambapy as a backend: an example of wrapping a library that somebody else wrote."""

from __future__ import annotations

from importlib.metadata import version

import torch
from mambapy.pscan import pscan
from torch import Tensor
from torch.nn.functional import silu

from ssm_backends import Backend, Op, TorchArrays, hookimpl

__all__ = ["selective_scan", "ssm_backend"]


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The selective scan as mambapy's `MambaBlock.selective_scan` computes it.

    Parameters
    ----------
    u, delta, z : (b, d, l)
    A : (d, n) real
    B, C : (b, n, l)
    D, delta_bias : (d)

    Returns
    -------
    y : (b, d, l)
    last_state : (b, d, n); only with ``return_last_state``
    """
    x, step = u.mT, delta.mT  # (b, l, d), as in mambapy
    if delta_bias is not None:
        step = step + delta_bias
    if delta_softplus:
        step = torch.logaddexp(step, step.new_zeros(()))
    decay = torch.exp(step.unsqueeze(-1) * A)  # (b, l, d, n)
    drive = step.unsqueeze(-1) * B.mT.unsqueeze(2) * x.unsqueeze(-1)
    states = pscan(decay, drive)
    y = (states @ C.mT.unsqueeze(-1)).squeeze(-1).mT
    if D is not None:
        y = y + D[:, None] * u
    if z is not None:
        y = y * silu(z)
    return (y, states[:, -1]) if return_last_state else y


@hookimpl
def ssm_backend(device: str | None) -> Backend:
    """Hand over the backend."""
    return Backend(
        name="mambapy",
        version=version("mambapy"),
        devices=("cpu", "cuda"),
        arrays=TorchArrays(device),
        ops={
            "selective_scan": Op(
                selective_scan,
                dtypes=("float32", "float64"),
                gradients="all",
                memory="materialised",
                deterministic=True,
                arithmetic={"evaluation": "scan", "decayed_state": "direct"},
            )
        },
    )
