"""mamba-ssm's scan of Mamba-2: results within the derived bound, and what it refuses."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
import torch

from ssm_backends import ArgumentError, DTypeError, NotSupportedError, ShapeError, mamba_ssm, ssd, use
from ssm_conformance import assert_conforms

from .mamba_calls import randn


@pytest.fixture(autouse=True)
def plain() -> Any:
    with use("torch"):
        yield


def scan_inputs(dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    b, l, h, p, g, n = 2, 13, 4, 3, 2, 5
    return {
        "x": randn(b, l, h, p, dtype=dtype),
        "dt": randn(b, l, h, seed=1, dtype=dtype),
        "A": -randn(h, seed=2).abs(),
        "B": randn(b, l, g, n, seed=3, dtype=dtype),
        "C": randn(b, l, g, n, seed=4, dtype=dtype),
        "D": randn(h, p, seed=5),
        "z": randn(b, l, h, p, seed=6, dtype=dtype),
        "dt_bias": randn(h, seed=7),
        "initial_states": randn(b, h, p, n, seed=8),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("packed", [False, True])
def test_the_scan_is_within_its_bound(dtype: torch.dtype, packed: bool) -> None:
    given = scan_inputs(dtype)
    leaves = {name: x.clone().requires_grad_() for name, x in given.items()}
    seq_idx = torch.tensor([[0] * 6 + [1] * 7, [4] * 13], dtype=torch.int32) if packed else None
    plain = {"dt_softplus": True, "dt_limit": (0.01, 2.0), "return_final_states": True}
    y, last = mamba_ssm.mamba_chunk_scan_combined(**leaves, chunk_size=4, seq_idx=seq_idx, **plain)
    assert (y.dtype, last.dtype) == (dtype, torch.float32)
    r, r_last = randn(*y.shape, seed=9, dtype=dtype), randn(*last.shape, seed=10)
    found = torch.autograd.grad((y, last), list(leaves.values()), (r, r_last))
    assert_conforms(
        "ssd",
        (y.detach(), last.detach()),
        gradients=dict(zip(leaves, found, strict=True)),
        cotangents={"y": r, "final_states": r_last},
        **given,
        **plain,
        **({"seq_idx": seq_idx} if packed else {}),
    )


def test_what_is_narrow_is_widened_without_a_loss() -> None:
    given = scan_inputs(torch.bfloat16)
    narrow = {name: given[name].bfloat16() for name in ("D", "dt_bias", "initial_states")}
    found = mamba_ssm.mamba_chunk_scan_combined(**given | narrow, chunk_size=256, dt_limit=[0.0, inf])
    widened = {name: x.float() for name, x in narrow.items()}
    assert torch.equal(found, ssd(**given | widened))


def test_the_ends_of_sequences_are_read_for_their_states_alone() -> None:
    """As in mamba-ssm, whose Mamba2 hands them on beside seq_idx and asks for no states in training."""
    given = scan_inputs() | {"chunk_size": 4, "seq_idx": torch.tensor([[0] * 6 + [1] * 7] * 2)}
    found = mamba_ssm.mamba_chunk_scan_combined(**given, cu_seqlens=torch.tensor([0, 6, 13, 19, 26]))
    assert torch.equal(found, mamba_ssm.mamba_chunk_scan_combined(**given))


def test_float64_takes_a_decay_of_float32() -> None:
    given = scan_inputs(torch.float64) | {"initial_states": None}
    given |= {name: given[name].float() for name in ("A", "D", "dt_bias")}
    found = mamba_ssm.mamba_chunk_scan_combined(**given, chunk_size=256)
    given |= {name: given[name].double() for name in ("A", "D", "dt_bias")}
    assert torch.equal(found, ssd(**given))


@pytest.mark.parametrize(
    ("name", "given", "error", "message"),
    [
        ("x", None, DTypeError, "`x` must be a PyTorch tensor; got None"),
        ("dt", randn(2, 13, 3), ShapeError, r"`dt` must have shape \(b, l, h\)"),
        ("A", torch.ones(4) * 1j, DTypeError, "`A` must"),
        ("D", torch.ones(4) * 1j, DTypeError, "`D` must have a real floating dtype; got torch.complex64"),
        ("dt_bias", 0.0, DTypeError, "`dt_bias` must be a PyTorch tensor; got builtins.float"),
        ("chunk_size", 0, ArgumentError, "`chunk_size` must be a positive int; got 0"),
        ("chunk_size", True, ArgumentError, "`chunk_size` must be a positive int; got True"),
        ("initial_states", randn(2, 4, 3, 6), ShapeError, r"`initial_states` must have shape \(b, h, p, n\)"),
        ("return_varlen_states", True, NotSupportedError, "`return_varlen_states` is not served"),
        (
            "return_varlen_states", torch.ones(2), DTypeError,
            "`return_varlen_states` must be True or False; got tensor",
        ),
        ("dt_softplus", "yes", DTypeError, "`dt_softplus` must be True or False; got 'yes'"),
        ("dt_limit", 3.0, DTypeError, "`dt_limit` must be"),
    ],
)  # fmt: skip
def test_bad_use_of_the_scan_is_told_in_its_own_names(
    name: str, given: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}"):
        mamba_ssm.mamba_chunk_scan_combined(**scan_inputs() | {"chunk_size": 4, name: given})
