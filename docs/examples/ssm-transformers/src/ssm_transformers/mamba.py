"""The backend transformers-mamba: what ``MambaMixer`` computes without a CUDA kernel."""

from __future__ import annotations

from importlib.metadata import version

from torch import Tensor
from transformers.models.mamba.modeling_mamba import mamba_selective_scan, mamba_selective_state_update

from ssm_backends import Backend, Op, TorchArrays, hookimpl


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
    """``mamba_selective_scan``, the recurrence in time order, and the cast that the mixer makes after it.

    Parameters
    ----------
    u, delta, z : (b, d, l)
    A : (d, n) real
    B, C : (b, n, l)
    D, delta_bias : (d)
    """
    result = mamba_selective_scan(
        u,
        delta,
        A,
        B,
        C,
        D,
        z=z,
        delta_bias=delta_bias,
        delta_softplus=delta_softplus,
        return_last_state=return_last_state,
    )
    if not return_last_state:
        y: Tensor = result.to(u.dtype)
        return y
    y, last_state = result
    return y.to(u.dtype), last_state


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
) -> tuple[Tensor, Tensor]:
    """``mamba_selective_state_update`` on a copy of the state, which it writes over.

    Parameters
    ----------
    state : (b, d, n)
    u, delta, z : (b, d)
    A : (d, n) real
    B, C : (b, n)
    D, delta_bias : (d)
    """
    after = state.clone()
    y: Tensor = mamba_selective_state_update(
        after, u, delta, A, B, C, D, dt_bias=delta_bias, dt_softplus=delta_softplus, z=z
    )
    return y, after


@hookimpl
def ssm_backend(device: str | None) -> Backend:
    """Hand over the backend. float64 is not claimed: the code casts to float32 on the way."""
    return Backend(
        name="transformers-mamba",
        version=version("transformers"),
        devices=("cpu", "cuda"),
        arrays=TorchArrays(device),
        ops={
            "selective_scan": Op(
                selective_scan,
                dtypes=("float32", "bfloat16"),
                gradients="all",
                memory="materialised",
                deterministic=True,
                arithmetic={"evaluation": "sequential"},
            ),
            "selective_state_update": Op(
                selective_state_update, dtypes=("float32", "bfloat16"), deterministic=True
            ),
        },
    )
