"""A step in place whose inputs lie in the state's memory: every backend reads all of them first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import ssm_spec
from ssm_backends import ArgumentError, load, mamba_ssm, use
from ssm_backends.writable import read_first

from .mamba_calls import randn

Place = Callable[[Any], Any]
"""What is an input, of the state's memory, (4, 3, 3): two rows, and as many states as channels."""

PLACES: dict[str, Place] = {
    "u": lambda s: s[:2, :, 2],
    "delta": lambda s: s[2:, 1],
    "z": lambda s: s[1:3, :, 0],
    "A": lambda s: s[1],
    "B": lambda s: s[:2, 0],
    "C": lambda s: s[2:, None, 1],
    "D": lambda s: s[0, :, 1],
    "delta_bias": lambda s: s[3, 2],
}


def step_inputs(pooled: bool) -> dict[str, Any]:
    given = {name: randn(2, 3, seed=i).numpy() for i, name in enumerate(("u", "delta", "z", "B", "C"))}
    given |= {"state": randn(4, 3, 3, seed=9).numpy(), "A": -randn(3, 3, seed=5).abs().numpy()}
    given |= {"D": randn(3, seed=6).numpy(), "delta_bias": randn(3, seed=7).numpy()}
    if pooled:
        return given | {"state_indices": np.array([1, 0])}
    return given | {"state": given["state"][::2]}


def taken(backend: str, given: dict[str, Any]) -> dict[str, Any]:
    """Arrays of the backend's library, those that share memory still sharing it."""
    if backend in ("numpy", "cpu of numpy", "the oracle"):
        return given
    return {name: torch.from_numpy(x) for name, x in given.items()}


BACKENDS = ["numpy", "cpu of numpy", "torch", "cpu", "the oracle"]


def fn_of(backend: str, op: str) -> Callable[..., Any]:
    if backend == "the oracle":
        exact: Callable[..., Any] = getattr(ssm_spec, op)
        return exact
    found: Callable[..., Any] = load(backend.split()[0]).implementations(op)[-1].fn
    return found


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_reads_what_it_writes_over(backend: str, name: str, pooled: bool) -> None:
    given = step_inputs(pooled)
    memory = given["state"] if pooled else given["state"].base
    given[name] = PLACES[name](memory)
    apart = {key: x.copy() for key, x in given.items()}
    y, state = fn_of("numpy", "selective_state_update")(**apart)
    there = taken(backend, given)
    found, written = fn_of(backend, "selective_state_update")(**there, inplace=True)
    assert written is there["state"]
    # Float32, three states: a few roundings of numbers of size one; what is read late is off by as much.
    np.testing.assert_allclose(found, y, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(given["state"], state, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", ["numpy", "cpu", "torch"])
def test_a_slot_in_the_memory_of_the_pool_is_read_first(backend: str) -> None:
    pool = np.zeros((70, 70, 4), np.int32)
    pool[-1, -1, :2] = [69, 3]
    given = {name: np.ones((2, 70), np.float32) for name in ("u", "delta")}
    given |= {name: np.ones((2, 4), np.float32) for name in "BC"} | {"A": -np.ones((70, 4), np.float32)}
    given |= {"state": pool.view(np.float32), "state_indices": pool[-1, -1, :2]}
    apart = {key: x.copy() for key, x in given.items()}
    y, state = fn_of("numpy", "selective_state_update")(**apart)
    found, _ = fn_of(backend, "selective_state_update")(**taken(backend, given), inplace=True)
    np.testing.assert_allclose(found, y, rtol=1e-6)  # sums of four terms of one sign
    np.testing.assert_allclose(given["state"], state, rtol=1e-6)


SHARED: dict[str, Place] = {
    "x": lambda s: s[2:, :, 1],
    "weight": lambda s: s[0],
    "bias": lambda s: s[1, 0],
}


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("backend", ["numpy", "torch", "the oracle"])
def test_a_step_of_the_convolution_reads_what_it_writes_over(backend: str, name: str, pooled: bool) -> None:
    memory = randn(4, 3, 3, seed=9).numpy()
    sizes = {"x": (2, 3), "weight": (3, 3), "bias": (3,)}
    given = {name: randn(*size, seed=len(size)).numpy() for name, size in sizes.items()}
    given |= {"state": memory, "state_indices": np.array([3, 0])} if pooled else {"state": memory[::2]}
    given[name] = SHARED[name](memory)
    apart = {key: x.copy() for key, x in given.items()}
    y, state = fn_of("numpy", "causal_conv1d_update")(**apart)
    there = taken(backend, given)
    found, written = fn_of(backend, "causal_conv1d_update")(**there, inplace=True)
    assert written is there["state"]
    np.testing.assert_allclose(found, y, rtol=1e-5, atol=1e-5)  # sums of four terms of size one
    np.testing.assert_array_equal(given["state"], state)


@pytest.mark.parametrize("heads", ["a view", "a copy"])
@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_a_drop_in_with_heads_reads_what_it_writes_over(backend: str, heads: str) -> None:
    memory = randn(2, 4, 3, 8)
    state = memory[:, :2] if heads == "a view" else memory.mT.reshape(2, 4, 3, 8)[:, ::2].transpose(1, 2)
    given = {"state": state} | {name: state[..., i] for i, name in enumerate(("x", "dt", "z"))}
    given |= {"A": -state[0].abs(), "B": state[:, 0, :1], "C": state[:, 0, 1:2], "D": state[0, ..., 3]}
    apart = {name: x.clone() for name, x in given.items()}
    with use(backend):
        found = mamba_ssm.selective_state_update(**given)
    with use("torch"):
        y = mamba_ssm.selective_state_update(**apart)
    torch.testing.assert_close(found, y)
    torch.testing.assert_close(given["state"], apart["state"])


@pytest.mark.parametrize("times", [None, torch.tensor([4, 0])])
@pytest.mark.parametrize("l", [1, 2])
def test_a_drop_in_of_the_convolution_reads_what_it_writes_over(l: int, times: torch.Tensor | None) -> None:
    memory = randn(4, 3, 3)
    given = {"x": memory[1:3, :, :l], "conv_state": memory[:2], "weight": memory[0], "bias": memory[1, :, 2]}
    apart = {name: x.clone() for name, x in given.items()}
    y = mamba_ssm.causal_conv1d_update(**apart, cache_seqlens=times)
    found = mamba_ssm.causal_conv1d_update(**given, cache_seqlens=times)
    torch.testing.assert_close(found, y)
    assert torch.equal(given["conv_state"], apart["conv_state"])


def test_final_states_over_what_was_filtered() -> None:
    x, weight = randn(2, 4, 6).mT.contiguous().mT, randn(4, 3)
    y, last = mamba_ssm.causal_conv1d_fn(x.clone(), weight, return_final_states=True)
    out = x[..., :2]
    found, written = mamba_ssm.causal_conv1d_fn(x, weight, return_final_states=True, final_states_out=out)
    assert torch.equal(found, y)
    assert written is out
    assert torch.equal(out, last)


def test_only_what_may_share_memory_is_copied() -> None:
    x = np.zeros((6, 4), np.float32)
    apart = [x[:2], x[4:], x[3::-1][2:], x[4:, ::-1], x[4:][::-1], None, np.zeros(3), x[:, :0][3:2]]
    assert all(one is other for one, other in zip(read_first(x[2:4], apart), apart, strict=True))
    assert read_first(x[:, 1], [x[:, 2]])[0].base is None  # their spans meet, and no element of theirs
    meets = [x[3::-1], x[:, 1], x[:3][::-1], x[1:3, ::-1], x[5::-2], x.view(np.int32)[3:, 3], x[1:, :1]]
    assert not any(one is other for one, other in zip(read_first(x[2:4], meets), meets, strict=True))
    tensors = torch.from_numpy(x)
    near = [tensors[:2], tensors[4:], tensors[4:, 1], tensors[:2, 3].expand(9, 2), tensors[4:4, 1]]
    assert all(one is other for one, other in zip(read_first(tensors[2:4], near), near, strict=True))
    met = [tensors[:, 1], tensors[3, 3], tensors[2:, :1], tensors[:3, 0], torch.from_numpy(x[2:4])]
    assert not any(one is other for one, other in zip(read_first(tensors[2:4], met), met, strict=True))
    woven, after = [tensors[4:, 0], tensors[5, 1:2]], [tensors[5, 2:], tensors[0, :1]]  # of a column
    assert not any(one is other for one, other in zip(read_first(tensors[:, 1], woven), woven, strict=True))
    assert all(one is other for one, other in zip(read_first(tensors[:, 1], after), after, strict=True))


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_a_state_of_inference_mode_is_written_only_there(backend: str) -> None:
    given = taken(backend, step_inputs(False))
    with torch.inference_mode():
        given["state"] = randn(2, 3, 3)
        fn_of(backend, "selective_state_update")(**given, inplace=True)
    before = given["state"].clone()
    with pytest.raises(ArgumentError, match=r"^`state` must be writable, .* made under torch.inference_mode"):
        fn_of(backend, "selective_state_update")(**given, inplace=True)
    assert torch.equal(given["state"], before)
    fn_of(backend, "selective_state_update")(**given)  # read it may be
    with torch.inference_mode():  # and what was made outside may be written here
        fn_of(backend, "selective_state_update")(**given | {"state": before}, inplace=True)


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_zeros_without_memory_are_read_and_not_written(backend: str) -> None:
    given = taken(backend, step_inputs(False))
    step, shape = fn_of(backend, "selective_state_update"), given["state"].shape
    zeros = given | {"state": torch._efficientzerotensor(shape)}
    with pytest.raises(ArgumentError, match=r"^`state` must be writable, .* zeros without memory"):
        step(**zeros, inplace=True)
    for found, expected in zip(step(**zeros), step(**given | {"state": torch.zeros(shape)}), strict=True):
        assert torch.equal(found, expected)


def test_drop_ins_refuse_a_state_of_inference_mode_by_their_name_of_it() -> None:
    with torch.inference_mode():
        states = {"conv_state": randn(2, 3, 3), "final_states_out": randn(2, 3, 2), "state": randn(2, 3, 3)}
    with pytest.raises(ArgumentError, match=r"^`conv_state` must be writable, "):
        mamba_ssm.causal_conv1d_update(randn(2, 3), states["conv_state"], randn(3, 3))
    with pytest.raises(ArgumentError, match=r"^`final_states_out` must be writable, "):
        mamba_ssm.causal_conv1d_fn(
            randn(2, 3, 4), randn(3, 3), return_final_states=True, final_states_out=states["final_states_out"]
        )
    streams = randn(2, 3), randn(2, 3), randn(3, 3), randn(2, 3), randn(2, 3)
    with pytest.raises(ArgumentError, match=r"^`state` must be writable, "):
        mamba_ssm.selective_state_update(states["state"], *streams)
