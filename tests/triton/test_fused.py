"""Where products and sums are one operation: not in gradients of the scan in float64, from Triton 3.9 on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import triton

from ssm_triton import _launch, _launch_backward
from ssm_triton._inputs import Inputs
from ssm_triton._launch import run_forward
from ssm_triton._launch_backward import run_backward
from ssm_triton._plan import BackwardPlan

from .problems import problem


class Recorded:
    """A kernel, and whether each of its launches may have multiply-adds."""

    def __init__(self, kernel: Any, seen: list[bool]) -> None:
        self.kernel, self.seen = kernel, seen

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        def launch(*arguments: Any, enable_fp_fusion: bool, **constants: Any) -> Any:
            self.seen.append(enable_fp_fusion)
            return self.kernel[grid](*arguments, enable_fp_fusion=enable_fp_fusion, **constants)

        return launch


@pytest.mark.parametrize(
    ("version", "dtype", "meant"),
    [
        ("3.8.0", torch.float64, True),
        ("3.9.0", torch.float64, False),
        ("3.10.1", torch.float64, False),
        ("3.9.0", torch.float32, True),
    ],
)
def test_every_launch_of_the_scan(
    version: str, dtype: torch.dtype, meant: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = problem(device, dtype, b=1, d=3, l=17, n=5)
    softplus = call.pop("delta_softplus")
    B, C = call.pop("B")[:, None], call.pop("C")[:, None]
    x = Inputs(**call, B=B, C=C, softplus=softplus)
    seen: list[bool] = []
    for module, name in (
        (_launch, "forward"),
        (_launch_backward, "backward"),
        (_launch_backward, "messages"),
    ):
        monkeypatch.setattr(module, name, Recorded(getattr(module, name), seen))
    monkeypatch.setattr(triton, "__version__", version)
    _, _, saved = run_forward(x, last=False, save=8)
    run_backward(x, saved, torch.ones_like(x.u), None, plan=BackwardPlan(4, 2, 1, 1, 4, 8, 8, 3, 8))
    assert seen == [True, True, meant], "of the forward pass, of messages, of the backward pass"
