"""The fused scan, forward and backward, stays within the oracle's bounds in every feature it claims."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ssm_backends import NotSupportedError
from ssm_triton import selective_scan

from .problems import problem, verdict

CASES: dict[str, dict[str, Any]] = {
    "typical": {},
    "one of everything": {"b": 1, "d": 1, "l": 1, "n": 1},
    "past a block": {"b": 1, "d": 17, "l": 17, "n": 5},
    "groups that differ": {"groups": (2, 3), "b": 1, "l": 4},
    "constant B": {"groups": (0, None)},
    "constant C, plain": {"groups": (None, 0), "plain": True},
    "complex": {"complex_": True, "b": 1, "d": 3, "l": 5},
    "complex, constant and grouped": {"complex_": True, "groups": (0, 2), "b": 1, "l": 3, "d": 4},
}


@pytest.mark.parametrize("rule", ["euler", "zoh"])
@pytest.mark.parametrize("name", CASES)
def test_within_the_bound(device: str, name: str, rule: str) -> None:
    ratios = verdict(selective_scan, problem(device, **CASES[name]) | {"b_discretization": rule})
    assert all(ratio <= 1 for ratio in ratios.values()), ratios


@pytest.mark.parametrize("complex_", [False, True])
def test_semantics_in_double(device: str, complex_: bool) -> None:
    ratios = verdict(selective_scan, problem(device, torch.float64, l=5, complex_=complex_))
    assert all(ratio <= 1 for ratio in ratios.values()), ratios


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("size", [1.0, 1e20])
def test_a_step_whose_square_or_product_with_an_input_overflows_is_held(
    device: str, complex_: bool, size: float
) -> None:
    call = problem(device, b=1, d=3, l=5, complex_=complex_, plain=True)
    call |= {"delta": call["delta"].abs(), "b_discretization": "zoh"}
    call["delta"][:, :, 2] = 1e20
    call["u"][:, :, 2] *= size
    ratios = verdict(selective_scan, call)
    assert all(ratio <= 1 for ratio in ratios.values()), ratios


@pytest.mark.parametrize("complex_", [False, True])
def test_resets_cut_state_and_gradient(device: str, complex_: bool) -> None:
    ids = torch.tensor([[3, 3, 5, 5, 5, 5, 3], [0, 1, 2, 2, 2, 2, 2]], device=device)
    ratios = verdict(selective_scan, problem(device, complex_=complex_) | {"seq_idx": ids})
    assert all(ratio <= 1 for ratio in ratios.values()), ratios


@pytest.mark.parametrize("complex_", [False, True])
def test_packed_sequences_with_an_empty_one(device: str, complex_: bool) -> None:
    offsets = torch.tensor([0, 4, 4, 9], dtype=torch.int32, device=device)
    call = problem(device, b=1, l=9, rows=3, complex_=complex_) | {"cu_seqlens": offsets}
    ratios = verdict(selective_scan, call)
    assert all(ratio <= 1 for ratio in ratios.values()), ratios


def test_offsets_that_are_not_contiguous(device: str) -> None:
    offsets = torch.tensor([0, 7, 4, 7, 9, 7], dtype=torch.int32, device=device)[::2]
    call = problem(device, b=1, l=9, rows=2)
    expected = selective_scan(**call, cu_seqlens=offsets.contiguous())
    assert torch.equal(selective_scan(**call, cu_seqlens=offsets), expected)


def test_a_long_time_takes_several_saved_states(device: str) -> None:
    ratios = verdict(selective_scan, problem(device, b=1, d=2, l=71, n=2))
    assert all(ratio <= 1 for ratio in ratios.values()), ratios


def test_no_time_at_all(device: str) -> None:
    call = problem(device, l=0)
    leaf = call["initial_state"].requires_grad_()
    y, last = selective_scan(**call, return_last_state=True)
    assert y.shape == (2, 6, 0)
    assert torch.equal(last, leaf)
    assert torch.equal(torch.autograd.grad(last.sum(), leaf)[0], torch.ones_like(leaf))


def test_any_strides_and_no_copy_of_meaning(device: str) -> None:
    call = problem(device)
    for name in ("u", "delta", "z"):
        call[name] = call[name].transpose(1, 2).contiguous().transpose(1, 2)
    call["B"] = call["B"].repeat_interleave(2, dim=2)[:, :, ::2]
    ratios = verdict(selective_scan, call)
    assert all(ratio <= 1 for ratio in ratios.values()), ratios


def test_gradients_are_the_same_bits_each_time(device: str) -> None:
    call = problem(device, d=40)
    leaves = [x.requires_grad_() for x in call.values() if torch.is_tensor(x)]
    runs = [torch.autograd.grad(selective_scan(**call).square().sum(), leaves) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_half_precision_is_float32_inside(device: str) -> None:
    call = problem(device)
    half = {k: v.half() if k in ("u", "delta", "z", "B", "C") else v for k, v in call.items()}
    wide = {k: v.float() if torch.is_tensor(v) else v for k, v in half.items()}
    assert torch.equal(selective_scan(**half), selective_scan(**wide).half())


def test_bad_input_is_refused_by_name(device: str) -> None:
    with pytest.raises(ValueError, match="`A`"):
        selective_scan(**problem(device) | {"A": torch.ones(5, 3, device=device)})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's, of its own forward mode
def test_a_derivative_in_forward_mode_is_refused(device: str) -> None:
    call = problem(device, b=1, d=3, l=3, plain=True)
    u = call.pop("u")

    def function(u: torch.Tensor) -> torch.Tensor:
        return selective_scan(u, **call).sum()

    with pytest.raises(NotSupportedError, match=r"^`u` must come without a tangent"):
        torch.func.jvp(function, (u,), (u,))
