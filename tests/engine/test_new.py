"""What ``ssm-spec new`` writes: a package that installs, lints and conforms at once, or nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ssm_conformance.cli.new import new
from ssm_conformance.scaffold import ScaffoldError, names_for, scaffold
from ssm_conformance.scaffold.names import LONGEST


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(new, [str(item) for item in arguments])


def succeed(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(item) for item in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | {"SSM_SPEC_LEVEL": "smoke", "COLUMNS": "200"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scaffold(names_for("a" * (LONGEST - 7) + "-b3-cde"), tmp_path_factory.mktemp("new"))


def test_it_lints_whatever_its_name(package: Path, tmp_path: Path) -> None:
    succeed(sys.executable, "-m", "ruff", "check", "--no-cache", ".", cwd=package)
    succeed(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".", cwd=package)
    settings = (package / "pyproject.toml").read_text()
    # Reading PyTorch's own types would take mypy most of a minute.
    skipped = '[[tool.mypy.overrides]]\nmodule = "torch.*"\nfollow_imports = "skip"\n'
    (tmp_path / "pyproject.toml").write_text(settings + skipped)
    options = ("--cache-dir", os.devnull, "--config-file", tmp_path / "pyproject.toml")
    succeed(sys.executable, "-m", "mypy", *options, cwd=package)


def test_it_installs_and_its_own_test_conforms(package: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    paths = {key: str(tmp_path / "venv") for key in ("base", "platbase")}
    theirs = Path(sysconfig.get_path("purelib", vars=paths))
    ours = sysconfig.get_path("purelib")  # what it depends on is here: nothing is downloaded
    (theirs / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n", encoding="utf-8")
    succeed(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps",
            "--no-build-isolation", package, cwd=tmp_path)  # fmt: skip
    assert f"{package.name} 0.1.0" in succeed(python, "-m", "ssm_conformance", "backends", cwd=tmp_path)
    assert "1 passed" in succeed(python, "-m", "pytest", "-p", "no:cacheprovider", cwd=package)


def test_it_says_what_to_do_next(tmp_path: Path) -> None:
    said = call("acme", "--into", tmp_path)
    assert said.exit_code == 0
    assert f"cd {tmp_path / 'ssm-acme'}\n" in said.output
    assert "ssm-spec conform acme\n" in said.output
    assert [path.name for path in tmp_path.iterdir()] == ["ssm-acme"]


def test_a_folder_that_everybody_may_write_to_makes_no_such_package(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)  # as /tmp is
    usual = tmp_path / "usual"
    usual.mkdir()
    assert call("acme", "--into", tmp_path).exit_code == 0
    assert (tmp_path / "ssm-acme").stat().st_mode == usual.stat().st_mode


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Acme", "lower-case letters and digits"),
        ("3d", "with a letter first; got '3d'"),
        ("a--b", "joined by single hyphens, with a letter first; got 'a--b'"),
        ("a/../b", "got 'a/../b'"),
        ("", "got ''"),
        ("a" * (LONGEST + 1), f"at most {LONGEST} "),
        ("ssm-acme", "without the prefix of its package: 'acme' gives the package ssm-acme"),
        ("ssm_acme", "without the prefix of its package: 'acme' gives the package ssm-acme"),
        ("backends", "a module ssm_backends is installed"),
        ("numpy", "has a backend called 'numpy'"),
    ],
)
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ScaffoldError, match="`NAME` must be"):
        names_for(name)
    said = call("--into", tmp_path, "--", name)
    assert said.exit_code == 2
    assert message in said.output
    assert not list(tmp_path.iterdir())


def test_the_longest_name_is_one() -> None:
    assert names_for("a" * LONGEST).distribution == f"ssm-{'a' * LONGEST}"


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    there = tmp_path / "ssm-acme"
    {"folder": there.mkdir, "file": there.touch, "dangling link": lambda: there.symlink_to("x")}[kind]()
    said = call("acme", "--into", tmp_path)
    assert said.exit_code == 2
    assert "exists already: nothing was written" in said.output
    assert list(tmp_path.iterdir()) == [there]
    assert not (there.is_dir() and list(there.iterdir()))


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Path.write_text

    def full(path: Path, text: str, encoding: str) -> int:
        if path.name == "scan.py":
            raise OSError(28, "No space left on device")
        return written(path, text, encoding=encoding)

    monkeypatch.setattr(Path, "write_text", full)
    said = call("acme", "--into", tmp_path)
    assert said.exit_code == 2
    assert "No space left on device" in said.output
    assert not list(tmp_path.iterdir())


def test_the_folder_must_exist(tmp_path: Path) -> None:
    said = call("acme", "--into", tmp_path / "nowhere")
    assert said.exit_code == 2
    assert "does not exist" in said.output
