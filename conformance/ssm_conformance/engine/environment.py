"""Versions and machine, as they go into a report: read from metadata, without importing any library."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

LIBRARIES: Final = ("ssm-spec", "numpy", "scipy", "torch", "triton")


def environment(distribution: str = "") -> dict[str, Any]:
    """Everything that may explain a number in a report.

    Parameters
    ----------
    distribution
        The one that the plugin comes from; "" if it is not installed.
    """
    names = dict.fromkeys((*LIBRARIES, distribution) if distribution else LIBRARIES)
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "gpus": gpus(),
        "versions": {name: version_of(name) for name in names},
    }


def version_of(distribution: str) -> str | None:
    """The installed version; None if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def cpu_model() -> str:
    """The CPU's name, as well as the system knows it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def gpus() -> list[dict[str, str]]:
    """Name, driver and memory of each NVIDIA GPU; empty if the driver's own tool finds none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    fields = ("name", "driver_version", "memory.total")
    command = [tool, f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []  # a tool without a driver behind it
    rows = [line.split(",") for line in listed.splitlines() if line.count(",") == len(fields) - 1]
    return [dict(zip(("name", "driver", "memory"), map(str.strip, row), strict=True)) for row in rows]
