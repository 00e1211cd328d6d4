"""mamba-ssm's Mamba-2 block in one function: its signature, its stages, and what it refuses."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

import ssm_spec
from ssm_backends import (
    ArgumentError,
    DeviceError,
    DTypeError,
    FallbackWarning,
    NotSupportedError,
    ShapeError,
    mamba_ssm,
    use,
)
from ssm_backends.front import calling
from ssm_backends.mamba_ssm import split

from .mamba_calls import randn

B, L, H, P, G, N, W, M = 2, 9, 4, 3, 2, 5, 4, 7


@pytest.fixture(autouse=True)
def plain() -> Any:
    with use("torch"):
        yield


def block_inputs(dtype: torch.dtype = torch.float32, mlp: int = 0) -> dict[str, Any]:
    inner, convolved = H * P, H * P + 2 * G * N
    return {
        "zxbcdt": randn(B, L, 2 * mlp + inner + convolved + H, dtype=dtype),
        "conv1d_weight": randn(convolved, W, seed=1, dtype=dtype),
        "conv1d_bias": randn(convolved, seed=2, dtype=dtype),
        "dt_bias": randn(H, seed=3, dtype=dtype),
        "A": -randn(H, seed=4).abs(),
        "D": randn(H, seed=5, dtype=dtype),
        "chunk_size": 4,
        "rmsnorm_weight": randn(inner, seed=6, dtype=dtype),
        "outproj_weight": randn(M, mlp + inner, seed=7, dtype=dtype),
        "outproj_bias": randn(M, seed=8, dtype=dtype),
        "headdim": P,
        "ngroups": G,
    }


def silu(x: Any) -> Any:
    return x / (1 + np.exp(-x))


def stages(
    mlp: int, before: bool, *, conv1d_weight: Any, conv1d_bias: Any, zxbcdt: Any, **w: Any
) -> tuple[Any, Any]:
    """The block in NumPy, its convolution and its scan the oracle's."""
    inner, matrix = H * P, G * N
    ends = np.cumsum([mlp, mlp, inner, inner + 2 * matrix])
    gate, up, z, xBC, dt = np.split(zxbcdt, ends, axis=-1)
    xBC = ssm_spec.causal_conv1d(
        xBC.transpose(0, 2, 1), conv1d_weight, conv1d_bias, activation="silu", seq_idx=w["seq_idx"]
    ).transpose(0, 2, 1)
    x, B_, C = np.split(xBC, [inner, inner + matrix], axis=-1)
    z = z.reshape(B, L, H, P)
    normed = w["rmsnorm_weight"] is not None
    y, last = ssm_spec.ssd(
        x.reshape(B, L, H, P), dt, w["A"], B_.reshape(B, L, G, N), C.reshape(B, L, G, N), w["D"],
        None if normed else z, w["dt_bias"], True, (0.0, 1.5), True,
        initial_states=w["initial_states"], seq_idx=w["seq_idx"],
    )  # fmt: skip
    y, z = y.reshape(B, L, inner), z.reshape(B, L, inner)
    if normed:
        y = y if before else y * silu(z)
        groups = y.reshape(B, L, G, -1)
        y = (groups / np.sqrt((groups**2).mean(-1, keepdims=True) + 1e-3)).reshape(B, L, inner)
        y = y * w["rmsnorm_weight"]
        y = y * silu(z) if before else y
    y = np.concatenate([silu(gate) * up, y], axis=-1)
    if w["outproj_weight"] is not None:
        y = np.einsum("mf,blf->blm", w["outproj_weight"], y) + w["outproj_bias"]
    return y, last


@pytest.mark.parametrize("mlp", [0, 3])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("without", ["", "rmsnorm", "outproj"])
def test_the_block_is_its_stages(mlp: int, before: bool, packed: bool, without: str) -> None:
    given = block_inputs(torch.float64, mlp) | {"initial_states": randn(B, H, P, N, dtype=torch.float64)}
    for name in ("rmsnorm_weight", "outproj_weight", "outproj_bias"):
        if without and name.startswith(without):
            given[name] = None
    given["seq_idx"] = torch.tensor([[0] * 4 + [1] * 5, [2] * 9]) if packed else None
    out, last = mamba_ssm.mamba_split_conv1d_scan_combined(
        **given, dt_limit=(0.0, 1.5), return_final_states=True, rmsnorm_eps=1e-3, norm_before_gate=before
    )
    arrays = {name: x.numpy() if isinstance(x, torch.Tensor) else x for name, x in given.items()}
    wanted, wanted_last = stages(mlp, before, **arrays)
    # Sums of some tens of numbers: a thousand roundings of the largest are more than they can make.
    assert np.abs(out.numpy() - wanted).max() < 1000 * 2**-53 * np.abs(wanted).max()
    assert np.abs(last.numpy() - wanted_last).max() < 1000 * 2**-53 * np.abs(wanted_last).max()


@pytest.mark.parametrize("normed", [True, False])
def test_a_block_without_heads_projects_nothing(normed: bool) -> None:
    given = block_inputs() | {"dt_bias": randn(0), "A": randn(0), "D": randn(0)}
    given |= {"conv1d_weight": randn(2 * G * N, W), "conv1d_bias": None, "zxbcdt": randn(B, L, 2 * G * N)}
    given |= {"rmsnorm_weight": randn(0) if normed else None, "outproj_weight": randn(M, 0)}
    out, last = mamba_ssm.mamba_split_conv1d_scan_combined(**given, return_final_states=True)
    assert torch.equal(out, given["outproj_bias"].expand(B, L, M))
    assert last.shape == (B, 0, P, N)


def test_steps_that_fill_up_give_nothing_and_get_no_gradient() -> None:
    """As where the convolution is causal-conv1d's, which marks them by a negative seq_idx."""
    given = block_inputs(torch.float64) | {"outproj_bias": None}
    x = given.pop("zxbcdt").requires_grad_()
    packed = torch.tensor([[0] * 4 + [1] * 3 + [-1] * 2, [2] * 9], dtype=torch.int32)
    block = mamba_ssm.mamba_split_conv1d_scan_combined
    out, last = block(x, **given, seq_idx=packed, return_final_states=True)
    assert not out[0, 7:].any()
    assert not last[0].any()
    assert torch.equal(out[0, :7], block(x, **given, seq_idx=packed.abs())[0, :7])
    (dx,) = torch.autograd.grad(out.sum() + last.sum(), x)
    assert not dx[0, 7:].any()


def test_its_gradients_are_slopes() -> None:
    given = block_inputs(torch.float64, 1) | {"A": -torch.rand(H, dtype=torch.float64) - 0.5}
    names = [name for name, x in given.items() if isinstance(x, torch.Tensor)]
    leaves = [given[name].requires_grad_() for name in names]

    def block(*arrays: torch.Tensor) -> torch.Tensor:
        return mamba_ssm.mamba_split_conv1d_scan_combined(**given | dict(zip(names, arrays, strict=True)))

    assert torch.autograd.gradcheck(block, leaves, fast_mode=True)


def test_the_width_of_a_head_is_read_from_a_skip_for_each_channel() -> None:
    given = block_inputs()
    whole = mamba_ssm.mamba_split_conv1d_scan_combined(**given)
    wide = given | {"D": given["D"][:, None].expand(H, P), "headdim": None}
    found = mamba_ssm.mamba_split_conv1d_scan_combined(**wide)
    assert torch.equal(found, mamba_ssm.mamba_split_conv1d_scan_combined(**wide | {"headdim": P}))
    # The skip in another shape is added elsewhere: as many roundings as the sums of the projection have.
    assert (found - whole).abs().max() < 100 * 2**-24 * whole.abs().max()


def test_scalars_of_numpy_are_those_of_python() -> None:
    plain = block_inputs() | {"rmsnorm_eps": 0.5, "norm_before_gate": False}
    scalars = {"chunk_size": np.int64(4), "headdim": np.int32(P), "ngroups": np.int64(G)}
    scalars |= {"rmsnorm_eps": np.float32(0.5), "norm_before_gate": np.bool_(False)}
    block = mamba_ssm.mamba_split_conv1d_scan_combined
    assert torch.equal(block(**plain | scalars), block(**plain))


def test_bfloat16_is_rounded_between_the_stages_alone() -> None:
    given = block_inputs(torch.bfloat16)
    found = mamba_ssm.mamba_split_conv1d_scan_combined(**given)
    wide = {
        k: x.float() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for k, x in given.items()
    }
    wanted = mamba_ssm.mamba_split_conv1d_scan_combined(**wide)
    assert found.dtype == torch.bfloat16
    # Four stages of 8 bits, each of whose errors the next ones carry on.
    assert (found - wanted).abs().max() < 2**-4 * wanted.abs().max()


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_norm_and_a_gate_of_16_bits_are_rounded_once(dtype: torch.dtype, before: bool) -> None:
    y, z = randn(B, L, H * P).to(dtype), randn(B, L, H * P, seed=1).to(dtype)
    weight = randn(H * P, seed=2).to(dtype)
    found = split._normed(y, z, weight, 1e-3, G, before)
    wide = split._normed(y.float(), z.float(), weight.float(), 1e-3, G, before)
    assert torch.equal(found, wide.to(dtype))
    halves = randn(B, L, 6, seed=3).to(dtype)
    beside = split._beside(halves, y)
    assert torch.equal(beside, split._beside(halves.float(), y.float()).to(dtype))


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("mlp", [0, 2])
def test_it_is_one_graph(mlp: int, dynamic: bool) -> None:
    given = block_inputs(mlp=mlp)
    torch._dynamo.reset()
    calling._TRACED.__dict__.clear()
    function = mamba_ssm.mamba_split_conv1d_scan_combined
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        found = torch.compile(function, fullgraph=True, dynamic=dynamic, backend="eager")(**given)
    # Another backend may serve a call that is traced: the same numbers to a few units of float32.
    torch.testing.assert_close(found, function(**given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "given", "error", "message"),
    [
        ("zxbcdt", None, DTypeError, "`zxbcdt` must be a PyTorch tensor; got None"),
        ("zxbcdt", randn(B, L, 49), ShapeError, r"`zxbcdt` must have 48 columns, .*; got \(2, 9, 49\)"),
        ("zxbcdt", randn(B, L, 46), ShapeError, "`zxbcdt` must have 48 columns"),
        ("zxbcdt", randn(B, L, 48).double(), DTypeError, "`outproj_weight` must have the dtype of `zxbcdt`"),
        ("zxbcdt", randn(B, L, 48).int(), DTypeError, "`outproj_weight` must have the dtype of `zxbcdt`"),
        ("conv1d_weight", randn(33, W), ShapeError, r"`conv1d_bias` must have shape \(c,\) with c = 33"),
        ("conv1d_weight", randn(32, W).double(), DTypeError, "`conv1d_weight` must have .*`zxbcdt`"),
        ("dt_bias", randn(H + 1), ShapeError, r"`dt_bias` must have shape \(h,\) with h = 4"),
        ("dt_bias", None, DTypeError, "`dt_bias` must be a PyTorch tensor; got None"),
        ("A", randn(H).to("meta"), DeviceError, "`A` must be on the device of `zxbcdt`, cpu; got meta"),
        ("rmsnorm_weight", randn(H * P).to("meta"), DeviceError, "`rmsnorm_weight` must be on the device of"),
        ("outproj_weight", randn(M, H * P).to("meta"), DeviceError, "`outproj_weight` must be on the device"),
        ("initial_states", randn(B, H, P, N).to("meta"), DeviceError, "`initial_states` must be on the dev"),
        ("D", randn(H, P + 1), ShapeError, r"`D` must have shape \(h, p\) with p = 3 \(`headdim`\)"),
        ("headdim", None, ArgumentError, "`headdim` must be given where `D`"),
        ("headdim", 2.0, ArgumentError, "`headdim` must be a positive int; got 2.0"),
        ("headdim", 99, ShapeError, r"`conv1d_weight` must have 396 \+ 2 · 2 n rows, for 4 heads of 99"),
        ("ngroups", 0, ArgumentError, "`ngroups` must be a positive int; got 0"),
        ("ngroups", 5, ShapeError, "`ngroups`"),
        ("rmsnorm_weight", randn(H), ShapeError, r"`rmsnorm_weight` must have shape \(12,\); got \(4,\)"),
        ("rmsnorm_weight", torch.ones(12).int(), DTypeError, "`rmsnorm_weight` must have a real floating"),
        ("rmsnorm_eps", None, DTypeError, "`rmsnorm_eps` must be a number; got None"),
        ("outproj_weight", randn(M, 13), ShapeError, r"`outproj_weight` must have 12 columns; got \(7, 13\)"),
        ("outproj_weight", None, ArgumentError, "`outproj_bias` must be given with `outproj_weight` alone"),
        ("outproj_bias", randn(M + 1), ShapeError, r"`outproj_bias` must have shape \(m,\) with m = 7"),
        ("chunk_size", 0, ArgumentError, "`chunk_size` must be a positive int; got 0"),
        ("ngroups", True, ArgumentError, "`ngroups` must be a positive int; got True"),
        ("norm_before_gate", "yes", DTypeError, "`norm_before_gate` must be True or False; got 'yes'"),
        ("norm_before_gate", torch.ones(2), DTypeError, "`norm_before_gate` must be True or False; got tens"),
        ("activation", "gelu", ArgumentError, "`activation` must be"),
        ("seq_idx", torch.zeros(B, L), DTypeError, "`seq_idx` must have dtype int32"),
        ("initial_states", randn(B, H, P, 6), ShapeError, "`initial_states` must have shape"),
    ],
)
def test_bad_use_is_told_in_its_own_names(
    name: str, given: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}"):
        mamba_ssm.mamba_split_conv1d_scan_combined(**block_inputs() | {name: given})


def test_a_block_without_states_is_refused() -> None:
    given = block_inputs() | {"conv1d_weight": randn(H * P, W), "conv1d_bias": None}
    with pytest.raises(ShapeError, match=r"^`conv1d_weight` must have 12 \+ 2 · 2 n rows, .*; got \(12, 4\)"):
        mamba_ssm.mamba_split_conv1d_scan_combined(**given | {"zxbcdt": randn(B, L, 2 * H * P + H)})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's, of its own forward mode
def test_a_derivative_that_is_not_there_is_told_in_the_blocks_own_names() -> None:
    inputs = block_inputs()
    x = inputs.pop("zxbcdt")
    block = mamba_ssm.mamba_split_conv1d_scan_combined
    with pytest.raises(NotSupportedError, match=r"^`zxbcdt` must come without a tangent"):
        torch.func.jvp(lambda zxbcdt: block(zxbcdt, **inputs), (x,), (x,))
