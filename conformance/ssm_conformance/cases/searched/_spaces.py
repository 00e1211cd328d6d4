"""The spaces of all operators that are searched, and the case of an id that a search printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ssm_backends import ArgumentError
from ssm_conformance.case import Case
from ssm_conformance.cases.searched._heads import HEADS
from ssm_conformance.cases.searched._selective import SELECTIVE
from ssm_conformance.cases.searched._space import Space
from ssm_conformance.cases.searched._systems import SYSTEMS

SPACES: Final[Mapping[str, Space]] = {space.op: space for space in (*SELECTIVE, *HEADS, *SYSTEMS)}
"""Operator → what there is to draw."""


def found_case(case_id: str) -> Case:
    """The case of an id that a search printed.

    Raises
    ------
    ArgumentError
        If it is not such an id.
    """
    op, check, dtype, name = (*case_id.split("/", 3), "", "", "")[:4]
    chosen = SPACES[op].parsed(name) if op in SPACES and check in ("value", "gradient") else None
    if chosen is None:
        raise ArgumentError(f"`case` must be the id of a case; got {case_id!r}")
    try:
        case = SPACES[op].case(chosen, dtype, check)  # type: ignore[arg-type]  # one of two words
        case.call()
    except (KeyError, ValueError, TypeError) as error:
        raise ArgumentError(f"`case` must be the id of a case; got {case_id!r}: {error}") from error
    return case
