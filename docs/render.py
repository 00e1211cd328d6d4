"""Tables of the README and the docs, made from the data under docs/results and never typed by hand.

python docs/render.py   write the tables between their marks; docs/keep.py keeps the data of a run
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kernel_tables  # beside this script

from ssm_conformance.selftest import pages
from ssm_conformance.selftest.tables import sentence

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
RESULTS = DOCS / "results"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
MARK = re.compile(
    r"(<!-- table: (?P<name>[\w-]+) (?P<data>[\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL
)


def verdicts(data: dict[str, Any]) -> str:
    """One row a backend: verdict, cases, worst ratios, and what failed."""
    lines = [
        "| backend | verdict | passed | failed | worst value | worst gradient |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for backend in data["backends"]:
        name, summary = backend["backend"], backend["summary"]
        verdict = backend["headline"].partition(":")[0]
        worst = [_worst(backend["matrix"], check) for check in ("value", "gradient")]
        lines.append(
            f"| {name['name']} {name['version']} | {verdict} | {summary['pass']} | {summary['fail']} "
            f"| {worst[0]} | {worst[1]} |"
        )
    first = data["backends"][0]
    versions = ", ".join(f"{k} {v}" for k, v in first["environment"]["versions"].items())
    lines += ["", f"`{data['command']}` on {_machine(first['environment'])}; {versions}."]
    return "\n".join(lines)


def by_dtype(data: dict[str, Any]) -> str:
    """One row a backend, operator and dtype: what was asked, what passed, and the worst ratio."""
    lines = [
        "| backend | asked | operator | dtype | passed | failed | worst ratio |",
        "|---|---|---|---|--:|--:|--:|",
    ]
    for backend in data["backends"]:
        narrowed = [word for words in backend["filters"].values() for word in words]
        asked = ", ".join([backend["level"], *narrowed])
        if backend["not_run"]:
            asked += f"; {backend['not_run']} cases not run"
        name = f"{backend['backend']['name']} {backend['backend']['version']}"
        for op, row in backend["by_dtype"].items():
            for dtype, cell in row.items():
                if cell["worst"] is not None:  # else it was only seen to refuse this dtype
                    counts = f"{cell['pass']} | {cell['fail']} | {cell['worst']:.2g}"
                    lines.append(f"| {name} | {asked} | {op} | {dtype} | {counts} |")
    first = data["backends"][0]["environment"]
    libraries = ", ".join(f"{name} {first['versions'][name]}" for name in ("ssm-spec", "numpy", "torch"))
    return "\n".join([*lines, "", f"`{data['command']}` on {_machine(first)}; {libraries}."])


def _machine(environment: dict[str, Any]) -> str:
    """What was measured on: the GPUs, or else the processor."""
    return ", ".join(gpu["name"] for gpu in environment["gpus"]) or str(environment["cpu"])


def failures(data: dict[str, Any]) -> str:
    """Every failed case, with its message."""
    lines = [
        f"- `{backend['backend']['name']}`: `{case['id']}`: {case['message']}"
        for backend in data["backends"]
        for case in backend["failed"]
    ]
    return "\n".join(lines) or "None."


def matrix(data: dict[str, Any]) -> str:
    """Operators down, checks across, for each backend: passed of judged, and the worst ratio."""
    parts = []
    for backend in data["backends"]:
        checks = list(dict.fromkeys(check for row in backend["matrix"].values() for check in row))
        parts += [f"**{backend['backend']['name']} {backend['backend']['version']}**", ""]
        parts += ["| operator | " + " | ".join(checks) + " |", "|---" * (len(checks) + 1) + "|"]
        parts += [
            f"| {op} | " + " | ".join(_cell(row.get(check)) for check in checks) + " |"
            for op, row in backend["matrix"].items()
        ]
        parts.append("")
    return "\n".join(parts).rstrip()


def certification(data: dict[str, Any]) -> str:
    """Operators down: elements of values and of gradients, and how much of their bounds their errors fill."""
    lines = [
        "| operator | l | values | median | 99 % | worst | gradients | median | 99 % | worst |",
        "|---|---|" + "--:|" * 8,
    ]
    for op, row in data["operators"].items():
        low, high = row["lengths"]
        length = "" if high == 1 else f"{low} to {high}"
        cells = [cell for part in ("values", "gradients") for cell in _tightness(row[part])]
        lines.append(f"| `{op}` | {length} | " + " | ".join(cells) + " |")
    versions = ", ".join(f"{k} {v}" for k, v in data["environment"]["versions"].items())
    lines += [
        "",
        f"{data['elements']:,} elements held to their bounds, {len(data['violations'])} outside, "
        f"{len(data['undecided'])} undecided; {data['excused']:,} excused. "
        f"`{data['command']}` at {data['commit'][:7]}; {versions}.",
    ]
    return "\n".join(lines)


def _tightness(part: dict[str, Any]) -> list[str]:
    """How many elements, and quantiles of |error|/own."""
    if not part["elements"]:
        return [""] * 4
    return [f"{part['elements']:,}", *(f"{part[key]:.3g}" for key in ("median", "99 in 100", "worst"))]


def _cell(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    count = f"{cell['pass']}/{cell['pass'] + cell['fail']}"
    return count if cell["worst"] is None else f"{count} · {cell['worst']:.2f}"


def _worst(matrix: dict[str, dict[str, dict[str, Any]]], check: str) -> str:
    ratios = [
        row[check]["worst"] for row in matrix.values() if check in row and row[check]["worst"] is not None
    ]
    return f"{max(ratios):.2f}" if ratios else ""


def bench(data: dict[str, Any]) -> str:
    """Problems down, backends across: median milliseconds, times over the floor, peak memory."""
    names = list(data["backends"])
    lines = [
        "| pass | b, d, l, n | " + " | ".join(names) + " |",
        "|---|---|" + "--:|" * len(names),
    ]
    problems: dict[tuple[str, str], dict[str, str]] = {}
    for row in data["rows"]:
        key = PASS_NAMES[row["pass"]], ", ".join(map(str, row["shape"]))
        problems.setdefault(key, {})[row["backend"]] = _timed(row)
    lines += [
        f"| {pass_} | {shape} | " + " | ".join(cells.get(name, "") for name in names) + " |"
        for (pass_, shape), cells in problems.items()
    ]
    made_of, ceilings = data["environment"], data["ceilings"]
    versions = ", ".join(f"{k} {v}" for k, v in made_of["versions"].items() if v)
    machine = _machine(made_of)
    rate = ceilings["exponentials_per_s"]
    known = "" if rate is None else f", {rate / 1e9:.2f}e9 exponentials a second ({ceilings['how'][1]})"
    lines += [
        "",
        "A cell: median milliseconds · times the floor · peak MiB above the inputs. "
        f"Ceilings of that run: {ceilings['bytes_per_s'] / 1e9:.1f} GB/s ({ceilings['how'][0]}){known}.",
        "",
        f"`{data['command']}` on {machine}; {versions}.",
    ]
    return "\n".join(lines)


def outcomes(data: dict[str, Any]) -> str:
    """Tests down: how many passed and failed."""
    lines = ["| test | passed | failed |", "|---|--:|--:|"]
    lines += [f"| {row['name']} | {row['passed']} | {row['failed']} |" for row in data["tests"]]
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    how = f"`{data['command']}` at {data['commit'][:7]}"
    return "\n".join([*lines, "", f"{data['device']}; {versions}. {how}."])


def in_transformers(data: dict[str, Any]) -> str:
    """Models and tasks down: median milliseconds of the slow path and of the drop-ins, and their ratio."""
    lines = ["| model | task | slow path, ms | drop-ins, ms | times as fast |", "|---|---|--:|--:|--:|"]
    for row in data["rows"]:
        slow, ours = (1e3 * row["median_s"][who] for who in ("slow path", "drop-ins"))
        times = " | ".join(map(_three_digits, (slow, ours, slow / ours)))
        lines.append(f"| {row['model']} | {row['task']} | {times} |")
    made_of = data["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in made_of["versions"].items() if version)
    return "\n".join([*lines, "", f"`{data['command']}` on {_machine(made_of)}; {versions}."])


PASS_NAMES = {"forward": "forward", "both": "forward and backward", "step": "step"}


def _timed(row: dict[str, Any]) -> str:
    if "median_s" not in row:
        return ""
    peak = "" if row["peak_bytes"] is None else f" · {_three_digits(row['peak_bytes'] / 2**20)}"
    return f"{_three_digits(1e3 * row['median_s'])} · {row['over_floor']:.1f}{peak}"


def _three_digits(x: float) -> str:
    return f"{x:.3g}" if x < 1000 else f"{x:.0f}"


def outcome(data: dict[str, Any]) -> str:
    """A self-test in one sentence, and how it was run."""
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    return f"{sentence(data['summary'])}.\n\n`{data['command']}`; {versions}."


def lost(data: dict[str, Any]) -> str:
    """The pairs that are lost in rounding, and how they were looked for."""
    return "\n".join([*pages.lost(data), "", f"`{data['command']}`"])


def _lines(table: Callable[[dict[str, Any]], list[str]]) -> Callable[[dict[str, Any]], str]:
    return lambda data: "\n".join(table(data))


def memory(data: dict[str, Any]) -> str:
    """Sizes of the state down: the error of LegS in three readings, and of random systems."""
    lines = [
        "| n | LegS, exact steps | LegS, bilinear steps | LegS, best reading | random A, best reading |",
        "|--:|" + "--:|" * 4,
    ]
    for row in data["rows"]:
        random = row["random, best reading"]
        ours = [row[f"legs, {kind}"] for kind in ("exact steps", "bilinear steps", "best reading")]
        cells = [f"{x:.2g}" for x in ours] + [f"{random[0]:.2g} to {random[-1]:.2g}"]
        lines.append(f"| {row['n']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def speed(data: dict[str, Any]) -> str:
    """Functions down with their time, and what it is measured by; then peak memory while l and n grow."""
    lines = ["| function | sizes | ms | measured by | ratio | limit |", "|---|---|--:|---|--:|--:|"]
    for row in data["speed"]:
        sizes = ", ".join(f"{letter} {size}" for letter, size in row["sizes"].items())
        lines.append(
            f"| `{row['function']}` | {sizes} | {row['ms']:.0f} | {row['against']} | {row['ratio']:.2f} "
            f"| {row['limit']:g} |"
        )
    lines += [
        "",
        "| b, d, l, n | peak MB | over 8 (bdl + bdn) bytes | over 8 bdln bytes |",
        "|---|--:|--:|--:|",
    ]
    for row in data["memory"]:
        sizes = ", ".join(str(size) for size in row["sizes"].values())
        lines.append(f"| {sizes} | {row['bytes'] / 1e6:.1f} | {row['over']:.1f} | {row['share']:.2f} |")
    made_of = data["environment"]
    lines += ["", f"`python docs/benchmarks/oracle.py keep` on {made_of['cpu']}; {made_of['versions']}."]
    return "\n".join(lines)


def operators(data: dict[str, Any]) -> str:
    """Operators down: outputs, equation, source."""
    lines = ["| operator | outputs | equation | source |", "|---|---|---|---|"]
    for name, row in data.items():
        outputs = ", ".join(row.outputs)
        cells = (f"`{name}`", outputs, row.equation, row.source)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


TABLES = {
    "verdicts": verdicts,
    "by-dtype": by_dtype,
    "failures": failures,
    "matrix": matrix,
    "bench": bench,
    "beside": kernel_tables.beside,
    "beside-in-short": kernel_tables.beside_in_short,
    "convolution": kernel_tables.convolution,
    "dual": kernel_tables.dual,
    "dual-in-short": kernel_tables.dual_in_short,
    "heads-step": kernel_tables.heads_step,
    "host": kernel_tables.host,
    "heads-step-in-short": kernel_tables.heads_step_in_short,
    "packed": kernel_tables.packed,
    "packed-in-short": kernel_tables.packed_in_short,
    "outcomes": outcomes,
    "in-transformers": in_transformers,
    "certification": certification,
    "teeth-summary": outcome,
    "teeth-checks": _lines(pages.by_check),
    "teeth-honest": _lines(pages.honest),
    "teeth-lost": lost,
    "teeth-failures": _lines(pages.failures),
    "teeth-kills": _lines(pages.by_question),
    "teeth-defects": _lines(pages.defects),
    "memory": memory,
    "speed": speed,
    "operators": operators,
}


def render(text: str) -> str:
    """A page with every marked table made anew from its data."""

    def fill(mark: re.Match[str]) -> str:
        data = _references() if mark["data"] == "REFERENCES" else _result(mark["data"])
        return f"{mark[1]}{TABLES[mark['name']](data)}\n{mark[4]}"

    return MARK.sub(fill, text)


def _result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def _references() -> dict[str, Any]:
    from ssm_spec import REFERENCES

    return dict(REFERENCES)


def main() -> None:
    """See the module's docstring."""
    for page in PAGES:
        page.write_text(render(page.read_text()))


if __name__ == "__main__":
    main()
