"""Arguments of mamba-ssm's functions, in its conventions."""

from __future__ import annotations

from typing import Any

import torch


def randn(*size: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*size, generator=generator, dtype=torch.promote_types(dtype, torch.float32)).to(dtype)


def inner_inputs(complex_: bool, projected: str) -> dict[str, torch.Tensor | None]:
    b, d, l, n, r, w, m = 2, 6, 11, 4, 3, 3, 5
    k = 2 if complex_ else 1
    A = -randn(d, n, seed=7).abs()
    constant = randn(d, n, seed=8), randn(d, n, seed=9)
    if complex_:
        A = torch.complex(A, randn(d, n, seed=10))
        constant = torch.complex(*constant), torch.complex(constant[1], constant[0])
    return {
        "xz": randn(b, 2 * d, l),
        "conv1d_weight": randn(d, 1, w, seed=1),
        "conv1d_bias": randn(d, seed=2),
        "x_proj_weight": randn(r + k * n * len(projected), d, seed=3),
        "delta_proj_weight": randn(d, r, seed=4),
        "out_proj_weight": randn(m, d, seed=5),
        "out_proj_bias": randn(m, seed=6),
        "A": A,
        "B": None if "B" in projected else constant[0],
        "C": None if "C" in projected else constant[1],
        "D": randn(d, seed=11),
        "delta_bias": randn(d, seed=12),
        "B_proj_bias": randn(k * n, seed=13) if "B" in projected else None,
        "C_proj_bias": randn(k * n, seed=14) if "C" in projected else None,
    }


def pooled_step() -> dict[str, Any]:
    """Two rows in a pool of four slots, with two heads of three channels."""
    shapes = {"state": (4, 2, 3, 5), "x": (2, 2, 3), "dt": (2, 2, 3), "A": (2, 3, 5), "B": (2, 1, 5)}
    given = {name: randn(*shape) for name, shape in shapes.items()}
    rest = {"D": randn(2, 3), "z": randn(2, 2, 3), "dt_bias": randn(2, 3), "dt_softplus": True}
    return given | {"C": given["B"], "state_batch_indices": torch.tensor([3, -1])} | rest
