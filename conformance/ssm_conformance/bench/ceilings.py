"""What this machine can do at most, measured here and now: bytes copied and exponentials a second."""

from __future__ import annotations

import importlib.util
import os
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

REPEATS: Final = 7


@dataclass(frozen=True)
class Ceilings:
    """Rates a second, and how they were found; None where there is no instrument.

    Attributes
    ----------
    bytes
        Read and written by a large copy.
    exponentials
        Of float32.
    how
        One sentence on each.
    """

    bytes: float
    exponentials: float | None
    how: tuple[str, str]

    def floor(self, bytes_: int, exponentials: int) -> float:
        """The larger of the two least times, in seconds."""
        by_bytes = bytes_ / self.bytes
        return by_bytes if self.exponentials is None else max(by_bytes, exponentials / self.exponentials)


def measure(kind: str) -> Ceilings:
    """The ceilings of a kind of device: "cuda" or "cpu"."""
    return _of_gpu() if kind == "cuda" else _of_cpu()


def _median_seconds(work: Callable[[], Any]) -> float:
    work()
    found = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def _of_cpu() -> Ceilings:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    source = np.ones(1 << 25, np.float32)
    target = np.empty_like(source)
    parts = zip(np.array_split(target, cores), np.array_split(source, cores), strict=True)
    copies: list[Callable[[], Any]] = [partial(np.copyto, to, of) for to, of in parts]
    copied = 2 * source.nbytes / _median_seconds(lambda: _in_threads(copies))
    block = np.linspace(-8, 0, 1 << 14, dtype=np.float32)
    outs = [np.empty_like(block) for _ in range(cores)]
    rounds = 64

    def exponentiate(out: Any) -> None:
        for _ in range(rounds):
            np.exp(block, out=out)

    if importlib.util.find_spec("numba") is not None:
        from ssm_conformance.bench._exponentials_cpu import exponentials

        rate = exponentials(_median_seconds)
        how = "an inlined polynomial of degree 5 in numba, all cores"
    else:
        works: list[Callable[[], Any]] = [partial(exponentiate, out) for out in outs]
        seconds = _median_seconds(lambda: _in_threads(works))
        rate, how = cores * rounds * block.size / seconds, "numpy.exp on 64 KiB, all cores"
    return Ceilings(copied, rate, ("numpy.copyto of 128 MiB, all cores", how))


def _in_threads(works: list[Callable[[], Any]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _of_gpu() -> Ceilings:
    import torch

    from ssm_conformance.bench.clock import on_gpu

    source = torch.ones(1 << 29, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    seconds = on_gpu({"copy": [lambda: target.copy_(source)]}, 4 * REPEATS)["copy"].median
    copied = 2 * source.numel() / seconds
    if importlib.util.find_spec("triton") is None:
        return Ceilings(copied, None, ("a copy of 512 MiB on the device", "not measured: needs triton"))
    from ssm_conformance.bench._exponentials_gpu import COUNT, exponentiate

    seconds = on_gpu({"exp2": [exponentiate]}, 4 * REPEATS)["exp2"].median
    return Ceilings(
        copied, COUNT / seconds, ("a copy of 512 MiB on the device", "exp2 in registers, all processors")
    )
