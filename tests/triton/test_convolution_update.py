"""The short convolution's step in one kernel: pools, in place, long states, and what autograd is told."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ssm_backends import ArgumentError, NotSupportedError, use
from ssm_backends.mamba_ssm import causal_conv1d_update as drop_in
from ssm_conformance import assert_conforms
from ssm_triton import causal_conv1d_update
from ssm_triton.convolution_update import KEPT, convolution_step, convolution_step_inplace

OP = "causal_conv1d_update"


def step(device: str, w: int = 4, k: int = 4, d: int = 70, states: int = 3) -> dict[str, Any]:
    """Three rows, whose channels are more than one program has."""
    generator = torch.Generator().manual_seed(w + k)
    shapes = {"x": (3, d), "state": (states, d, k), "weight": (d, w), "bias": (d,)}
    given = {name: torch.randn(shape, generator=generator).to(device) for name, shape in shapes.items()}
    return given | {"activation": "silu"}


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(("w", "k"), [(4, 3), (4, 4), (3, 9), (2, 1), (1, 0), (1, 2)])
def test_a_state_is_shifted_by_one_and_its_newest_inputs_are_read(
    device: str, w: int, k: int, inplace: bool
) -> None:
    given = step(device, w, k)
    before = given["state"].clone()
    y, state = causal_conv1d_update(**given, inplace=inplace)
    assert torch.equal(state, torch.cat([before, given["x"][..., None]], -1)[..., 1:])
    assert (state is given["state"]) == inplace
    assert_conforms(OP, (y, state), **given | {"state": before})


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_slots_of_a_pool(device: str, index: torch.dtype, inplace: bool) -> None:
    given = step(device, states=5)
    before = given["state"].clone()
    before[1, :, 0] = torch.nan  # the oldest of four, which three taps before the newest do not read
    given["state"].copy_(before)
    slots = torch.tensor([4, -1, 1], dtype=index, device=device)
    y, pool = causal_conv1d_update(**given, state_indices=slots, inplace=inplace)
    wanted = before.clone()
    wanted[[4, 1]] = torch.cat([before[[4, 1]], given["x"][[0, 2], :, None]], -1)[..., 1:]
    assert torch.equal(pool, wanted)
    assert torch.equal(y[1], torch.zeros_like(y[1]))
    assert y.isfinite().all()
    rows = {"x": given["x"][[0, 2]], "state": before[[4, 1]].nan_to_num()}
    assert torch.equal(y[[0, 2]], causal_conv1d_update(**given | rows)[0])


@pytest.mark.parametrize("inplace", [False, True])
def test_states_of_any_strides_and_of_x_s_own_sixteen_bits(device: str, inplace: bool) -> None:
    given = {k: v.half() if isinstance(v, torch.Tensor) else v for k, v in step(device).items()}
    before = given["state"].clone()
    given["state"] = before.permute(2, 0, 1).contiguous().permute(1, 2, 0)  # k is the slowest
    _, state = causal_conv1d_update(**given, inplace=inplace)
    assert state.dtype == torch.float16
    assert torch.equal(state, torch.cat([before, given["x"][..., None]], -1)[..., 1:])


def test_the_operators_keep_torchs_contract(device: str) -> None:
    given = step(device)
    slots = torch.tensor([2, -1, 0], device=device)
    rest = (given["x"], given["weight"], given["bias"], slots, True)
    for check in ("test_schema", "test_faketensor"):
        new = given["state"].clone()
        torch.library.opcheck(convolution_step, (given["state"], new, *rest), test_utils=check)
        torch.library.opcheck(convolution_step_inplace, (given["state"], *rest), test_utils=check)


def test_autograd_sees_that_a_state_was_written_over(device: str) -> None:
    given = step(device)
    factor = torch.ones(1, device=device, requires_grad=True)
    kept = factor * given["state"]
    with torch.no_grad():
        causal_conv1d_update(**given, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.sum().backward()


def test_a_state_that_is_too_long_is_refused_by_name(device: str) -> None:
    with pytest.raises(NotSupportedError, match=r"^`state` must hold at most 256 inputs in"):
        causal_conv1d_update(**step(device, k=KEPT + 1, d=2))


def test_a_gradient_that_there_is_not_is_refused_and_not_lost(device: str) -> None:
    given = step(device, k=5)
    given["x"].requires_grad_()
    with pytest.raises(NotSupportedError, match="has no gradient in place, of a pool, or of a state"):
        causal_conv1d_update(**given)
    with torch.no_grad():
        causal_conv1d_update(**given)


@pytest.mark.parametrize("k", [KEPT, KEPT + 1])
def test_the_drop_in_serves_longer_states_too(device: str, k: int) -> None:
    given = step(device, k=k, d=2)
    given["conv_state"] = state = given.pop("state")
    before = state.clone()
    with torch.no_grad(), use("triton", fallback="error"):
        y = drop_in(**given)
    assert torch.equal(state, torch.cat([before, given["x"][..., None]], -1)[..., 1:])
    assert_conforms(OP, (y, state), **{k: v for k, v in given.items() if k != "conv_state"}, state=before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would have to be waited for")
@pytest.mark.parametrize("slots", [[1, 1, 0], [1, 5, 0]])
def test_slots_that_are_none_are_refused_by_the_drop_in(device: str, slots: list[int]) -> None:
    given = step(device, states=5)
    given["conv_state"] = given.pop("state")
    with use("triton"), pytest.raises(ArgumentError, match=r"^`conv_state_indices` must"):
        drop_in(**given, conv_state_indices=torch.tensor(slots))


@pytest.mark.parametrize("name", ["x", "weight", "bias"])
def test_what_lies_in_the_pool_is_read_first(device: str, name: str) -> None:
    given = step(device, states=5) | {"state_indices": torch.tensor([3, 0, 1], device=device)}
    pool = given["state"]
    given[name] = {"x": pool[1:4, :, 1], "weight": pool[3], "bias": pool[3, :, 2]}[name]
    expected, state = causal_conv1d_update(**given)
    y, _ = causal_conv1d_update(**given, inplace=True)
    assert torch.equal(y, expected)
    assert torch.equal(pool, state)
