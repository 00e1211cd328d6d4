"""Packed sequences in the kernels in Gluon: bits tell where they begin; on a GPU, beside the plain twins."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from ssm_triton import _lanes, _launch
from ssm_triton._lanes import lanes_fit
from ssm_triton._lanes_plan import ForwardFew, ForwardLanes, LanesPlan
from ssm_triton._launch import run_forward
from ssm_triton._launch_backward import run_backward
from ssm_triton._plan import Shape, backward_plan, forward_plan, saved_every
from ssm_triton._resets import resets_of

from .packed import PACKED, call
from .test_lanes import OLD

ON_A_CPU = pytest.mark.skipif(
    torch.cuda.is_available(), reason="a kernel in plain Triton: only its interpreter takes tensors of a CPU"
)
ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available() or OLD, reason="Gluon runs on a GPU only")


def bits(words: torch.Tensor, length: int) -> np.ndarray:
    """(b, l): bit k of word j as element 32 j + k."""
    steps = np.arange(length)
    return (words.numpy()[:, steps // 32] >> (steps % 32)) & 1


def test_a_call_without_packed_sequences_has_no_words() -> None:
    assert resets_of(call(9, 40)) is None


@ON_A_CPU
@pytest.mark.parametrize("length", [1, 32, 70, 64 * 32 + 33])
@pytest.mark.parametrize("turned", [False, True])
def test_words_of_ids(length: int, turned: bool) -> None:
    ids = torch.randint(-2, 3, (3, length), generator=torch.Generator().manual_seed(0))
    x = replace(call(9, length), seq_idx=ids.T.contiguous().T if turned else ids)
    packed = resets_of(replace(x, u=torch.empty(3, 1, length)))
    assert packed is not None
    assert packed.row_of is None
    expected = np.diff(ids.numpy(), axis=1, prepend=ids[:, :1].numpy()) != 0
    assert np.array_equal(bits(packed.words, length), expected)


@ON_A_CPU
def test_words_of_offsets() -> None:
    offsets = [0, 0, 3, 3, 3, 31, 32, 65, 70, 70]
    x = replace(call(9, 70), u=torch.empty(1, 1, 70), cu_seqlens=torch.tensor(offsets, dtype=torch.int32))
    packed = resets_of(x)
    assert packed is not None
    assert packed.row_of is not None
    assert set(np.flatnonzero(bits(packed.words, 70)[0])) == {3, 31, 32, 65}
    # The sequences that have a step: the second, and those from 3, 31, 32 and 65 on.
    lengths = {1: 3, 4: 28, 5: 1, 6: 33, 7: 5}
    assert packed.row_of.tolist() == [row for row, count in lengths.items() for _ in range(count)]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("packed", PACKED)
def test_the_plan_is_told_of_states_of_each_sequence(
    monkeypatch: pytest.MonkeyPatch, packed: str, initial: bool, last: bool
) -> None:
    x = call(16, 40, packed=packed)
    x = x if initial else replace(x, initial_state=None)
    told: list[Any] = []

    def plan(shape: Shape, *given: Any) -> None:
        told.extend([shape.rows, *given[-2:]])

    monkeypatch.setattr(_launch, "lanes_fit", lambda _: True)
    monkeypatch.setattr(_launch, "forward_lanes_plan", plan)
    run_forward(x, last=last, save=0)
    assert told == [len(x.u), packed != "alone", packed == "cu_seqlens" and (initial or last)]


@pytest.mark.parametrize("packed", PACKED)
def test_no_step_has_no_sequence(monkeypatch: pytest.MonkeyPatch, packed: str) -> None:
    monkeypatch.setattr(_lanes, "_machine_fits", lambda _: True)
    x = call(16, 40, packed=packed)
    on_a_gpu = [
        SimpleNamespace(is_cuda=True, device=SimpleNamespace(index=0), shape=(1, 10, l)) for l in (0, 1)
    ]
    fits = [lanes_fit(replace(x, u=cast(torch.Tensor, u))) for u in on_a_gpu]
    assert fits == [packed != "cu_seqlens", True]


FORWARD = [
    ForwardFew(4),
    ForwardFew(2, K=4),
    ForwardLanes(16, 8, 1, 4),
    ForwardLanes(16, 4, 1, 4, segments=3, segment=128, first=ForwardLanes(16, 2, 1, 4)),
    ForwardLanes(16, 8, 1, 2, segments=5, segment=64),
    ForwardLanes(64, 8, 2, 4),
    ForwardLanes(64, 8, 1, 8, segments=2, segment=192),
]


@ON_A_GPU
@pytest.mark.parametrize("packed", PACKED[1:])
@pytest.mark.parametrize("plan", FORWARD, ids=str)
def test_forward_agrees_with_the_plain_twin(plan: ForwardFew | ForwardLanes, packed: str) -> None:
    n = 16 if isinstance(plan, ForwardFew) else plan.N - 3
    x = call(n, 300, d=70, packed=packed, device="cuda")
    states = packed != "cu_seqlens" or isinstance(plan, ForwardLanes)
    x = x if states else replace(x, initial_state=None)
    save = saved_every(n)
    plain = run_forward(x, last=states, save=save, plan=forward_plan(x.shape))[:2]
    lanes = run_forward(x, last=states, save=save, plan=plan)[:2]
    for actual, expected in zip(lanes, plain, strict=True):
        # Two orders of float32 sums over the states.
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


BACKWARD = [
    LanesPlan(16, 2, 1, 320),
    LanesPlan(16, 4, 1, 320, R=1),
    LanesPlan(16, 2, 5, 64, each=2),
    LanesPlan(16, 2, 10, 32, chained=True),
    LanesPlan(64, 4, 1, 320, 64, each=3),
    LanesPlan(64, 4, 5, 64, 64, each=3, chained=True),
]


@ON_A_GPU
@pytest.mark.parametrize("packed", PACKED[1:])
@pytest.mark.parametrize("plan", BACKWARD, ids=str)
def test_backward_agrees_with_the_plain_twin(plan: LanesPlan, packed: str) -> None:
    n = plan.N - 3
    x = call(n, 300, d=270, packed=packed, device="cuda")
    x = replace(x, B=x.B[:, :1].contiguous(), C=x.C[:, :1].contiguous())
    assert lanes_fit(x)
    dy = torch.randn_like(x.u)
    saved, gradients = [], []
    for forward, backward in [
        (forward_plan(x.shape), backward_plan(x.shape)),
        (ForwardLanes(plan.N, 8, 1, plan.N // 8), plan),
    ]:
        _, last, kept = run_forward(x, last=True, save=saved_every(n), plan=forward)
        assert last is not None
        assert kept is not None
        saved.append(kept)
        dlast = torch.linspace(-1, 1, last.numel(), device="cuda").reshape(last.shape)
        gradients.append(run_backward(x, kept, dy, dlast, plan=backward))
    plain, lanes = gradients
    again = run_backward(x, saved[1], dy, dlast, plan=plan)
    for key, expected in plain.items():
        # Two orders of the same float32 sums: far under the error of a lost sequence, which is of order 1.
        torch.testing.assert_close(lanes[key], expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
        assert torch.equal(lanes[key], again[key])
