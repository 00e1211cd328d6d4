"""How many threads each of several processes may have: they share the cores of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ssm_conformance.engine.limits import cores

KERNELS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
"""What a backend's own threads are counted by: never one alone where there are cores, that races may show."""
ORACLE: Final = ("OPENBLAS_NUM_THREADS",)
"""What NumPy counts those of its matrix products by: they wait for each other in a loop that takes a core."""


def thread_environment(workers: int) -> dict[str, str]:
    """The environment of one of several processes, where nobody has set it.

    Threads sleep while they wait: those that spin take the cores from the other processes.

    Parameters
    ----------
    workers
        Processes beside each other.
    """
    share = cores() // workers
    counts = dict.fromkeys(ORACLE, max(1, share)) | dict.fromkeys(KERNELS, min(cores(), max(2, share)))
    wanted = {name: str(count) for name, count in counts.items()} | {"OMP_WAIT_POLICY": "PASSIVE"}
    return {name: value for name, value in wanted.items() if name not in os.environ}


@contextmanager
def cores_shared(workers: int) -> Iterator[None]:
    """Processes started within have the environment of one of several; this process loses it again.

    A library reads it when it is loaded, so that it changes nothing of one that is loaded here.
    """
    added = thread_environment(workers)
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
