"""The conformance suite: cases, judgement, engine, reports, and the two ways to run them.

Importing this package imports nothing else: its pytest plugin is loaded by every pytest run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssm_conformance.assertion import ConformanceError, assert_conforms

__all__ = ["ConformanceError", "assert_conforms"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from ssm_conformance import assertion

        return getattr(assertion, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
