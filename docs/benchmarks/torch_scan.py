"""The scan of ssm_torch against its peers on a CPU.

python docs/benchmarks/torch_scan.py OUT.json [--threads N] [--repeats K]

The peers: mambapy's parallel scan, as docs/examples/ssm-mambapy wraps it, and a Python loop over time
through autograd, which is what a model gets that has nothing else. The loop's gradients take so long
(minutes at l = 2048) that they are timed once; everything else is a median, in turns. With one thread
the clock is that of the process, so that what else the machine does counts little.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from torch import Tensor

from ssm_backends import Backend, Op, TorchArrays, load
from ssm_conformance.bench.ceilings import Ceilings, measure
from ssm_conformance.bench.clock import Times
from ssm_conformance.bench.problem import CPU_SHAPES, Problem
from ssm_conformance.bench.results import as_data
from ssm_conformance.bench.rivals import Rival
from ssm_conformance.bench.run import Row

Clock = Callable[[], float]


def loop(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    delta_bias: Tensor,
    delta_softplus: bool,
) -> Tensor:
    """The recurrence as reference implementations write it: the decays and drives of all steps, then a loop.

    Each step reads its part of both, and autograd answers each read with a gradient of the whole size:
    the backward pass takes time in proportion to l².
    """
    assert delta_softplus
    step = torch.nn.functional.softplus(delta + delta_bias[:, None])
    decays = torch.exp(torch.einsum("bdl,dn->bdln", step, A))
    drives = torch.einsum("bdl,bnl->bdln", step * u, B)
    h = u.new_zeros((*u.shape[:2], A.shape[1]))
    outputs = []
    for t in range(u.shape[2]):
        h = decays[:, :, t] * h + drives[:, :, t]
        outputs.append(torch.einsum("bdn,bn->bd", h, C[:, :, t]))
    y = torch.stack(outputs, dim=-1) + D[:, None] * u
    return y * torch.nn.functional.silu(z)


def loop_backend() -> Backend:
    """The loop as a backend, for these problems alone."""
    op = Op(loop, dtypes=("float32",), gradients="all")
    return Backend(name="loop", version="0", arrays=TorchArrays("cpu"), ops={"selective_scan": op})


def rows(rivals: dict[str, Rival], repeats: int, clock: Clock, ceilings: Ceilings) -> Iterator[Row]:
    """Every problem, by everyone."""
    for shape in CPU_SHAPES:
        yield from _in_turns(Problem("forward", shape, "float32"), rivals, repeats, clock, ceilings)
    fast = {name: rival for name, rival in rivals.items() if name != "loop"}
    for shape in CPU_SHAPES:
        problem = Problem("both", shape, "float32")
        yield from _in_turns(problem, fast, repeats, clock, ceilings)
        yield from _in_turns(problem, {"loop": rivals["loop"]}, 1, clock, ceilings)


def _in_turns(
    problem: Problem, rivals: dict[str, Rival], repeats: int, clock: Clock, ceilings: Ceilings
) -> Iterator[Row]:
    calls = {name: rival.prepare(problem, 0) for name, rival in rivals.items()}
    peaks = {}
    if repeats > 1:  # a first call each, uncounted
        peaks = {name: rivals[name].arrays.peak_memory(call)[1].peak for name, call in calls.items()}
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = clock()
            call()
            found[name].append(clock() - start)
    floor = ceilings.floor(problem.bytes, problem.exponentials)
    for name, seconds in found.items():
        yield Row(problem, name, floor, Times(tuple(seconds)), peaks.get(name))


def main(arguments: Sequence[str]) -> None:
    """Run it, and keep what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    clock = process_time if options.threads == 1 else perf_counter
    backends = (load("torch", "cpu"), load("mambapy", "cpu"), loop_backend())
    rivals = {backend.name: Rival(backend, backend.adapters[0]) for backend in backends}
    ceilings = measure("cpu")
    data: dict[str, Any] = as_data(
        command=f"python docs/benchmarks/torch_scan.py OUT.json --threads {options.threads}",
        device="cpu",
        ceilings=ceilings,
        rivals=tuple(rivals.values()),
        absent={},
        rows=rows(rivals, options.repeats, clock, ceilings),
        growth={},
    )
    data |= {"threads": options.threads, "clock": clock.__name__}
    options.out.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
