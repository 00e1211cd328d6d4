"""Tables of kernels on a GPU, beside their peers: part of docs/render.py."""

from __future__ import annotations

from statistics import geometric_mean
from typing import Any


def beside(data: dict[str, Any]) -> str:
    """Shapes down: times of a scan on a GPU, beside a peer and over the floor, and peak memory."""
    lines = [
        "| b, d, l, n | forward ms | times faster | over floor | both ms | times faster | over floor "
        "| peak MiB, both (peer) |",
        "|---|" + "--:|" * 7,
    ]
    for row in data["scan"]:
        cells = [", ".join(map(str, row["shape"]))]
        for what in ("forward", "both"):
            cells += [f"{row['milliseconds'][what]:.3f}", f"{row['times_faster'][what]:.2f}"]
            cells += [f"{row['over_floor'][what]:.1f}"]
        cells += [f"{row['peak_MiB']['both']:.0f} ({row['peer_peak_MiB']['both']:.0f})"]
        lines.append("| " + " | ".join(cells) + " |")
    mean = data["geometric_mean_times_faster"]
    lines.append(f"| geometric mean | | {mean['forward']:.2f} | | | {mean['both']:.2f} | | |")
    first, *_ = data["scan"]
    lines += ["", "At the first shape:", ""]
    for row in data["other"]:
        ratios = (row["milliseconds"][what] / first["milliseconds"][what] for what in ("forward", "both"))
        line = "- {}: {:.2f} times the time forward, {:.2f} both".format(row["what"], *ratios)
        if "times_faster" in row:
            faster = row["times_faster"]
            line += f"; {faster['forward']:.2f} and {faster['both']:.2f} times as fast as the peer in it"
        lines.append(line + ".")
    steps = "; ".join(
        f"batch {row['batch']}: {row['milliseconds']:.4f} ms, {row['over_bytes']:.2f} times its bytes' time"
        + (f", the peer {row['peer_milliseconds']:.4f} ms" if "peer_milliseconds" in row else "")
        for row in data["step"]["rows"]
    )
    apart = f", in a run of its own at {data['step']['commit'][:7]}" if "commit" in data["step"] else ""
    lines += ["", f"The step, {data['step']['what']}{apart}: {steps}.", "", *_judged_and_measured(data)]
    return "\n".join(lines)


def packed(data: dict[str, Any]) -> str:
    """Shapes down: packed sequences on a GPU, and how many times as long as one in each row they take."""
    lines = [
        "| b, d, l, n | packed by | forward ms | times as long as unpacked | in plain kernels, times "
        "| both ms | times as long as unpacked | in plain kernels, times |",
        "|---|---|" + "--:|" * 6,
    ]
    for row in data["rows"]:
        cells = [", ".join(map(str, row["shape"])), row["by"]]
        for what in ("forward", "both"):
            cells += [f"{row['milliseconds'][what]:.3f}", f"{row['times_as_long'][what]:.2f}"]
            cells += [f"{row['plain_times_as_long'][what]:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    measured = f"{data['device']}; {versions}. `{data['command']}` at {data['commit'][:7]}."
    return "\n".join([*lines, "", measured])


def packed_in_short(data: dict[str, Any]) -> str:
    """The same in one sentence."""
    ratios = {what: [row["times_as_long"][what] for row in data["rows"]] for what in ("forward", "both")}
    said = (
        f"{name} {min(ratios[what]):.2f} to {max(ratios[what]):.2f}"
        for what, name in (("forward", "forward"), ("both", "forward and backward"))
    )
    shapes = len({tuple(row["shape"]) for row in data["rows"]})
    return f"{', '.join(said)} times as long, over {shapes} shapes. {data['device']}."


def dual(data: dict[str, Any]) -> str:
    """Calls of SSD down: times on a GPU beside a peer's kernels and PyTorch's operations, and peak memory."""
    lines = [
        "| b, l, h, p, n | dtype | forward ms | times as fast as the peer, as PyTorch | both ms "
        "| times as fast as the peer, as PyTorch | packed, times as long: forward, both (peer) "
        "| peak MiB, forward (peer) | both (peer) |",
        "|---|---|" + "--:|" * 7,
    ]
    for row in data["rows"]:
        cells = [", ".join(map(str, row["shape"])), row["dtype"]]
        for what in ("forward", "both"):
            ours = row["milliseconds"][what]
            beside = (row[other]["milliseconds"][what] / ours for other in ("peer", "eager"))
            cells += [f"{ours:.3f}", "{:.2f}, {:.1f}".format(*beside)]
        packed = (
            [f"{of['packed_times_as_long'][what]:.2f}" for what in ("forward", "both")]
            for of in (row, row["peer"])
        )
        cells.append("{} ({})".format(*map(", ".join, packed)))
        cells += [f"{row['peak_MiB'][w]:.0f} ({row['peer']['peak_MiB'][w]:.0f})" for w in ("forward", "both")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_judged_and_measured(data)])


def host(data: dict[str, Any]) -> str:
    """Calls and passes down: microseconds of the host, by whose function is called."""
    whos = {"front_door": "front door", "drop_in": "drop-in", "peer": "mamba-ssm", "nothing": "nothing"}
    lines = ["| call | pass | " + " | ".join(whos.values()) + " |", "|---|---|" + "--:|" * len(whos)]
    for row in data["rows"]:
        for what, name in (("forward", "forward"), ("both", "forward and backward")):
            if what in row:
                times = (row[what].get(who) for who in whos)
                cells = ("" if time is None else f"{time:.0f}" for time in times)
                lines.append("| " + " | ".join([row["call"], name, *cells]) + " |")
    versions = ", ".join(f"{name} {data['environment']['versions'][name]}" for name in ("torch", "triton"))
    command = f"`{data['command']}` at {data['commit'][:7]}"
    return "\n".join([*lines, "", f"{data['device']}, {data['environment']['cpu']}; {versions}. {command}."])


def heads_step(data: dict[str, Any]) -> str:
    """Layers and batches down: times of a decode step of heads on a GPU, beside a peer's and PyTorch's."""
    lines = [
        "| h, p, n | batch | microseconds | over its bytes' time | times as fast as the peer | as PyTorch |",
        "|---|" + "--:|" * 5,
    ]
    for row in data["rows"]:
        ours = row["milliseconds"]
        cells = [", ".join(map(str, row["layer"])), str(row["batch"]), f"{1000 * ours:.1f}"]
        cells += [f"{row['over_bytes']:.2f}", f"{row['peer_milliseconds'] / ours:.2f}"]
        lines.append("| " + " | ".join([*cells, f"{row['eager_milliseconds'] / ours:.1f}"]) + " |")
    return "\n".join([*lines, "", *_judged_and_measured(data)])


def heads_step_in_short(data: dict[str, Any]) -> str:
    """The same in one sentence."""
    ratios = [row["peer_milliseconds"] / row["milliseconds"] for row in data["rows"]]
    large = [row["over_bytes"] for row in data["rows"] if row["batch"] >= 64]
    return (
        f"{geometric_mean(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f}), over "
        f"{len(ratios)} layers and batches; from batch 64 on {min(large):.2f} to {max(large):.2f} times what "
        f"its bytes take. {data['device']}."
    )


def dual_in_short(data: dict[str, Any]) -> str:
    """The same of 16 bits in short, and what it costs."""
    rows = [row for row in data["rows"] if row["dtype"] != "float32"]
    ratios = {what: [row["times_faster"][what] for row in rows] for what in ("forward", "both")}
    said = (
        f"{name} {geometric_mean(ratios[what]):.2f} times as fast ({min(ratios[what]):.2f} to "
        f"{max(ratios[what]):.2f})"
        for what, name in (("forward", "forward"), ("both", "forward and backward"))
    )
    wide = [
        ratio for row in data["rows"] if row["dtype"] == "float32" for ratio in row["times_faster"].values()
    ]
    more = max(row["peak_MiB"]["both"] / row["peer"]["peak_MiB"]["both"] for row in data["rows"])
    return (
        f"{', '.join(said)}, over {len(rows)} shapes in bfloat16; {min(wide):.2f} to {max(wide):.2f} times "
        f"in float32, where the peer multiplies in TF32. Both passes hold up to {more:.1f} times its memory. "
        f"{data['device']}."
    )


def convolution(data: dict[str, Any]) -> str:
    """Shapes down: times of the short convolution on a GPU, beside a peer and PyTorch's operations."""
    lines = [
        "| b, d, l | dtype, memory | forward ms | over floor | times as fast as the peer, as PyTorch "
        "| both ms | over floor | times as fast as the peer, as PyTorch |",
        "|---|---|" + "--:|" * 6,
    ]
    for row in data["rows"]:
        cells = [", ".join(map(str, row["shape"])), f"{row['dtype']}, {row['memory']}"]
        for what in ("forward", "both"):
            ours = row["milliseconds"][what]
            beside = (row[f"{other}_milliseconds"][what] / ours for other in ("peer", "eager"))
            cells += [f"{ours:.4f}", f"{row['over_floor'][what]:.1f}", "{:.2f}, {:.0f}".format(*beside)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_judged_and_measured(data)])


def beside_in_short(data: dict[str, Any]) -> str:
    """The same in one sentence."""
    mean = data["geometric_mean_times_faster"]
    best = max(row["times_faster"]["both"] for row in data["scan"])
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    return (
        f"forward {mean['forward']:.2f} times as fast, forward and backward {mean['both']:.2f} times "
        f"(geometric means over {len(data['scan'])} shapes; at best {best:.2f}). {data['device']}; "
        f"{versions}."
    )


def _judged_and_measured(data: dict[str, Any]) -> list[str]:
    """What the suite said of kernels on a GPU, by version of Triton, and where and how they were timed."""
    judged = data["conformance"]
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    limits = data["ceilings"]
    rows = [{"triton": data["versions"]["triton"], **judged}, *judged.get("also", ())]
    return [
        f"`{judged['command']}` on an {data['device']}:",
        "",
        "| Triton | assembler | passed, of those judged | which |",
        "|---|---|---|---|",
        *(f"| {row['triton']} | {row['assembler']} | {_passed(row)} | {row['counted']} |" for row in rows),
        "",
        f"{data['device']}; {versions}; {limits['copy_TB_per_s']:.2f}e12 bytes copied and "
        f"{limits['exp2_per_s'] / 1e12:.2f}e12 exponentials a second in that run. `{data['command']}` at "
        f"{data['commit'][:7]}.",
    ]


def _passed(judged: dict[str, Any]) -> str:
    """Operators, and of each dtype how many cases passed; of how many, where that is another number."""
    found = []
    for op in dict.fromkeys(row["op"] for row in judged["outcome"]):
        parts = (
            f"{row['dtype']} {row['pass']}" + (f" of {row['pass'] + row['fail']}" if row["fail"] else "")
            for row in judged["outcome"]
            if row["op"] == op
        )
        found.append(f"{op}: {', '.join(parts)}")
    return "; ".join(found)
