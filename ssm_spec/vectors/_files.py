"""The golden vectors as files: one safetensors file an operator, and a manifest that describes them all.

The files of the current version are shipped in `data`, beside this module. To read or export them takes
nothing but NumPy; to compute them again takes the extra `certify`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from ssm_spec.vectors._case import Case, Vector
from ssm_spec.vectors._cases_family import family_cases
from ssm_spec.vectors._cases_layers import layer_cases
from ssm_spec.vectors._cases_linear import linear_cases
from ssm_spec.vectors._cases_scan import scan_cases, step_cases
from ssm_spec.vectors._cases_starts import start_cases
from ssm_spec.vectors._cases_systems import system_cases
from ssm_spec.vectors._safetensors import pack, restored, stored, unpack
from ssm_spec.vectors._version import SPEC_VERSION, VECTORS_VERSION

MANIFEST: Final = "manifest.json"
SCHEMA_ID: Final = "ssm-spec-vectors-1"


def cases() -> Iterator[Case]:
    """Every golden case, in order."""
    yield from linear_cases()
    yield from system_cases()
    yield from start_cases()
    yield from layer_cases()
    yield from scan_cases()
    yield from step_cases()
    yield from family_cases()


def answered(case: Case) -> Vector:
    """The case with its correctly rounded answers; takes the extra `certify`."""
    from ssm_spec.certify import correctly_rounded, correctly_rounded_vjp

    gradients = correctly_rounded_vjp(case.op, case.cotangents, **case.inputs) if case.cotangents else {}
    return Vector(**vars(case), outputs=correctly_rounded(case.op, **case.inputs), gradients=gradients)


def contents(vectors: Iterable[Vector]) -> dict[str, bytes]:
    """File name -> bytes, the manifest last."""
    by_op: dict[str, list[Vector]] = {}
    for vector in vectors:
        by_op.setdefault(vector.op, []).append(vector)
    written, operators = {}, {}
    for op, rows in by_op.items():
        data = pack({name: array for row in rows for name, array in row.tensors().items()})
        written[f"{op}.safetensors"] = data
        operators[op] = {
            "file": f"{op}.safetensors",
            "sha256": sha256(data).hexdigest(),
            "cases": [_entry(row) for row in rows],
        }
    manifest = {
        "schema": SCHEMA_ID,
        "vectors": VECTORS_VERSION,
        "spec": SPEC_VERSION,
        "rounding": "each output and gradient is the float64 nearest to the exact number, ties to even",
        "operators": operators,
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=True) + "\n"
    return {**written, MANIFEST: text.encode()}


def _entry(vector: Vector) -> dict[str, Any]:
    """What the manifest says of one case."""
    return {
        "name": vector.name,
        "clauses": list(vector.clause),
        "exact_in": vector.exact_in,
        "parameters": dict(vector.parameters),
        "tensors": {
            name: {
                "dtype": array.dtype.name,
                "shape": list(array.shape),
                "sha256": sha256(stored(array).tobytes()).hexdigest(),
            }
            for name, array in vector.tensors().items()
        },
    }


def remade() -> dict[str, bytes]:
    """File name -> bytes, every answer computed again; takes the extra `certify`."""
    return contents(answered(case) for case in cases())


def shipped() -> dict[str, bytes]:
    """File name -> bytes, as they lie in the package."""
    return {file.name: file.read_bytes() for file in _data().iterdir()}


def export(directory: str | Path) -> dict[str, int]:
    """Write the golden vectors; file name -> size in bytes. The bytes are the same everywhere."""
    written, where = shipped(), Path(directory)
    where.mkdir(parents=True, exist_ok=True)
    for name, data in written.items():
        (where / name).write_bytes(data)
    return {name: len(data) for name, data in written.items()}


def load(directory: str | Path | None = None) -> list[Vector]:
    """Read vectors back, those in the package if no directory is named."""
    where = _data() if directory is None else Path(directory)
    manifest = json.loads((where / MANIFEST).read_text(encoding="utf-8"))
    found = []
    for op, entry in manifest["operators"].items():
        arrays = unpack((where / entry["file"]).read_bytes())
        found += [_vector(op, row, arrays) for row in entry["cases"]]
    return found


def _data() -> Traversable:
    return files("ssm_spec.vectors").joinpath("data")


def _vector(op: str, row: dict[str, Any], arrays: dict[str, Any]) -> Vector:
    parts: dict[str, dict[str, Any]] = {"input": {}, "cotangent": {}, "output": {}, "gradient": {}}
    for name, tensor in row["tensors"].items():
        kind, argument = name.removeprefix(f"{row['name']}/").split("/")
        parts[kind][argument] = restored(arrays[name], tensor["dtype"])
    return Vector(
        op=op,
        name=row["name"],
        clause=tuple(row["clauses"]),
        arrays=parts["input"],
        parameters={k: tuple(v) if isinstance(v, list) else v for k, v in row["parameters"].items()},
        exact_in=row["exact_in"],
        cotangents=parts["cotangent"],
        outputs=parts["output"],
        gradients=parts["gradient"],
    )


def schema() -> dict[str, Any]:
    """The JSON schema of the manifest."""
    text = files("ssm_spec.vectors").joinpath("manifest.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
