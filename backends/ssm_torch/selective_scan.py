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
    """h_t = exp(Δ_t A) h_{t−1} + b̄_t u_t, y_t = (γ Re Σ_n C_t h_t + D u_t) silu(z_t) (Gu & Dao 2023, alg. 2).

    γ is 2 for complex A, 1 for real.

    ``cu_seqlens`` is read by the host, which waits for a GPU once.

    Parameters
    ----------
    u, delta, z : (b, d, l)
    A : (d, n), real or complex
    B, C : (d, n), (b, n, l) or (b, g, n, l)
        Channel i belongs to group i // (d/g); B's g and C's may differ.
    D, delta_bias : (d)
    delta_softplus
        Δ = log(1 + exp(delta + delta_bias)) instead of delta + delta_bias.
    return_last_state
        Return (y, last_state).
    initial_state : (b, d, n), or (s, d, n) with `cu_seqlens`
    seq_idx : (b, l), int32 or int64
        The state is reset exactly where it changes along l.
    cu_seqlens : (s + 1), int32
        Offsets of packed sequences, from 0 to l; b = 1.
    b_discretization
        "euler": b̄ = ΔB; "zoh": b̄ = expm1(ΔA)/A · B.

    Returns
    -------
    y : (b, d, l), dtype of u
    last_state : as `initial_state`, compute type; only with ``return_last_state``

    Raises
    ------
    ArgumentError
        If `cu_seqlens` does not rise from 0 to l.
    NotSupportedError
        If forward mode would differentiate it, or a gradient its gradient.
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
