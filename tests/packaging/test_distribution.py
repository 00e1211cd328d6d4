"""What is installed: every package, in every way of installing, and nothing that was not asked for."""

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ssm_spec", "ssm_backends", "ssm_cpu", "ssm_numpy", "ssm_torch", "ssm_triton", "ssm_conformance")


def run(*command: object, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)


def succeed(*command: object, **options) -> str:
    result = run(*command, **options)
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


def source_files() -> set[str]:
    """Every file of the packages in the checkout, as a wheel names it."""
    found = set()
    for room in (ROOT, ROOT / "backends", ROOT / "conformance"):
        for package in PACKAGES:
            for path in (room / package).rglob("*"):
                if path.is_file() and "__pycache__" not in path.parts:
                    found.add(path.relative_to(room).as_posix())
    return found


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel built from the tree, and one built from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir")
    succeed(*build, out / "direct", "--wheel", ROOT)
    succeed(*build, out / "sdist", "--sdist", ROOT)
    (archive,) = (out / "sdist").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.2 has none
        tar.extractall(out / "unpacked")
    (tree,) = (out / "unpacked").iterdir()
    succeed(*build, out / "through-sdist", "--wheel", tree)
    return {name: next((out / name).glob("*.whl")) for name in ("direct", "through-sdist")}


@pytest.mark.parametrize("way", ["direct", "through-sdist"])
def test_a_wheel_holds_every_file_of_every_package(wheels: dict[str, Path], way: str) -> None:
    packed = {name for name in zipfile.ZipFile(wheels[way]).namelist() if ".dist-info/" not in name}
    assert packed == source_files()
    assert {f"{package}/py.typed" for package in PACKAGES} <= packed


@pytest.fixture(scope="module")
def empty_environment(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the wheel and its base dependencies alone."""
    home = tmp_path_factory.mktemp("empty")
    venv.create(home)
    python = home / "bin" / "python"
    there = (sys.executable, "-m", "pip", "--python", python)  # to make it one of its own takes seconds
    succeed(*there, "install", "--quiet", "--no-compile", wheels["direct"])
    return python


def test_the_oracle_runs_on_the_base_install(empty_environment: Path) -> None:
    script = (
        "import sys, numpy as np, ssm_spec, ssm_backends, ssm_numpy\n"
        "y = ssm_spec.selective_scan(np.ones((1, 1, 3)), np.ones((1, 1, 3)), -np.ones((1, 1)),"
        " np.ones((1, 1, 3)), np.ones((1, 1, 3)))\n"
        "assert abs(y[0, 0, 1] - (np.exp(-1) + 1)) < 1e-15\n"
        "assert not {'torch', 'triton'} & set(sys.modules)\n"
    )
    succeed(empty_environment, "-W", "error", "-c", script, cwd=empty_environment.parent)


def test_a_backend_without_its_extra_is_unavailable_and_says_what_mends_it(empty_environment: Path) -> None:
    script = (
        "import ssm_backends\n"
        "try: ssm_backends.load('torch')\n"
        "except ssm_backends.UnavailableError as error: print(error)\n"
        "print(ssm_backends.load('numpy').name)\n"
    )
    said = succeed(empty_environment, "-c", script, cwd=empty_environment.parent)
    assert "pip install 'ssm-spec[torch]'" in said
    assert said.endswith("numpy\n")


def test_the_command_without_its_extra_says_how_to_get_it(empty_environment: Path) -> None:
    result = run(empty_environment.parent / "ssm-spec", "conform", "numpy")
    assert result.returncode == 2
    assert "pip install 'ssm-spec[conformance]'" in result.stderr
