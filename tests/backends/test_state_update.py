"""Both backends' single step: it is the scan's, and on a pool it touches only the slots it is told to."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from ssm_backends import ArgumentError, load
from ssm_backends.slots import check_slots
from ssm_backends.writable import check_writable

from .conftest import Caller
from .scans import UNPACKED, Variant, draw, floating, narrowed
from .test_selective_scan import close

STEPPED = [variant for variant in UNPACKED if variant.packing == "whole"]
PLAIN = Variant("varying", "whole", "euler", False)


def step(inputs: dict[str, Any], t: int, state: Any) -> dict[str, Any]:
    """The arguments of one step of a scan; a matrix that is constant in time is passed with g = d."""
    stepped = {name: x[..., t] if name in ("u", "delta", "z") else x for name, x in inputs.items()}
    del stepped["initial_state"]
    for name in ("B", "C"):
        x = inputs[name]
        stepped[name] = np.repeat(x[None], len(inputs["u"]), axis=0) if x.ndim == 2 else x[..., t]
    return stepped | {"state": state}


@pytest.mark.parametrize("variant", STEPPED, ids=str)
def test_steps_are_the_scan(run: Caller, variant: Variant) -> None:
    inputs = draw(variant)
    y, last_state = run("selective_scan", **inputs, return_last_state=True)
    state = inputs["initial_state"]
    for t in range(7):
        y_t, state = run("selective_state_update", **step(inputs, t, state))
        close(y_t, y[..., t])
    close(state, last_state)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("index", ["int32", "int64"])
def test_a_pool_is_stepped_where_it_is_told(run: Caller, inplace: bool, index: str) -> None:
    inputs = draw(PLAIN, b=4)
    slots = np.array([5, -1, 0, 3], dtype=index)
    pool = np.random.default_rng(1).standard_normal((7, 6, 3))
    pool[1] = np.nan
    given = step(inputs, 2, pool)
    given["u"][1] = np.nan  # a row that is skipped
    there = {name: run.take(x) for name, x in (given | {"state_indices": slots}).items()}
    fn = run.backend.implementations("selective_state_update")[-1].fn
    y, after = fn(**there, **({"inplace": True} if inplace else {}))
    assert (after is there["state"]) == inplace
    y, after = run.arrays.to_numpy(y), run.arrays.to_numpy(after)
    if not inplace:
        np.testing.assert_array_equal(run.arrays.to_numpy(there["state"]), pool)
    np.testing.assert_array_equal(after[[1, 2, 4, 6]], pool[[1, 2, 4, 6]])
    assert not y[1].any()
    kept = [0, 2, 3]
    rows = {name: x[kept] if name in ("u", "delta", "z", "B", "C") else x for name, x in given.items()}
    alone, advanced = run("selective_state_update", **rows | {"state": pool[slots[kept]]})
    close(y[kept], alone)
    close(after[slots[kept]], advanced)


def test_inplace_without_slots_writes_the_whole_state(run: Caller) -> None:
    inputs = draw(PLAIN)
    given = step(inputs, 0, inputs["initial_state"])
    y, state = run("selective_state_update", **given)
    there = {name: run.take(x) for name, x in given.items()}
    fn = run.backend.implementations("selective_state_update")[-1].fn
    y_inplace, written = fn(**there, inplace=True)
    assert written is there["state"]
    np.testing.assert_array_equal(run.arrays.to_numpy(written), state)
    np.testing.assert_array_equal(run.arrays.to_numpy(y_inplace), y)


def test_a_step_in_which_every_row_is_skipped(run: Caller) -> None:
    inputs = draw(PLAIN)
    given = step(inputs, 0, inputs["initial_state"]) | {"state_indices": np.array([-1, -1])}
    y, state = run("selective_state_update", **given)
    assert not y.any()
    np.testing.assert_array_equal(state, inputs["initial_state"])


@pytest.mark.parametrize("slot", [-2, 2])
def test_a_slot_outside_the_pool_is_refused(run: Caller, slot: int) -> None:
    inputs = draw(PLAIN)
    given = step(inputs, 0, inputs["initial_state"]) | {"state_indices": np.array([0, slot])}
    with pytest.raises(ArgumentError, match=r"^`state_indices` must lie in -1\.\.1, .*; got \[0, "):
        run("selective_state_update", **given)


@pytest.mark.parametrize("inplace", [False, True])
def test_two_rows_in_one_slot_are_refused(run: Caller, inplace: bool) -> None:
    inputs = draw(PLAIN)
    given = step(inputs, 0, inputs["initial_state"]) | {"state_indices": np.array([1, 1])}
    with pytest.raises(ArgumentError, match=r"^`state_indices` must name each slot at most once; got \[1, 1"):
        run("selective_state_update", **given, inplace=inplace)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("pooled", [False, True])
def test_a_half_state_is_widened_and_rounded_once(torch_run: Caller, dtype: str, pooled: bool) -> None:
    inputs = narrowed(draw(PLAIN), "float32")
    half = getattr(torch, dtype)
    given = {name: torch_run.take(x) for name, x in step(inputs, 0, inputs["initial_state"]).items()}
    given["state"] = given["state"].to(half)
    if pooled:
        given["state_indices"] = torch.tensor([1, 0])
    fn = torch_run.backend.implementations("selective_state_update")[0].fn
    y, state = fn(**given)
    y_wide, state_wide = fn(**given | {"state": given["state"].float()})
    assert torch.equal(y, y_wide)
    assert torch.equal(state, state_wide.to(half))


@pytest.mark.parametrize("variant", STEPPED, ids=str)
@pytest.mark.parametrize("pooled", [False, True])
def test_the_gradient_is_the_slope(torch_run: Caller, variant: Variant, pooled: bool) -> None:
    inputs = step(draw(variant), 3, draw(variant)["initial_state"])
    wrt = floating(inputs)
    slots = {"state_indices": torch.tensor([1, -1])} if pooled else {}
    fixed = {name: x for name, x in inputs.items() if name not in wrt} | slots
    fn = torch_run.backend.implementations("selective_state_update")[0].fn
    leaves = [torch_run.take(inputs[name]).requires_grad_() for name in wrt]

    def outputs(*values: Any) -> Any:
        return fn(**dict(zip(wrt, values, strict=True)), **fixed)

    assert torch.autograd.gradcheck(outputs, leaves, fast_mode=True)


@pytest.mark.parametrize("variant", STEPPED, ids=str)
@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize("slots", [0, 3])
def test_a_pool_that_serves_no_row_has_zero_gradients(
    torch_run: Caller, variant: Variant, rows: int, slots: int
) -> None:
    inputs = draw(variant)
    pool = np.resize(inputs["initial_state"], (slots, *inputs["initial_state"].shape[1:]))
    given = {name: torch_run.take(x) for name, x in step(inputs, 3, pool).items()}
    for name in ("u", "delta", "z", "B", "C"):
        given[name] = given[name][:rows] if name in given else None
    fn = torch_run.backend.implementations("selective_state_update")[0].fn
    leaves = {name: x.requires_grad_() for name, x in given.items() if isinstance(x, torch.Tensor)}
    y, state = fn(**given, state_indices=torch.full((rows,), -1))
    assert y.shape == (rows, 6)
    assert not y.any()
    assert state is not leaves["state"]
    assert torch.equal(state, leaves["state"])
    cotangents = [torch.ones_like(y), torch.full_like(state, 2.0)]
    found = torch.autograd.grad([y, state], list(leaves.values()), cotangents)
    gradients = dict(zip(leaves, found, strict=True))
    assert torch.equal(gradients.pop("state"), cotangents[1])
    for name, gradient in gradients.items():
        assert torch.equal(gradient, torch.zeros_like(leaves[name])), name


@pytest.mark.parametrize("softplus", [False, True])
def test_a_skipped_row_takes_no_step_by_its_bias(torch_run: Caller, softplus: bool) -> None:
    """By softplus(0), or by the bias alone, modes may grow beyond the range where those of no row do."""
    inputs = draw(PLAIN)
    given = step(inputs, 3, inputs["initial_state"]) | {"delta_softplus": softplus}
    given["A"] = np.full_like(given["A"], 1e4)
    given["delta_bias"] = np.ones_like(given["delta"][0])
    given["delta"] = np.full_like(given["delta"], -21.0 if softplus else -1 + 2.0**-20)
    wrt, cotangents = floating(given), {"y": np.ones_like(given["u"]), "state": np.zeros_like(given["state"])}
    slots = np.array([1, -1])
    found = torch_run.vjp("selective_state_update", cotangents, wrt, **given, state_indices=slots)
    alone = {name: x[:1] if name in ("u", "delta", "z", "B", "C") else x for name, x in given.items()}
    kept = {"y": cotangents["y"][:1], "state": cotangents["state"]}
    right = torch_run.vjp("selective_state_update", kept, wrt, **alone, state_indices=slots[:1])
    for name in ("A", "delta_bias", "D"):
        close(found[name], right[name])


@pytest.mark.parametrize("inplace", [False, True])
def test_a_pool_without_slots_stays_empty(run: Caller, inplace: bool) -> None:
    inputs = draw(PLAIN)
    given = step(inputs, 0, inputs["initial_state"][:0]) | {"state_indices": np.array([-1, -1])}
    y, state = run("selective_state_update", **given, inplace=inplace)
    assert y.shape == (2, 6)
    assert not y.any()
    assert state.shape == (0, 6, 3)


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_a_read_only_state_is_not_written(backend: str) -> None:
    inputs = draw(PLAIN)
    given = step(inputs, 0, inputs["initial_state"])
    fn = load(backend).implementations("selective_state_update")[-1].fn
    fn(**given | {"state": given["state"].copy()}, inplace=True)  # the same kind of call
    given["state"].flags.writeable = False
    before = given["state"].copy()
    with pytest.raises(
        ArgumentError, match=r"^`state` must be writable, to be written in place; got a read-"
    ):
        fn(**given, inplace=True)
    np.testing.assert_array_equal(given["state"], before)


def as_tensor(x: Any) -> Any:
    return torch.from_numpy(x) if isinstance(x, np.ndarray) else x


def sharing(state: torch.Tensor, strides: tuple[int, ...]) -> torch.Tensor:
    return torch.zeros(99, dtype=state.dtype).as_strided(state.shape, strides)


@pytest.mark.parametrize("backend", ["torch", "cpu"])
@pytest.mark.parametrize("strides", [(0, 4, 1), (3, 4, 1), (1, 1, 2), (2, 3, 8)])
def test_a_state_whose_elements_share_memory_is_not_written(backend: str, strides: tuple[int, ...]) -> None:
    inputs = draw(PLAIN)
    given = {name: as_tensor(x) for name, x in step(inputs, 0, inputs["initial_state"]).items()}
    given["state"] = sharing(given["state"], strides)
    fn = load(backend).implementations("selective_state_update")[-1].fn
    with pytest.raises(ArgumentError, match=r"^`state` must have a place in memory for each .*; got strides"):
        fn(**given, inplace=True)


@pytest.mark.parametrize(
    ("shape", "strides", "shared"),
    [
        ((2, 3), (3, 1), False),
        ((3, 2), (2, 3), False),  # 0 3 2 5 4 7: woven, and apart
        ((4, 2), (2, 3), False),
        ((2, 3, 2), (1, 5, 7), False),
        ((4, 2), (2, 4), True),
        ((3, 1), (1, 0), False),
        ((0, 3), (0, 0), False),
        ((3, 3), (-3, -1), False),
    ],
)
def test_what_shares_memory(shape: tuple[int, ...], strides: tuple[int, ...], shared: bool) -> None:
    base = np.zeros(64, np.float32)[30:]
    x = np.lib.stride_tricks.as_strided(base, shape, [4 * stride for stride in strides])
    with pytest.raises(ArgumentError, match=r"^`x` must have a place") if shared else nullcontext():
        check_writable("x", x)


def test_elements_that_share_some_bytes_share_memory() -> None:
    x = np.lib.stride_tricks.as_strided(np.zeros(8, np.float32), (3,), (2,))
    with pytest.raises(ArgumentError, match=r"^`x` must have a place in memory .*; got strides \(2,\)"):
        check_writable("x", x)
    x = np.lib.stride_tricks.as_strided(np.zeros(8, np.float32), (2, 2), (8, 6))  # at 0 6 8 14
    with pytest.raises(ArgumentError, match=r"^`x` must have a place in memory .*; got strides \(8, 6\)"):
        check_writable("x", x)


def test_rows_that_need_no_slot_have_none() -> None:
    for indices in ([], [-1, -1]):
        check_slots(indices, 0)
    with pytest.raises(ArgumentError, match=r"^`state_indices` must lie in -1\.\.-1"):
        check_slots([-1, 0], 0)
