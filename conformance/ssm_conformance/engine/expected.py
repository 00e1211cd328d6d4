"""Failures announced beforehand: a file that says which cases fail, and why that is known.

``expected.schema.json`` describes its form.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ssm_backends import ArgumentError
from ssm_conformance.cases import catalogue, find_case
from ssm_conformance.planning import Planned

KEYS: Final = ("id", "check", "reason", "url", "backend")


class ExpectedFileError(ValueError):
    """The file is not readable, or an entry of it is stale."""


@dataclass(frozen=True)
class Expectation:
    """One announced failure.

    Attributes
    ----------
    id
        Of the case.
    reason
        Why it fails.
    check
        The case's check; "" if the entry does not say.
    url
        Where it is reported.
    backend
        Whom it is about; "" for every backend of the run.
    """

    id: str
    reason: str
    check: str = ""
    url: str = ""
    backend: str = ""

    @property
    def text(self) -> str:
        """The reason, with the address of its report."""
        return f"{self.reason} ({self.url})" if self.url else self.reason


def read_expected(path: Path) -> list[Expectation]:
    """The entries of a TOML or JSON file: tables ``[[expected]]``, or a list.

    Raises
    ------
    ExpectedFileError
        If the file cannot be read, or an entry names no case.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise ExpectedFileError(f"`--expected` must be a TOML or JSON file; {path}: {error}") from error
    if isinstance(data, Mapping) and set(data) - {"expected", "$schema"}:
        raise ExpectedFileError(
            f"`--expected` must hold one list called expected; {path} has {', '.join(map(repr, data))}"
        )
    entries = data.get("expected", []) if isinstance(data, Mapping) else data
    if not isinstance(entries, list):
        raise ExpectedFileError(
            f"`--expected` must hold a list of entries; {path} holds {type(data).__name__}"
        )
    found = [_entry(item, path) for item in entries]
    seen: set[tuple[str, str]] = set()
    for entry in found:
        if (entry.id, entry.backend) in seen:
            raise ExpectedFileError(f"{path} names {entry.id} twice")
        seen.add((entry.id, entry.backend))
    return found


def _entry(item: Any, path: Path) -> Expectation:
    if not isinstance(item, Mapping) or not {"id", "reason"} <= set(item):
        raise ExpectedFileError(f"an entry of {path} must have `id` and `reason`; got {item!r}")
    if item["reason"] == "":
        raise ExpectedFileError(f"`reason` in {path} must say why {item['id']} fails; got ''")
    for key, value in item.items():
        if key not in KEYS or not isinstance(value, str):
            raise ExpectedFileError(
                f"an entry of {path} has strings {', '.join(KEYS)}; got {key} = {value!r}"
            )
    entry = Expectation(**item)
    try:
        case = find_case(entry.id)
    except ArgumentError as error:
        near = difflib.get_close_matches(entry.id, [case.id for case in catalogue("full")], n=1)
        hint = f"; the nearest is {near[0]}" if near else ""
        raise ExpectedFileError(f"stale entry in {path}: no case has the id {entry.id!r}{hint}") from error
    if entry.check and entry.check != case.check:
        raise ExpectedFileError(
            f"stale entry in {path}: {entry.id} is a case of {case.check}, not {entry.check}"
        )
    return entry


def expectations_for(
    backend: str, entries: Iterable[Expectation], planned: Sequence[Planned]
) -> dict[str, Expectation]:
    """The entries about one backend, by case.

    Raises
    ------
    ExpectedFileError
        If the backend does not claim what an entry expects to fail.
    """
    about = {entry.id: entry for entry in entries if entry.backend in ("", backend)}
    for item in planned:
        if item.case.id in about and item.status == "not_claimed":
            raise ExpectedFileError(
                f"stale entry: {backend} is not asked {item.case.id} ({item.reason}), so it cannot fail"
            )
    return about
