"""mamba-ssm's functions used badly, under autocast, traced: told in their own names, or right."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

import ssm_backends
from ssm_backends import (
    ArgumentError,
    DeviceError,
    DTypeError,
    FallbackWarning,
    NotSupportedError,
    ShapeError,
    UnavailableError,
    mamba_ssm,
    use,
)
from ssm_backends.front import calling

from .mamba_calls import inner_inputs, pooled_step, randn


@pytest.fixture(autouse=True)
def plain() -> Any:
    with use("torch"):
        yield


def test_bad_use_of_the_block_is_told() -> None:
    inputs = inner_inputs(False, "BC")
    with pytest.raises(ArgumentError, match="`checkpoint_lvl` must be 0 or 1; got 2"):
        mamba_ssm.mamba_inner_fn(**inputs, checkpoint_lvl=2)
    with pytest.raises(ShapeError, match=r"`x_proj_weight` must have 11 rows.*got \(10, 6\)"):
        mamba_ssm.mamba_inner_fn(**inputs | {"x_proj_weight": randn(10, 6)})
    with pytest.raises(ShapeError, match=r"^`conv1d_weight` must have shape \(d, 1, w\).*got \(6, 2, 4\)"):
        mamba_ssm.mamba_inner_fn(**inputs | {"conv1d_weight": randn(6, 2, 4)})


def test_another_library_s_array_is_refused_by_name() -> None:
    x, A, B = randn(1, 2, 3), randn(2, 4), randn(1, 4, 3)
    with pytest.raises(DTypeError, match=r"`A` must be a PyTorch tensor; got numpy\.ndarray"):
        mamba_ssm.selective_scan_fn(x, x, A.numpy(), B, B)
    with pytest.raises(DTypeError, match=r"`D` must be a PyTorch tensor; got builtins\.float"):
        mamba_ssm.selective_state_update(randn(1, 2, 4), x[..., 0], x[..., 0], A, B[..., 0], B[..., 0], 1.0)
    with pytest.raises(DTypeError, match=r"`xz` must be a PyTorch tensor; got numpy\.ndarray"):
        mamba_ssm.mamba_inner_ref(x.numpy(), x, None, x, x, x, None, A)


@pytest.mark.parametrize(
    ("name", "given", "error", "message"),
    [
        ("state", None, DTypeError, "`state` must be a PyTorch tensor; got None"),
        ("x", randn(2, 6), ShapeError, r"`x` must have shape \(b, h, p\); got \(2, 6\)"),
        ("dt", randn(2, 2, 4), ShapeError, r"`dt` must have shape \(b, h, p\) with .*; got \(2, 2, 4\)"),
        ("A", None, DTypeError, "`A` must be a PyTorch tensor; got None"),
        ("A", randn(2, 5), ShapeError, r"`A` must have shape \(h, p, n\); got \(2, 5\)"),
        ("D", randn(6), ShapeError, r"`D` must have shape \(h, p\); got \(6,\)"),
        (
            "state",
            randn(4, 1, 3, 5).expand(4, 2, 3, 5),
            ArgumentError,
            r"`state` must have a place in memory for each element, to be .*; got strides \(15, 0,",
        ),
        ("D", torch.ones(2, 3) * 1j, DTypeError, "`D` must have a real floating dtype; got torch.complex64"),
        ("dt_bias", torch.ones(2, 3).int(), DTypeError, "`dt_bias` must have a real floating dtype; got"),
        ("D", randn(2, 3).to_sparse(), DTypeError, "`D` must be a dense tensor; got layout torch.sparse_coo"),
        ("x", torch.ones(2, 2, 3, dtype=torch.int64), DTypeError, "`x` must have a floating dtype"),
        ("dt", randn(2, 2, 3).double(), DTypeError, "`dt` must have dtype float32, where `x`"),
        ("dt_bias", randn(2, 3).to("meta"), DeviceError, "`dt_bias` must be on the device of .*; got meta"),
        ("dt_softplus", "yes", DTypeError, "`dt_softplus` must be True or False; got 'yes'"),
        ("state_batch_indices", [3, 0], DTypeError, "`state_batch_indices` must be a PyTorch"),
        ("state_batch_indices", torch.tensor([4, 0]), ArgumentError, r"`state_batch_indices` must lie in"),
        ("state_batch_indices", torch.ones(2), DTypeError, "`state_batch_indices` must have dtype int32"),
    ],
)
def test_bad_use_of_the_step_is_told_in_its_own_names(
    name: str, given: Any, error: type[Exception], message: str
) -> None:
    inputs = pooled_step()
    before = inputs["state"].clone()
    with pytest.raises(error, match=f"^{message}"):
        mamba_ssm.selective_state_update(**inputs | {name: given})
    assert torch.equal(inputs["state"], before)


@pytest.mark.parametrize(
    ("name", "given", "error", "message"),
    [
        ("xz", None, DTypeError, "`xz` must be a PyTorch tensor; got None"),
        ("xz", randn(2, 13, 7), ShapeError, r"`xz` must have shape \(b, 2d, l\), d = 6; got \(2, 13, 7\)"),
        ("xz", randn(2, 12), ShapeError, r"`xz` must have shape \(b, 2d, l\); got \(2, 12\)"),
        ("xz", randn(2, 12, 7).double(), DTypeError, "`x_proj_weight` must have the dtype of `xz`"),
        ("conv1d_bias", randn(5), ShapeError, r"`conv1d_bias` must have shape \(d,\) with d = 6"),
        ("conv1d_weight", randn(6, 1, 4).double(), DTypeError, "`conv1d_weight` must have .* where `xz`"),
        ("delta_proj_weight", randn(6), ShapeError, r"`delta_proj_weight` must have shape \(d, r\)"),
        ("out_proj_weight", randn(5, 7), ShapeError, r"`out_proj_weight` must have shape \(m, d\)"),
        ("out_proj_bias", 1.0, DTypeError, "`out_proj_bias` must be a PyTorch tensor; got builtins.float"),
        ("out_proj_bias", randn(5).double(), DTypeError, "`out_proj_bias` must have the dtype of `xz`"),
        ("A", randn(6), ShapeError, r"`A` must have shape \(d, n\); got \(6,\)"),
        ("D", randn(6).to("meta"), DeviceError, "`D` must be on the device of `xz`, cpu; got meta"),
        ("B_proj_bias", randn(2), ShapeError, r"`B_proj_bias` must have shape \(4,\), as B and C have"),
        ("b_rms_weight", randn(1), ShapeError, r"`b_rms_weight` must have shape \(4,\), as B and C have"),
        ("C_proj_bias", randn(1), ShapeError, r"`C_proj_bias` must have shape \(4,\), as B and C have"),
        ("c_rms_weight", randn(1, 4), ShapeError, r"`c_rms_weight` must have shape \(4,\), as B and C"),
        ("x_proj_weight", randn(12, 6), ShapeError, r"`x_proj_weight` must have \d+ rows, for Δ and what"),
        ("out_proj_weight", randn(5, 6).to("meta"), DeviceError, "`out_proj_weight` must be on the device"),
        ("dt_rms_weight", randn(6).long(), DTypeError, "`dt_rms_weight` must have a real floating"),
        ("b_c_dt_rms_eps", "small", DTypeError, "`b_c_dt_rms_eps` must be a number; got 'small'"),
        ("checkpoint_lvl", np.ones(2), ArgumentError, "`checkpoint_lvl` must be 0 or 1; got array"),
    ],
)
def test_bad_use_of_the_block_is_told_in_its_own_names(
    name: str, given: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}"):
        mamba_ssm.mamba_inner_fn(**inner_inputs(False, "BC") | {name: given})


def test_a_step_in_place_that_is_to_have_a_gradient_says_how_to_ask_for_none() -> None:
    inputs = pooled_step()
    inputs["dt"].requires_grad_()
    message = r"no gradient in `dt` \(none is asked for under torch\.no_grad\(\)\)$"
    with pytest.raises(NotSupportedError, match=message):
        mamba_ssm.selective_state_update(**inputs)
    with torch.no_grad():
        mamba_ssm.selective_state_update(**inputs)


def test_a_scan_refuses_what_would_lose_its_imaginary_part() -> None:
    x, A = randn(2, 4, 7), -torch.ones(4, 3)
    B = randn(2, 3, 7)
    with pytest.raises(DTypeError, match=r"^`D` must have a real floating dtype; got torch\.complex64"):
        mamba_ssm.selective_scan_fn(x, x, A, B, B, torch.ones(4) * 1j)


def test_a_complex_step_takes_a_real_skip_and_bias() -> None:
    x, dt, A = randn(2, 6), randn(2, 6, seed=1), torch.complex(-torch.ones(6, 3), randn(6, 3, seed=2))
    B, C = randn(2, 3, seed=3), randn(2, 3, seed=4)
    rest = {"D": randn(6, seed=5), "delta_bias": randn(6, seed=6), "delta_softplus": True}
    state, held = torch.zeros(2, 6, 3, dtype=torch.complex64), torch.zeros(2, 6, 3, dtype=torch.complex64)
    y = mamba_ssm.selective_state_update(
        state, x, dt, A, B, C, rest["D"], dt_bias=rest["delta_bias"], dt_softplus=True
    )
    wanted, new = ssm_backends.selective_state_update(held, x, dt, A, B, C, **rest)
    assert torch.equal(y, wanted)
    assert torch.equal(state, new)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's, of its own forward mode
def test_a_derivative_that_is_not_there_is_told_in_the_blocks_own_names() -> None:
    inputs = inner_inputs(False, "BC")
    xz = inputs.pop("xz")
    with pytest.raises(NotSupportedError, match=r"^`xz` must come without a tangent: "):
        torch.func.jvp(lambda x: mamba_ssm.mamba_inner_fn(x, **inputs), (xz,), (xz,))


@pytest.mark.parametrize("wide", ["xz", "x_proj_weight", "out_proj_weight"])
def test_autocast_casts_no_float64(wide: str) -> None:
    inputs = inner_inputs(False, "BC")
    inputs[wide] = inputs[wide].double()
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(
            DTypeError, match=r"^`\w+_weight` must have the dtype of `xz`, torch\.float(32|64); got"
        ),
    ):
        mamba_ssm.mamba_inner_fn(**inputs)


def test_a_device_without_autocast_is_told_as_one_that_nobody_serves() -> None:
    inputs = {name: None if x is None else x.to("meta") for name, x in inner_inputs(False, "BC").items()}
    with pytest.raises(UnavailableError, match="got device 'meta'"):
        mamba_ssm.mamba_inner_fn(**inputs)
    with pytest.raises(DTypeError, match=r"^`out_proj_weight` must have the dtype of `xz`"):
        mamba_ssm.mamba_inner_fn(**inputs | {"out_proj_weight": inputs["out_proj_weight"].half()})


def test_a_block_that_is_refused_leaves_other_gradients_alone() -> None:
    inputs = {name: None if x is None else x.to("meta") for name, x in inner_inputs(False, "BC").items()}
    inputs["xz"].requires_grad_()  # which has it computed again
    x = torch.ones(3, requires_grad=True)
    with pytest.raises(UnavailableError) as kept:
        mamba_ssm.mamba_inner_fn(**inputs)
    (found,) = torch.autograd.grad(x.exp().sum(), x)
    assert torch.equal(found, x.exp())
    assert kept.value.__traceback__ is not None  # with the frames of the call


def test_autocast_leaves_a_block_of_wide_inputs_whole() -> None:
    inputs = inner_inputs(False, "BC")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = mamba_ssm.mamba_inner_fn(**inputs)
    wide = mamba_ssm.mamba_inner_fn(**inputs)
    assert out.dtype == torch.bfloat16
    # The projections are those of bfloat16, of 8 bits, whose errors the scan and the output carry on.
    assert (out - wide).abs().max() < 2**-4 * wide.abs().max()


def test_what_is_computed_again_asks_the_backends_of_the_forward_pass() -> None:
    inputs = inner_inputs(False, "BC")
    leaf = inputs["xz"].requires_grad_()
    out = mamba_ssm.mamba_inner_fn(**inputs).square().sum()
    kept = mamba_ssm.mamba_inner_fn(**inputs, checkpoint_lvl=0).square().sum()
    (wanted,) = torch.autograd.grad(kept, leaf)
    # PyTorch calls the backward pass of a GPU in threads of its own, where no block holds.
    with ThreadPoolExecutor(1) as elsewhere:
        (found,) = elsewhere.submit(torch.autograd.grad, out, leaf).result()
    assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (mamba_ssm.mamba_inner_fn, inner_inputs(False, "BC") | {"checkpoint_lvl": 0}),
        (mamba_ssm.selective_state_update, pooled_step()),
    ],
    ids=["block", "step"],
)
def test_a_drop_in_is_one_graph(function: Any, inputs: dict[str, Any]) -> None:
    torch._dynamo.reset()
    calling._TRACED.__dict__.clear()
    again = {name: x.clone() if isinstance(x, torch.Tensor) else x for name, x in inputs.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        found = torch.compile(function, fullgraph=True, backend="eager")(**inputs)
    wanted = function(**again)
    # Another backend may serve a call that is traced: the same numbers to a few units of float32.
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    if "state" in inputs:
        torch.testing.assert_close(inputs["state"], again["state"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["D", "delta_bias"])
def test_a_complex_scan_with_a_number_a_channel_is_one_graph(name: str) -> None:
    A, B = torch.complex(-randn(4, 3).abs(), randn(4, 3)), randn(2, 3, 12)
    inputs = {"u": randn(2, 4, 6), "delta": randn(2, 4, 6).abs(), "A": A, "B": B, "C": B, name: randn(4)}
    torch._dynamo.reset()
    found = torch.compile(mamba_ssm.selective_scan_fn, fullgraph=True, backend="aot_eager")(**inputs)
    # Another backend may serve a call that is traced: the same numbers to a few units of float32.
    torch.testing.assert_close(found, mamba_ssm.selective_scan_fn(**inputs), rtol=1e-5, atol=1e-5)


def test_a_block_under_torch_func_is_differentiated() -> None:
    """What is computed again has hooks, which torch.func takes none of: there it is computed once."""
    inputs = inner_inputs(False, "BC")
    xz = inputs.pop("xz")
    assert xz is not None

    def loss(xz: torch.Tensor) -> torch.Tensor:
        return mamba_ssm.mamba_inner_fn(xz, **inputs).square().sum()

    leaf = xz.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(loss(leaf), leaf)
    assert torch.equal(torch.func.grad(loss)(xz), wanted)


@pytest.mark.parametrize("given", [torch.ones(2, 3, 12, dtype=torch.int64), torch.ones(()), torch.ones(12)])
def test_what_is_not_interleaved_reals_is_refused(given: torch.Tensor) -> None:
    A, u, C = torch.complex(-randn(4, 3).abs(), randn(4, 3)), randn(2, 4, 6), randn(2, 3, 12)
    with pytest.raises((ShapeError, DTypeError), match=r"^`B` must have"):
        mamba_ssm.selective_scan_fn(u, u, A, given, C)


def test_an_initial_state_is_not_made_floating() -> None:
    x, B = randn(1, 6, 2, 3), randn(1, 6, 1, 4)
    with pytest.raises(DTypeError, match=r"`initial_states` must have a floating dtype .*; got bool"):
        mamba_ssm.mamba_chunk_scan_combined(
            x,
            x[..., 0].abs(),
            -torch.ones(2),
            B,
            B,
            2,
            initial_states=torch.ones(1, 2, 3, 4, dtype=torch.bool),
        )


def test_autocast_of_a_block_is_one_graph() -> None:
    inputs = inner_inputs(False, "BC") | {"checkpoint_lvl": 0}
    inputs["out_proj_weight"] = inputs["out_proj_weight"].bfloat16()

    def block(**inputs: Any) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return mamba_ssm.mamba_inner_fn(**inputs)

    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        found = torch.compile(block, fullgraph=True, backend="eager")(**inputs)
    # The projections are those of bfloat16, of 8 bits, whose errors the scan and the output carry on.
    assert (found - block(**inputs)).abs().max() < 2**-4 * found.abs().max()


def test_a_refusal_of_a_step_may_be_caught_in_a_graph() -> None:
    def guarded(**inputs: Any) -> tuple[torch.Tensor, str]:
        try:
            return mamba_ssm.selective_state_update(**inputs), ""
        except DTypeError as error:
            return -inputs["x"], error.args[0]

    inputs = pooled_step() | {"dt_softplus": torch.tensor([True])}
    torch._dynamo.reset()
    found, told = torch.compile(guarded, fullgraph=True, backend="eager")(**inputs)
    assert told.startswith("`dt_softplus` must be True or False; got shape ")
    assert torch.equal(found, -inputs["x"])


@pytest.mark.parametrize("step", [mamba_ssm.selective_state_update, mamba_ssm.selective_state_update_ref])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_output_lies_as_x_does(step: Callable[..., torch.Tensor], rows: int, threads: int) -> None:
    """A model takes a view of it, as of mamba-ssm's."""
    h, p, n = 24, 64, 128
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for x in (torch.ones(rows, h, p), torch.ones(rows, p, h).transpose(1, 2)):
            dt = torch.ones(rows, 1, 3352)[..., -h:].transpose(1, 2).expand(-1, -1, p)
            A, D = torch.full((h, 1, 1), -1.0).expand(-1, p, n), torch.ones(h)[:, None].expand(-1, p)
            B, C = torch.ones(rows, 1, n), torch.ones(rows, 1, n)
            with torch.no_grad():
                y = step(torch.zeros(rows, h, p, n), x, dt, A, B, C, D, dt_bias=D, dt_softplus=True)
            assert y.stride() == x.stride()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("complex_", [False, True])
def test_a_block_in_16_bits_norms_its_matrices_in_32(complex_: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        name: x if x is None or x.is_complex() or name in ("A", "D", "delta_bias") else x.bfloat16()
        for name, x in inner_inputs(complex_, "BC").items()
    }
    given |= {"B_proj_bias": None, "C_proj_bias": None}
    width = 8 if complex_ else 4
    weight, seen = randn(width, seed=20), {}

    def scan(x: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, **rest: Any) -> Any:
        seen.update(x=x, B=B, C=C)
        return mamba_ssm.selective_scan_fn(x, delta, A, B, C, D, **rest)

    monkeypatch.setattr(mamba_ssm.inner, "selective_scan_fn", scan)
    mamba_ssm.mamba_inner_fn(**given, b_rms_weight=weight, checkpoint_lvl=0, b_c_dt_rms_eps=0.1)
    rows = torch.nn.functional.linear(seen["x"].mT, given["x_proj_weight"])
    wide = rows[..., 3 : 3 + width].float()
    B = (wide * (wide.square().mean(-1, keepdim=True) + 0.1).rsqrt() * weight).bfloat16()
    C = rows[..., -width:]
    if complex_:
        B, C = (torch.view_as_complex(x.float().unflatten(-1, (-1, 2))) for x in (B, C))
    assert torch.equal(seen["B"], B.mT)
    assert torch.equal(seen["C"], C.mT)
