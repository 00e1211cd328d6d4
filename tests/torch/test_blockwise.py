"""The scan in blocks: its cuts do not show, it keeps little, and PyTorch's tools take it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ssm_backends import TorchArrays
from ssm_torch import selective_scan
from ssm_torch.blockwise import sizes

from .problems import draw_call, judged, run

VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"resets": True},
    {"kind": torch.complex64},
    {"groups": (2, 3)},
    {"offsets": (0, 3, 3, 40, 77)},
)
EVERY = pytest.mark.parametrize("options", VARIANTS, ids=str)


@EVERY
def test_many_short_blocks_conform(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "BLOCKS", (16,))
    judged(draw_call(1, 6, 77, 3, **options))


@pytest.mark.parametrize("resets", [False, True])
def test_rows_of_the_batch_that_are_scanned_apart_conform(
    resets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "STATES_OF_A_STEP", 40)
    judged(draw_call(5, 6, 70, 3, resets=resets))


@pytest.mark.parametrize(("b", "d", "n"), [(1, 1536, 16), (1, 1, 1), (64, 4096, 128), (0, 3, 2), (2, 0, 2)])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_at_most_one_state_in_sixteen_is_kept(b: int, d: int, n: int, device: str) -> None:
    assert sizes.block_length(b, d, n, device) >= 16
    assert sizes.CHUNK % sizes.block_length(b, d, n, device) == 0


def test_memory_is_far_below_one_array_of_all_states() -> None:
    b, d, l, n = 1, 256, 2048, 16
    call = draw_call(b, d, l, n)
    results, used = TorchArrays("cpu").peak_memory(lambda: run(call))
    assert used.peak < b * d * l * n * 4 / 2 + sum(x.nbytes for part in results for x in part.values())


def test_without_a_gradient_no_state_is_kept() -> None:
    call = draw_call(1, 64, 4096, 16)
    result, used = TorchArrays("cpu").peak_memory(lambda: selective_scan(**call))
    kept = 4096 // 64 * 64 * 16 * 4
    forward = used.peak - sum(x.nbytes for x in result)
    with_gradient = call | {"A": call["A"].requires_grad_()}
    result, used = TorchArrays("cpu").peak_memory(lambda: selective_scan(**with_gradient))
    assert used.held - sum(x.nbytes for x in result) >= kept
    assert used.peak - sum(x.nbytes for x in result) >= forward + kept


@EVERY
def test_it_compiles_without_a_break_to_the_same_bits(options: dict[str, Any]) -> None:
    torch._dynamo.reset()
    call = draw_call(1, 6, 77, 3, **options)
    compiled = torch.compile(selective_scan, fullgraph=True, backend="aot_eager")
    for eager, traced in zip(run(call), run(call, compiled), strict=True):
        assert {name: torch.equal(x, traced[name]) for name, x in eager.items()} == dict.fromkeys(eager, True)


def test_its_registration_is_one_that_pytorch_accepts() -> None:
    call = draw_call(1, 3, 20, 2, resets=True)
    names = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")
    tensors = [call[name].requires_grad_() for name in names]
    arguments = (*tensors, call["seq_idx"], None, True, False, True)
    torch.library.opcheck(torch.ops.ssm_torch.selective_scan.default, arguments)


def test_a_second_derivative_is_refused() -> None:
    call = draw_call(1, 2, 5, 2)
    u = call["u"].requires_grad_()
    y, _ = selective_scan(**call)
    (du,) = torch.autograd.grad(y.sum(), u, create_graph=True)
    with pytest.raises(RuntimeError, match="selective_scan_backward"):
        torch.autograd.grad(du.sum(), u)


def test_autocast_changes_nothing() -> None:
    call = draw_call(1, 3, 40, 2)
    plain = run(call)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = run(call)
    for a, b in zip(plain, cast, strict=True):
        assert all(torch.equal(x, b[name]) for name, x in a.items())
