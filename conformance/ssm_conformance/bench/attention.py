"""Causal attention of the same width, by PyTorch's own fused kernel: a line to compare lengths with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from ssm_conformance.bench.ceilings import Ceilings
from ssm_conformance.bench.clock import on_cpu, on_gpu
from ssm_conformance.bench.problem import Problem
from ssm_conformance.bench.run import Row

NAME: Final = "attention"
HEAD: Final = 64


def attention_rows(problems: Iterable[Problem], device: str, ceilings: Ceilings, repeats: int) -> list[Row]:
    """Causal attention with d / 64 heads of 64, forward, at each problem's b, d and l.

    Parameters
    ----------
    problems
        Scans to stand beside; their floor is kept, for the plot has one.
    device, ceilings, repeats
        As for the scans.
    """
    clock = on_gpu if device.startswith("cuda") else on_cpu
    rows = []
    for problem in problems:
        times = clock({NAME: [_call(problem, device)]}, repeats)[NAME]
        floor = ceilings.floor(problem.bytes, problem.exponentials)
        rows.append(Row(problem, NAME, floor, times))
    return rows


def _call(problem: Problem, device: str) -> Callable[[], Any]:
    import torch

    s = problem.shape
    size = (s.b, max(s.d // HEAD, 1), s.l, HEAD)
    q, k, v = (torch.randn(size, device=device, dtype=getattr(torch, problem.dtype)) for _ in range(3))

    def call() -> Any:
        with torch.no_grad():
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    return call
