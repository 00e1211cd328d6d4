"""What the front door remembers of a call, and what a graph calls: never another call's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import ssm_backends
from ssm_backends import NotSupportedError, call, load, use
from ssm_backends.front import calling, choice, kinds

from .conftest import Install

CONVOLUTIONS = """
    from ssm_backends import Backend, Op, TorchArrays, hookimpl

    def single(x, weight, **inputs):
        return x + 1

    def double(x, weight, **inputs):
        return x + 2

    def step(x, state, weight, **inputs):
        return x, state

    @hookimpl
    def ssm_backend(device):
        return Backend(name="acme", version="0.3", arrays=TorchArrays(device), ops=dict(
            causal_conv1d=(Op(single, dtypes=("float32",), features=("compile",)),
                           Op(double, dtypes=("float64",), features=("compile",))),
            causal_conv1d_update=Op(step, dtypes=("float32",), features=("compile",))))
"""


@pytest.fixture(autouse=True)
def acme(install: Install) -> Iterator[None]:
    install(CONVOLUTIONS, name="acme")

    def forget() -> None:
        torch._dynamo.reset()
        calling._TRACED.__dict__.clear()
        choice._loaded.cache_clear()
        kinds._REMEMBERED.clear()

    forget()
    yield
    forget()


def test_operators_with_arguments_of_the_same_names_are_kept_apart() -> None:
    backend = load("torch", "cpu")
    for name in ("hippo_legs", "hippo_lagt", "hippo_fout"):
        found = getattr(ssm_backends, name)(4, backend="torch")
        for one, other in zip(found, call(backend, name, 4), strict=True):
            np.testing.assert_array_equal(one, other)


def test_arguments_alike_under_other_names_are_kept_apart() -> None:
    x = np.full((1, 2, 5), 0.5)
    inputs = {"u": x, "delta": x, "A": -np.ones((2, 3)), "B": np.ones((1, 3, 5)), "C": np.ones((1, 3, 5))}
    more = np.full(2, 0.25)
    backend = load("numpy", "cpu")
    for name in ("D", "delta_bias"):
        found = ssm_backends.selective_scan(**inputs, **{name: more}, backend="numpy")
        np.testing.assert_array_equal(found, call(backend, "selective_scan", **inputs, **{name: more}))


def test_so_many_kinds_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "MOST", 2)
    for n in (2, 3, 4, 5):
        assert len(ssm_backends.hippo_legs(n, backend="numpy")[1]) == n
        assert len(kinds._REMEMBERED) <= 2


def test_what_cannot_be_hashed_is_not_remembered() -> None:
    kind: kinds.Kind = ("selective_scan", [])
    kinds.remember(kind, (lambda: None, ()))
    assert kinds.recall(kind) is None


def test_two_ops_of_one_backend_are_one_graph() -> None:
    def both(x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> tuple[Any, Any]:
        one = ssm_backends.causal_conv1d(x, weight, backend="acme")
        return one, ssm_backends.causal_conv1d(y, weight.double(), backend="acme")

    given = torch.zeros(1, 2, 5), torch.zeros(1, 2, 5, dtype=torch.float64), torch.ones(2, 3)
    one, two = torch.compile(both, fullgraph=True, backend="eager")(*given)
    assert (one.unique().tolist(), two.unique().tolist()) == ([1.0], [2.0])


def test_a_feature_that_only_sizes_show_is_asked_for_in_a_graph_too() -> None:
    def step(x: torch.Tensor, state: torch.Tensor, weight: torch.Tensor) -> Any:
        return ssm_backends.causal_conv1d_update(x, state, weight)

    x, weight = torch.zeros(1, 2), torch.ones(2, 3)
    compiled = torch.compile(step, backend="eager")
    with use("acme"):
        assert torch.equal(compiled(x, torch.zeros(1, 2, 2), weight)[0], x)
        for function in (step, compiled):
            with pytest.raises(NotSupportedError, match=r"features not claimed: .*long_state"):
                function(x, torch.zeros(1, 2, 4), weight)
