"""Mamba-2's scan: values and gradients within the derived bound, at every edge of its tiles and chunks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ssm_backends
import ssm_torch
from ssm_backends import ArgumentError, DTypeError, NotSupportedError
from ssm_conformance import assert_conforms
from ssm_triton import _dual_call, _launch_dual, _launch_dual_backward, ssd
from ssm_triton.ssd import duality, duality_backward

from .test_operator import Seen

OPTIONAL = ("D", "z", "dt_bias", "initial_states", "seq_idx")


def problem(
    device: str,
    dtype: torch.dtype = torch.float32,
    *,
    b: int = 2,
    l: int = 9,
    h: int = 2,
    p: int = 3,
    g: int = 1,
    n: int = 4,
    plain: bool = False,
    packed: bool = False,
) -> dict[str, Any]:
    """Arguments of the scan."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.promote_types(dtype, torch.float32)

    def draw(*shape: int, kind: torch.dtype = dtype) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator).to(kind).to(device)

    call: dict[str, Any] = {
        "x": draw(b, l, h, p),
        "dt": draw(b, l, h) * 0.5 + (0.7 if plain else 0),
        "A": -draw(h, kind=wide).abs() - 0.1,
        "B": draw(b, l, g, n),
        "C": draw(b, l, g, n),
    }
    if not plain:
        call |= {"D": draw(h, p, kind=wide), "z": draw(b, l, h, p), "dt_bias": draw(h, kind=wide) - 2}
        call |= {"dt_softplus": True, "dt_limit": (0.01, 0.8), "initial_states": draw(b, h, p, n, kind=wide)}
    if packed:
        starts = torch.rand((b, l), generator=generator) < 0.05
        call["seq_idx"] = (starts.cumsum(1) % 3).int().to(device)  # a number comes back
    return call


def leaves_of(call: dict[str, Any]) -> dict[str, Tensor]:
    return {
        name: x.detach().requires_grad_()
        for name, x in call.items()
        if isinstance(x, Tensor) and x.is_floating_point()
    }


def everything(call: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Outputs, their cotangents, gradients."""
    leaves = leaves_of(call)
    y, final = ssd(**call | leaves, return_final_states=True)
    cotangents = {"y": torch.sin(3 * y).detach(), "final_states": torch.cos(3 * final).detach()}
    gradients = torch.autograd.grad([y, final], list(leaves.values()), list(cotangents.values()))
    outputs = {"y": y.detach(), "final_states": final.detach()}
    return outputs, cotangents, dict(zip(leaves, gradients, strict=True))


def judge(call: dict[str, Any]) -> None:
    """Hold both outputs and every gradient to their bounds."""
    outputs, cotangents, gradients = everything(call)
    assert_conforms(
        "ssd",
        outputs,
        gradients=gradients,
        cotangents=cotangents,
        arithmetic={"evaluation": "matmul_chunk", "chunk": _dual_call.CHUNK},
        **call,
        return_final_states=True,
    )


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("l", [1, 63, 64, 65, 130])
def test_at_the_edges_of_chunks(device: str, l: int, packed: bool) -> None:
    judge(problem(device, l=l, b=1 + packed, packed=packed))


@pytest.mark.parametrize("n", [4, 70])
def test_sequences_that_begin_where_chunks_do(device: str, n: int) -> None:
    """Nothing is left of the state before: where a kernel has it at hand, and where it was written down."""
    call = problem(device, b=1, l=130, h=1, n=n)
    call["seq_idx"] = (torch.arange(130) // _dual_call.CHUNK).int()[None].to(device)
    judge(call)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_more_channels_and_states_than_a_tile(device: str, dtype: torch.dtype) -> None:
    judge(problem(device, dtype, b=1, l=70, p=66, n=70, h=2, g=2))


def test_nothing_that_may_be_left_out(device: str) -> None:
    judge(problem(device, l=70, h=4, g=2, plain=True))


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_heads_of_a_group_in_slices(device: str, monkeypatch: pytest.MonkeyPatch, slices: int) -> None:
    call = problem(device, b=1, h=5)
    monkeypatch.setattr(_launch_dual_backward, "MANY", slices)
    monkeypatch.setattr(_launch_dual_backward, "IN_SLICE", 1)
    judge(call)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("most", [0, 2, 5])
def test_segments_of_time_where_programs_are_few(
    device: str, monkeypatch: pytest.MonkeyPatch, most: int, packed: bool
) -> None:
    monkeypatch.setattr(_launch_dual, "_segments", lambda chunks, *_: _cut(chunks, most))
    judge(problem(device, b=1, h=1, l=270, packed=packed))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("most", [1, 2])
def test_outputs_by_a_kernel_of_their_own(
    device: str, monkeypatch: pytest.MonkeyPatch, most: int, packed: bool
) -> None:
    monkeypatch.setattr(_launch_dual, "AT_ONCE", {False: 0, True: 0})
    monkeypatch.setattr(_launch_dual, "_segments", lambda chunks, *_: _cut(chunks, most))
    judge(problem(device, b=1, l=150, packed=packed))


@pytest.mark.parametrize(
    ("dtype", "wide", "most"),
    [
        (torch.float32, (), 64),
        (torch.float16, (), 128),
        (torch.float16, ("B",), 64),
        (torch.float16, ("dt",), 128),
    ],
)
def test_where_the_outputs_are_made_with_the_state_at_hand(
    device: str, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, wide: tuple[str, ...], most: int
) -> None:
    made: list[int] = []
    own = _launch_dual._in_one
    monkeypatch.setattr(
        _launch_dual, "_in_one", lambda call, steps: made.append(call.sizes[4]) or own(call, steps)
    )
    for n in (most, most + 1):
        call = problem(device, dtype, b=1, l=1, h=1, n=n)
        ssd(**call | {name: call[name].float() for name in wide})
    assert made == [most]


def _cut(chunks: int, most: int) -> tuple[int, int]:
    each = -(-chunks // max(most, 1))
    return -(-chunks // each), each


@pytest.mark.parametrize(
    ("chunks", "programs", "most", "cut"),
    [
        (32, 48, 528, (8, 4)),  # b, l, h, p, n = (1, 2048, 24, 64, 128)
        (32, 24, 264, (8, 4)),
        (128, 16, 528, (16, 8)),  # (1, 8192, 8, 64, 128)
        (1024, 48, 528, (11, 94)),  # (1, 65536, 24, 64, 128)
        (1024, 24, 264, (11, 94)),
        (32, 320, 528, (1, 32)),  # (2, 2048, 80, 64, 128)
        (32, 256, 264, (1, 32)),  # (8, 2048, 32, 64, 128)
        (0, 2, 528, (1, 0)),
        (5, 0, 528, (3, 2)),
    ],
)
def test_the_rule_for_segments(chunks: int, programs: int, most: int, cut: tuple[int, int]) -> None:
    assert _launch_dual._segments(chunks, programs, most) == cut


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("p", "n"), [(16, 16), (32, 16), (64, 32), (20, 80)])
def test_every_size_of_a_state(device: str, p: int, n: int, plain: bool) -> None:
    """Of tiles of 16 and of 32 Triton made wrong kernels."""
    judge(problem(device, b=1, h=1, l=66, p=p, n=n, plain=plain))


@pytest.mark.parametrize("name", ["x", "B", "C"])
def test_gradients_where_one_input_has_strides_of_its_own(device: str, name: str) -> None:
    call = problem(device, h=3, l=37, plain=True)
    judge(call | {name: torch.stack([call[name], call[name] + 7], -1)[..., 0]})


def test_inputs_of_any_strides(device: str) -> None:
    call = problem(device, packed=True)
    wanted = everything(call)
    apart = {
        k: torch.stack([v, v + 7], -1)[..., 0] if isinstance(v, Tensor) and v.ndim > 1 else v
        for k, v in call.items()
    }
    assert not apart["x"].is_contiguous()
    y, final = ssd(**apart, return_final_states=True)
    # Which operations become multiply-adds may depend on the strides a kernel is compiled for.
    torch.testing.assert_close(y, wanted[0]["y"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(final, wanted[0]["final_states"], rtol=1e-5, atol=1e-5)


def test_gradients_of_any_strides(device: str) -> None:
    call = problem(device)
    leaves = leaves_of(call)
    y = ssd(**call | leaves)
    same = torch.autograd.grad(
        y.sum(), list(leaves.values()), retain_graph=True
    )  # one number, at every place
    wanted = torch.autograd.grad(y, list(leaves.values()), torch.ones_like(y))
    # The same sums, compiled twice.
    torch.testing.assert_close(same, wanted, rtol=1e-5, atol=1e-5)


def test_a_nan_stays_in_its_row_and_head(device: str) -> None:
    call = problem(device, l=70)
    call["x"][1, 5, 1, 2] = float("nan")
    y, final = ssd(**call, return_final_states=True)
    lost = y.isnan().any(-1).any(1)
    assert lost.tolist() == [[False, False], [False, True]]
    assert final.isnan().any(-1).any(-1).tolist() == lost.tolist()


@pytest.mark.parametrize("n", [4, 70])
def test_no_state_passes_a_reset_at_a_chunks_start_not_even_a_nan(device: str, n: int) -> None:
    call = problem(device, b=1, l=70, n=n)
    call["seq_idx"] = (torch.arange(70) >= 64).int()[None].to(device)
    call["x"][:, 5] = float("nan")
    y, final = ssd(**call, return_final_states=True)
    assert y[:, :64].isnan().any()
    assert not y[:, 64:].isnan().any()
    assert not final.isnan().any()


def test_no_nan_passes_a_reset_from_segment_to_segment(device: str) -> None:
    call = problem(device, b=1, h=1, l=513)
    assert _launch_dual._segments(9, 1, _launch_dual.RESIDENT) == (3, 3)
    call["seq_idx"] = (torch.arange(513) >= 256).int()[None].to(device)
    call["x"][:, 5] = float("nan")
    y, final = ssd(**call, return_final_states=True)
    assert y[:, 192:256].isnan().any()
    assert not y[:, 256:].isnan().any()
    assert not final.isnan().any()


FAR = 2**31 // 2 + 2**20
"""Between neighbours of three: the last lies further from the first than 32 bits count."""


@pytest.fixture(scope="module")
def near(device: str) -> tuple[dict[str, Any], Any]:
    """A call, and everything that it gives: each array is put far apart in turn."""
    call = problem(device, torch.float32, b=1, l=3, h=3, p=3, n=3, g=3, packed=True)
    return call, everything(call)


@pytest.mark.skipif(torch.cuda.is_available(), reason="memory that is not touched is taken all the same")
@pytest.mark.parametrize(
    ("name", "dim"),
    [
        *[(name, dim) for name in ("x", "z", "B", "C") for dim in (1, 2, 3)],
        *[("dt", 1), ("dt", 2), ("D", 0), ("D", 1), ("seq_idx", 1)],
        *[("initial_states", 1), ("initial_states", 2), ("initial_states", 3)],
    ],
)  # fmt: skip
def test_steps_and_heads_and_channels_far_apart(
    near: tuple[dict[str, Any], Any], name: str, dim: int
) -> None:
    call, wanted = near
    found = everything(call | {name: far_apart(call[name], dim)})
    for one, other in zip(wanted, found, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


def far_apart(x: Tensor, dim: int) -> Tensor:
    """The same numbers, with a dimension whose steps are very long."""
    inner = torch.empty([size for k, size in enumerate(x.shape) if k != dim])
    steps = list(inner.stride())
    steps.insert(dim, FAR)
    room = torch.empty(2 * FAR + inner.numel(), dtype=x.dtype)  # pages are taken when they are written
    return room.as_strided(x.shape, steps).copy_(x)


@pytest.mark.parametrize(("p", "l"), [(0, 5), (3, 0)])
def test_calls_without_channels_or_steps(device: str, p: int, l: int) -> None:
    call = problem(device, p=p, l=l)
    outputs, cotangents, gradients = everything(call)
    assert all(gradients[name].shape == call[name].shape for name in gradients)
    if l == 0:
        assert torch.equal(outputs["final_states"], call["initial_states"])
        assert torch.equal(gradients["initial_states"], cotangents["final_states"])
    assert not gradients["A"].any()


def test_the_inputs_alone_are_kept_for_the_backward_pass(device: str) -> None:
    kept: list[int] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x.numel())
        return x

    call = problem(device, l=130)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        ssd(**call | {"x": call["x"].requires_grad_()})
    given = sum(x.numel() for x in call.values() if isinstance(x, Tensor))
    assert sum(kept) == given


def test_the_operators_keep_torchs_contract(device: str) -> None:
    call = problem(device, packed=True)
    order = ("x", "dt", "A", "B", "C", *OPTIONAL)
    arguments = (*(call[k] for k in order), True, 0.01, 0.8)
    y, final = duality(*arguments)
    cotangents = torch.ones_like(y), torch.ones_like(final)
    for check in ("test_schema", "test_faketensor"):
        torch.library.opcheck(duality, arguments, test_utils=check)
        torch.library.opcheck(duality_backward, (*cotangents, *arguments), test_utils=check)


def test_a_mode_sees_the_operator_and_the_results_are_those_without(device: str) -> None:
    call = problem(device)
    plain = ssd(**call, return_final_states=True)
    with Seen() as seen:
        watched = ssd(**call, return_final_states=True)
    assert {name for name in seen.names if "ssm_triton" in name} == {"ssm_triton.ssd.default"}
    assert all(map(torch.equal, plain, watched))


def test_a_second_derivative_is_refused_by_name(device: str) -> None:
    call = problem(device)
    x = call["x"].requires_grad_()
    (gradient,) = torch.autograd.grad(ssd(**call).square().sum(), x, create_graph=True)
    with pytest.raises(NotSupportedError, match=r"^ssd of this backend has one derivative"):
        gradient.sum().backward()


def test_what_is_no_pair_is_told_as_it_was_given_in_a_graph_too(device: str) -> None:
    call = problem(device, plain=True) | {"dt_softplus": (3, 4)}
    torch._dynamo.reset()
    with pytest.raises(DTypeError, match=r"^`dt_softplus` must be True or False; got \(3, 4\)$"):
        torch.compile(ssd, backend="aot_eager")(**call)


@pytest.mark.parametrize("wide", [("A",), ("x", "dt", "A", "B", "C")])
def test_float64_is_refused_by_name_and_passed_over_by_the_front_door(
    device: str, wide: tuple[str, ...]
) -> None:
    call = problem(device, plain=True)
    call |= {name: call[name].double() for name in wide}
    with pytest.raises(NotSupportedError, match=r"^`x` and `A` must not be float64 in ssd.*torch\.float64$"):
        ssd(**call)
    with ssm_backends.use("triton", "torch", fallback="warn"), pytest.warns(match="float64"):
        y = ssm_backends.ssd(**call)
    assert torch.equal(y, ssm_torch.ssd(**call))


@pytest.mark.parametrize("limit", [(0.01, 0.5), (0.01, float("inf"))])
def test_a_graph_with_every_number_open_takes_limits(device: str, limit: tuple[float, float]) -> None:
    call = problem(device, plain=True) | {"dt_limit": limit}
    torch._dynamo.reset()
    traced = torch.compile(ssm_backends.ssd, fullgraph=True, dynamic=True, backend="aot_eager")
    direct = torch.compile(ssd, fullgraph=True, dynamic=True, backend="aot_eager")
    assert torch.equal(direct(**call), ssd(**call))
    assert torch.equal(traced(**call, backend="triton"), ssd(**call))
    with pytest.raises(ArgumentError, match=r"^`dt_limit` must be a pair \(low, high\) with low <= high"):
        torch.compile(ssd, dynamic=True, backend="aot_eager")(**call | {"dt_limit": (0.5, 0.25)})
