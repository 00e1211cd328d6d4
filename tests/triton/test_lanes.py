"""The kernels in Gluon: compiled without a GPU, and on one compared with their plain twins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import triton

from ssm_triton import selective_scan
from ssm_triton._inputs import Inputs
from ssm_triton._lanes import FIRST_TRITON, SHARED_BYTES, lanes_fit
from ssm_triton._launch import run_forward
from ssm_triton._launch_backward import run_backward
from ssm_triton._plan import ForwardLanes, LanesPlan, backward_plan, forward_plan, lanes_plan

from .problems import problem, verdict

OLD = tuple(int(part) for part in triton.__version__.split(".")[:2]) < FIRST_TRITON

# For the capability named in its arguments: what the kernel needs, and whether a sum is left to atomics.
COMPILE = r"""
import json, re, sys
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.experimental.gluon._runtime import GluonASTSource
from ssm_triton._lanes_backward import backward_lanes
from ssm_triton._lanes_forward import forward_lanes

floats = "A D bias initial last saved decay messages dlast dB dC dA dD dbias dinitial".split()
streams = "u delta B C z y dy du ddelta dz".split()
kinds = {name: "*fp32" for name in floats} | {name: "*bf16" for name in streams}
fixed = dict(N=16, K=8, W=4, TIME=True, TIME_B=True, HAS_D=True, HAS_Z=True, HAS_BIAS=True, SOFTPLUS=True,
             INITIAL=True, SPLIT=True, LAST=True, SAVE=True)
for capability in map(int, sys.argv[1:]):
    for kernel in (forward_lanes, backward_lanes):
        names = kernel.arg_names
        constants = {name: fixed.get(name, 1) for name in names if name in fixed or name.endswith("_l")}
        signature = {name: "constexpr" if name in constants else kinds.get(name, "i32") for name in names}
        values = {(k,): constants[name] for k, name in enumerate(names) if name in constants}
        source = GluonASTSource(kernel, signature, values, {})
        built = compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 4})
        atomics = bool(re.search(r"\b(atom|red)[.]", built.asm["ptx"]))
        print(json.dumps({"shared": built.metadata.shared, "atomics": atomics}))
"""


@pytest.mark.skipif(OLD, reason="this Triton has no Gluon that names these layouts")
def test_compiles_without_a_gpu(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    run = subprocess.run(
        [sys.executable, "-c", COMPILE, "80", "90"], env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    built = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert len(built) == 4
    assert all(kernel["shared"] <= SHARED_BYTES and not kernel["atomics"] for kernel in built)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2048, 2049), (8, 2048, 2048), (2, 5120, 2048), (1, 24, 9)])
def test_plans_cover_time(shape: tuple[int, int, int]) -> None:
    b, d, length = shape
    A = torch.empty(d, 16, device="meta")
    B = torch.empty(b, 1, 16, length, device="meta")
    u = torch.empty(shape, device="meta")
    plan = lanes_plan(Inputs(u, u, A, B, B).shape)
    assert plan.segments * plan.segment >= length > (plan.segments - 1) * plan.segment
    assert plan.segment % plan.save == 0


def test_a_tensor_on_a_cpu_takes_the_plain_kernel() -> None:
    x = Inputs(*(torch.ones(1, 1, 1) for _ in range(2)), torch.ones(1, 16), *(torch.ones(1, 1, 16, 1),) * 2)
    assert not lanes_fit(x)


FEATURES: dict[str, dict[str, Any]] = {
    "typical": {"d": 70, "l": 100, "n": 16},
    "three states of sixteen unused, two groups": {"d": 96, "l": 37, "n": 13, "groups": (2, 3)},
    "one step": {"d": 5, "l": 1, "n": 9},
    "plain": {"d": 33, "l": 65, "n": 16, "plain": True},
}


@pytest.mark.skipif(not torch.cuda.is_available() or OLD, reason="Gluon runs on a GPU only")
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("name", FEATURES)
def test_within_the_bound(name: str, transposed: bool) -> None:
    call = problem("cuda", **FEATURES[name])
    if transposed:
        for key in ("u", "delta", "z", "B", "C"):
            if key in call:
                call[key] = call[key].transpose(-1, -2).contiguous().transpose(-1, -2)
    ratios = verdict(selective_scan, call)
    assert max(ratios.values()) <= 1, ratios


@pytest.mark.skipif(not torch.cuda.is_available() or OLD, reason="Gluon runs on a GPU only")
@pytest.mark.parametrize("K", [4, 8])
def test_forward_agrees_with_the_plain_twin(K: int) -> None:
    call = problem("cuda", d=70, l=300, n=13)
    softplus = call.pop("delta_softplus")
    x = Inputs(**call | {"B": call["B"][:, None], "C": call["C"][:, None]}, softplus=softplus)
    plain = run_forward(x, last=True, save=32, plan=forward_plan(x.shape))
    lanes = run_forward(x, last=True, save=32, plan=ForwardLanes(K, 2))
    for actual, expected in zip(lanes, plain, strict=True):
        # Two orders of float32 sums over sixteen states.
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available() or OLD, reason="Gluon runs on a GPU only")
@pytest.mark.parametrize("W", [2, 4])
@pytest.mark.parametrize("segment", [32, 96, 320])
def test_agrees_with_the_plain_twin(W: int, segment: int) -> None:
    call = problem("cuda", d=70, l=300, n=16)
    softplus = call.pop("delta_softplus")
    x = Inputs(**call | {"B": call["B"][:, None], "C": call["C"][:, None]}, softplus=softplus)
    assert lanes_fit(x)
    dy, dlast = torch.randn_like(x.u), torch.randn_like(call["initial_state"])
    _, _, saved = run_forward(x, last=True, save=32)
    assert saved is not None
    plain = run_backward(x, saved, dy, dlast, plan=backward_plan(x.shape))
    lanes = run_backward(x, saved, dy, dlast, plan=LanesPlan(16, W, -(-300 // segment), segment))
    for key, expected in plain.items():
        # Two orders of the same float32 sums: far under the error of a lost segment, which is of order 1.
        torch.testing.assert_close(lanes[key], expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
