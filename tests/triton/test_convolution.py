"""The short convolution: values and gradients within the derived bound, at every edge of its tiles."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ssm_backends import ArgumentError, NotSupportedError
from ssm_conformance import assert_conforms
from ssm_triton import _launch_convolution, causal_conv1d, causal_conv1d_update, convolution_update
from ssm_triton.convolution import STEPS, convolution, convolution_backward

from .test_operator import Seen

LEAVES = ("x", "weight", "bias", "initial_state")


def problem(
    device: str,
    dtype: torch.dtype = torch.float32,
    *,
    b: int = 2,
    d: int = 5,
    l: int = 9,
    w: int = 4,
    plain: bool = False,
    packed: bool = False,
    channels_last: bool = False,
) -> dict[str, Any]:
    """Arguments of the convolution."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype).to(device)

    wide = torch.promote_types(dtype, torch.float32)
    x = draw(b, l, d).transpose(1, 2) if channels_last else draw(b, d, l)
    call: dict[str, Any] = {"x": x, "weight": draw(d, w)}
    if not plain:
        call |= {"bias": draw(d), "activation": "silu", "initial_state": draw(b, d, w - 1).to(wide)}
    if packed:
        starts = torch.rand((b, l), generator=generator) < 0.3
        call["seq_idx"] = (starts.cumsum(1) % 3).int().to(device)  # a number comes back
    return call


def judge(call: dict[str, Any]) -> None:
    """Hold outputs and every gradient to their bounds."""
    leaves = {k: v.requires_grad_() if k in LEAVES else v for k, v in call.items()}
    y, last = causal_conv1d(**leaves, return_last_state=True)
    assert y.stride() == call["x"].stride()
    cotangents = {
        "y": torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).reshape(y.shape),
        "last_state": torch.linspace(1, 2, last.numel(), dtype=last.dtype, device=y.device).reshape(
            last.shape
        ),
    }
    names = [k for k in leaves if k in LEAVES]
    gradients = torch.autograd.grad((y, last), [leaves[k] for k in names], list(cotangents.values()))
    assert_conforms(
        "causal_conv1d",
        {"y": y.detach(), "last_state": last.detach()},
        gradients=dict(zip(names, gradients, strict=True)),
        cotangents=cotangents,
        **{k: v.detach() if k in LEAVES else v for k, v in leaves.items()},
        return_last_state=True,
    )


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("w", [1, 2, 3, 4])
@pytest.mark.parametrize("l", [1, 3, 4, 17])
def test_filters_of_every_width_at_the_edges_of_four_steps(
    device: str, l: int, w: int, channels_last: bool
) -> None:
    judge(problem(device, l=l, w=w, channels_last=channels_last, packed=True))


@pytest.mark.parametrize("w", [2, 3, 4])
@pytest.mark.parametrize("l", [1, 5, 8, 9])
def test_the_edges_of_eight_steps_of_16_bits(device: str, l: int, w: int) -> None:
    judge(problem(device, torch.float16, l=l, w=w, packed=True))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("d", "l", "dtype", "channels_last"),
    # Programs of 512 steps, of 1024 in 16 bits; every second one ends one step after a tile.
    [
        (2, 1100, torch.float32, False),
        (2, 513, torch.float32, False),
        (1, 1100, torch.float16, False),
        (1, 1025, torch.float16, False),
        (65, 140, torch.float32, True),
        (65, 129, torch.float32, True),
    ],
)
def test_time_in_several_programs_and_tiles(
    device: str,
    monkeypatch: pytest.MonkeyPatch,
    d: int,
    l: int,
    dtype: torch.dtype,
    channels_last: bool,
    packed: bool,
) -> None:
    monkeypatch.setattr(_launch_convolution, "ENOUGH", 6)  # warps: a lane of channels walks on
    monkeypatch.setattr(_launch_convolution, "SHORT", 130)  # for more steps, four lanes walk through a tile
    options = {"plain": not packed, "packed": packed, "channels_last": channels_last}
    call = problem(device, dtype, l=l, d=d, b=1, **options)
    call["x"] = before_nothing(call["x"])
    judge(call)


def before_nothing(x: torch.Tensor) -> torch.Tensor:
    """The same numbers where they lay, with NaN in the memory after the last step."""
    room = x.new_full((x.numel() + 16 * max(x.stride()[1:]),), torch.nan)
    return room.as_strided(x.shape, x.stride()).copy_(x)


def test_in_double_precision(device: str) -> None:
    judge(problem(device, torch.float64, packed=True))


def test_inputs_of_any_strides(device: str) -> None:
    call = problem(device, d=6, l=10, packed=True)
    apart = {
        k: torch.stack([v, v + 7], -1)[..., 0] if isinstance(v, torch.Tensor) else v for k, v in call.items()
    }
    assert not apart["x"].is_contiguous()
    for found, wanted in zip(
        causal_conv1d(**apart, return_last_state=True),
        causal_conv1d(**call, return_last_state=True),
        strict=True,
    ):
        # Which operations become multiply-adds may depend on the strides a kernel is compiled for.
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_gradients_of_any_strides(device: str) -> None:
    call = problem(device)
    x = call["x"].requires_grad_()
    y = causal_conv1d(**call)
    (same,) = torch.autograd.grad(y.sum(), x, retain_graph=True)  # one number, seen at every place
    (wanted,) = torch.autograd.grad(y, x, torch.ones_like(y))
    torch.testing.assert_close(same, wanted, rtol=1e-6, atol=1e-6)  # the same sums, compiled twice


def test_steps_are_the_convolution(device: str) -> None:
    call = problem(device, torch.float64)
    y, last = causal_conv1d(**call, return_last_state=True)
    rest = {k: call[k] for k in ("weight", "bias", "activation")}
    state, outputs = call["initial_state"], []
    for x in call["x"].unbind(-1):
        out, state = causal_conv1d_update(x, state, **rest)
        outputs.append(out)
    # float64: four products, fused into multiply-adds otherwise.
    torch.testing.assert_close(torch.stack(outputs, -1), y, rtol=1e-14, atol=1e-14)
    assert torch.equal(state, last)


def test_a_state_without_a_gradient_to_come_gives_none(device: str) -> None:
    call = problem(device)
    x = call["x"].requires_grad_()
    y, last = causal_conv1d(**call, return_last_state=True)
    (alone,) = torch.autograd.grad(last.sum(), x, retain_graph=True)
    assert torch.equal(alone[..., -3:], torch.ones_like(alone[..., -3:]))
    assert not alone[..., :-3].any()
    (without,) = torch.autograd.grad(y.sum(), x)
    assert without.all()


def test_the_operators_keep_torchs_contract(device: str) -> None:
    call = problem(device, packed=True)
    arguments = (*(call[k] for k in LEAVES), call["seq_idx"], True, True)
    y, last = convolution(*arguments)
    cotangents = torch.ones_like(y), torch.ones_like(last)
    for check in ("test_schema", "test_faketensor"):
        torch.library.opcheck(convolution, arguments, test_utils=check)
        torch.library.opcheck(convolution_backward, (*cotangents, *arguments[:-1]), test_utils=check)


def test_a_mode_sees_the_operator_and_the_results_are_those_without(device: str) -> None:
    call = problem(device)
    step = {"state": call["initial_state"], **{k: call[k] for k in ("weight", "bias", "activation")}}
    plain = causal_conv1d(**call), *causal_conv1d_update(call["x"][..., 0], **step)
    with Seen() as seen:
        watched = causal_conv1d(**call), *causal_conv1d_update(call["x"][..., 0], **step)
    names = {"ssm_triton.convolution.default", "ssm_triton.convolution_step.default"}
    assert {name for name in seen.names if "ssm_triton" in name} == names
    assert all(map(torch.equal, plain, watched))


def test_a_second_derivative_is_refused_by_name(device: str) -> None:
    call = problem(device)
    x = call["x"].requires_grad_()
    (gradient,) = torch.autograd.grad(causal_conv1d(**call).square().sum(), x, create_graph=True)
    with pytest.raises(NotSupportedError, match=r"^causal_conv1d of this backend has one derivative"):
        gradient.sum().backward()


def test_a_longer_filter_is_refused_by_name(device: str) -> None:
    with pytest.raises(NotSupportedError, match=r"^`weight` must have at most 4 taps in causal_conv1d of"):
        causal_conv1d(**problem(device, w=5))
    call = problem(device, w=5)
    step = {"state": call["initial_state"], "weight": call["weight"]}
    with pytest.raises(
        NotSupportedError, match=r"^`weight` must have at most 4 taps in causal_conv1d_update"
    ):
        causal_conv1d_update(call["x"][..., 0], **step)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # NumPy's, and it is meant
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of inf · 0, the same
@pytest.mark.parametrize("channels_last", [False, True])
def test_what_would_overflow_beyond_either_end_is_in_no_gradient(device: str, channels_last: bool) -> None:
    """A tap of 1e30 would meet an input of 1e19 there, and there alone."""
    for taps, x, before in (([1e30, 1e-19], 1e19, 0.0), ([1e-19, 1e30], 0.0, 1e19)):
        call = problem(device, w=2, channels_last=channels_last)
        call["x"].fill_(0.0)[..., -1] = x
        call["weight"][:] = torch.tensor(taps, device=device)
        call["initial_state"].fill_(before)
        judge(call)


@pytest.mark.parametrize("slot", [5, -2])
def test_a_slot_that_nobody_looked_at_is_not_touched(
    device: str, slot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, weight = torch.randn(2, 6, device=device), torch.randn(6, 4, device=device)
    memory = torch.randn(9, 6, 3, device=device)
    pool, before = memory[3:8], memory.clone()
    slots = torch.tensor([slot, 1], device=device)
    if device == "cpu":
        with pytest.raises(ArgumentError, match=r"^`state_indices` must lie in -1\.\.4, the slots"):
            causal_conv1d_update(x, pool, weight, state_indices=slots, inplace=True)
    monkeypatch.setattr(convolution_update, "look_at_slots", lambda *_: None)
    y, after = causal_conv1d_update(x, pool, weight, state_indices=slots, inplace=True)
    expected, state = causal_conv1d_update(x, before[[4, 4]], weight)
    assert y[0].isnan().all()
    assert torch.equal(y[1], expected[1])
    assert torch.equal(after[1], state[1])
    others = [0, 1, 2, 3, 5, 6, 7, 8]
    assert torch.equal(memory[others], before[others])


def test_more_steps_than_32_bits_count_are_refused(device: str) -> None:
    x = torch.zeros(1, 1, 1, dtype=torch.float16, device=device).expand(1, 1, STEPS + 1)  # one number
    with pytest.raises(NotSupportedError, match=rf"^`x` must have at most {STEPS} steps in causal_conv1d of"):
        causal_conv1d(x, torch.zeros(1, 4, dtype=torch.float16, device=device))
