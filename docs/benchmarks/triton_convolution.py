"""The short convolution in Triton beside PyTorch's operations and, where it is there, causal-conv1d's kernel.

python docs/benchmarks/triton_convolution.py OUT.json

Four taps, bias and SiLU. Medians as in triton_scan.py: of CUDA graphs by CUDA events, the host not counted.
The floor is bytes over the copy rate of the same run: of two streams forward, of five for both passes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import triton
from triton_scan import ceilings, found, milliseconds, ratios  # beside this script

import ssm_torch
import ssm_triton
from ssm_triton._launch_convolution import run_backward, run_forward

SHAPES = [(8, 2048, 2048), (2, 5120, 2048), (1, 2048, 65536), (1, 1536, 512)]
WIDTH = 4


def inputs(shape: tuple[int, ...], dtype: torch.dtype, channels_last: bool) -> tuple[torch.Tensor, ...]:
    """x and a cotangent of y, (b, d, l) in either memory; weight and bias."""
    b, d, length = shape
    generator = torch.Generator("cuda").manual_seed(0)

    def draw(*size: int) -> torch.Tensor:
        x = torch.randn(size, generator=generator, device="cuda").to(dtype)
        return x.transpose(1, 2).contiguous().transpose(1, 2) if channels_last and len(size) == 3 else x

    return draw(b, d, length), draw(b, d, length), draw(d, WIDTH), draw(d)


def both(x: torch.Tensor, dy: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> list[torch.Tensor]:
    """A forward pass, and the gradients of every input."""
    run_forward(x, weight, bias, None, None, silu=True, last=False)
    return run_backward(dy, None, x, weight, bias, None, None, silu=True)


def eager_both(
    x: torch.Tensor, dy: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """The same of PyTorch's operations."""
    leaves = [a.detach().requires_grad_() for a in (x, weight, bias)]
    return torch.autograd.grad(ssm_torch.causal_conv1d(*leaves, "silu"), leaves, dy)


def peer_forward(peer: ModuleType, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The same of the peer."""
    y = torch.empty_like(x)
    peer.causal_conv1d_fwd(x, weight, bias, None, None, y, None, True)
    return y


def peer_both(
    peer: ModuleType, x: torch.Tensor, dy: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """The same of the peer, as its autograd function calls it."""
    peer_forward(peer, x, weight, bias)
    dx = torch.empty_like(x)
    dweight, dbias = (torch.zeros_like(a, dtype=torch.float32) for a in (weight, bias))
    peer.causal_conv1d_bwd(x, weight, bias, dy, None, None, None, dx, dweight, dbias, None, True)
    return dx


def row(
    shape: tuple[int, ...], dtype: torch.dtype, channels_last: bool, copy: float, peer: ModuleType | None
) -> dict[str, Any]:
    """One shape in one memory."""
    x, dy, weight, bias = inputs(shape, dtype, channels_last)
    ours = {
        "forward": partial(run_forward, x, weight, bias, None, None, True, False),
        "both": partial(both, x, dy, weight, bias),
    }
    eager = {
        "forward": partial(ssm_torch.causal_conv1d, x, weight, bias, "silu"),
        "both": partial(eager_both, x, dy, weight, bias),
    }
    times = {what: milliseconds(run) for what, run in ours.items()}
    least = {what: streams * x.nbytes / copy * 1e-9 for what, streams in (("forward", 2), ("both", 5))}
    out: dict[str, Any] = {
        "shape": shape,
        "dtype": str(dtype).removeprefix("torch."),
        "memory": "b l d" if channels_last else "b d l",
        "milliseconds": times,
        "over_floor": {what: round(time / least[what], 2) for what, time in times.items()},
        "eager_milliseconds": {what: milliseconds(run) for what, run in eager.items()},
    }
    if peer is not None:
        theirs = {
            "forward": partial(peer_forward, peer, x, weight, bias),
            "both": partial(peer_both, peer, x, dy, weight, bias),
        }
        out["peer_milliseconds"] = {what: milliseconds(run) for what, run in theirs.items()}
        out["times_faster"] = ratios(out["peer_milliseconds"], times)
    return out


def digest() -> str:
    """SHA-256 over the sources that decide what runs on a GPU, in order of name."""
    folder = Path(ssm_triton.__file__).parent
    shared = (folder / f"{name}.py" for name in ("_inputs", "_math", "_plan", "_slots"))
    sha = hashlib.sha256()
    for path in sorted([*folder.glob("_*convolution*.py"), *shared]):
        sha.update(path.read_bytes())
    return sha.hexdigest()


def main(out: Path) -> None:
    """Measure and write."""
    limits = ceilings()
    kinds = [(torch.bfloat16, False), (torch.bfloat16, True), (torch.float32, False), (torch.float32, True)]
    peer = found("causal_conv1d_cuda")
    data = {
        "kernel_sources_sha256": digest(),
        "device": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__, "triton": triton.__version__},
        "ceilings": limits,
        "rows": [row(shape, *kind, limits["copy_TB_per_s"], peer) for kind in kinds for shape in SHAPES],
    }
    out.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
