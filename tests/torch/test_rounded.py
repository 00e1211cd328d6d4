"""Rounding to 16 bits happens once, whatever PyTorch does in between."""

from __future__ import annotations

import numpy as np
import torch

from ssm_torch.functions import rounded

ENDS = [
    np.inf,
    -np.inf,
    np.nan,
    1e300,
    -1e300,
    3.5e38,
    65519.999999999,
    65520.0,
    1e-300,
    -6e-8,
    2.0**-25,
    0.0,
]


def test_float64_to_float16_is_numpys_which_rounds_once() -> None:
    rng = np.random.default_rng(0)
    middles = 1 + (2 * np.arange(200) + 1) * 2.0**-11
    x = np.concatenate([ENDS, rng.standard_normal(1000), middles + 2.0**-40, -middles - 2.0**-40, middles])
    with np.errstate(over="ignore"):
        wanted = x.astype(np.float16)
    found = rounded(torch.from_numpy(x), torch.float16).numpy()
    np.testing.assert_array_equal(found, wanted)
    assert np.any(torch.from_numpy(x).half().numpy() != wanted)  # which PyTorch's own way does not give


def test_float64_to_bfloat16_is_the_nearest_even_one() -> None:
    x = torch.tensor([1 + 2.0**-8, 1 + 2.0**-8 + 2.0**-40, 1 + 3 * 2.0**-8 - 2.0**-40], dtype=torch.float64)
    assert rounded(x, torch.bfloat16).tolist() == [1.0, 1 + 2.0**-7, 1 + 2.0**-7]


def test_a_gradient_passes_as_through_a_cast() -> None:
    x = torch.linspace(-2, 2, 101, dtype=torch.float64).requires_grad_()
    rounded(x, torch.float16).double().sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_a_zero_keeps_its_sign() -> None:
    x = torch.tensor([-0.0, 0.0, -1e-300], dtype=torch.float64)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert rounded(x, dtype).signbit().tolist() == [True, False, True]
