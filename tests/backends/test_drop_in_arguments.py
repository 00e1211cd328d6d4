"""Parameters of the drop-ins: places and defaults, where they may lie in memory, what is kept of them."""

from __future__ import annotations

import inspect
from math import inf
from typing import Any

import numpy as np
import pytest
import torch

from ssm_backends import ArgumentError, DTypeError, mamba_ssm, use
from ssm_backends.mamba_ssm import inner

from .mamba_calls import inner_inputs, randn

INNER = (
    "xz conv1d_weight conv1d_bias x_proj_weight delta_proj_weight out_proj_weight out_proj_bias A B=None "
    "C=None D=None delta_bias=None B_proj_bias=None C_proj_bias=None delta_softplus=True"
)
SCAN = "u delta A B C D=None z=None delta_bias=None delta_softplus=False return_last_state=False"
STEP = "state x dt A B C D=None z=None dt_bias=None dt_softplus=False"
PUBLISHED = {
    "causal_conv1d_fn": "x weight bias=None seq_idx=None initial_states=None return_final_states=False "
    "final_states_out=None activation=None",
    "causal_conv1d_update": "x conv_state weight bias=None activation=None cache_seqlens=None "
    "conv_state_indices=None",
    "mamba_chunk_scan_combined": "x dt A B C chunk_size D=None z=None dt_bias=None initial_states=None "
    "seq_idx=None cu_seqlens=None dt_softplus=False dt_limit=(0.0, inf) return_final_states=False "
    "return_varlen_states=False state_dtype=None",
    "mamba_inner_fn": f"{INNER} checkpoint_lvl=1 b_rms_weight=None c_rms_weight=None dt_rms_weight=None "
    "b_c_dt_rms_eps=1e-06",
    "mamba_inner_ref": INNER,
    "mamba_split_conv1d_scan_combined": "zxbcdt conv1d_weight conv1d_bias dt_bias A D chunk_size "
    "initial_states=None seq_idx=None dt_limit=(0.0, inf) return_final_states=False activation='silu' "
    "rmsnorm_weight=None rmsnorm_eps=1e-06 outproj_weight=None outproj_bias=None headdim=None ngroups=1 "
    "norm_before_gate=True state_dtype=None",
    "selective_scan_fn": SCAN,
    "selective_scan_ref": SCAN,
    "selective_state_update": f"{STEP} state_batch_indices=None",
    "selective_state_update_ref": STEP,
}
"""As mamba-ssm's main branch has them in July of 2026, and causal-conv1d's in March."""


@pytest.fixture(autouse=True)
def plain() -> Any:
    with use("torch"):
        yield


@pytest.mark.parametrize("name", sorted({*mamba_ssm.__all__} - {"stand_in"}))
def test_places_and_defaults_are_those_of_the_packages(name: str) -> None:
    found = [
        parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"
        for parameter in inspect.signature(getattr(mamba_ssm, name)).parameters.values()
    ]
    assert " ".join(found) == PUBLISHED[name]


def test_states_between_chunks_are_not_narrowed() -> None:
    b, l, h, p, n = 2, 6, 2, 3, 4
    given = randn(b, l, h, p), randn(b, l, h, seed=1).abs(), -torch.ones(h), *(randn(b, l, 1, n),) * 2, 2
    scan = mamba_ssm.mamba_chunk_scan_combined
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        assert torch.equal(scan(*given, state_dtype=dtype), scan(*given))
    for wrong in (torch.int32, torch.complex64, "float32", np.float32):
        with pytest.raises(DTypeError, match=r"^`state_dtype` must be None or a real floating dtype"):
            scan(*given, state_dtype=wrong)


def interleaved(dtype: torch.dtype) -> torch.Tensor:
    return randn(2, 3, 12, seed=3, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("lies", ["transposed", "at an odd place", "in odd rows", "every second", "expanded"])
def test_interleaved_reals_may_lie_anywhere(lies: str, dtype: torch.dtype) -> None:
    whole = interleaved(dtype)
    b, n, l = whole.shape
    odd = {
        "transposed": lambda: whole.transpose(1, 2).contiguous().transpose(1, 2),
        "at an odd place": lambda: torch.cat([whole.new_zeros(1), whole.flatten()])[1:].view(b, n, l),
        "in odd rows": lambda: torch.cat([whole, whole[..., :1]], -1)[..., :l],
        "every second": lambda: torch.stack([whole, whole], -1).flatten(-2)[..., ::2],
        "expanded": lambda: whole[:1].expand(b, n, l),
    }[lies]()
    A = torch.complex(-randn(4, n).abs(), randn(4, n, seed=1))
    u = randn(b, 4, l // 2, seed=2, dtype=dtype)
    found, wanted = [], []
    for made, B in ((found, odd), (wanted, odd.clone(memory_format=torch.contiguous_format))):
        leaf = B.detach().requires_grad_()
        y = mamba_ssm.selective_scan_fn(u, u.abs(), A, leaf, leaf)
        made += [y.detach(), *torch.autograd.grad(y.float().sum(), leaf)]
    assert all(torch.equal(x, y) for x, y in zip(found, wanted, strict=True))


@pytest.mark.parametrize(("rank", "bias"), [(3, False), (2, False), (3, True)])
def test_a_complex_block_takes_any_rank(rank: int, bias: bool) -> None:
    """Pairs that follow an odd number of Δ's rows lie at an odd place."""
    inputs = inner_inputs(True, "BC")
    rows = inputs["x_proj_weight"]
    assert rows is not None
    inputs["delta_proj_weight"] = randn(6, rank, seed=4)
    inputs["x_proj_weight"] = rows[3 - rank :].contiguous()
    zero = torch.zeros(8)
    inputs["B_proj_bias"] = inputs["C_proj_bias"] = zero if bias else None
    y = mamba_ssm.mamba_inner_fn(**inputs)
    assert torch.equal(y, mamba_ssm.mamba_inner_fn(**inputs | {"B_proj_bias": zero, "C_proj_bias": zero}))


@pytest.mark.parametrize("size", [(0, 12, 5), (2, 12, 0), (0, 12, 0)])
@pytest.mark.parametrize("complex_", [False, True])
def test_a_block_of_nothing_gives_nothing(size: tuple[int, ...], complex_: bool) -> None:
    inputs = inner_inputs(complex_, "BC") | {"xz": torch.zeros(size, requires_grad=True)}
    y = mamba_ssm.mamba_inner_fn(**inputs)
    assert y.shape == (size[0], size[2], 5)
    y.sum().backward()


def test_numbers_of_a_block_may_be_scalars_of_numpy() -> None:
    inputs = inner_inputs(False, "BC") | {"c_rms_weight": torch.ones(4)}
    plain = mamba_ssm.mamba_inner_fn(**inputs, checkpoint_lvl=0, b_c_dt_rms_eps=0.5)
    scalars = {"checkpoint_lvl": np.int64(0), "b_c_dt_rms_eps": np.float32(0.5)}
    assert torch.equal(mamba_ssm.mamba_inner_fn(**inputs, **scalars), plain)


@pytest.mark.parametrize("name", ["B", "C"])
def test_a_norm_of_what_is_not_projected_is_refused(name: str) -> None:
    inputs = inner_inputs(False, "CB".replace(name, ""))
    norm = f"{name.lower()}_rms_weight"
    with pytest.raises(ArgumentError, match=f"^`{norm}` must be None where `{name}` is given, not projected"):
        mamba_ssm.mamba_inner_fn(**inputs, **{norm: torch.ones(4)})


@pytest.mark.parametrize("checkpoint_lvl", [0, 1])
@pytest.mark.parametrize("name", ["b_rms_weight", "c_rms_weight", "dt_rms_weight", "D", "xz", "A"])
def test_what_a_gradient_needs_is_not_written_over_in_silence(name: str, checkpoint_lvl: int) -> None:
    weights = {"b_rms_weight": randn(4), "c_rms_weight": randn(4), "dt_rms_weight": randn(6)}
    given = {**inner_inputs(False, "BC"), **weights}
    inputs = {k: None if x is None else x.requires_grad_() for k, x in given.items()}
    written = inputs[name]
    assert written is not None
    y = mamba_ssm.mamba_inner_fn(**inputs, checkpoint_lvl=checkpoint_lvl)
    with torch.no_grad():
        written.mul_(2)
    with pytest.raises(RuntimeError, match=r"modified (by an inplace operation|inplace)"):
        y.sum().backward()


@pytest.mark.parametrize(("checkpoint_lvl", "gradient", "times"), [(0, True, 1), (1, True, 2), (1, False, 1)])
@pytest.mark.parametrize("leaf", ["xz", "D", "dt_rms_weight"])
def test_a_block_is_computed_again_for_a_gradient_alone(
    leaf: str, checkpoint_lvl: int, gradient: bool, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**inner_inputs(False, "BC"), "dt_rms_weight": randn(6)}
    called, plain = [], inner._inner
    monkeypatch.setattr(inner, "_inner", lambda *inputs: called.append(None) or plain(*inputs))
    x = given[leaf]
    assert x is not None
    x.requires_grad_()
    with torch.set_grad_enabled(gradient):
        y = mamba_ssm.mamba_inner_fn(**given, checkpoint_lvl=checkpoint_lvl)
    if gradient:
        y.sum().backward()
    assert len(called) == times


def test_a_block_without_a_gradient_takes_tensors_of_inference() -> None:
    with torch.inference_mode():
        made = {name: None if x is None else x.clone() for name, x in inner_inputs(False, "BC").items()}
    found = mamba_ssm.mamba_inner_fn(**made)
    assert torch.equal(found, mamba_ssm.mamba_inner_fn(**made, checkpoint_lvl=0))


def test_no_bound_is_infinite_unless_it_is_said() -> None:
    """The default of `dt_limit` bounds Δ from below alone, which a plain Δ below zero shows."""
    b, l, h, p, n = 1, 3, 1, 2, 2
    x, dt, B = randn(b, l, h, p), -torch.ones(b, l, h), randn(b, l, 1, n)
    given = x, dt, -torch.ones(h), B, B, 2
    assert not mamba_ssm.mamba_chunk_scan_combined(*given).any()
    assert mamba_ssm.mamba_chunk_scan_combined(*given, dt_limit=(-inf, inf)).any()
