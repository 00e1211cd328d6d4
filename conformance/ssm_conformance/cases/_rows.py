"""What tables of recipes have in common: the form of a row, and matrices whose entries do not cancel."""

from __future__ import annotations

from typing import Any

from ssm_conformance.case import Level
from ssm_conformance.draw import Draw

Row = tuple[str, str, str, Level, dict[str, Any]]
"""Operator, name, clause, smallest level, inputs."""


def growing(*shape: int, rate: float = 1.0) -> Draw:
    """Matrices without a negative entry, whose rows sum to about a rate."""
    return Draw(
        shape, "log_uniform", parameters={"low": 0.25 * rate / shape[-1], "high": 2 * rate / shape[-1]}
    )
