"""Exponentials in registers on every multiprocessor of a GPU, in Triton."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import torch
import triton
import triton.language as tl

PROGRAMS: Final = 132 * 16
LANES: Final = 1024
ROUNDS: Final = 1024
COUNT: Final = PROGRAMS * LANES * ROUNDS


@triton.jit  # type: ignore[untyped-decorator] # Triton's language has no types
def _kernel(out, LANES: tl.constexpr, ROUNDS: tl.constexpr):  # type: ignore[no-untyped-def] # the same
    at = tl.program_id(0) * LANES + tl.arange(0, LANES)
    x = at.to(tl.float32) * 1e-9
    for _ in range(ROUNDS):
        x = tl.exp2(-x)  # stays between 1/2 and 1
    tl.store(out + at, x)


@cache
def _out() -> Any:
    return torch.empty(PROGRAMS * LANES, device="cuda")


def exponentiate() -> None:
    """COUNT of them."""
    _kernel[(PROGRAMS,)](_out(), LANES=LANES, ROUNDS=ROUNDS, num_warps=4)
