"""SSD in chunks, for what the suite does not put to it: how calls are cut, compilers, autocast, memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ssm_torch
from ssm_conformance import assert_conforms
from ssm_torch.duality import sizes

SHAPE = (3, 210, 4, 3, 2, 5)
"""b, l, h, p, g, n: three whole chunks and a rest."""


def problem(dtype: torch.dtype = torch.float64, **more: Any) -> dict[str, Any]:
    b, l, h, p, g, n = SHAPE
    torch.manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=dtype)

    index = torch.arange(l).div(70, rounding_mode="floor").expand(b, l).to(torch.int32)
    return {
        "x": draw(b, l, h, p),
        "dt": 0.5 * draw(b, l, h),
        "A": -torch.rand(h, dtype=dtype) - 0.1,
        "B": draw(b, l, g, n),
        "C": draw(b, l, g, n),
        "D": draw(h, p),
        "z": draw(b, l, h, p),
        "dt_bias": draw(h) - 2,
        "dt_softplus": True,
        "dt_limit": (0.01, 0.8),
        "initial_states": draw(b, h, p, n),
        "seq_idx": index,
        **more,
    }


def everything(inputs: dict[str, Any], function: Any = ssm_torch.ssd) -> list[Tensor]:
    """Both outputs, and every gradient."""
    leaves = {
        name: x.clone().requires_grad_()
        for name, x in inputs.items()
        if isinstance(x, Tensor) and x.is_floating_point()
    }
    y, final = function(**inputs | leaves, return_final_states=True)
    gradients = torch.autograd.grad([y, final], list(leaves.values()), [torch.sin(y), torch.cos(final)])
    return [y.detach(), final.detach(), *gradients]


@pytest.mark.parametrize("budget", [1, 3 * 4 * 64 * 64, 1 << 30])
def test_however_many_chunks_are_taken_together_it_conforms(
    budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sizes.TOGETHER, "cpu", budget)
    inputs = problem()
    y, final, *gradients = everything(inputs)
    names = [name for name, x in inputs.items() if isinstance(x, Tensor) and x.is_floating_point()]
    assert_conforms(
        "ssd",
        {"y": y, "final_states": final},
        gradients=dict(zip(names, gradients, strict=True)),
        cotangents={"y": torch.sin(y), "final_states": torch.cos(final)},
        arithmetic={"evaluation": "matmul_chunk", "chunk": sizes.CHUNK},
        **inputs,
        return_final_states=True,
    )


def test_a_chain_of_single_steps_conforms() -> None:
    inputs = problem(seq_idx=None)
    state, outputs = inputs["initial_states"], []
    fixed = {name: inputs[name] for name in ("A", "D", "dt_bias", "dt_softplus", "dt_limit")}
    for t in range(SHAPE[1]):
        now = {name: inputs[name][:, t] for name in ("x", "dt", "B", "C", "z")}
        y, state = ssm_torch.ssd_update(state, **now, **fixed)
        outputs.append(y)
    actual = {"y": torch.stack(outputs, 1), "final_states": state}
    assert_conforms(
        "ssd", actual, arithmetic={"evaluation": "sequential"}, **inputs, return_final_states=True
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiler_gives_the_same_bits(dtype: torch.dtype) -> None:
    inputs = problem(torch.float32)
    inputs |= {name: inputs[name].to(dtype) for name in ("x", "dt", "B", "C", "z")}
    compiled = torch.compile(ssm_torch.ssd, fullgraph=True, backend="aot_eager")
    for found, expected in zip(everything(inputs, compiled), everything(inputs), strict=True):
        assert torch.equal(found, expected)


def test_autocast_changes_nothing() -> None:
    expected = everything(problem(torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        found = everything(problem(torch.float32))
    assert [x.dtype for x in found] == [x.dtype for x in expected]
    assert all(torch.equal(x, other) for x, other in zip(found, expected, strict=True))


def test_only_the_states_between_chunks_are_kept() -> None:
    kept: list[int] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x.numel())
        return x

    b, l, h, p, _, n = SHAPE
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        inputs = problem()
        ssm_torch.ssd(**inputs | {"x": inputs["x"].requires_grad_()})
    given = sum(x.numel() for x in inputs.values() if isinstance(x, Tensor))
    assert sum(kept) == given + b * h * p * n * (sizes.chunks_of(l) + 1)


def test_a_second_derivative_is_refused() -> None:
    inputs = problem()
    x = inputs["x"].requires_grad_()
    (gradient,) = torch.autograd.grad(ssm_torch.ssd(**inputs).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        gradient.sum().backward()
