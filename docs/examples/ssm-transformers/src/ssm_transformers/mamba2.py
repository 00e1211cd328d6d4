"""The backend transformers-mamba2: the chunked scan of ``Mamba2Mixer``, where no CUDA kernel is used.

Mamba-2 has one decay a head. A selective scan has one a channel and state: it is put to the same code as
d·n heads of width 1 and state 1, in n groups, and the n outputs of a channel are added afterwards.
"""

from __future__ import annotations

from importlib.metadata import version
from math import inf
from typing import Final

from torch import Tensor
from torch.nn.functional import silu
from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan

from ssm_backends import Backend, Op, TorchArrays, hookimpl

CHUNK: Final = 64
"""Length of a chunk; the mixer's configuration leaves it free."""


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
    *,
    initial_state: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """``mamba2_chunk_scan`` with a head for each channel and state; D, the gate and the cast after it.

    Parameters
    ----------
    u, delta, z : (b, d, l)
    A : (d, n) real
    B, C : (b, n, l)
    D, delta_bias : (d)
    initial_state : (b, d, n)
    """
    (b, d, l), n = u.shape, A.shape[1]
    states = None if initial_state is None else initial_state.mT.reshape(b, n * d, 1, 1)
    outputs, last = mamba2_chunk_scan(
        u.mT.repeat(1, 1, n).unsqueeze(-1),  # head i·d + j is state i of channel j
        delta.mT.repeat(1, 1, n),
        A.mT.flatten(),
        B.mT.unsqueeze(-1),
        C.mT.unsqueeze(-1),
        chunk_size=CHUNK,
        dt_bias=None if delta_bias is None else delta_bias.repeat(n),
        initial_states=states,
        dt_softplus=delta_softplus,
        dt_limit=(-inf, inf),
        return_final_states=True,
    )
    y = outputs.reshape(b, l, n, d).sum(2).mT
    if D is not None:
        y = y + D[:, None] * u
    if z is not None:
        y = y * silu(z.to(y.dtype))
    y = y.to(u.dtype)
    return (y, last.reshape(b, n, d).mT) if return_last_state else y


@hookimpl
def ssm_backend(device: str | None) -> Backend:
    """Hand over the backend. float64 is not claimed: the code casts to float32 on the way."""
    return Backend(
        name="transformers-mamba2",
        version=version("transformers"),
        devices=("cpu", "cuda"),
        arrays=TorchArrays(device),
        ops={
            "selective_scan": Op(
                selective_scan,
                dtypes=("float32", "bfloat16"),
                gradients="all",
                features=("initial_state",),
                memory="materialised",
                deterministic=True,
                arithmetic={"evaluation": "matmul_chunk", "chunk": CHUNK},
            )
        },
    )
