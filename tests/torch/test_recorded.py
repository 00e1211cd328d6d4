"""What make_fx and torch.jit record: the host looks at no number of a tensor that a trace follows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from ssm_backends import ArgumentError
from ssm_torch import discretize_bilinear, selective_state_update

from .problems import same_bits, step, system

Function = Callable[..., Any]


def recorded(function: Function, inputs: dict[str, Any], how: str) -> Function:
    """A function as make_fx, or torch.jit.trace, records it, of tensors by name."""
    tensors = {name: x for name, x in inputs.items() if torch.is_tensor(x)}
    rest = {name: x for name, x in inputs.items() if name not in tensors}

    def of(*given: Tensor) -> Any:
        return function(**rest, **dict(zip(tensors, given, strict=True)))

    copies = tuple(x.clone() for x in tensors.values())
    if how == "torch.jit":
        graph: Any = torch.jit.trace(of, copies, check_trace=False)
    else:
        graph = make_fx(of, tracing_mode=how)(*copies)
    return lambda **given: graph(*(given[name] for name in tensors))


RECORDED = pytest.mark.parametrize("how", ["fake", "symbolic", "real", "torch.jit"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")  # of the trace
@RECORDED
@pytest.mark.parametrize("inplace", [False, True])
def test_a_pool_is_recorded_whichever_rows_are_skipped(how: str, inplace: bool) -> None:
    traced = recorded(selective_state_update, step([5, 1, 0], 6, inplace=inplace), how)
    for slots in ([2, -1, 0], [-1, -1, -1], [3, 4, 5]):
        inputs = step(slots, 6, inplace=inplace)
        pool = inputs["state"].clone()
        eager = selective_state_update(**inputs | {"state": pool})
        assert same_bits(traced(**inputs), eager)
        assert torch.equal(inputs["state"], pool)
    with pytest.raises((ArgumentError, RuntimeError), match=r"`state_indices` must lie in -1\.\.5"):
        traced(**step([6, 0, 1], 6, inplace=inplace))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")  # of the trace
@RECORDED
def test_a_singular_step_is_refused_from_a_record(how: str) -> None:
    inputs = system((), 2, True, torch.float32)
    traced = recorded(discretize_bilinear, inputs, how)
    assert same_bits(traced(**inputs), discretize_bilinear(**inputs))
    with pytest.raises((ArgumentError, RuntimeError), match="`delta` must leave I − αΔA invertible"):
        traced(**inputs | {"A": torch.tensor([2.0, -1.0]), "delta": torch.tensor(1.0)})


def test_slots_without_numbers_are_not_looked_at() -> None:
    inputs = step([5, 1, -1], 6)
    with FakeTensorMode() as mode:
        fakes = {name: mode.from_tensor(x) if torch.is_tensor(x) else x for name, x in inputs.items()}
    for within in (nullcontext(), mode):
        with within:
            y, pool = selective_state_update(**fakes)
        assert (y.shape, pool.shape) == ((3, 6), inputs["state"].shape)
