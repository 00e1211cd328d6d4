"""The compiled scan, forward and backward, stays within the oracle's bounds in every feature it claims."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ssm_backends import ArgumentError, DeviceError
from ssm_cpu import selective_scan, selective_scan_forward, selective_scan_vjp
from ssm_cpu._plan import rows_together

from .problems import judge, problem, without_avx512

CASES: dict[str, dict[str, Any]] = {
    "typical": {},
    "one of everything": {"b": 1, "d": 1, "l": 1, "n": 1},
    "past a block and a tile": {"b": 1, "d": 17, "l": 65, "n": 2},
    "past a chunk": {"b": 1, "d": 35, "l": 17, "n": 1},
    "more than one saved state": {"b": 1, "d": 2, "l": 150, "n": 2},
    "groups that differ": {"groups": (2, 3), "b": 1, "l": 4},
    "constant B": {"groups": (0, None)},
    "constant C, plain": {"groups": (None, 0), "plain": True},
    "both constant": {"groups": (0, 0)},
    "complex": {"complex_": True, "b": 1, "d": 3, "l": 5},
    "complex, constant and grouped": {"complex_": True, "groups": (0, 2), "b": 1, "l": 3, "d": 4},
    "many states": {"b": 1, "d": 2, "l": 5, "n": 256},
}


@pytest.mark.parametrize("rule", ["euler", "zoh"])
@pytest.mark.parametrize("name", CASES)
def test_within_the_bound(name: str, rule: str) -> None:
    judge(problem(**CASES[name]) | {"b_discretization": rule})


@pytest.mark.parametrize("length", [2, 3, 4, 5, 61, 62, 66, 67])
def test_steps_that_fill_no_turn(length: int) -> None:
    """Some steps are computed side by side, and what is left one by one."""
    ids = np.repeat(np.arange(2), [length - length // 3, length // 3])[None]
    judge(problem(b=1, d=3, l=length, n=2) | {"seq_idx": ids})


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("rule", ["euler", "zoh"])
def test_without_avx512(rule: str, complex_: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    without_avx512(monkeypatch)
    judge(problem(b=1, d=17, l=67, complex_=complex_) | {"b_discretization": rule})


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("rule", ["euler", "zoh"])
def test_semantics_in_double(rule: str, complex_: bool) -> None:
    judge(problem("float64", l=19, complex_=complex_) | {"b_discretization": rule})


def test_what_float32_calls_subnormal_is_kept_in_double() -> None:
    call = problem("float64", l=5)
    call |= {name: call[name].astype("float32") for name in ("u", "delta", "z", "B", "C")}
    call["u"][:, 1], call["z"][:, 2], call["delta"][:, 3] = 1e-40, -1e-40, 1e-41
    judge(call)
    judge(call | {"delta_bias": np.zeros(6), "delta_softplus": False})


@pytest.mark.parametrize("complex_", [False, True])
def test_resets_cut_state_and_gradient(complex_: bool) -> None:
    ids = np.array([[3, 3, 5, 5, 5, 5, 3], [0, 1, 2, 2, 2, 2, 2]])
    judge(problem(complex_=complex_) | {"seq_idx": ids})
    judge(problem(complex_=complex_) | {"seq_idx": ids.astype(np.int32)})


def test_resets_on_and_off_the_edges_of_tiles() -> None:
    ids = np.zeros((1, 140), dtype=np.int32)
    ids[0, [1, 63, 64, 65, 128, 139]] = 1
    judge(problem(b=1, d=3, l=140, n=2) | {"seq_idx": np.cumsum(ids, axis=1)})


@pytest.mark.parametrize("complex_", [False, True])
def test_packed_sequences_with_an_empty_one(complex_: bool) -> None:
    offsets = np.array([0, 4, 4, 9, 80], dtype=np.int32)
    judge(problem(b=1, l=80, rows=4, complex_=complex_) | {"cu_seqlens": offsets})


SHORT: dict[str, dict[str, Any]] = {
    "variable": {},
    "constant B and C, complex": {"groups": (0, 0), "complex_": True},
    "groups": {"groups": (2, 4), "n": 5},
}


@pytest.mark.parametrize("name", SHORT)
def test_short_rows_that_a_task_takes_together(name: str) -> None:
    assert rows_together(200, 600, 1) == 3
    judge(problem(**{"b": 200, "d": 40, "l": 3, "n": 2} | SHORT[name]))


def test_short_packed_sequences_that_a_task_takes_together() -> None:
    lengths = np.arange(200) % 5
    assert rows_together(200, int(lengths.sum()), 1) == 3
    offsets = np.cumsum([0, *lengths]).astype(np.int32)
    judge(problem(b=1, d=20, l=400, n=2, rows=200) | {"cu_seqlens": offsets})


@pytest.mark.parametrize(
    ("rows", "steps", "chunks", "expected"),
    [
        (8, 8 * 64, 32, 1),
        (1024, 1024, 8, 64),
        (1024, 4096, 8, 16),
        (64, 64, 1, 1),
        (1, 0, 1, 1),
        (640, 0, 2, 20),
    ],
)
def test_a_task_takes_as_many_rows_as_have_a_tile_of_steps(
    rows: int, steps: int, chunks: int, expected: int
) -> None:
    assert rows_together(rows, steps, chunks) == expected


def test_a_reset_hides_a_decay_that_overflows() -> None:
    call = problem(b=1, d=2, l=4, n=2, plain=True)
    call["delta"][..., 2] = -1e4
    ids = np.array([[0, 0, 1, 1]])
    assert np.isfinite(selective_scan(**call, seq_idx=ids)[..., :2]).all()
    assert np.isfinite(selective_scan(**call, seq_idx=ids)[..., 2]).all()


@pytest.mark.parametrize("complex_", [False, True])
def test_a_reset_hides_such_a_decay_from_every_gradient(complex_: bool) -> None:
    call = problem(b=1, d=2, l=4, n=2, complex_=complex_, plain=True)
    call["delta"][..., 2] = -1e4
    call["seq_idx"] = np.array([[0, 0, 1, 1]])
    (y,), saved = selective_scan_forward(**call)
    wrt = ("u", "delta", "A", "B", "C")
    gradients = selective_scan_vjp({"y": np.ones_like(y), "last_state": None}, wrt, saved, **call)
    assert [name for name, gradient in gradients.items() if not np.isfinite(gradient).all()] == []


def test_no_time_at_all() -> None:
    judge(problem(l=0))


@pytest.mark.parametrize("empty", [{"b": 0}, {"d": 0}])
def test_nothing_to_scan(empty: dict[str, int]) -> None:
    call = problem(**empty)
    y, last = selective_scan(**call, return_last_state=True)
    assert y.shape == call["u"].shape
    assert last.shape == call["initial_state"].shape


@pytest.mark.parametrize("d", [6, 16])
def test_any_strides_and_no_change_of_bits(d: int) -> None:
    call = problem(d=d, l=70)
    expected = selective_scan(**call)
    for name in ("u", "delta", "z"):
        call[name] = np.ascontiguousarray(call[name].transpose(0, 2, 1)).transpose(0, 2, 1)
    call["B"] = call["B"].repeat(2, axis=2)[:, :, ::2]
    call["A"] = call["A"].repeat(3, axis=1)[:, ::3]
    call["C"] = call["C"][:, :, ::-1].copy()[:, :, ::-1]
    y = selective_scan(**call)
    assert np.array_equal(y, expected)
    assert y.strides == call["u"].strides


def test_a_state_below_the_normal_numbers_is_zero_or_right() -> None:
    call = problem(b=1, d=2, l=40, n=2, plain=True)
    call["u"][..., 1:] = 0
    call["u"] *= np.float32(1e-37)
    judge(call | {"delta_softplus": True})


def test_inputs_may_be_read_only() -> None:
    call = problem()
    for x in call.values():
        if isinstance(x, np.ndarray):
            x.flags.writeable = False
    judge(call)


def test_an_offset_past_two_to_the_31() -> None:
    # Zeros that are never touched take no memory.
    call = problem(b=2, d=16, l=64, n=1, plain=True)
    room = np.zeros((2, 2**29 + 64), dtype=np.float32)[:, -16 * 64 :].reshape(2, 16, 64)
    room[...] = call["u"]
    assert np.array_equal(selective_scan(**call | {"u": room}), selective_scan(**call))


def test_half_precision_is_float32_inside() -> None:
    call = problem()
    streams = ("u", "delta", "z", "B", "C")
    half = call | {name: call[name].astype("float16") for name in streams}
    wide = half | {name: half[name].astype("float32") for name in streams}
    assert np.array_equal(selective_scan(**half), selective_scan(**wide).astype("float16"))


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="`A`"):
        selective_scan(**problem() | {"A": np.ones((5, 3), np.float32)})
    for offsets in ([0, 5, 3, 7], [1, 3, 7], [0, 3, 6], [0, 3, 8], [-1, 3, 7]):
        with pytest.raises(ArgumentError, match="`cu_seqlens` must rise"):
            selective_scan(**problem(b=1, plain=True) | {"cu_seqlens": np.array(offsets, dtype=np.int32)})


def test_an_array_of_another_library_is_refused() -> None:
    class Foreign:
        shape, dtype, ndim = (2, 6, 7), np.dtype("float32"), 3

    with pytest.raises(DeviceError, match="`u` must be a NumPy array or a PyTorch tensor"):
        selective_scan(**problem() | {"u": Foreign()})


def test_a_call_that_was_valid_before_does_not_excuse_the_next() -> None:
    call = problem()
    selective_scan(**call)
    with pytest.raises(TypeError, match="`delta_softplus` must be True or False"):
        selective_scan(**call | {"delta_softplus": 1})
