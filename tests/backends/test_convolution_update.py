"""Both backends' step of the short convolution: of states in a pool, in place, and longer than is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ssm_backends import ArgumentError, Backend, NotSupportedError, NumpyArrays, Op, call, load
from ssm_conformance import assert_conforms
from ssm_torch import pools

from .conftest import Caller

OP = "causal_conv1d_update"
SIZES = [(4, 3), (4, 4), (3, 7), (1, 0), (1, 2)]
"""Taps, and inputs that a state holds."""


def step(w: int = 4, k: int = 4, rows: int = 4, states: int | None = None) -> dict[str, Any]:
    rng = np.random.default_rng(w + k)
    shapes = {
        "x": (rows, 3),
        "state": (rows if states is None else states, 3, k),
        "weight": (3, w),
        "bias": (3,),
    }
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()} | {"activation": "silu"}


@pytest.mark.parametrize(("w", "k"), SIZES)
def test_a_step_is_within_its_bound_and_shifts_the_state_by_one(run: Caller, w: int, k: int) -> None:
    given = step(w, k)
    y, state = run(OP, **given)
    assert_conforms(OP, (y, state), **given)
    line = np.concatenate([given["state"], given["x"][..., None]], axis=-1)
    np.testing.assert_array_equal(state, line[..., 1:])


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize(("w", "k"), SIZES)
def test_a_pool_is_stepped_where_it_is_told(run: Caller, w: int, k: int, index: str, inplace: bool) -> None:
    given, slots = step(w, k, states=7), np.array([5, -1, 0, 3], dtype=index)
    pool = given["state"]
    pool[1], given["x"][1] = np.nan, np.nan  # a slot that no row names, and a row that is skipped
    there = {name: run.take(x) for name, x in (given | {"state_indices": slots}).items()}
    fn = run.backend.implementations(OP)[-1].fn
    y, after = fn(**there, **({"inplace": True} if inplace else {}))
    assert (after is there["state"]) == inplace
    y, after = run.arrays.to_numpy(y), run.arrays.to_numpy(after)
    if not inplace:
        np.testing.assert_array_equal(run.arrays.to_numpy(there["state"]), pool)
    np.testing.assert_array_equal(after[[1, 2, 4, 6]], pool[[1, 2, 4, 6]])
    assert not y[1].any()
    kept = [0, 2, 3]
    alone, advanced = run(OP, **given | {"x": given["x"][kept], "state": pool[slots[kept]]})
    np.testing.assert_array_equal(y[kept], alone)
    np.testing.assert_array_equal(after[slots[kept]], advanced)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(("rows", "states"), [(0, 3), (0, 0), (2, 3), (2, 0)])
def test_a_step_that_serves_no_row_changes_nothing(
    run: Caller, rows: int, states: int, inplace: bool
) -> None:
    given = step(rows=rows, states=states) | {"state_indices": np.full(rows, -1)}
    before = given["state"].copy()
    y, state = run(OP, **given, inplace=inplace)
    np.testing.assert_array_equal(y, np.zeros((rows, 3)))
    np.testing.assert_array_equal(state, before)


@pytest.mark.parametrize(
    ("slot", "message"), [(4, "must lie in"), (-2, "must lie in"), (0, "must name each slot")]
)
def test_slots_that_are_none_or_named_twice_are_refused(run: Caller, slot: int, message: str) -> None:
    given = step(rows=2, states=4) | {"state_indices": np.array([0, slot])}
    with pytest.raises(ArgumentError, match=f"^`state_indices` {message}"):
        run(OP, **given)


def test_a_state_that_cannot_be_written_is_refused(run: Caller) -> None:
    given = {name: run.take(x) for name, x in step().items()}
    given["state"] = torch.zeros(3).expand(4, 4, 3).mT if run.backend.name == "torch" else given["state"]
    if run.backend.name == "numpy":
        given["state"].flags.writeable = False
    with pytest.raises(ArgumentError, match=r"^`state` must "):
        run.backend.implementations(OP)[-1].fn(**given, inplace=True)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("inplace", [False, True])
def test_of_a_half_state_only_x_is_rounded_and_y_reads_x_itself(
    half: torch.dtype, dtype: torch.dtype, inplace: bool
) -> None:
    given = {name: torch.from_numpy(x).to(dtype) if name != "activation" else x for name, x in step().items()}
    given["state"] = given["state"].to(half)
    before, wide = given["state"].clone(), torch.promote_types(dtype, torch.float32)
    y_wide, _ = call(load("torch"), OP, **given | {"state": before.to(wide)})
    y, state = call(load("torch"), OP, **given, inplace=inplace)
    assert (state is given["state"]) == inplace
    assert torch.equal(y, y_wide)
    assert torch.equal(state, torch.cat([before[..., 1:], given["x"].to(half)[..., None]], -1))


@pytest.mark.parametrize("other", [torch.bfloat16, torch.float16])
def test_autocast_leaves_a_pool_in_16_bits_as_it_is(other: torch.dtype) -> None:
    given = {name: torch.from_numpy(x) if name != "activation" else x for name, x in step().items()}
    given["state"] = given["state"].to(torch.bfloat16)
    given["state_indices"] = torch.arange(len(given["x"]))
    expected = call(load("torch"), OP, **given)
    with torch.autocast("cpu", dtype=other):
        found = call(load("torch"), OP, **given)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize(("w", "k"), SIZES)
@pytest.mark.parametrize("pooled", [False, True])
def test_the_gradient_is_the_slope(w: int, k: int, pooled: bool) -> None:
    given = step(w, k, rows=3, states=5 if pooled else 3)
    slots = {"state_indices": torch.tensor([4, -1, 0])} if pooled else {}
    fn = load("torch").implementations(OP)[1 if pooled else 0].fn
    names = ("x", "state", "weight", "bias")
    leaves = [torch.tensor(given[name].tolist(), dtype=torch.float64, requires_grad=True) for name in names]

    def outputs(*values: Any) -> Any:
        return fn(**dict(zip(names, values, strict=True)), activation="silu", **slots)

    assert torch.autograd.gradcheck(outputs, leaves)


@pytest.mark.parametrize("spoiled", ["x", "state", "bias"])
def test_a_row_that_is_skipped_has_no_part_in_a_gradient(spoiled: str) -> None:
    given = {
        name: torch.from_numpy(x) if name != "activation" else x for name, x in step(rows=2, states=2).items()
    }
    given[spoiled] = torch.full_like(given[spoiled], torch.inf)
    names = ("x", "state", "weight", "bias")
    leaves = [given[name].requires_grad_() for name in names]
    y, new = call(load("torch"), OP, **given, state_indices=torch.tensor([-1, -1]))
    found = dict(zip(names, torch.autograd.grad((y.sum() + 2 * new.sum()), leaves), strict=True))
    assert torch.equal(found.pop("state"), torch.full((2, 3, 4), 2.0).double())
    assert all(not gradient.any() for gradient in found.values())


@pytest.mark.parametrize("indices", [[2, -1, 0], [-1, 3, -1], [-1, -1, -1], [1, 0, 3]])
def test_a_pool_that_is_written_without_looking_at_its_slots_is_the_same(indices: list[int]) -> None:
    pool, advanced, slots = torch.randn(4, 3, 2), torch.randn(3, 3, 2), torch.tensor(indices)
    wanted = pools.after(pool, slots, advanced, inplace=False, differentiated=False)
    assert torch.equal(pool.index_copy(0, *pools.repeated(pool, slots, advanced)), wanted)


def test_what_a_backend_does_not_claim_is_refused_by_name() -> None:
    """A plugin that was written for states of as many inputs as are read is not asked for longer ones."""
    plugin = Backend(
        name="acme",
        version="1",
        arrays=NumpyArrays(),
        ops={OP: Op(lambda **inputs: None, dtypes=("float64",))},
    )
    assert call(plugin, OP, **step(4, 3)) is None
    for given, feature in (
        (step(4, 4), "long_state"),
        (step(4, 3) | {"inplace": True}, "inplace"),
        (step(4, 3) | {"state_indices": np.arange(4)}, "state_indices"),
        (step(4, 3) | {"state": step(4, 3)["state"].astype(np.float16)}, "half_state"),
    ):
        with pytest.raises(NotSupportedError, match=f"features not claimed: {feature}$"):
            call(plugin, OP, **given)
