"""The same bits again: in one process, and in another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, Literal

from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.inputs import difference
from ssm_conformance.checks.subject import NotAsked, Stored, Subject

REPETITIONS: Final = 4
"""Calls that must give the same bits: a race does not show every time."""


def repeats(subject: Subject) -> Finding:
    """The same call gives the same bits."""
    run = subject.gradients if subject.case.options["direction"] == "backward" else subject.forward
    first = run(subject.call)
    for number in range(2, REPETITIONS + 1):
        again = run(subject.call)
        differing = [difference(name, first[name], again[name]) for name in first]
        if any(differing):
            said = "; ".join(filter(None, differing))
            return Finding(message=f"other bits in call {number} of {REPETITIONS} of the same: {said}")
    return Finding()


def processes(subject: Subject) -> Finding:
    """Another process, that loads the backend anew, gives the same bits: outputs and gradients."""
    if subject.elsewhere is None:
        raise NotAsked("the backend was not loaded from a plugin: no other process can load it")
    here = digests(subject)
    if not here:
        raise NotAsked("no pass of this call is claimed to give the same bits")
    there = subject.elsewhere(subject.case.id, subject.arrays.name)
    differing = [name for name in here if here[name] != there.get(name)]
    if not differing:
        return Finding(details={"compared": list(here)})
    return Finding(message=f"{', '.join(differing)} came out with other bits in another process")


def digests(subject: Subject) -> dict[str, str]:
    """What the call gives where determinism is claimed, each result as a hash of its bits."""
    found: dict[str, str] = {}
    if _claimed(subject, "forward"):
        found |= _hashed(subject.forward(subject.call), "`{}`")
    if _claimed(subject, "backward") and subject.takes_gradients:
        found |= _hashed(subject.gradients(subject.call), "the gradient of `{}`")
    return found


def _claimed(subject: Subject, direction: Literal["forward", "backward"]) -> bool:
    return subject.op.is_deterministic(direction)


def _hashed(results: Mapping[str, Stored], words: str) -> dict[str, str]:
    return {
        words.format(name): hashlib.sha256(item.array.tobytes()).hexdigest() for name, item in results.items()
    }
