"""A call in a graph that PyTorch traces is validated as any other, its sizes included."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import ssm_backends
from ssm_backends import OPERATORS, DTypeError, NotSupportedError, ShapeError, mamba_ssm
from ssm_backends._shapes import Sizes

from . import calls
from .mamba_calls import inner_inputs, pooled_step, randn

os.environ.setdefault("SSM_CPU_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"ssm_cpu_tests_{os.getuid()}"))


def front_door(op: str, backend: str = "torch") -> Callable[..., Any]:
    return lambda **inputs: getattr(ssm_backends, op)(**inputs, backend=backend)


def scan() -> dict[str, Any]:
    u, delta, B = randn(2, 6, 5), randn(2, 6, 5, seed=1), randn(2, 4, 5, seed=2)
    return {"u": u, "delta": delta, "A": -randn(6, 4, seed=3).exp(), "B": B, "C": B + 1}


def in_a_whole_graph(error: type[Exception], message: str) -> str:
    """What PyTorch says of a refusal where no part of a call may be left to Python.

    2.8 tells its type alone, and its words nowhere; 2.10 and later tell both.
    """
    return rf"{error.__name__}.*{message}" if torch.__version__ >= (2, 10) else rf"\({error.__name__}\)"


BAD: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "a size": (
        front_door("selective_scan"),
        scan() | {"B": randn(2, 3, 5)},
        ShapeError,
        r"`B` .*got \(2, 3, 5",
    ),
    "a size that broadcasts": (
        front_door("causal_conv1d"),
        {"x": randn(2, 4, 9), "weight": randn(1, 3)},
        ShapeError,
        r"`weight` must have shape .* d = 4 \(from `x`\); got \(1, 3\)",
    ),
    "groups": (
        front_door("selective_scan"),
        scan() | {"B": randn(2, 4, 4, 5)},
        ShapeError,
        "`B`: its number of groups g must divide d; got",
    ),
    "a rank": (
        front_door("selective_scan"),
        scan() | {"A": randn(6)},
        ShapeError,
        r"`A` must have shape \(d, n\); got \((6|\?),\)",
    ),
    "a dtype": (
        front_door("selective_scan"),
        scan() | {"B": randn(2, 4, 5).double()},
        DTypeError,
        "`B` must",
    ),
    "a flag": (
        front_door("selective_scan"),
        scan() | {"delta_softplus": None},
        DTypeError,
        "`delta_softplus`",
    ),
    "a claim": (
        front_door("selective_scan", "numpy"),
        scan(),
        NotSupportedError,
        "'numpy': it takes arrays of numpy",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_use_in_a_graph_is_told(name: str) -> None:
    judge_refused(*BAD[name])


@pytest.mark.parametrize(
    ("B", "error"), [(randn(2, 3, 5), ShapeError), (randn(2, 4, 5).double(), DTypeError)]
)
def test_bad_use_of_a_backends_own_function_is_told(B: torch.Tensor, error: type[Exception]) -> None:
    pytest.importorskip("llvmlite")
    from ssm_cpu import selective_scan  # needs its extra

    judge_refused(selective_scan, scan() | {"B": B}, error, "`B` must have")


def judge_refused(function: Any, inputs: dict[str, Any], error: type[Exception], message: str) -> None:
    torch._dynamo.reset()
    with pytest.raises(error, match=message):
        torch.compile(function, backend="eager")(**inputs)
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match=in_a_whole_graph(error, message)):
        torch.compile(function, backend="eager", fullgraph=True)(**inputs)


def test_a_size_that_changes_after_the_trace_is_told() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(ssm_backends.selective_scan, backend="eager", dynamic=True)
    assert compiled(**scan(), backend="torch").shape == (2, 6, 5)
    with pytest.raises(ShapeError, match=r"^`delta` must have shape .*; got \(2, 6, 4\)"):
        compiled(**scan() | {"delta": randn(2, 6, 4)}, backend="torch")


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of its own tracing
def test_a_rule_between_sizes_is_judged_by_the_sizes_there_are() -> None:
    b, l, h, p, n = 1, 3, 2, 3, 4
    q, v, one = randn(b, l, 1, n), randn(b, l, h, p), torch.ones(b, h, l)
    call = {"q": q, "k": q + 1, "v": v, "adt": -one, "dt": one, "trap": one}
    call |= {"q_bias": randn(h, n), "k_bias": randn(h, n), "angles": randn(b, l, h, 2)}
    torch._dynamo.reset()
    found = torch.compile(ssm_backends.mamba3_siso, backend="eager", fullgraph=True)(**call)
    assert torch.equal(found, ssm_backends.mamba3_siso(**call))


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of its own tracing
@pytest.mark.parametrize("op", [op for op, operator in OPERATORS.items() if operator.differentiable])
def test_every_operator_that_takes_tensors_is_one_graph(op: str) -> None:
    inputs = {
        name: randn(*x.shape, dtype=torch.float64) if isinstance(x, calls.Meta) else x
        for name, x in calls.call(OPERATORS[op]).items()
    }
    torch._dynamo.reset()
    found = torch.compile(front_door(op), backend="eager", fullgraph=True)(**inputs)
    torch.testing.assert_close(found, front_door(op)(**inputs), rtol=0, atol=0, equal_nan=True)


def kernel() -> dict[str, Any]:
    modes = {"A": -randn(3, 4).exp(), "B": randn(3, 4, seed=1), "C": randn(3, 4, seed=2)}
    return {"delta": torch.rand(3), **modes}


def step() -> dict[str, Any]:
    inputs = pooled_step()
    del inputs["state_batch_indices"]
    return inputs | {"state": inputs["state"][:2]}


def system() -> dict[str, Any]:
    return {"A": -torch.eye(2), "B": torch.ones(2, 1), "delta": torch.tensor(0.5)}


PLAIN: dict[str, tuple[Any, dict[str, Any], str, Any]] = {
    "a flag": (front_door("selective_scan"), scan(), "delta_softplus", True),
    "an integer": (front_door("s4d_kernel"), kernel(), "length", 3),
    "a number": (front_door("discretize_bilinear"), system(), "alpha", 0.75),
    "mamba-ssm's scan": (mamba_ssm.selective_scan_fn, scan(), "return_last_state", True),
    "its reference": (mamba_ssm.selective_scan_ref, scan(), "delta_softplus", True),
    "mamba-ssm's step": (mamba_ssm.selective_state_update, pooled_step(), "dt_softplus", True),
    "the step's reference": (mamba_ssm.selective_state_update_ref, step(), "dt_softplus", True),
    "mamba-ssm's block": (mamba_ssm.mamba_inner_fn, inner_inputs(False, "BC"), "delta_softplus", True),
}
"""Function, inputs, an argument that is no tensor, and its value."""
ONES: dict[str, Callable[[Any], Any]] = {
    "NumPy's, of no dimension": np.asarray,
    "a tensor of one": lambda value: torch.tensor([value]),
}


def fresh(inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs anew: a step writes its state."""
    return {name: x.clone() if torch.is_tensor(x) else x for name, x in inputs.items()}


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of its own tracing
@pytest.mark.parametrize("which", PLAIN)
def test_a_scalar_of_numpy_is_what_it_is_of_python_and_a_whole_graph_refuses_it(which: str) -> None:
    function, inputs, name, value = PLAIN[which]
    scalar = np.asarray(value)[()]
    assert isinstance(scalar, np.generic)
    torch._dynamo.reset()
    wanted = function(**fresh(inputs) | {name: value})
    for run in (function, torch.compile(function, backend="eager")):
        found = run(**fresh(inputs) | {name: scalar})
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    torch._dynamo.reset()
    message = rf"`{name}` must be a tensor, or a number .* in a graph; got one of NumPy's"
    with pytest.raises(torch._dynamo.exc.Unsupported, match=in_a_whole_graph(DTypeError, message)):
        torch.compile(function, backend="eager", fullgraph=True)(**fresh(inputs) | {name: scalar})


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of its own tracing
@pytest.mark.parametrize("one", ONES)
@pytest.mark.parametrize("which", PLAIN)
def test_an_array_of_one_element_is_no_number_and_no_flag(which: str, one: str) -> None:
    function, inputs, name, value = PLAIN[which]
    given = fresh(inputs) | {name: ONES[one](value)}
    torch._dynamo.reset()
    for run in (function, torch.compile(function, backend="eager")):
        with pytest.raises(DTypeError, match=rf"^`{name}` must be (True or False|an? \w+); got shape \("):
            run(**given)
    torch._dynamo.reset()
    said = in_a_whole_graph(DTypeError, f"`{name}` must be ")
    with pytest.raises(torch._dynamo.exc.Unsupported, match=said):
        torch.compile(function, backend="eager", fullgraph=True)(**given)


class Answer:
    """A comparison of open sizes, which a trace keeps: it may be asked whether it holds, and nothing else."""

    def __init__(self, holds: bool) -> None:
        self.holds = holds

    def __bool__(self) -> bool:
        return self.holds


class OpenSize(int):
    """A size that a compiler leaves open."""

    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        return Answer(super().__eq__(other))  # type: ignore[return-value]  # as PyTorch's open sizes do


def test_open_sizes_are_compared_and_no_more() -> None:
    sizes = Sizes({})
    sizes.match("u", "b d", (OpenSize(2), OpenSize(3)))
    sizes.match("z", "b d", (OpenSize(2), OpenSize(3)))
    with pytest.raises(ShapeError, match="d = 3"):
        sizes.match("delta", "b d", (OpenSize(2), OpenSize(4)))


@pytest.mark.parametrize(
    ("operator", "backend"), [("selective_scan", "cpu"), ("selective_scan", "torch"), ("ssd", "torch")]
)
def test_a_recording_may_leave_sizes_open(operator: str, backend: str) -> None:
    """An open size has no hash: such a kind of call is not remembered, and is served all the same."""

    def given(b: int, l: int) -> tuple[torch.Tensor, ...]:
        u, delta, B = torch.randn(b, 4, l), torch.rand(b, 4, l), torch.randn(b, 3, l)
        if operator == "selective_scan":
            return u, delta, -torch.rand(4, 3), B, B
        matrix = B.mT.unsqueeze(2)
        return u.mT.unsqueeze(-1), delta.mT, -torch.rand(4), matrix, matrix

    def served(*tensors: torch.Tensor) -> Any:
        return getattr(ssm_backends, operator)(*tensors, backend=backend)

    others = given(3, 9)
    with torch.no_grad():
        recorded = make_fx(served, tracing_mode="symbolic")(*given(2, 7))
        assert torch.equal(recorded(*others), served(*others))
