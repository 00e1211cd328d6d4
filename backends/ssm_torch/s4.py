"""The convolution kernel of S4: a diagonal plus low-rank system by the bilinear rule."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_torch.discretize import discretize_bilinear
from ssm_torch.powers import dense_kernel
from ssm_torch.precision import not_cast_down


@not_cast_down
def s4_kernel(
    delta: Tensor,
    Lambda: Tensor,
    P: Tensor,
    Q: Tensor,
    B: Tensor,
    C: Tensor,
    length: int,
    *,
    paired: bool = False,
) -> Tensor:
    """K_j = C Āʲ B̄, A = diag(Λ) − P Q* (Gu, Goel & Ré 2021, S4, theorem 3 and equation 5).

    From the full matrix Ā of each channel, in log l products of matrices: its error, unlike that of the
    generating function, is small beside each term.

    Parameters
    ----------
    delta : (d)
    Lambda, P, Q, B, C : (d, n)
    length
        l, the number of terms.
    paired
        Whether the other half of each conjugate pair is meant too.

    Returns
    -------
    K : (d, l), complex, or real if ``paired``
    """
    kind = torch.promote_types(delta.dtype, torch.complex64)
    vectors = [x.to(kind) for x in (Lambda, P, Q, B, C)]
    if paired:
        vectors = [torch.cat([x, x.conj()], dim=-1) for x in vectors]
    modes, left, right, input_, output = vectors
    A = torch.diag_embed(modes) - left.unsqueeze(-1) * right.conj().unsqueeze(-2)
    A_bar, B_bar = discretize_bilinear(A, input_.unsqueeze(-1), delta)
    K = dense_kernel(A_bar, B_bar, output.unsqueeze(-2), length)
    return K.real if paired else K
