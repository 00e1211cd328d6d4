"""The version of the golden vectors, and the digest that freezes the numbers of each version."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

SPEC_VERSION: Final = "0.1"
"""The release of the specification whose meaning the vectors hold."""

VECTORS_VERSION: Final = "5"
"""Raised with every change of any number, name or parameter of the vectors."""

DIGESTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "1": "5499bd4db5508c7005bf37001d794800d5f1545415e7c00c4a4bfa21aa2483b7",
        "2": "90c26071c4380dd8a726c9e2c3edcd7abf40776159eb6ff4eb5314e6660f3186",
        "3": "20c47f1d40cc974e9427bd9f674761cd2b1f1396af608b8adeec8fac7346034a",
        "4": "93e15c648161a289d6ba0b112ad0ba87734bcc1904af09bff601b33b667deb9a",
        "5": "168e4be6800ce343f60aac6888bdfefff8153906ebc1f3c0fe7accba39363d59",
    }
)
"""Version -> SHA-256 of its manifest.json, which has the hash of every tensor in it."""
