"""The Triton scan on a GPU beside the CUDA kernel of mamba-ssm, if `selective_scan_cuda` can be imported.

python docs/benchmarks/triton_scan.py OUT.json

Writes what docs/kernels.md shows. Medians of 20 replays of a CUDA graph by CUDA events, each of as many
calls as take a millisecond; every row's kernels in one process, one after the other; host time is not
counted. Floors: the larger of bytes over the copy rate of the same run and exponentials over their rate.
Peak memory is the allocator's, above the inputs. The step is beside that of mamba_ssm, if it is there.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import triton
import triton.language as tl

import ssm_triton
from ssm_triton import selective_state_update
from ssm_triton._inputs import Inputs
from ssm_triton._launch import run_forward
from ssm_triton._launch_backward import run_backward
from ssm_triton._plan import saved_every

SHAPES = [
    (8, 2048, 2048, 16),
    (2, 5120, 2048, 16),
    (8, 1536, 2048, 16),
    (1, 2048, 2048, 16),
    (1, 1536, 65536, 16),
    (32, 768, 512, 16),
    (4, 2048, 4096, 64),
]
APART = ("convolution", "dual", "heads")
"""Parts of the names of kernels that are measured by themselves."""
MIB = 2**20


def inputs(
    shape: tuple[int, ...], dtype: torch.dtype, channels_last: bool = False
) -> tuple[Inputs, torch.Tensor]:
    """A call with z, D, delta_bias and softplus, one group of B and C; and a cotangent of y."""
    b, d, length, n = shape
    generator = torch.Generator("cuda").manual_seed(0)

    def draw(*size: int, kind: torch.dtype = dtype) -> torch.Tensor:
        x = torch.randn(size, generator=generator, device="cuda").to(kind)
        return x.transpose(-1, -2).contiguous().transpose(-1, -2) if channels_last and len(size) > 1 else x

    A = -torch.rand(d, n, generator=generator, device="cuda") * 4 - 0.1
    x = Inputs(
        u=draw(b, d, length), delta=draw(b, d, length) / 2, A=A, B=draw(b, 1, n, length),
        C=draw(b, 1, n, length), D=draw(d, kind=torch.float32), z=draw(b, d, length),
        delta_bias=draw(d, kind=torch.float32) - 2, softplus=True,
    )  # fmt: skip
    return x, draw(b, d, length)


def forward(x: Inputs) -> torch.Tensor:
    """y, and nothing kept for a gradient."""
    return run_forward(x, last=False, save=0)[0]


def both(x: Inputs, dy: torch.Tensor) -> dict[str, torch.Tensor]:
    """A forward pass that saves states, and the gradients of every input."""
    _, _, saved = run_forward(x, last=False, save=saved_every(x.A.shape[1]))
    assert saved is not None
    return run_backward(x, saved, dy, None)


def peer_forward(peer: ModuleType, x: Inputs) -> Any:
    """The same of the peer."""
    return peer.fwd(x.u, x.delta, x.A, x.B, x.C, x.D, x.z, x.delta_bias, True)


def peer_both(peer: ModuleType, x: Inputs, dy: torch.Tensor) -> Any:
    """The same of the peer, as its autograd function calls it."""
    out, states, *_ = peer_forward(peer, x)
    return peer.bwd(
        x.u, x.delta, x.A, x.B, x.C, x.D, x.z, x.delta_bias, dy, states, out, None, True, False
    )  # fmt: skip


def milliseconds(run: Callable[[], Any], repeats: int = 20) -> float:
    """Median time of a call: of replays that hold as many calls as take about a millisecond.

    One call a replay would add what a graph's launch takes, some microseconds, to short and long calls alike.
    """
    for _ in range(3):
        run()
    once = statistics.median(_replays(run, 1, 5))
    calls = max(min(int(1 / once), 50), 1)
    return round(statistics.median(_replays(run, calls, repeats)) / calls, 5)


def _replays(run: Callable[[], Any], calls: int, repeats: int) -> list[float]:
    """Milliseconds of each replay of so many calls, by CUDA events."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            run()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return times


def peak(run: Callable[[], Any]) -> float:
    """MiB that a call takes above what is there."""
    run()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    kept = run()
    torch.cuda.synchronize()
    del kept
    return round((torch.cuda.max_memory_allocated() - before) / MIB, 1)


@triton.jit
def _exponentials(out, ROUNDS: tl.constexpr, WIDE: tl.constexpr):
    at = tl.program_id(0) * WIDE + tl.arange(0, WIDE)
    x = at.to(tl.float32) * -1e-6
    for _ in range(ROUNDS):
        x = tl.exp2(x) - 1.5
    tl.store(out + at, x)


def ceilings() -> dict[str, float]:
    """Bytes read and written a second, by a kernel (the driver's own copy is slower); exponentials."""
    x = torch.ones(2**28, device="cuda")
    y = torch.empty_like(x)
    copy = milliseconds(lambda: torch.neg(x, out=y))
    programs, rounds, wide = 132 * 64, 512, 1024
    out = torch.empty(programs * wide, device="cuda")
    exponentials = milliseconds(lambda: _exponentials[(programs,)](out, rounds, wide))
    return {
        "copy_TB_per_s": round(2 * x.nbytes / copy * 1e-9, 3),
        "exp2_per_s": round(programs * wide * rounds / exponentials * 1e3, -10),
    }


def row(shape: tuple[int, ...], limits: dict[str, float], peer: ModuleType | None) -> dict[str, Any]:
    """One shape in bfloat16, (batch, dim, length) memory."""
    x, dy = inputs(shape, torch.bfloat16)
    ours = {"forward": partial(forward, x), "both": partial(both, x, dy)}
    out: dict[str, Any] = {"shape": shape, "dtype": "bfloat16"}
    out["milliseconds"] = {what: milliseconds(run) for what, run in ours.items()}
    out["over_floor"] = {
        what: round(time / _floor(shape, what, limits), 2) for what, time in out["milliseconds"].items()
    }
    out["peak_MiB"] = {what: peak(run) for what, run in ours.items()}
    if peer is not None:
        theirs = {"forward": partial(peer_forward, peer, x), "both": partial(peer_both, peer, x, dy)}
        out["peer_milliseconds"] = {what: milliseconds(run) for what, run in theirs.items()}
        out["peer_peak_MiB"] = {what: peak(run) for what, run in theirs.items()}
        out["times_faster"] = ratios(out["peer_milliseconds"], out["milliseconds"])
    return out


def ratios(theirs: dict[str, float], ours: dict[str, float]) -> dict[str, float]:
    """How many times as long they take."""
    return {what: round(theirs[what] / ours[what], 4) for what in ours}


def _floor(shape: tuple[int, ...], what: str, limits: dict[str, float]) -> float:
    b, d, length, n = shape
    streams, passes = {"forward": (8, 1), "both": (24, 2)}[what]
    bytes_ = b * d * length * streams / limits["copy_TB_per_s"] * 1e-9
    return max(bytes_, passes * b * d * length * n / limits["exp2_per_s"] * 1e3)


def others(peer: ModuleType | None) -> list[dict[str, Any]]:
    """The first shape in float32, and in (batch, length, dim) memory, which the peer would copy."""
    rows: list[dict[str, Any]] = []
    for what, dtype, last in (
        ("float32", torch.float32, False),
        ("bfloat16, (batch, length, dim) memory", torch.bfloat16, True),
    ):
        x, dy = inputs(SHAPES[0], dtype, last)
        times = {
            "forward": milliseconds(partial(forward, x)),
            "both": milliseconds(partial(both, x, dy)),
        }
        rows.append({"what": what, "shape": SHAPES[0], "milliseconds": times})
        if peer is not None and not last:
            theirs = {
                "forward": milliseconds(partial(peer_forward, peer, x)),
                "both": milliseconds(partial(peer_both, peer, x, dy)),
            }
            rows[-1] |= {"peer_milliseconds": theirs, "times_faster": ratios(theirs, times)}
    return rows


def steps(limits: dict[str, float], peer: ModuleType | None) -> dict[str, Any]:
    """The decode step in place: times over what its bytes take, beside the peer's."""
    d, n = 5120, 16
    rows: list[dict[str, Any]] = []
    for batch in (1, 64, 256):
        state = torch.randn(batch, d, n, device="cuda")
        x, dt, z = (torch.randn(batch, d, device="cuda", dtype=torch.bfloat16) for _ in range(3))
        B, C = (torch.randn(batch, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        A = -torch.rand(d, n, device="cuda")
        D, bias = torch.randn(d, device="cuda"), torch.randn(d, device="cuda")
        step = partial(
            selective_state_update, state, x, dt, A, B, C, D, z, bias, delta_softplus=True, inplace=True
        )
        time = milliseconds(step)
        least = (2 * state.nbytes + 4 * x.nbytes + A.nbytes) / limits["copy_TB_per_s"] * 1e-9
        rows.append({"batch": batch, "milliseconds": time, "over_bytes": round(time / least, 2)})
        if peer is not None:
            theirs = partial(peer.selective_state_update, state, x, dt, A, B, C, D, z, bias, dt_softplus=True)
            rows[-1]["peer_milliseconds"] = milliseconds(theirs)
    return {
        "what": "selective_state_update in place, d = 5120, n = 16, float32 state, bfloat16 streams",
        "rows": rows,
    }


def deterministic() -> bool:
    """Whether every gradient of the first shape has the same bits twice."""
    x, dy = inputs(SHAPES[0], torch.bfloat16)
    first, second = both(x, dy), both(x, dy)
    return all(torch.equal(first[name], second[name]) for name in first)


def digest() -> str:
    """SHA-256 over the sources that decide what runs on a GPU in a scan or a step, in order of name."""
    sha = hashlib.sha256()
    for path in sorted(Path(ssm_triton.__file__).parent.glob("_*.py")):
        if path.name != "__init__.py" and not any(part in path.name for part in APART):
            sha.update(path.read_bytes())
    return sha.hexdigest()


def found(module: str) -> ModuleType | None:
    """A peer, if it can be imported."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def main(out: Path) -> None:
    """Measure and write."""
    peer = found("selective_scan_cuda")
    limits = ceilings()
    scan = [row(shape, limits, peer) for shape in SHAPES]
    data: dict[str, Any] = {
        "kernel_sources_sha256": digest(),
        "device": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__, "triton": triton.__version__},
        "ceilings": limits,
        "scan": scan,
        "other": others(peer),
        "step": steps(limits, found("mamba_ssm.ops.triton.selective_state_update")),
        "gradients_repeat_bitwise": deterministic(),
    }
    if peer is not None:
        data["geometric_mean_times_faster"] = {
            what: round(math.exp(statistics.mean(math.log(r["times_faster"][what]) for r in scan)), 4)
            for what in ("forward", "both")
        }
    out.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
