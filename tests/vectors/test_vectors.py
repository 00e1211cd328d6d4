"""Golden vectors: frozen, the same bytes every time, readable by others, and a flipped bit is found."""

import json
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import click
import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file

from ssm_conformance.cli import cli
from ssm_spec import REFERENCES, Arithmetic, vectors
from ssm_spec.vectors import DIGESTS, SPEC_VERSION, VECTORS_VERSION, _checking
from ssm_spec.vectors._dice import BITS, Dice
from ssm_spec.vectors._safetensors import FormatError, pack, stored, unpack

ROOT = Path(__file__).resolve().parents[2]
READER = ROOT / "docs" / "examples" / "read-vectors" / "read.mjs"


@pytest.fixture(scope="session")
def computed() -> dict[str, bytes]:
    """Every vector, computed in this run."""
    return vectors.remade()


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("vectors")
    vectors.export(directory)
    return directory


@pytest.fixture
def exported(
    frozen: Path, tmp_path: Path, computed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy to spoil; what it is checked against is computed once for all tests."""
    monkeypatch.setattr(_checking, "remade", lambda: computed)
    return Path(shutil.copytree(frozen, tmp_path / "copy"))


def test_the_numbers_are_those_of_the_version(frozen: Path) -> None:
    digest = sha256((frozen / "manifest.json").read_bytes()).hexdigest()
    assert digest == DIGESTS[VECTORS_VERSION], "the vectors changed: raise VECTORS_VERSION, add its digest"


def test_they_hold_the_specification_of_this_release() -> None:
    assert version("ssm-spec").startswith(f"{SPEC_VERSION}."), "review the vectors, then raise SPEC_VERSION"


def test_every_operator_has_cases_and_every_gradient(frozen: Path) -> None:
    found = vectors.load(frozen)
    assert {vector.op for vector in found} == set(REFERENCES)
    for op, reference in REFERENCES.items():
        rows = [vector for vector in found if vector.op == op]
        assert all(tuple(row.outputs) == reference.outputs for row in rows)
        assert {name for row in rows for name in row.gradients} == set(reference.differentiable)
        assert len({row.name for row in rows}) == len(rows)


def test_every_case_of_a_gradient_has_a_cotangent_of_each_output() -> None:
    for vector in vectors.load():
        differentiable = REFERENCES[vector.op].vjp is not None
        assert set(vector.cotangents) == (set(vector.outputs) if differentiable else set())
        given = {name for name in REFERENCES[vector.op].differentiable if vector.inputs.get(name) is not None}
        assert set(vector.gradients) == given


def test_the_package_ships_what_is_computed(computed: dict[str, bytes]) -> None:
    """Anew, byte by byte; `python -m ssm_spec.vectors` writes them."""
    assert vectors.shipped() == computed


def test_they_are_read_and_checked_without_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; sys.modules['flint'] = None; from ssm_spec import vectors\n"
        f"out = pathlib.Path({str(tmp_path)!r}); vectors.export({str(tmp_path)!r})\n"
        "assert len(vectors.load()) == len(vectors.load(out)) == len(list(vectors.cases())) > 200\n"
        "assert vectors.check(out, recompute=False) == vectors.check(str(out), recompute=False) == []\n"
        "assert len(vectors.load(str(out))) == len(vectors.load())"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_manifest_keeps_its_schema_and_names_clauses_that_exist(frozen: Path) -> None:
    manifest = json.loads((frozen / "manifest.json").read_text())
    jsonschema.Draft202012Validator(vectors.schema()).validate(manifest)
    written = set(
        re.findall(r"^- \*\*([\w-]+)\*\*", (ROOT / "docs" / "semantics.md").read_text(), re.MULTILINE)
    )
    cited = {c for row in manifest["operators"].values() for case in row["cases"] for c in case["clauses"]}
    assert cited <= written


def test_they_are_small_enough_to_ship(frozen: Path) -> None:
    assert sum(path.stat().st_size for path in frozen.iterdir()) < 3_000_000


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


def test_what_was_exported_is_right(exported: Path) -> None:
    assert vectors.check(exported) == vectors.check(exported, recompute=False) == []


@pytest.mark.parametrize("recompute", [True, False])
@pytest.mark.parametrize("bit", [0, 51, 63])
@pytest.mark.parametrize("op", REFERENCES)
def test_a_flipped_bit_is_named_by_tensor_and_element(
    exported: Path, op: str, bit: int, recompute: bool
) -> None:
    path = exported / f"{op}.safetensors"
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    name = [k for k, entry in header.items() if 0 not in entry["shape"] and "/output/" in k][-1]
    shape = header[name]["shape"]
    index = tuple(side // 2 for side in shape)
    start = 8 + size + header[name]["data_offsets"][0]
    data[start + 8 * int(np.ravel_multi_index(index, shape)) + bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    (difference,) = vectors.check(exported, recompute=recompute)
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
    manifest.write_text(text.replace(f'"vectors": "{VECTORS_VERSION}"', '"vectors": "0"'))
    said = f"is version '0'; this package makes version '{VECTORS_VERSION}'"
    assert said in str(vectors.check(exported)[0])
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


def test_the_command_exports_and_checks(
    tmp_path: Path, computed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_checking, "remade", lambda: computed)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["vectors", *arguments, directory], standalone_mode=False)

    directory = str(tmp_path / "out")
    said = run("export")
    assert (said.return_value, said.exception) == (0, None)
    assert f"version {VECTORS_VERSION}: {len(REFERENCES) + 1} files" in said.output
    for way, what in ((("check",), "is what it is computed to be"), (("check", "--shipped"), "own files")):
        said = run(*way)
        assert said.return_value == 0
        assert what in said.output
    path = tmp_path / "out" / "ssm_kernel.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    for way in (("check",), ("check", "--shipped")):
        said = run(*way)
        assert said.return_value == 1
        assert "ssm_kernel.safetensors: modes-complex-33/gradient/C[" in said.output


def test_a_file_that_cannot_be_read_is_no_difference(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    done = CliRunner().invoke(cli, ["vectors", "check", str(tmp_path), "--shipped"], standalone_mode=False)
    assert isinstance(done.exception, click.UsageError)
    assert str(done.exception).startswith("`DIR` must hold files that can be read; got ")


def test_a_check_without_the_extra_says_what_can_be_done(frozen: Path) -> None:
    code = (
        "import sys; sys.modules['flint'] = None\n"
        f"sys.argv = ['ssm-spec', 'vectors', 'check', {str(frozen)!r}]\n"
        "from ssm_conformance.__main__ import main; sys.exit(main())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert "pip install 'ssm-spec[certify]'; or compare with the package's own files" in said.stderr


def read_in_javascript(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["node", READER, directory], capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("node") is None, reason="the reader is in JavaScript; there is no node here")
def test_the_reader_in_javascript_reads_them(frozen: Path) -> None:
    said = read_in_javascript(frozen)
    assert said.returncode == 0, said.stderr
    cases = len(vectors.load(frozen))
    assert f"version {VECTORS_VERSION}: {cases} cases of {len(REFERENCES)} operators" in said.stdout
    assert "every hash and shape right; 23 cases computed again" in said.stdout


@pytest.mark.skipif(shutil.which("node") is None, reason="the reader is in JavaScript; there is no node here")
def test_the_reader_in_javascript_refuses_a_flipped_bit(exported: Path) -> None:
    path = exported / "hippo_legs.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    said = read_in_javascript(exported)
    assert said.returncode != 0
    assert "hippo_legs.safetensors: the hash is not the manifest's" in said.stderr
