"""Golden vectors: frozen, the same bytes every time, readable by others, and a flipped bit is found."""

import json
import re
import shutil
import subprocess
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from ssm_conformance.cli import cli
from ssm_spec import REFERENCES, Arithmetic, vectors
from ssm_spec.vectors import DIGESTS, SPEC_VERSION, VECTORS_VERSION
from ssm_spec.vectors._dice import BITS, Dice
from ssm_spec.vectors._safetensors import FormatError, pack, stored, unpack

ROOT = Path(__file__).resolve().parents[2]
FIRST_RELEASE = {
    "discretize_zoh",
    "discretize_bilinear",
    "ssm_recurrence",
    "ssm_kernel",
    "causal_convolution",
    "hippo_legs",
    "selective_scan",
    "selective_state_update",
}


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("vectors")
    vectors.export(directory)
    return directory


@pytest.fixture
def exported(frozen: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(frozen, tmp_path / "copy"))


def test_the_numbers_are_those_of_the_version(frozen: Path) -> None:
    digest = sha256((frozen / "manifest.json").read_bytes()).hexdigest()
    assert digest == DIGESTS[VECTORS_VERSION], "the vectors changed: raise VECTORS_VERSION, add its digest"


def test_they_hold_the_specification_of_this_release() -> None:
    assert version("ssm-spec").startswith(f"{SPEC_VERSION}."), "review the vectors, then raise SPEC_VERSION"


def test_every_operator_of_the_first_release_has_cases_and_every_gradient(frozen: Path) -> None:
    found = vectors.load(frozen)
    assert {vector.op for vector in found} == FIRST_RELEASE
    for op in FIRST_RELEASE:
        rows = [vector for vector in found if vector.op == op]
        assert all(tuple(row.outputs) == REFERENCES[op].outputs for row in rows)
        assert {name for row in rows for name in row.gradients} == set(REFERENCES[op].differentiable)
        assert len({row.name for row in rows}) == len(rows)


def test_the_manifest_keeps_its_schema_and_names_clauses_that_exist(frozen: Path) -> None:
    manifest = json.loads((frozen / "manifest.json").read_text())
    jsonschema.Draft202012Validator(vectors.schema()).validate(manifest)
    written = set(
        re.findall(r"^- \*\*([\w-]+)\*\*", (ROOT / "docs" / "semantics.md").read_text(), re.MULTILINE)
    )
    cited = {c for row in manifest["operators"].values() for case in row["cases"] for c in case["clauses"]}
    assert cited <= written


def test_they_are_small_enough_to_ship(frozen: Path) -> None:
    assert sum(path.stat().st_size for path in frozen.iterdir()) < 1_000_000


def test_the_public_package_reads_the_files(frozen: Path) -> None:
    tensors = [vector.tensors() for vector in vectors.load(frozen) if vector.op == "selective_scan"]
    expected = {name: stored(array) for row in tensors for name, array in row.items()}
    found = load_file(frozen / "selective_scan.safetensors")
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name])


def test_the_oracle_keeps_its_bounds_on_them(frozen: Path) -> None:
    arithmetic = Arithmetic(compute="float64")
    for vector in vectors.load(frozen):
        reference = REFERENCES[vector.op]
        pairs = [(reference.bounds(arithmetic=arithmetic, **vector.inputs), vector.outputs)]
        if reference.vjp_bounds is not None:
            slopes = reference.vjp_bounds(vector.cotangents, arithmetic=arithmetic, **vector.inputs)
            pairs.append((slopes, vector.gradients))
        for bounds, golden in pairs:
            assert bounds.keys() == golden.keys()
            for name, bounded in bounds.items():
                # The golden number is itself rounded: half a unit, of each part of a complex one.
                allowed = bounded.own + 2.0**-52 * np.abs(golden[name]) + 2.0**-1074
                assert np.all(np.abs(bounded.value - golden[name]) <= allowed), (vector.op, vector.name, name)


@pytest.mark.parametrize("case", list(vectors.cases()), ids=lambda case: f"{case.op}-{case.name}")
def test_inputs_are_exact_in_the_type_that_is_named(case: vectors.Case) -> None:
    for array in (*case.arrays.values(), *case.cotangents.values()):
        for part in (np.real(array), np.imag(array)) if array.dtype.kind in "fc" else ():
            mantissa = np.frexp(part)[0] * 2.0 ** BITS[case.exact_in]
            np.testing.assert_array_equal(mantissa, np.round(mantissa))


def test_dice_fall_the_same_everywhere() -> None:
    """The first throws, written down: Python promises them for every version."""
    dice = Dice("frozen")
    assert dice.real(3).tolist() == [0.7109375, -0.6953125, -0.2392578125]
    assert dice.integers(5, below=7).tolist() == [6, 4, 3, 1, 3]


def test_what_was_exported_is_right(frozen: Path) -> None:
    assert vectors.check(frozen) == []


@pytest.mark.parametrize("op", sorted(FIRST_RELEASE))
@pytest.mark.parametrize("bit", [0, 51, 63])
def test_a_flipped_bit_is_named_by_tensor_and_element(exported: Path, op: str, bit: int) -> None:
    path = exported / f"{op}.safetensors"
    data = bytearray(path.read_bytes())
    tensors = unpack(bytes(data))
    name, array = [(k, v) for k, v in tensors.items() if v.size and "/output/" in k][-1]
    index = tuple(size // 2 for size in array.shape)
    start = bytes(data).index(np.ascontiguousarray(array).tobytes())
    place = start + 8 * int(np.ravel_multi_index(index, array.shape)) + bit // 8
    data[place] ^= 1 << bit % 8
    path.write_bytes(data)
    (difference,) = vectors.check(exported)
    assert difference.file == path.name
    assert difference.where == f"{name}[{', '.join(map(str, index))}]"
    assert f"{1 << bit:#018x}" in difference.message


def test_every_other_damage_is_named(exported: Path) -> None:
    manifest = exported / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"length": 33', '"length": 34', 1))
    (difference,) = vectors.check(exported)
    assert "operators.ssm_kernel.cases[1].parameters.length: is 34, should be 33" in str(difference)
    manifest.write_text(text.replace("\n", " "))
    assert [d.message for d in vectors.check(exported)] == ["says the same in other bytes"]
    manifest.write_text("{")
    assert "is not JSON" in vectors.check(exported)[0].message
    manifest.write_text(text.replace('"vectors": "1"', '"vectors": "0"'))
    assert "is version '0'; this package makes version '1'" in str(vectors.check(exported)[0])
    manifest.write_text(text)
    (exported / "hippo_legs.safetensors").unlink()
    (exported / "other.safetensors").write_bytes(b"")
    assert [str(d) for d in vectors.check(exported)] == [
        "other.safetensors: is not part of the vectors",
        "hippo_legs.safetensors: is missing",
    ]


def test_a_spoiled_header_is_named(exported: Path) -> None:
    path = exported / "hippo_legs.safetensors"
    data = path.read_bytes()
    path.write_bytes(b"\xff" + data[1:])
    assert "the header does not describe the file" in vectors.check(exported)[0].message
    path.write_bytes(data[:-8])
    assert vectors.check(exported)
    path.write_bytes(data.replace(b"n1/output/A", b"n1/output/X"))
    assert [d.where for d in vectors.check(exported)] == ["n1/output/A", "n1/output/X"]


def test_a_file_survives_the_way_out_and_back() -> None:
    arrays = {
        "a": np.array([1.5, -0.0]),
        "none": np.zeros((2, 0)),
        "one": np.array(3),
        "z": np.array([1 + 2j]),
    }
    found = unpack(pack(arrays))
    assert list(found) == list(arrays)
    assert found["z"].tolist() == [[1.0, 2.0]]
    assert found["none"].shape == (2, 0)
    assert found["one"].shape == ()
    with pytest.raises(FormatError, match="the header does not describe the file"):
        unpack(b"nothing")


def test_the_command_exports_and_checks(tmp_path: Path) -> None:
    run = CliRunner().invoke
    directory = str(tmp_path / "out")
    said = run(cli, ["vectors", "export", directory], standalone_mode=False)
    assert (said.return_value, said.exception) == (0, None)
    assert "version 1: 9 files" in said.output
    assert run(cli, ["vectors", "check", directory], standalone_mode=False).return_value == 0
    path = tmp_path / "out" / "ssm_kernel.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    said = run(cli, ["vectors", "check", directory], standalone_mode=False)
    assert said.return_value == 1
    assert "ssm_kernel.safetensors: modes-complex-33/gradient/C[" in said.output


@pytest.mark.skipif(shutil.which("node") is None, reason="the reader is in JavaScript; there is no node here")
def test_the_reader_in_javascript_reads_them(frozen: Path) -> None:
    reader = ROOT / "docs" / "examples" / "read-vectors" / "read.mjs"

    def read(directory: Path) -> subprocess.CompletedProcess[Any]:
        return subprocess.run(
            ["node", reader, directory], capture_output=True, text=True, check=False, timeout=60
        )

    said = read(frozen)
    assert said.returncode == 0, said.stderr
    assert "every hash and shape right; 12 cases computed again" in said.stdout


@pytest.mark.skipif(shutil.which("node") is None, reason="the reader is in JavaScript; there is no node here")
def test_the_reader_in_javascript_refuses_a_flipped_bit(exported: Path) -> None:
    path = exported / "hippo_legs.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    reader = ROOT / "docs" / "examples" / "read-vectors" / "read.mjs"
    said = subprocess.run(["node", reader, exported], capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode != 0
    assert "hippo_legs.safetensors: the hash is not the manifest's" in said.stderr
