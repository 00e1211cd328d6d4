"""Mamba-3 in chunks, for what the suite does not put to it."""

from __future__ import annotations

import torch

from ssm_torch import mamba3_siso


def test_what_grew_over_the_sequences_of_a_chunk_reaches_no_gradient() -> None:
    """Each grows by exp(16); from a chunk's start to its end it would be exp(128), beyond float32."""
    b, l, h, p, n = 1, 150, 2, 3, 4
    torch.manual_seed(0)
    shapes = {"q": (b, l, 1, n), "k": (b, l, 1, n), "v": (b, l, h, p), "dt": (b, h, l), "trap": (b, h, l)}
    shapes |= {"q_bias": (h, n), "k_bias": (h, n), "angles": (b, l, h, 2), "ssm_state": (b, h, p, n)}
    inputs = {name: torch.randn(*shape) for name, shape in shapes.items()}
    inputs["adt"] = torch.full((b, h, l), 2.0)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        leaves = {name: x.to(dtype).requires_grad_() for name, x in inputs.items()}
        y = mamba3_siso(**leaves, seq_idx=(torch.arange(l) // 8).expand(b, -1))
        gradients.append(torch.autograd.grad(y.sum(), list(leaves.values())))
    for found, expected in zip(*gradients, strict=True):
        # Sums of some hundred terms in float32, against the largest; what overflowed would be NaN.
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
