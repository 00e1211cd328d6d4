"""Exported vectors against those of this package: each difference by tensor and element."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec.vectors._files import MANIFEST, remade, shipped
from ssm_spec.vectors._safetensors import FormatError, unpack
from ssm_spec.vectors._version import VECTORS_VERSION

Array = NDArray[Any]


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it should be.

    Attributes
    ----------
    file
        The file's name.
    where
        A tensor and the index of an element as it is stored, or a place in the manifest; empty for
        the whole file.
    message
        What is there and what should be.
    """

    file: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}{': ' if self.where else ''}{self.where}: {self.message}"


def check(directory: str | Path, *, recompute: bool = True) -> list[Difference]:
    """Compare the vectors in a directory bit by bit; an empty list if all is right.

    Parameters
    ----------
    directory
        Where `export` wrote them.
    recompute
        Compute every answer again, which takes the extra `certify`. Otherwise the files in the package
        are what they are compared with.
    """
    where = Path(directory)
    other = _other_version(where)
    if other is not None:
        return [other]
    expected = remade() if recompute else shipped()
    found = {path.name: path for path in where.iterdir() if path.is_file()}
    differences = [
        Difference(name, "", "is not part of the vectors")
        for name in sorted(set(found) - set(expected))
        if name.endswith(".safetensors")
    ]
    for name, data in expected.items():
        if name not in found:
            differences.append(Difference(name, "", "is missing"))
        elif (read := found[name].read_bytes()) != data:
            compare = _manifest if name == MANIFEST else _tensors
            differences += compare(name, read, data)
    return differences


def _other_version(directory: Path) -> Difference | None:
    """Vectors of another version are not compared: this package cannot make them."""
    try:
        version = json.loads((directory / MANIFEST).read_bytes())["vectors"]
    except FileNotFoundError:
        return Difference(MANIFEST, "", f"there is none in {directory}")
    except (ValueError, KeyError, TypeError):
        return None  # a broken manifest is compared with the right one
    if version == VECTORS_VERSION:
        return None
    return Difference(
        MANIFEST, "vectors", f"is version {version!r}; this package makes version {VECTORS_VERSION!r}"
    )


def _tensors(file: str, found: bytes, expected: bytes) -> Iterator[Difference]:
    """Compare two files that differ."""
    right = unpack(expected)
    try:
        arrays = unpack(found)
    except FormatError as error:
        yield Difference(file, "", str(error))
        return
    before = list(_elements(file, arrays, right))
    yield from before or [Difference(file, "", "the header differs from the one that belongs to the numbers")]


def _elements(file: str, found: dict[str, Array], right: dict[str, Array]) -> Iterator[Difference]:
    for name in [*right, *(set(found) - set(right))]:
        if name not in found or name not in right:
            yield Difference(file, name, "is missing" if name in right else "is not part of the vectors")
            continue
        a, b = found[name], right[name]
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            yield Difference(file, name, f"is {a.dtype} {a.shape}; should be {b.dtype} {b.shape}")
            continue
        for index in np.argwhere(a.view(np.uint64) != b.view(np.uint64)):
            i = tuple(int(k) for k in index)
            bits = int(a.view(np.uint64)[i]) ^ int(b.view(np.uint64)[i])
            where = f"{name}[{', '.join(map(str, i))}]"
            yield Difference(file, where, f"is {a[i]!r}, should be {b[i]!r}; bits {bits:#018x} differ")


def _manifest(file: str, found: bytes, expected: bytes) -> Iterator[Difference]:
    """Compare two manifests that differ."""
    try:
        tree = json.loads(found)
    except ValueError as error:
        yield Difference(file, "", f"is not JSON: {error}")
        return
    before = list(_branches(file, "", tree, json.loads(expected)))
    yield from before or [Difference(file, "", "says the same in other bytes")]


def _branches(file: str, where: str, found: Any, right: Any) -> Iterator[Difference]:
    if isinstance(found, dict) and isinstance(right, dict):
        for key in [*right, *(set(found) - set(right))]:
            below = f"{where}.{key}" if where else key
            yield from _branches(file, below, found.get(key), right.get(key))
    elif isinstance(found, list) and isinstance(right, list) and len(found) == len(right):
        for i, (a, b) in enumerate(zip(found, right, strict=True)):
            yield from _branches(file, f"{where}[{i}]", a, b)
    elif found != right:
        yield Difference(file, where, f"is {found!r}, should be {right!r}")
