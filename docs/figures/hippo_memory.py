"""How much of a signal a state remembers, against its size: HiPPO-LegS and random systems.

python docs/figures/hippo_memory.py         the data under docs/results anew, then the figure
python docs/figures/hippo_memory.py plot    the figure alone, from the data (needs matplotlib)

The signals are drawn from a Gaussian process of correlation length 0.1 over a past of length 1, in steps of
1/128. A memory is linear in the signal: state = M f. Its error is what the best linear reading of the state
leaves of f, relative, in the mean square: sqrt(tr(S − S Mᵀ (M S Mᵀ)⁺ M S) / tr S), S the covariance.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import ssm_spec

DOCS: Final = Path(__file__).resolve().parents[1]
DATA: Final = DOCS / "results" / "hippo-memory.json"
FIGURE: Final = DOCS / "figures" / "hippo-memory.svg"
SIZES: Final = (1, 2, 4, 6, 8, 12, 16, 24, 32)
LENGTH: Final = 128
DRAWS: Final = 9

Float = NDArray[np.float64]


def covariance() -> Float:
    """Of the signal at the middles of the steps."""
    times = (np.arange(LENGTH) + 0.5) / LENGTH
    return np.asarray(np.exp(-0.5 * ((times[:, None] - times) / 0.1) ** 2))


def left_over(memory: Float) -> float:
    """The relative error of the best linear reading of a memory (n, l)."""
    S = covariance()
    read = S @ memory.T @ np.linalg.pinv(memory @ S @ memory.T, rcond=1e-12, hermitian=True)
    return float(np.sqrt(max(np.trace(S - read @ memory @ S), 0.0) / np.trace(S)))


def legs(n: int, method: str = "exact") -> Float:
    """The map from a signal to its LegS coefficients, (n, l)."""
    return ssm_spec.hippo_legs_compress(np.eye(LENGTH), n, method=method).T


def reconstruction(n: int, method: str) -> float:
    """The relative error of the Legendre series itself, without fitting a reading."""
    times, S = (np.arange(LENGTH) + 0.5) / LENGTH, covariance()
    missing = np.eye(LENGTH) - ssm_spec.hippo_legs_reconstruct(legs(n, method).T, times).T
    return float(np.sqrt(np.trace(missing @ S @ missing.T) / np.trace(S)))


def random_system(n: int, seed: int) -> Float:
    """The same map for c' = (A c + B f)/t with a random A, shifted until it is stable, and a random B."""
    rng = np.random.default_rng([n, seed])
    A = rng.standard_normal((n, n))
    A -= (np.max(np.linalg.eigvals(A).real) + 0.5) * np.eye(n)
    B, c = rng.standard_normal((n, 1)), np.zeros((n, LENGTH))
    c[:, 0] = B[:, 0]
    steps = np.log1p(1 / np.arange(1.0, LENGTH))
    for k, A_bar, B_bar in zip(range(1, LENGTH), *ssm_spec.discretize_zoh(A, B, steps), strict=True):
        c = A_bar @ c
        c[:, k] += B_bar[:, 0]
    return c


def row(n: int) -> dict[str, Any]:
    """Every error at one size of the state."""
    return {
        "n": n,
        "legs, exact steps": _short(reconstruction(n, "exact")),
        "legs, bilinear steps": _short(reconstruction(n, "bilinear")),
        "legs, best reading": _short(left_over(legs(n))),
        "random, best reading": sorted(_short(left_over(random_system(n, seed))) for seed in range(DRAWS)),
    }


def _short(error: float) -> float:
    """The digits that do not depend on the machine."""
    return float(f"{error:.4g}")


def plot(rows: list[dict[str, Any]]) -> None:
    """Draw the errors against n; the band is every random system, its line the median."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "hippo"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.8), layout="constrained")
    n = [r["n"] for r in rows]
    random = np.array([r["random, best reading"] for r in rows])
    axes.fill_between(n, random[:, 0], random[:, -1], color="tab:gray", alpha=0.25, linewidth=0)
    axes.plot(
        n, np.median(random, axis=1), "-", color="tab:gray", label=f"random A, best reading ({DRAWS} draws)"
    )
    for name, style in (
        ("legs, bilinear steps", "s--"),
        ("legs, exact steps", "o-"),
        ("legs, best reading", "^:"),
    ):
        axes.plot(n, [r[name] for r in rows], style, markersize=4, label=name.replace("legs", "HiPPO-LegS"))
    axes.set(
        xlabel="n, the size of the state", ylabel="relative error of the remembered signal", yscale="log"
    )
    axes.grid(True, which="both", alpha=0.2)
    axes.legend(frameon=False)
    figure.savefig(FIGURE, metadata={"Date": None, "Creator": None})


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    if "plot" not in arguments:
        data = {
            "signal": "Gaussian process, correlation length 0.1 of the past",
            "rows": [row(n) for n in SIZES],
        }
        DATA.write_text(json.dumps(data, indent=1) + "\n")
    plot(json.loads(DATA.read_text())["rows"])


if __name__ == "__main__":
    main(sys.argv[1:])
