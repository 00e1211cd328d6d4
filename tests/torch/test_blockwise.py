"""The scan in blocks: its cuts do not show, it keeps little, and PyTorch's tools take it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch

from ssm_backends import NotSupportedError, TorchArrays
from ssm_torch import selective_scan
from ssm_torch.blockwise import problem, sizes
from ssm_torch.blockwise.recurrence import Resets, carry

from .problems import draw_call, judged, run

VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"resets": True},
    {"kind": torch.complex64},
    {"groups": (2, 3)},
    {"offsets": (0, 3, 3, 40, 77)},
)
EVERY = pytest.mark.parametrize("options", VARIANTS, ids=str)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks in lanes and sums as matrix products, as on a GPU."""
    monkeypatch.setattr(sizes, "WIDE_DEVICES", ("cpu",))


@EVERY
@pytest.mark.parametrize("length", [1, 15, 16, 17, 77, 257, 539])
def test_blocks_in_lanes_conform(wide: None, length: int, options: dict[str, Any]) -> None:
    if "offsets" in options:
        options = options | {"offsets": (0, length // 2, length // 2, length, length)}
    judged(draw_call(1, 6, length, 3, **options))


@pytest.mark.parametrize("kind", [torch.float64, torch.complex128])
@pytest.mark.parametrize("zoh", [False, True])
def test_blocks_in_lanes_conform_in_twice_the_digits(wide: None, kind: torch.dtype, zoh: bool) -> None:
    call = draw_call(2, 4, 300, 3, kind=kind, resets=True)
    judged(call | {"b_discretization": "zoh" if zoh else "euler"})


def test_few_lanes_of_large_states_conform(wide: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "STATES_OF_A_WIDE_BLOCK", 2 * 16 * 2 * 6 * 3)
    judged(draw_call(2, 6, 77, 3))


@pytest.mark.parametrize("length", [16, 17, 77])
@pytest.mark.parametrize("kind", [torch.float32, torch.complex64])
def test_an_infinity_at_the_last_step_reaches_no_gradient_of_a_decay(
    wide: None, kind: torch.dtype, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problem, "piece_length", lambda *_: 3)
    call = draw_call(1, 6, length, 3, kind=kind)
    call["u"][..., -1] = torch.inf
    _, _, gradients = run(call)
    assert gradients["A"].isfinite().all()
    judged(call)


@pytest.mark.parametrize("kind", [torch.float32, torch.complex64])
def test_steps_of_a_lane_may_have_a_sum_that_overflows(wide: None, kind: torch.dtype) -> None:
    call = draw_call(1, 3, 40, 2, kind=kind) | {"delta_softplus": False, "delta_bias": None}
    still = {"delta": torch.full_like(call["delta"], 1e38), "u": call["u"] / 1e38, "A": call["A"] * 0}
    judged(call | still)


@pytest.mark.parametrize("kind", [torch.float32, torch.complex64])
def test_a_step_whose_square_overflows_is_held_in_lanes(wide: None, kind: torch.dtype) -> None:
    call = draw_call(1, 3, 40, 2, kind=kind) | {"b_discretization": "zoh"}
    judged(call | {"delta": torch.where(call["delta"] > 1, 1e20, call["delta"])})


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("lanes", [*range(1, 20), 31, 43])
def test_a_carry_is_the_recurrence_from_lane_to_lane(lanes: int, backwards: bool) -> None:
    generator = torch.Generator().manual_seed(lanes)
    a, x = torch.rand((2, lanes, lanes, 1, 2, 3), generator=generator, dtype=torch.float64)
    reset = torch.rand((2, lanes - 1, lanes, 1, 1, 1), generator=generator) < 0.1
    x[0 if backwards else -1, -1] = torch.nan  # the last to come, so that it reaches nothing
    order = list(range(lanes))[:: -1 if backwards else 1]
    expected = x.clone()
    a[order[0]] = torch.nan
    for before, j in pairwise(order):
        barred = reset[:, min(before, j)].any(0)
        a[j].masked_fill_(barred, 0)
        expected[j] += a[j] * torch.where(barred, 0, expected[before])
    carry(a, x, Resets(reset), backwards=backwards)
    # Positive numbers of float64, at most 43 lanes bracketed otherwise; a lost lane is of order 1.
    torch.testing.assert_close(x, expected, rtol=1e-12, atol=0, equal_nan=True)


@pytest.mark.parametrize("steps", [1, 3, 16])
@EVERY
def test_pieces_of_a_block_conform(
    wide: None, steps: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "piece_length", lambda length, *_: min(steps, length))
    monkeypatch.setattr(problem, "piece_length", sizes.piece_length)
    judged(draw_call(1, 6, 77, 3, **options))


@pytest.fixture
def tf32() -> Iterator[None]:
    """Products of float32 matrices may be rounded."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def test_sums_are_matrix_products(wide: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "bmm", _refuse)
    with pytest.raises(AssertionError, match="a product"):
        run(draw_call(1, 6, 77, 3))


def test_products_that_may_be_rounded_are_not_used(
    wide: None, tf32: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "bmm", _refuse)
    judged(draw_call(1, 6, 77, 3))


def _refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("a product")


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


SHAPES = pytest.mark.parametrize(
    ("b", "d", "n"), [(1, 1536, 16), (1, 1, 1), (64, 4096, 128), (0, 3, 2), (2, 0, 2)]
)


@SHAPES
def test_on_a_cpu_at_most_one_state_in_sixteen_is_kept(b: int, d: int, n: int) -> None:
    assert sizes.lane_length(b, d, n, "cpu") >= 16
    assert sizes.CHUNK % sizes.lane_length(b, d, n, "cpu") == 0
    assert sizes.lanes_together(b, d, 4096, n, "cpu") == 1


@SHAPES
def test_on_a_gpu_one_state_in_sixteen_is_kept(b: int, d: int, n: int) -> None:
    assert sizes.lane_length(b, d, n, "cuda") == 16
    states = 16 * sizes.lanes_together(b, d, 4096, n, "cuda") * b * d * n
    assert states <= max(16 * b * d * n, sizes.STATES_OF_A_WIDE_BLOCK)


def test_memory_is_far_below_one_array_of_all_states() -> None:
    b, d, l, n = 1, 256, 2048, 16
    call = draw_call(b, d, l, n)
    results, used = TorchArrays("cpu").peak_memory(lambda: run(call))
    assert used.peak < b * d * l * n * 4 / 2 + sum(x.nbytes for part in results for x in part.values())


def test_in_lanes_memory_grows_with_the_states_that_are_kept_alone(wide: None) -> None:
    d, n, peaks = 8, 128, []
    for l in (520, 2600):
        call = draw_call(1, d, l, n)
        results, used = TorchArrays("cpu").peak_memory(lambda call=call: run(call))
        peaks.append(used.peak - sum(x.nbytes for part in results for x in part.values()))
    a_step = 4 * d * n
    streams = 4 * (16 * d + 8 * n)  # a step of some sixteen streams, and of B, C and what they get
    assert (peaks[1] - peaks[0]) / 2080 < a_step / 16 + streams


def test_without_a_gradient_no_state_is_kept() -> None:
    call = draw_call(1, 64, 4096, 16)
    result, used = TorchArrays("cpu").peak_memory(lambda: selective_scan(**call))
    kept = 4096 // 64 * 64 * 16 * 4 + 64 * 4096 * 4  # states, and the output before the gate
    forward = used.peak - sum(x.nbytes for x in result)
    with_gradient = call | {"A": call["A"].requires_grad_()}
    result, used = TorchArrays("cpu").peak_memory(lambda: selective_scan(**with_gradient))
    assert used.held - sum(x.nbytes for x in result) >= kept
    assert used.peak - sum(x.nbytes for x in result) >= forward + kept


@pytest.mark.parametrize("in_lanes", [False, True])
@EVERY
def test_it_compiles_without_a_break_to_the_same_bits(
    options: dict[str, Any], in_lanes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_lanes:
        monkeypatch.setattr(sizes, "WIDE_DEVICES", ("cpu",))
    torch._dynamo.reset()
    call = draw_call(1, 6, 77, 3, **options)
    compiled = torch.compile(selective_scan, fullgraph=True, backend="aot_eager")
    for eager, traced in zip(run(call), run(call, compiled), strict=True):
        assert {name: torch.equal(x, traced[name]) for name, x in eager.items()} == dict.fromkeys(eager, True)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of opcheck itself, in PyTorch 2.15
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
    with pytest.raises(NotSupportedError, match=r"^selective_scan of this backend has one derivative"):
        torch.autograd.grad(du.sum(), u)


@pytest.mark.parametrize("devices", [(), ("cpu",)])
def test_autocast_changes_nothing(devices: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "WIDE_DEVICES", devices)
    call = draw_call(1, 3, 40, 2)
    plain = run(call)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = run(call)
    for a, b in zip(plain, cast, strict=True):
        assert all(torch.equal(x, b[name]) for name, x in a.items())
