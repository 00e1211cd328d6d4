"""What a call costs the host of a GPU: the front door and the drop-ins, beside mamba-ssm's functions.

python docs/benchmarks/gpu_host.py OUT.json

Microseconds from call to call, the GPU not waited for, which has less to do: one row, 1536 channels or 24
heads of 64, 128 steps, streams in bfloat16, as in layers of d_model 768. Medians of nine loops. Forward is
under no_grad. Both passes are twelve calls in one graph, one backward pass and a twelfth of the time; beside
them a `torch.autograd.Function` of as many tensors that computes nothing. The peer's are those that can be
imported.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from triton_scan import found  # beside this script

import ssm_backends
from ssm_backends import mamba_ssm
from ssm_conformance.engine.environment import environment

D_INNER, STATES, HEADS, WIDTH, LENGTH, TAPS = 1536, 16, 24, 64, 128, 4
LAYERS = 12
LOOPS = 9

Make = Callable[..., Tensor]
Call = Callable[[], Any]


def maker() -> Make:
    """Normal numbers on the GPU, of bfloat16 unless said."""
    generator = torch.Generator("cuda").manual_seed(0)

    def draw(*size: int, kind: torch.dtype = torch.bfloat16) -> Tensor:
        return torch.randn(size, generator=generator, device="cuda").to(kind)

    return draw


def scan(draw: Make) -> dict[str, Tensor]:
    """The arguments of a selective scan, as the drop-in takes them."""
    wide = torch.float32
    streams = {name: draw(1, D_INNER, LENGTH) for name in ("u", "delta", "z")}
    matrices = {name: draw(1, 1, STATES, LENGTH) for name in ("B", "C")}
    rates = {"A": -draw(D_INNER, STATES, kind=wide).exp()}
    return streams | rates | matrices | {name: draw(D_INNER, kind=wide) for name in ("D", "delta_bias")}


def convolution(draw: Make) -> dict[str, Tensor]:
    """The same of a short convolution."""
    return {"x": draw(1, D_INNER, LENGTH), "weight": draw(D_INNER, TAPS), "bias": draw(D_INNER)}


def duality(draw: Make) -> dict[str, Tensor]:
    """The same of Mamba-2's scan."""
    wide = torch.float32
    streams = {"x": draw(1, LENGTH, HEADS, WIDTH), "dt": draw(1, LENGTH, HEADS)}
    rates = {"A": -draw(HEADS, kind=wide).exp()}
    matrices = {name: draw(1, LENGTH, 1, 128) for name in ("B", "C")}
    return streams | rates | matrices | {name: draw(HEADS, kind=wide) for name in ("D", "dt_bias")}


def step(draw: Make) -> dict[str, Tensor]:
    """The same of a decode step of channels."""
    wide = torch.float32
    given = {"state": draw(1, D_INNER, STATES, kind=wide)}
    given |= {name: draw(1, D_INNER) for name in ("x", "dt", "z")}
    given |= {"A": -draw(D_INNER, STATES, kind=wide).exp(), "B": draw(1, STATES), "C": draw(1, STATES)}
    return given | {name: draw(D_INNER, kind=wide) for name in ("D", "dt_bias")}


def heads_step(draw: Make) -> dict[str, Tensor]:
    """The same of a step of heads: what belongs to a head is repeated by a stride of zero."""
    wide, each = torch.float32, (1, HEADS, WIDTH)
    given = {"state": draw(*each, 128, kind=wide), "x": draw(*each), "z": draw(*each)}
    given |= {"dt": draw(1, HEADS)[..., None].expand(each), "B": draw(1, 128), "C": draw(1, 128)}
    given["A"] = (-draw(HEADS, kind=wide).exp())[:, None, None].expand(HEADS, WIDTH, 128)
    return given | {name: draw(HEADS, kind=wide)[:, None].expand(HEADS, WIDTH) for name in ("D", "dt_bias")}


def convolution_step(draw: Make) -> dict[str, Tensor]:
    """The same of a step of the short convolution."""
    state = draw(1, D_INNER, TAPS)
    return {"x": draw(1, D_INNER), "conv_state": state, "weight": draw(D_INNER, TAPS), "bias": draw(D_INNER)}


def microseconds(run: Call, calls: int) -> float:
    """Of the host, from call to call."""
    for _ in range(20):
        run()
    times = []
    for _ in range(LOOPS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            run()
        times.append((time.perf_counter() - start) / calls)
    torch.cuda.synchronize()
    return round(statistics.median(times) * 1e6, 1)


def forward(function: Callable[..., Any], given: dict[str, Tensor]) -> float:
    """Under no_grad."""
    with torch.no_grad():
        return microseconds(partial(function, **given), 100)


def both(function: Callable[..., Any], given: dict[str, Tensor]) -> float:
    """In a graph of layers, each with leaves of its own."""
    layers = [{k: x.clone().requires_grad_() for k, x in given.items()} for _ in range(LAYERS)]
    leaves = [x for layer in layers for x in layer.values()]

    def run() -> None:
        outputs = [function(**layer) for layer in layers]
        torch.autograd.grad(outputs, leaves, [torch.empty_like(y) for y in outputs])

    return round(microseconds(run, 10) / LAYERS, 1)


class Nothing(torch.autograd.Function):
    """As many tensors, and nothing computed."""

    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        """Room for the first one's like."""
        ctx.save_for_backward(*given)
        return torch.empty_like(given[0])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, ...]:
        """Room for all."""
        return tuple(torch.empty_like(x) for x in ctx.saved_tensors)


def nothing(**given: Tensor) -> Tensor:
    """By any names."""
    return Nothing.apply(*given.values())  # type: ignore[no-any-return] # which says nothing


FRONT = {"x": "u", "dt": "delta", "dt_bias": "delta_bias"}


def channels(**given: Tensor) -> Any:
    """The step of channels, under the front door's names."""
    given = {FRONT.get(name, name): x for name, x in given.items()}
    return ssm_backends.selective_state_update(**given, delta_softplus=True, inplace=True)


def rows() -> list[dict[str, Any]]:
    """Every call."""
    draw = maker()
    scans = found("mamba_ssm.ops.selective_scan_interface")
    steps = found("mamba_ssm.ops.triton.selective_state_update")
    theirs = scans and partial(scans.selective_scan_fn, delta_softplus=True)
    step_of_theirs = steps and partial(steps.selective_state_update, dt_softplus=True)
    front, drop_in = ssm_backends, mamba_ssm
    passes = [
        ("selective_scan", scan(draw), partial(front.selective_scan, delta_softplus=True),
         partial(drop_in.selective_scan_fn, delta_softplus=True), theirs),
        ("causal_conv1d", convolution(draw), partial(front.causal_conv1d, activation="silu"),
         partial(drop_in.causal_conv1d_fn, activation="silu"), None),
        ("ssd", duality(draw), partial(front.ssd, dt_softplus=True),
         partial(drop_in.mamba_chunk_scan_combined, chunk_size=64, dt_softplus=True), None),
    ]  # fmt: skip
    decode = [
        ("selective_state_update", step(draw), channels,
         partial(drop_in.selective_state_update, dt_softplus=True), step_of_theirs),
        ("ssd_update, under mamba-ssm's name", heads_step(draw), None,
         partial(drop_in.selective_state_update, dt_softplus=True), step_of_theirs),
        ("causal_conv1d_update", convolution_step(draw), None,
         partial(drop_in.causal_conv1d_update, activation="silu"), None),
    ]  # fmt: skip
    out = []
    for name, given, *functions in [*passes, *decode]:
        whos = dict(zip(("front_door", "drop_in", "peer"), functions, strict=True))
        row = {"call": name, "forward": {who: f and forward(f, given) for who, f in whos.items()}}
        if name in [of[0] for of in passes]:
            row["both"] = {who: f and both(f, given) for who, f in {**whos, "nothing": nothing}.items()}
        print(row, flush=True)
        out.append(row)
    return out


def main(out: Path) -> None:
    """Measure and write."""
    data = {
        "schema": 1,
        "command": "python docs/benchmarks/gpu_host.py OUT.json",
        "environment": environment("torch"),
        "device": torch.cuda.get_device_name(),
        "rows": rows(),
    }
    out.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
