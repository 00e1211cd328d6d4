"""H3: a shift system on the keys, a diagonal system on keys times values, queries as the second gate."""

from __future__ import annotations

from torch import Tensor, einsum

from ssm_torch.convolution import causal_convolution
from ssm_torch.functions import compute_dtype, widen
from ssm_torch.precision import not_cast_down
from ssm_torch.s4d import s4d_kernel


@not_cast_down
def h3(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    shift: Tensor,
    shift_D: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    out_proj: Tensor | None = None,
    *,
    discretization: str = "zoh",
) -> Tensor:
    """y_j = Σ_i q_i (SSM(k'_i v_j) + D k'_i v_j), k' = shift(k) + D_k k (Fu, Dao et al. 2023, section 3.1).

    Parameters
    ----------
    q, k, v : (b, d, l)
    shift, shift_D : (d, s), (d)
    delta : (h); heads of w = d/h channels
    A, B, C : (h, n)
    D : (h)
    out_proj : (o, d)
    discretization
        "zoh", "bilinear", "forward_euler" or "backward_euler".

    Returns
    -------
    y : (b, o, l), or (b, d, l) without ``out_proj``; dtype of q
    """
    b, d, l = q.shape
    heads = delta.shape[0]
    compute = compute_dtype(q, A)
    q_, k_, v_ = (widen(x, compute) for x in (q, k, v))
    keys = causal_convolution(k_, shift) + shift_D[:, None] * k_
    by_head = (b, heads, d // heads, l)
    products = keys.view(by_head).unsqueeze(3) * v_.view(by_head).unsqueeze(2)  # (b, h, i, j, l)
    kernel = s4d_kernel(delta, A, B, C, l, discretization=discretization)
    flat = products.transpose(0, 1).flatten(1, 3).transpose(0, 1)  # (b·i·j, h, l)
    run = causal_convolution(flat.contiguous(), kernel)
    if D is not None:
        run = run + D[:, None] * flat
    run = run.transpose(0, 1).view(heads, b, *products.shape[2:]).transpose(0, 1)
    y = einsum("bhil,bhijl->bhjl", q_.view(by_head), run).reshape(b, d, l)
    if out_proj is not None:
        y = einsum("od,bdl->bol", out_proj, y)
    return y.to(q.dtype)
