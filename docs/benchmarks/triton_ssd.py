"""Mamba-2's scan in Triton beside PyTorch's operations and, where it is there, mamba-ssm's own kernels.

python docs/benchmarks/triton_ssd.py OUT.json

With D, dt_bias and softplus, one group of B and C. Medians as in triton_scan.py: of CUDA graphs by CUDA
events, the host not counted. The floor is bytes over the copy rate of the same run: of x, dt, B, C and y
forward, of these twice and of their gradients for both passes. Peak memory is the allocator's, above the
inputs. Packed is the same call over sequences as in triton_packed.py.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import triton
from torch import Tensor
from triton_packed import begins  # beside this script
from triton_scan import ceilings, found, milliseconds, peak, ratios  # beside this script

import ssm_torch
import ssm_triton

SHAPES = [
    (8, 2048, 32, 64, 128), (8, 2048, 32, 64, 64), (2, 2048, 80, 64, 128), (1, 2048, 24, 64, 128),
    (1, 8192, 8, 64, 128), (1, 65536, 24, 64, 128),
]  # fmt: skip
"""b, l, h, p, n."""
CALLS = [*((shape, torch.bfloat16) for shape in SHAPES), *((shape, torch.float32) for shape in SHAPES[:2])]
PEERS_CHUNK = 256
"""As its own layers call it."""

Scan = Callable[..., Tensor]


def inputs(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[dict[str, Any], Tensor]:
    """A call, and a cotangent of y."""
    b, l, h, p, n = shape
    generator = torch.Generator("cuda").manual_seed(0)

    def draw(*size: int, kind: torch.dtype = dtype) -> Tensor:
        return torch.randn(size, generator=generator, device="cuda").to(kind)

    wide = torch.float32
    call = {
        "x": draw(b, l, h, p),
        "dt": draw(b, l, h),
        "A": -torch.rand(h, generator=generator, device="cuda") * 15 - 1,
        "B": draw(b, l, 1, n),
        "C": draw(b, l, 1, n),
        "D": draw(h, kind=wide),
        "dt_bias": draw(h, kind=wide) - 4,
    }
    return call, draw(b, l, h, p)


def forward(scan: Scan, call: dict[str, Any]) -> Tensor:
    """One forward pass."""
    return scan(**call, dt_softplus=True)


def both(scan: Scan, call: dict[str, Any], dy: Tensor) -> tuple[Tensor, ...]:
    """A forward pass, and the gradients of every input."""
    leaves = {k: x.detach().requires_grad_() for k, x in call.items() if x.is_floating_point()}
    return torch.autograd.grad(scan(**call | leaves, dt_softplus=True), list(leaves.values()), dy)


def timed(scan: Scan, call: dict[str, Any], dy: Tensor) -> dict[str, Any]:
    """Milliseconds and peak MiB of either pass."""
    runs = {"forward": partial(forward, scan, call), "both": partial(both, scan, call, dy)}
    times = {what: milliseconds(run) for what, run in runs.items()}
    return {"milliseconds": times, "peak_MiB": {what: peak(run) for what, run in runs.items()}}


def packed(call: dict[str, Any]) -> dict[str, Any]:
    """The same call over several sequences in each row."""
    b, l = call["dt"].shape[:2]
    generator = torch.Generator("cuda").manual_seed(1)
    rows = torch.stack([begins(l, generator) for _ in range(b)])
    return call | {"seq_idx": rows.cumsum(1).to(torch.int32)}


def times_as_long(scan: Scan, call: dict[str, Any], dy: Tensor, alone: dict[str, Any]) -> dict[str, float]:
    """What packing costs either pass."""
    runs = {"forward": partial(forward, scan, packed(call)), "both": partial(both, scan, packed(call), dy)}
    return ratios({what: milliseconds(run) for what, run in runs.items()}, alone["milliseconds"])


def floors(call: dict[str, Any], copy: float) -> dict[str, float]:
    """Milliseconds that the bytes of the streams take."""
    streams = sum(call[name].nbytes for name in ("x", "dt", "B", "C"))
    y = call["x"].nbytes
    return {
        what: size / copy * 1e-9 for what, size in (("forward", streams + y), ("both", 3 * streams + 2 * y))
    }


def row(shape: tuple[int, ...], dtype: torch.dtype, copy: float, peer: ModuleType | None) -> dict[str, Any]:
    """One shape."""
    call, dy = inputs(shape, dtype)
    least = floors(call, copy)
    out: dict[str, Any] = {"shape": shape, "dtype": str(dtype).removeprefix("torch.")}
    out |= timed(ssm_triton.ssd, call, dy)
    out["packed_times_as_long"] = times_as_long(ssm_triton.ssd, call, dy, out)
    out["over_floor"] = {what: round(time / least[what], 2) for what, time in out["milliseconds"].items()}
    out["eager"] = timed(ssm_torch.ssd, call, dy)
    if peer is not None:
        theirs = partial(peer.mamba_chunk_scan_combined, chunk_size=PEERS_CHUNK)
        out["peer"] = timed(theirs, call, dy)
        out["peer"]["packed_times_as_long"] = times_as_long(theirs, call, dy, out["peer"])
        out["times_faster"] = ratios(out["peer"]["milliseconds"], out["milliseconds"])
    return out


def digest() -> str:
    """SHA-256 over the sources that decide what runs on a GPU, in order of name."""
    folder = Path(ssm_triton.__file__).parent
    shared: Iterable[Path] = (folder / f"{name}.py" for name in ("_inputs", "_math", "_plan"))
    sha = hashlib.sha256()
    for path in sorted([*folder.glob("_*dual*.py"), *shared]):
        sha.update(path.read_bytes())
    return sha.hexdigest()


def main(out: Path) -> None:
    """Measure and write."""
    limits = ceilings()
    peer = found("mamba_ssm.ops.triton.ssd_combined")
    data: dict[str, Any] = {
        "kernel_sources_sha256": digest(),
        "device": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__, "triton": triton.__version__},
        "ceilings": limits,
        "rows": [],
    }
    for call in CALLS:
        data["rows"].append(row(*call, limits["copy_TB_per_s"], peer))
        out.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
