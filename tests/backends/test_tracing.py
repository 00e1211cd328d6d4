"""A call in a graph that PyTorch traces is validated as any other, its sizes included."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ssm_backends
from ssm_backends import DTypeError, NotSupportedError, ShapeError

from .mamba_calls import randn

os.environ.setdefault("SSM_CPU_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"ssm_cpu_tests_{os.getuid()}"))


def front_door(op: str, backend: str = "torch") -> Callable[..., Any]:
    return lambda **inputs: getattr(ssm_backends, op)(**inputs, backend=backend)


def scan() -> dict[str, Any]:
    u, delta, B = randn(2, 6, 5), randn(2, 6, 5, seed=1), randn(2, 4, 5, seed=2)
    return {"u": u, "delta": delta, "A": -randn(6, 4, seed=3).exp(), "B": B, "C": B + 1}


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
    with pytest.raises(torch._dynamo.exc.Unsupported, match=rf"{error.__name__}.*{message}"):
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
