"""How fast the oracle is, beside the same loop in float64 torch on the same processor, and what it holds.

python docs/benchmarks/oracle.py            print the figures
python docs/benchmarks/oracle.py keep       write them to docs/results/oracle-speed.json too

One thread; times are processor time, which on a quiet machine is the time on the clock. They are medians of
interleaved rounds, so that a busy machine slows both sides; ratios are medians of the rounds' own ratios.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import torch

import ssm_spec

RESULT: Final = Path(__file__).resolve().parents[1] / "results" / "oracle-speed.json"
SCAN: Final = {"b": 2, "d": 256, "l": 1024, "n": 16}
KERNEL: Final = {"n": 64, "d": 256, "l": 16384}
GRID: Final = tuple({"b": b, "d": 64, "l": l, "n": n} for b in (1, 4) for l in (256, 2048) for n in (4, 64))
ROUNDS: Final = 9

Call = dict[str, Any]


def scan_call(b: int, d: int, l: int, n: int) -> Call:
    """A selective scan with every part that Mamba has."""
    rng = np.random.default_rng(0)
    u, z, delta = rng.standard_normal((3, b, d, l))
    B, C = rng.standard_normal((2, b, n, l))
    call = {"u": u, "delta": delta - 2.0, "A": -np.exp(rng.standard_normal((d, n))), "B": B, "C": C}
    return call | {"D": rng.standard_normal(d), "z": z, "delta_softplus": True}


def torch_loop(u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any) -> Any:
    """The recurrence step by step in eager torch."""
    step = torch.nn.functional.softplus(delta)
    h = torch.zeros(*u.shape[:2], A.shape[1], dtype=u.dtype)
    y = []
    for t in range(u.shape[-1]):
        s = step[..., t, None]
        h = torch.exp(s * A) * h + s * u[..., t, None] * B[:, None, :, t]
        y.append((h * C[:, None, :, t]).sum(-1))
    return (torch.stack(y, -1) + D[:, None] * u) * torch.nn.functional.silu(z)


def kernel_call(n: int, d: int) -> Call:
    """S4D-Lin of full size n, its n/2 modes of every channel."""
    rng, (A, B) = np.random.default_rng(0), ssm_spec.s4d_lin(n)
    C = rng.standard_normal((d, n // 2)) + 1j * rng.standard_normal((d, n // 2))
    return {"delta": np.exp(rng.uniform(-7, -2, d)), "A": np.tile(A, (d, 1)), "B": np.tile(B, (d, 1)), "C": C}


def interleaved(work: Mapping[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of each, round by round, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, run in work.items():
            start = time.process_time()
            run()
            if turn:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratio(seconds: Mapping[str, list[float]], one: str, other: str) -> float:
    """The median over rounds of one time over another."""
    return median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))


def speed() -> list[dict[str, Any]]:
    """The three promises, each with what it is measured by and its limit."""
    call, kernel = scan_call(**SCAN), kernel_call(KERNEL["n"], KERNEL["d"])
    tensors = {name: torch.from_numpy(x) for name, x in call.items() if isinstance(x, np.ndarray)}
    cotangents = {"y": np.ones((SCAN["b"], SCAN["d"], SCAN["l"]))}
    seconds = interleaved(
        {
            "torch": lambda: torch_loop(**tensors),
            "value": lambda: ssm_spec.selective_scan(**call),
            "vjp": lambda: ssm_spec.selective_scan_vjp(cotangents, **call),
            "kernel": lambda: ssm_spec.s4d_kernel(**kernel, length=KERNEL["l"]),
        }
    )
    return [
        _row(
            "selective_scan",
            SCAN,
            seconds["value"],
            "a float64 torch loop",
            ratio(seconds, "value", "torch"),
            1.5,
        ),
        _row("selective_scan_vjp", SCAN, seconds["vjp"], "its forward", ratio(seconds, "vjp", "value"), 3.0),
        _row("s4d_kernel", KERNEL, seconds["kernel"], "one second", median(seconds["kernel"]), 1.0),
    ]


def _row(
    name: str, sizes: Mapping[str, int], seconds: list[float], against: str, found: float, limit: float
) -> dict[str, Any]:
    milliseconds = round(1e3 * median(seconds), 1)
    return {
        "function": name,
        "sizes": dict(sizes),
        "ms": milliseconds,
        "against": against,
        "ratio": round(found, 2),
        "limit": limit,
    }


def peak(run: Callable[[], Any]) -> int:
    """Bytes that a call holds at most, its result included and its inputs not."""
    tracemalloc.start()
    result = run()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del result
    return found


def memory() -> list[dict[str, Any]]:
    """Peak bytes of the value over b·d·l + b·d·n float64 elements, while l and n grow."""
    rows = []
    for sizes in GRID:
        b, d, l, n = (sizes[letter] for letter in "bdln")
        call = scan_call(**sizes)
        used = peak(lambda call=call: ssm_spec.selective_scan(**call))
        small, every = 8 * (b * d * l + b * d * n), 8 * b * d * l * n
        rows.append(
            {"sizes": sizes, "bytes": used, "over": round(used / small, 1), "share": round(used / every, 3)}
        )
    return rows


def environment() -> dict[str, str]:
    """The machine and the versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    versions = {name: version(name) for name in ("numpy", "scipy", "torch")}
    cpu = f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, one thread"
    return {"cpu": f"{cpu}, load average {os.getloadavg()[0]:.0f}"} | {
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{k} {v}" for k, v in versions.items())]
        )
    }


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # read when NumPy is imported, so in a new process
        alone = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        raise SystemExit(subprocess.call([sys.executable, __file__, *arguments], env=alone))
    torch.set_num_threads(1)
    data = {"environment": environment(), "speed": speed(), "memory": memory()}
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    print(text)
    if "keep" in arguments:
        RESULT.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
