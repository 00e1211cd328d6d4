"""The decode step of Mamba-2 in Triton beside PyTorch's operations and mamba-ssm's kernel, if it is there.

python docs/benchmarks/triton_heads_step.py OUT.json

In place, with D, z, dt_bias and softplus, one group of B and C, a state in float32 and streams in bfloat16.
Medians as in triton_scan.py: of CUDA graphs by CUDA events, the host not counted; calls take six states by
turns, so that large ones come from memory. The floor is bytes over the copy rate of the same run: the state
twice, and x, z, y.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import triton
from torch import Tensor
from triton_scan import ceilings, found, milliseconds  # beside this script

import ssm_torch
import ssm_triton

LAYERS = [(80, 64, 128), (24, 64, 128), (24, 64, 64)]
"""h, p, n."""
BATCHES = (1, 16, 64, 256)
STATES = 6


def inputs(batch: int, layer: tuple[int, int, int]) -> dict[str, Any]:
    """A step, its state aside."""
    h, p, n = layer
    generator = torch.Generator("cuda").manual_seed(0)

    def draw(*size: int, kind: torch.dtype = torch.bfloat16) -> Tensor:
        return torch.randn(size, generator=generator, device="cuda").to(kind)

    return {
        "x": draw(batch, h, p), "dt": draw(batch, h), "B": draw(batch, 1, n), "C": draw(batch, 1, n),
        "z": draw(batch, h, p), "A": -torch.rand(h, generator=generator, device="cuda") * 15 - 1,
        "D": draw(h, kind=torch.float32), "dt_bias": draw(h, kind=torch.float32) - 4,
    }  # fmt: skip


def as_theirs(call: dict[str, Any]) -> dict[str, Any]:
    """The same call for mamba-ssm: what belongs to a head is repeated by a stride of zero."""
    b, h, p = call["x"].shape
    n = call["B"].shape[2]
    return call | {
        "dt": call["dt"][..., None].expand(b, h, p),
        "A": call["A"][:, None, None].expand(h, p, n),
        "D": call["D"][:, None].expand(h, p),
        "dt_bias": call["dt_bias"][:, None].expand(h, p),
    }


def in_turns(step: Callable[..., Any], states: list[Tensor], call: dict[str, Any], **more: Any) -> float:
    """Milliseconds of a step, which takes the states one after the other."""
    turn = cycle(states)
    with torch.no_grad():
        return milliseconds(lambda: step(next(turn), **call, dt_softplus=True, **more))


def row(batch: int, layer: tuple[int, int, int], copy: float, peer: ModuleType | None) -> dict[str, Any]:
    """One layer at one batch."""
    call = inputs(batch, layer)
    states = [torch.randn(batch, *layer, device="cuda") for _ in range(STATES)]
    time = in_turns(ssm_triton.ssd_update, states, call, inplace=True)
    least = (2 * states[0].nbytes + 3 * call["x"].nbytes) / copy * 1e-9
    out = {"layer": layer, "batch": batch, "milliseconds": time, "over_bytes": round(time / least, 2)}
    out["eager_milliseconds"] = in_turns(ssm_torch.ssd_update, states, call, inplace=True)
    if peer is not None:
        theirs = partial(in_turns, peer.selective_state_update, states)
        out["peer_milliseconds"] = theirs(as_theirs(call))
    return out


def digest() -> str:
    """SHA-256 over the sources that decide what runs on a GPU, in order of name."""
    folder = Path(ssm_triton.__file__).parent
    shared = (folder / f"_{name}.py" for name in ("inputs", "math", "plan", "slots", "tiles"))
    sha = hashlib.sha256()
    for path in sorted([*folder.glob("_*heads*.py"), *shared]):
        sha.update(path.read_bytes())
    return sha.hexdigest()


def main(out: Path) -> None:
    """Measure and write."""
    limits = ceilings()
    peer = found("mamba_ssm.ops.triton.selective_state_update")
    data: dict[str, Any] = {
        "kernel_sources_sha256": digest(),
        "device": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__, "triton": triton.__version__},
        "ceilings": limits,
        "rows": [row(batch, layer, limits["copy_TB_per_s"], peer) for layer in LAYERS for batch in BATCHES],
    }
    out.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
