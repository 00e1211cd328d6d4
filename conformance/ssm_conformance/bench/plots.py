"""Growth of time and memory with each size, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

SIZES: Final = {"b": 0, "d": 1, "l": 2, "n": 3}
NAMES: Final = {"b": "batch b", "d": "channels d", "l": "length l", "n": "state n"}


class PlotsError(RuntimeError):
    """Plots cannot be drawn here."""


def draw(data: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write time.png and memory.png: a panel for each size that doubles, a line for each backend.

    Parameters
    ----------
    data
        As :func:`ssm_conformance.bench.results.as_data` makes it.
    folder
        Where they go.

    Raises
    ------
    PlotsError
        If matplotlib is not installed, with the command that installs it.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise PlotsError("plots need matplotlib: pip install 'ssm-spec[docs]'") from None
    mpl.use("Agg")
    wanted = (
        ("time.png", "milliseconds", lambda row: 1e3 * row["median_s"]),
        ("memory.png", "MiB above the inputs", lambda row: (row["peak_bytes"] or 0) / 2**20),
    )
    return [_figure(data, folder / name, label, value) for name, label, value in wanted if data["growth"]]


def _figure(data: Mapping[str, Any], path: Path, label: str, value: Any) -> Path:
    import matplotlib.pyplot as plt

    growth = data["growth"]
    figure, axes = plt.subplots(1, len(growth), figsize=(3.2 * len(growth), 3.2), sharey=True, squeeze=False)
    for axis, (symbol, rows) in zip(axes[0], growth.items(), strict=True):
        for name in dict.fromkeys(row["backend"] for row in rows):
            points = _points(rows, name, SIZES[symbol], value)
            if points:
                axis.loglog(*zip(*points, strict=True), "o-", base=2, label=name, markersize=3)
        axis.set_xlabel(NAMES[symbol])
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(label)
    axes[0][-1].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _points(rows: Sequence[Mapping[str, Any]], name: str, at: int, value: Any) -> list[tuple[float, float]]:
    found = [(row["shape"][at], value(row)) for row in rows if row["backend"] == name and "median_s" in row]
    return [(x, y) for x, y in found if y > 0]
