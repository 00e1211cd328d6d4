"""Time cut into segments, and every tile the plans may choose, give what one piece gives."""

from __future__ import annotations

import pytest
import torch

from ssm_triton._inputs import Inputs
from ssm_triton._launch import run_forward
from ssm_triton._launch_backward import run_backward
from ssm_triton._plan import BackwardPlan, ForwardPlan, backward_plan, forward_plan

from .problems import problem


def _inputs(device: str, reset: bool) -> tuple[Inputs, torch.Tensor, torch.Tensor]:
    call = problem(device, torch.float64, b=2, d=5, l=19, n=5)
    softplus = call.pop("delta_softplus")
    B, C = call.pop("B")[:, None], call.pop("C")[:, None]
    ids = (torch.arange(19, device=device) // 11).expand(2, 19) if reset else None
    x = Inputs(**call, B=B, C=C, seq_idx=ids, softplus=softplus)
    return x, torch.randn_like(x.u), torch.randn_like(call["initial_state"])


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("segments", [2, 3])
def test_segments(device: str, segments: int, reset: bool) -> None:
    x, dy, dlast = _inputs(device, reset)
    y, last, saved = run_forward(x, last=True, save=32)
    whole = run_backward(x, saved, dy, dlast)
    length = {2: 16, 3: 8}[segments]
    forward = ForwardPlan(4, 8, segments, length)
    backward = BackwardPlan(4, 2, 1, 1, 4, 8, 8, segments, length)
    y_cut, last_cut, saved = run_forward(x, last=True, save=8, plan=forward)
    cut = run_backward(x, saved, dy, dlast, plan=backward)
    # float64, nineteen steps bracketed otherwise: far under the error of a lost segment, which is of order 1.
    torch.testing.assert_close(y_cut, y, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(last_cut, last, rtol=1e-13, atol=1e-13)
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [1, 3, 16, 17, 64, 256])
@pytest.mark.parametrize("complex_", [False, True])
def test_plans_fill_whole_warps(n: int, complex_: bool) -> None:
    x = Inputs(*(torch.empty(2, 2048, 100) for _ in range(2)), *(torch.empty(2048, n) for _ in range(3)))
    forward = forward_plan(x.shape, complex_)
    backward = backward_plan(x.shape, complex_)
    assert x.shape.padded * forward.DT >= 32
    assert backward.M * backward.L == 32
    assert x.shape.padded == backward.K * backward.M
    assert backward.save % backward.T == 0
    assert forward.segments * forward.segment >= x.shape.length
    assert backward.segments * backward.segment >= x.shape.length
