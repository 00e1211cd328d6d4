"""``python -m ssm_spec.certify``: the certification as a command, its findings as JSON."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ssm_spec.certify._certification import Certification, Tally, certify


def main(arguments: list[str] | None = None) -> int:
    """Run the certification; 1 if some element is not shown to lie within its bound."""
    parser = argparse.ArgumentParser(prog="python -m ssm_spec.certify", description=main.__doc__)
    parser.add_argument("--elements", type=int, default=100_000, help="the least number of elements to hold")
    parser.add_argument("--seed", type=int, default=0, help="where the cases come from")
    parser.add_argument("--out", type=Path, help="write the findings there, as JSON")
    asked = parser.parse_args(arguments)
    start, commit = time.perf_counter(), _commit()
    found = certify(asked.elements, asked.seed, _show if sys.stderr.isatty() else lambda _: None)
    command = f"python -m ssm_spec.certify --elements {asked.elements} --seed {asked.seed}"
    report = {"command": command, "commit": commit, "seconds": round(time.perf_counter() - start, 1)}
    report |= _report(found)
    if asked.out:
        asked.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(
        f"{found.elements} elements held to their bounds, {len(found.findings)} not shown to keep them; "
        f"{sum(found.refused.values())} draws refused; "
        f"median |err|/own {report['median']:.3f}, worst {report['worst']:.3f}"
    )
    for finding in found.findings[:20]:
        print(finding, file=sys.stderr)
    return 1 if found.findings else 0


def _report(found: Certification) -> dict[str, Any]:
    """The findings, with the machine and the versions."""
    rows = found.tallies
    return {
        "environment": {
            "cpu": _cpu(),
            "python": platform.python_version(),
            "versions": {name: _version(name) for name in ("ssm-spec", "numpy", "scipy", "python-flint")},
        },
        "violations": [asdict(finding) for finding in found.findings if finding.proven],
        "undecided": [asdict(finding) for finding in found.findings if not finding.proven],
        "refused": found.refused,
        **_summary(tally for row in rows.values() for tally in row.values()),
        "operators": {
            op: {
                "cases": found.cases[op],
                "lengths": found.lengths[op],
                "values": _summary(tally for name, tally in row.items() if not name.startswith("d ")),
                "gradients": _summary(tally for name, tally in row.items() if name.startswith("d ")),
                "outputs": {name: _summary([tally]) for name, tally in row.items()},
            }
            for op, row in rows.items()
        },
    }


def _summary(tallies: Iterable[Tally]) -> dict[str, Any]:
    """How many elements there were, how many of them exact, and how tight their bounds are."""
    tallies = list(tallies)
    whole = Tally([ratio for tally in tallies for ratio in tally.ratios])
    return {
        "elements": whole.elements,
        "excused": sum(tally.excused for tally in tallies),
        "exact": sum(int(np.sum(ratio == 0)) for ratio in whole.ratios),
        "median": _short(whole.quantile(0.5)),
        "nine in ten": _short(whole.quantile(0.9)),
        "99 in 100": _short(whole.quantile(0.99)),
        "worst": _short(whole.worst),
    }


def _short(ratio: float) -> float:
    return float(f"{ratio:.3g}")


def _show(found: Certification) -> None:
    print(f"\r{found.elements} elements, {len(found.findings)} findings", end="", file=sys.stderr)


def _commit() -> str | None:
    """The commit of the checkout this file lies in; None outside of one."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        run = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return run.stdout.strip() or None


def _cpu() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
