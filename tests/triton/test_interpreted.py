"""What the tests put in place of the interpreter's own gives its very bits."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from .interpreted import REPLACED

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU nothing is interpreted")


def test_they_are_in_place() -> None:
    for (owner, name), (own, quick) in REPLACED.items():
        assert getattr(owner, name) is quick is not own


@triton.jit
def after(decay, local, decay_next, local_next):
    """Not commutative; its second number says in which order the first was made."""
    return decay_next * decay, decay_next * local + local_next


@triton.jit
def larger(x, y):
    return tl.where(x > y, x, y - x)


@triton.jit
def kernel(decay, local, rows, whole, AXIS: tl.constexpr, REVERSE: tl.constexpr):
    at = tl.arange(0, 4)[:, None] * 8 + tl.arange(0, 8)[None, :]
    x, y = tl.load(decay + at), tl.load(local + at)
    p, q = tl.associative_scan((x, y), AXIS, after, reverse=REVERSE)
    r, s = tl.reduce((p, q), AXIS, after, keep_dims=True)
    tl.store(rows + at, p)
    tl.store(rows + 32 + at, q)
    tl.store(rows + 64 + at, r + s + tl.zeros(q.shape, q.dtype))
    line = tl.reduce(q, AXIS, larger)
    tl.store(whole, tl.reduce(line, 0, larger))
    tl.store(whole + 1, tl.reduce(q, None, larger))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_same_bits(monkeypatch: pytest.MonkeyPatch, axis: int, reverse: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(4, 8, dtype=dtype) for _ in range(2)]

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        rows, whole = torch.zeros(3, 4, 8, dtype=dtype), torch.zeros(2, dtype=dtype)
        kernel[(1,)](*inputs, rows, whole, AXIS=axis, REVERSE=reverse)
        return rows, whole

    rows, whole = run()
    for (owner, name), (own, _) in REPLACED.items():
        monkeypatch.setattr(owner, name, own)
    own_rows, own_whole = run()
    assert torch.equal(rows, own_rows)
    assert torch.equal(whole, own_whole)
    assert rows.count_nonzero() == rows.numel()
