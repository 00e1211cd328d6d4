"""The products of matrices that Mamba-2's scan is made of: as exact as float32, and trusted where judged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from ssm_triton import UNJUDGED_VARIABLE, products_unjudged
from ssm_triton._dual_products import product


@triton.jit
def _multiply(a, b, out, M: tl.constexpr, K: tl.constexpr, N: tl.constexpr):
    m, k, n = tl.arange(0, M), tl.arange(0, K), tl.arange(0, N)
    left, right = tl.load(a + m[:, None] * K + k[None, :]), tl.load(b + k[:, None] * N + n[None, :])
    tl.store(out + m[:, None] * N + n[None, :], product(left, right))


@pytest.mark.parametrize("kinds", ["32 32", "32 16", "16 32", "16 16"])
@pytest.mark.parametrize("terms", [16, 64])
def test_products_are_as_exact_as_float32(device: str, kinds: str, terms: int) -> None:
    generator = torch.Generator().manual_seed(1)
    types = {"32": torch.float32, "16": torch.float16}
    a, b = (
        (torch.randn(size, generator=generator) * 2.0 ** torch.randint(-9, 9, size, generator=generator))
        .to(types[kind])
        .to(device)
        for kind, size in zip(kinds.split(), ((64, terms), (terms, 32)), strict=True)
    )
    a, b = a * (torch.rand(a.shape, generator=generator) < 0.2).to(device), b  # some sums of one term
    out = torch.empty(64, 32, device=device)
    _multiply[(1,)](a, b, out, M=64, K=terms, N=32, num_warps=4)
    wide = [x.cpu().double().numpy() for x in (a, b)]
    size = np.abs(wide[0]) @ np.abs(wide[1])
    # One unit of roundoff a term, of the product and of the sum.
    assert np.all(np.abs(out.cpu().numpy() - wide[0] @ wide[1]) <= 2 * terms * 2.0**-24 * size)


def test_products_of_another_triton_or_a_newer_gpu_are_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    for version, judged in (
        ("3.6.0", True),
        ("3.9.1", True),
        ("3.7.1", True),
        ("3.10.0", False),
        ("3.60.0", False),
    ):
        monkeypatch.setattr(triton, "__version__", version)
        assert (products_unjudged("cuda") == "") == judged
    monkeypatch.setattr(triton, "__version__", "3.6.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (10, 0))
    assert "here are 3.6.0 and 10.0; SSM_TRITON_UNJUDGED=1" in products_unjudged("cuda")
    monkeypatch.setenv(UNJUDGED_VARIABLE, "1")
    assert products_unjudged("cuda") == ""
