"""Certificates: every definition once more, in ball arithmetic, and what that proves of the oracle."""

from ssm_spec.certify._enclose import (
    DEFINITIONS,
    Enclosure,
    UndecidedError,
    correctly_rounded,
    correctly_rounded_vjp,
    enclose,
    enclose_vjp,
)

__all__ = [
    "DEFINITIONS",
    "Enclosure",
    "UndecidedError",
    "correctly_rounded",
    "correctly_rounded_vjp",
    "enclose",
    "enclose_vjp",
]
