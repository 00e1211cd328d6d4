"""One step of SSD on a pool: what a skipped row holds, and inputs that lie in the memory of the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import ssm_spec
from ssm_backends import ArgumentError, load

from .mamba_calls import randn

STEP = load("torch").implementations("ssd_update")[-1].fn
"""As it is registered where states are written in place."""
PLACES: dict[str, Callable[[Any], Any]] = {
    "x": lambda s: s[:2, :, :, 0],
    "z": lambda s: s[2:, :, 1],
    "dt": lambda s: s[1:3, :, 0, 0],
    "A": lambda s: s[3, :, 1, 1],
    "B": lambda s: s[:2, :1, 1],
    "C": lambda s: s[2:, 1:, 0],
    "D": lambda s: s[0, :, :, 1],
    "dt_bias": lambda s: s[1, :, 0, 1],
}
"""What is an input, of a state's memory, (4, 2, 2, 2): two rows, and as many states as channels and heads."""


def step_inputs(b: int) -> dict[str, Any]:
    sizes = {"x": (b, 2, 2), "z": (b, 2, 2), "dt": (b, 2), "B": (b, 1, 2), "C": (b, 1, 2), "D": (2, 2)}
    given = {name: randn(*size, seed=i) for i, (name, size) in enumerate(sizes.items())}
    given |= {"A": -randn(2, seed=6).abs(), "dt_bias": randn(2, seed=7), "state": randn(4, 2, 2, 2, seed=8)}
    return given | {"dt_softplus": True}


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("name", PLACES)
def test_a_step_reads_what_it_writes_over(name: str, pooled: bool) -> None:
    given, slots = step_inputs(2), torch.tensor([3, 0])
    memory = given["state"]
    given |= {"state_indices": slots} if pooled else {"state": memory[::2]}
    given[name] = PLACES[name](memory)
    exact = {key: x.double().numpy() if isinstance(x, torch.Tensor) else x for key, x in given.items()}
    if pooled:
        exact["state_indices"] = slots.numpy()
    y, state = ssm_spec.ssd_update(**exact)
    found, written = STEP(**given, inplace=True)
    assert written is given["state"]
    # Float32, two states: a few roundings of numbers of size one; what is read late is off by as much.
    np.testing.assert_allclose(found, y, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(given["state"], state, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("softplus", [False, True])
def test_a_skipped_row_takes_no_step_by_its_bias(softplus: bool) -> None:
    """By softplus(0), or by the bias alone, heads may grow beyond the range where those of no row do."""
    given = step_inputs(2) | {"dt_softplus": softplus, "A": torch.full((2,), 1e4), "dt_bias": torch.ones(2)}
    given["dt"] = torch.full((2, 2), -21.0 if softplus else -1 + 2.0**-20)
    wrt = [name for name, x in given.items() if isinstance(x, torch.Tensor)]
    gradients = []
    for rows in (slice(0, 2), slice(0, 1)):
        of_rows = {name: given[name][rows] for name in ("x", "dt", "B", "C", "z")}
        leaves = {name: (given | of_rows)[name].clone().requires_grad_() for name in wrt}
        y, _ = STEP(**given | leaves, state_indices=torch.tensor([1, -1])[rows])
        gradients.append(dict(zip(wrt, torch.autograd.grad(y.sum(), list(leaves.values())), strict=True)))
    for name in ("A", "D", "dt_bias"):
        assert torch.equal(gradients[0][name], gradients[1][name]), name
        assert gradients[0][name].isfinite().all()


@pytest.mark.parametrize("slots", [[0, 4], [0, -2], [1, 1]])
def test_slots_that_are_none_or_named_twice_are_refused(slots: list[int]) -> None:
    given = step_inputs(2)
    before = given["state"].clone()
    with pytest.raises(ArgumentError, match="`state_indices` must"):
        STEP(**given, state_indices=torch.tensor(slots), inplace=True)
    assert torch.equal(given["state"], before)


def test_a_state_whose_elements_share_memory_is_not_written() -> None:
    given = step_inputs(2)
    given["state"] = given["state"][:1].expand(2, 2, 2, 2)
    with pytest.raises(ArgumentError, match="`state`"):
        STEP(**given, inplace=True)
