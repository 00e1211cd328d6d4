"""The oracle's typed errors: each names the argument, the rule, and what was given."""

from __future__ import annotations


class ShapeError(ValueError):
    """An argument's rank or size breaks a rule of the operator."""


class DTypeError(TypeError):
    """An argument's dtype breaks a rule of the operator."""


class DomainError(ValueError):
    """An argument's value lies where the operator is not defined (a singular matrix, say)."""
