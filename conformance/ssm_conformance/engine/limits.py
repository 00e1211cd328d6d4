"""How long a case may take and how much memory a worker may hold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GIB: Final = 2**30
SHORTEST_LOAD: Final = 30.0
"""Seconds that an import has in any case: its libraries are large, and it is no case to be cut short."""
CGROUP_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one worker is allowed.

    Attributes
    ----------
    seconds
        For one case, once its operator and dtype have been called in this worker.
    first_call
        How many times as long the first such call may take, and a case whose calls are of many kinds: they
        may compile.
    load
        Seconds that importing the plugin, and the suite, may take; None for those of a first call, and
        `SHORTEST_LOAD` at least.
    memory
        Resident bytes of the worker and its children; None for the share of this machine.
    threads
        Of the worker and its children together.
    gpu_fraction
        Share of a GPU's memory that its allocator may take.
    grace
        Seconds beyond a limit after which a worker ends itself: its parent is gone if it still runs.
    """

    seconds: float = 60.0
    first_call: float = 5.0
    load: float | None = None
    memory: int | None = None
    threads: int = 4096
    gpu_fraction: float = 0.9
    grace: float = 60.0

    def for_case(self, first: bool) -> float:
        """Seconds that a case may take."""
        return self.seconds * (self.first_call if first else 1.0)

    def for_load(self) -> float:
        """Seconds that the import may take, which may compile as a first call may."""
        return max(self.for_case(first=True), SHORTEST_LOAD) if self.load is None else self.load

    def resident(self, workers: int) -> int:
        """Resident bytes that each of several workers may hold."""
        if self.memory is not None:
            return self.memory
        share = int(0.75 * machine_memory())
        # A worker needs some 0.5 GiB for its libraries alone: never promise less than 2.
        return min(share, max(2 * GIB, share // workers))


def machine_memory() -> int:
    """Bytes of memory of this machine, or of the container that holds us."""
    import psutil

    stated = [path.read_text().strip() for path in CGROUP_LIMITS if path.exists()]
    container = [int(text) for text in stated if text.isdigit()]  # "max" means none
    return min([int(psutil.virtual_memory().total), *container])


def cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
