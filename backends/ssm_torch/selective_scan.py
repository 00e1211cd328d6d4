"""The selective scan, in blocks of time: never of size b·d·l·n."""

from __future__ import annotations

from torch import Tensor

from ssm_torch.blockwise import scan_blockwise


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
    seq_idx: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    b_discretization: str = "euler",
) -> Tensor | tuple[Tensor, Tensor]:
    """The selective scan of Mamba (Gu & Dao 2023, Algorithm 2), with the arguments of the operator.

    ``cu_seqlens`` is read by the host, which waits for a GPU once.

    Returns
    -------
    y : (b, d, l), dtype of u
    last_state : (r, d, n), compute type; only with ``return_last_state``
    """
    y, last_state = scan_blockwise(
        u,
        delta,
        A,
        B,
        C,
        D,
        z,
        delta_bias,
        initial_state,
        seq_idx,
        cu_seqlens,
        delta_softplus,
        b_discretization == "zoh",
    )
    return (y, last_state) if return_last_state else y
