"""A launch like one before goes to the compiled kernel; any other is Triton's to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ssm_triton import launching
from ssm_triton.launching import launch, without_sign

from .apart import printed

# The convolution, forward and backward, twice in all: what reaches the launcher of Triton's driver, with the
# address of a tensor in its place.
LAUNCHED = r"""
import json
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from ssm_triton._launch_convolution import run_backward, run_forward


class Launcher:
    def __init__(self, source, metadata):
        pass

    def __call__(self, x, y, z, stream, function, packed, metadata, enter, leave, *given):
        kinds = [type(one).__name__ for one in given]
        plain = [one.data_ptr() if isinstance(one, torch.Tensor) else one for one in given]
        print(json.dumps({"as": kinds, "given": [x, y, z, stream, function, packed, *plain]}))


class Utils:
    def load_binary(self, name, kernel, shared, device):
        return 1, id(kernel), 32, 0, 1024

    def get_device_properties(self, device):
        return {"max_shared_mem": 2**17}

    def unload_module(self, module):
        pass


class Driver:
    launcher_cls, utils = Launcher, Utils()

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 7

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)


driver.set_active(Driver())
x, weight, bias = torch.zeros(2, 64, 40), torch.zeros(64, 4), torch.zeros(64)
kept = []
for _ in range(2):
    y, last = run_forward(x, weight, bias, None, None, True, last=True)
    kept.append((y, last, run_backward(y, last, x, weight, bias, None, None, True)))
"""


class Compiled:
    """What Triton hands back of a launch, and what is done with it."""

    def __init__(self) -> None:
        self.launched: list[tuple[Any, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *given: self.launched.append((grid, *given))


class Kernel:
    """A kernel of two arrays, a number and two constants."""

    arg_names = ("x", "y", "count", "WIDE", "LOW")
    pre_run_hooks: tuple[Any, ...] = ()

    def __init__(self) -> None:
        self.looked_at: list[tuple[Any, ...]] = []
        self.compiled = Compiled()

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., Compiled]:
        def run(*given: Any, **constants: Any) -> Compiled:
            self.looked_at.append((grid, *given, constants))
            return self.compiled

        return run


@pytest.fixture(autouse=True)
def triton_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "JITFunction", Kernel)
    monkeypatch.setattr(launching, "CompiledKernel", Compiled)
    monkeypatch.setattr(launching, "_KNOWN", {})


def arrays(offset: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor | None]:
    return [torch.zeros(64, dtype=dtype)[offset:], None]


def test_a_launch_like_one_before_goes_to_the_compiled_kernel() -> None:
    kernel, (x, _), again = Kernel(), arrays(), arrays()
    launch(kernel, (3,), [x, None], [5], WIDE=True, LOW=0.0, num_warps=4)
    assert kernel.looked_at == [((3,), x, None, 5, {"WIDE": True, "LOW": 0.0, "num_warps": 4})]
    launch(kernel, (7, 2), again, iter([5]), WIDE=True, LOW=0.0, num_warps=4)
    assert len(kernel.looked_at) == 1
    assert again[0] is not None
    assert kernel.compiled.launched == [((7, 2, 1), again[0].data_ptr(), None, 5, True, 0.0)]


@pytest.mark.parametrize(
    "other",
    [
        {"numbers": [6]},
        {"tensors": arrays(offset=1)},
        {"tensors": arrays(dtype=torch.bfloat16)},
        {"tensors": [None, None]},
        {"WIDE": False},
        {"LOW": 1.0},
        {"num_warps": 8},
    ],
    ids=str,
)
def test_whatever_is_compiled_for_makes_another_launch(other: dict[str, Any]) -> None:
    kernel = Kernel()
    given = {"tensors": arrays(), "numbers": [5], "WIDE": True, "LOW": 0.0, "num_warps": 4}
    launch(kernel, (3,), **given)
    launch(kernel, (3,), **given | other)
    assert len(kernel.looked_at) == 2
    launch(Kernel(), (3,), **given)
    launch(kernel, (3,), **given | other)
    launch(kernel, (3,), **given)
    assert len(kernel.looked_at) == 2
    assert len(kernel.compiled.launched) == 2


def test_somebody_who_looks_on_is_shown_every_launch() -> None:
    kernel = Kernel()
    kernel.pre_run_hooks = (print,)
    for _ in range(2):
        launch(kernel, (3,), arrays(), [5], WIDE=True, LOW=0.0)
    assert len(kernel.looked_at) == 2


def test_where_triton_asks_for_a_tensors_memory_every_launch_is_tritons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else rows that reach past 2³¹ bytes would meet a kernel that was compiled for few of them."""
    monkeypatch.setattr(torch.version, "hip", "6.4")
    kernel = Kernel()
    for _ in range(2):
        launch(kernel, (3,), arrays(), [5], WIDE=True, LOW=0.0)
    assert len(kernel.looked_at) == 2


def test_no_more_launches_are_remembered_than_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "MOST", 3)
    kernel = Kernel()
    for number in range(10):
        launch(kernel, (3,), arrays(), [number], WIDE=True, LOW=0.0)
    assert 0 < len(launching._KNOWN) <= 3


def test_what_reaches_the_launcher_is_the_same_both_ways(tmp_path: Path) -> None:
    launches = printed(LAUNCHED, tmp_path)
    assert len(launches) == 6, "three kernels, twice"
    for first, again in zip(launches[:3], launches[3:], strict=True):
        where = [k for k, kind in enumerate(first["as"]) if kind == "Tensor"]
        assert len(where) >= 3
        assert [again["as"][k] for k in where] == ["int"] * len(where), "the second is ours"
        head = len(first["given"]) - len(first["as"])
        new = {head + k for k in where}  # other tensors, of the same alignment
        for k, (one, other) in enumerate(zip(first["given"], again["given"], strict=True)):
            assert (one % 16 == other % 16) if k in new else (one == other)


def test_a_zero_has_no_sign() -> None:
    assert [str(x) for x in without_sign((-0.0, 2, float("inf")))] == ["0.0", "2.0", "inf"]
