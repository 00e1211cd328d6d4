"""The Triton scan on a GPU over packed sequences: how many times as long it takes as over one in each row.

python docs/benchmarks/triton_packed.py OUT.json

Medians as in triton_scan.py: of CUDA graphs by CUDA events, the host not counted. Sequences have 256 steps in
the mean and begin anywhere. Beside it: the plain kernels, which take what those in Gluon do not.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import triton
from triton_scan import SHAPES, both, digest, forward, inputs, milliseconds, ratios  # beside this script

from ssm_triton._inputs import Inputs
from ssm_triton._launch import run_forward
from ssm_triton._launch_backward import run_backward
from ssm_triton._plan import backward_plan, forward_plan, saved_every

MEAN = 256
"""Steps of a sequence, in the mean."""


def begins(length: int, generator: torch.Generator) -> torch.Tensor:
    """(l,), bool: in which steps of a row a sequence begins, the first one aside."""
    drawn = torch.rand(length, generator=generator, device="cuda") * MEAN < 1
    drawn[0] = False
    return drawn


def packed(x: Inputs, how: str) -> Inputs:
    """The same call over several sequences in each row; with `cu_seqlens` each has a first state."""
    b, d, length = x.u.shape
    generator = torch.Generator("cuda").manual_seed(1)
    if how == "seq_idx":
        rows = [begins(length, generator) for _ in range(b)]
        return replace(x, seq_idx=torch.stack(rows).cumsum(1).to(torch.int32))
    inner = begins(length, generator).nonzero().flatten()
    offsets = torch.nn.functional.pad(inner, (1, 1))
    offsets[-1] = length
    state = torch.randn(len(offsets) - 1, d, x.A.shape[1], generator=generator, device="cuda")
    return replace(x, cu_seqlens=offsets.to(torch.int32), initial_state=state)


def plain(x: Inputs, dy: torch.Tensor) -> dict[str, torch.Tensor]:
    """Both passes of the plain kernels."""
    _, _, saved = run_forward(x, last=False, save=saved_every(x.A.shape[1]), plan=forward_plan(x.shape))
    assert saved is not None
    return run_backward(x, saved, dy, None, plan=backward_plan(x.shape))


def row(shape: tuple[int, ...], how: str) -> dict[str, Any]:
    """One shape in bfloat16, (batch, dim, length) memory, packed in one way."""
    alone, dy = inputs(shape, torch.bfloat16)
    x = packed(alone, how)
    times = {"forward": milliseconds(partial(forward, x)), "both": milliseconds(partial(both, x, dy))}
    unpacked = {
        "forward": milliseconds(partial(forward, alone)),
        "both": milliseconds(partial(both, alone, dy)),
    }
    before = {
        "forward": milliseconds(lambda: run_forward(x, last=False, save=0, plan=forward_plan(x.shape))),
        "both": milliseconds(partial(plain, x, dy)),
    }
    return {
        "shape": shape,
        "by": how,
        "milliseconds": times,
        "times_as_long": ratios(times, unpacked),
        "plain_times_as_long": ratios(before, unpacked),
    }


def main(out: Path) -> None:
    """Measure and write."""
    calls = [(shape, how) for shape in SHAPES for how in ("seq_idx", "cu_seqlens")]
    data = {
        "kernel_sources_sha256": digest(),
        "device": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__, "triton": triton.__version__},
        "rows": [row(*call) for call in calls if call[0][0] == 1 or call[1] == "seq_idx"],
    }
    out.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
