"""Cotangents far from one: gradients are linear in them; a small one is no zero, a large one no limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ssm_conformance.checks.accuracy import judge_gradients
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.pytorch import named
from ssm_conformance.checks.subject import Stored, Subject
from ssm_conformance.storage import store

SCALES: Final = {"2⁻⁴⁰": 2.0**-40, "2⁴⁰": 2.0**40, "0": 0.0}
"""A mean over a long text, a scaled loss, and a loss that does not depend on the outputs."""


def scaled_cotangents(subject: Subject) -> Finding:
    """The gradients of the case's cotangents times each scale."""
    found = Finding()
    for words, scale in SCALES.items():
        cotangents = {
            name: Stored(store(scale * item.exact, item.dtype), item.dtype)
            for name, item in subject.cotangents.items()
        }
        scaled = replace(subject, given_cotangents=cotangents)
        found = judge_gradients(scaled, scaled.gradients(scaled.call))
        if not found.passed:
            return named(found, f"cotangents times {words}")
    return found
