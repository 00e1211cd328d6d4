"""The README and the docs say what the data says, and their code runs."""

import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from ssm_conformance.cases import find_case
from ssm_conformance.cases._questions import ASKED
from ssm_conformance.checks import perform
from ssm_conformance.cli import cli
from ssm_conformance.cli.group import COMMANDS
from ssm_conformance.reports.matrix import CHECKS
from ssm_conformance.scaffold import names_for, scaffold

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*/README.md"))
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def name_of(page: Path) -> str:
    """A page as the tests' names show it."""
    return f"{page.parent.name}/{page.name}"


def load_render():
    spec = importlib.util.spec_from_file_location("render", ROOT / "docs" / "render.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_what_the_results_say(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")  # where what it imports lies beside it
    assert load_render().render(page.read_text()) == page.read_text(), "run: python docs/render.py"


def test_the_readme_shows_the_verdicts() -> None:
    assert "<!-- table: verdicts conform-cpu -->" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES + EXAMPLES, ids=name_of)
def test_links_within_the_repository_exist(page: Path) -> None:
    targets = LINK.findall(page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_page_is_linked_from_another() -> None:
    linked = {(page.parent / target).resolve() for page in PAGES for target in LINK.findall(page.read_text())}
    assert [page.name for page in (PAGES + EXAMPLES)[1:] if page not in linked] == []


@pytest.mark.parametrize("page", PAGES + EXAMPLES, ids=name_of)
def test_anchors_are_headings(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", page.read_text()):
        text = (page.parent / target).read_text() if target else page.read_text()
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", PAGES + EXAMPLES, ids=name_of)
def test_the_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    context = click.Context(cli)
    for name, rest in re.findall(rf"\bssm-spec ({'|'.join(COMMANDS)})\b([^`\n|#]*)", page.read_text()):
        command, words = cli.get_command(context, name), rest.rstrip("\\").split()  # \| in a table
        if isinstance(command, click.Group) and words:
            command = command.get_command(context, words[0])
        assert command is not None, rest
        known = {option for parameter in command.params for option in parameter.opts}
        assert [word for word in words if word.startswith("-") and word not in known] == [], rest


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page.stem}
    for i, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)):
        exec(compile(block, f"{page.name}, block {i}", "exec"), names)


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"| `ssm-spec {name}" not in text] == []


def test_the_readme_shows_the_message_of_a_forgotten_softplus() -> None:
    text = (ROOT / "README.md").read_text()
    kernel = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    with pytest.raises(AssertionError) as caught:
        exec(kernel.replace("np.logaddexp(delta, np.float32(0))", "delta"), {})
    shown = re.findall(r"```text\n(.*?)```", text, re.DOTALL)[0]
    digits = re.compile(r"\d[\d.e+-]*")  # the last digits may differ from machine to machine
    assert digits.sub("#", str(caught.value)) == digits.sub("#", shown.rstrip())


def test_the_plugin_of_the_readme_conforms(tmp_path: Path) -> None:
    plugin = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    (tmp_path / "mine.py").write_text(plugin)
    command = [sys.executable, "-m", "ssm_conformance", "conform", "mine", "--plugin", "mine"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "conforms" in run.stdout


@contextmanager
def forgotten(package: str) -> Iterator[None]:
    """What is imported of a package here, no later test finds."""
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]


def test_the_guide_tells_of_the_package_that_new_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide, names = (ROOT / "docs" / "write-a-backend.md").read_text(), names_for("acme")
    written = scaffold(names, tmp_path)
    (table,) = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    project = tomllib.loads((written / "pyproject.toml").read_text())["project"]
    assert tomllib.loads(table)["project"]["entry-points"] == project["entry-points"]
    monkeypatch.syspath_prepend(written / "src")
    monkeypatch.setattr("importlib.metadata.version", lambda name: project["version"])
    cases = set(re.findall(r"(?:--case|explain) (\w+/\S+)", guide))
    with forgotten(names.module):
        backend = importlib.import_module(names.module).ssm_backend("cpu")
        found = {case: perform(find_case(case), backend).status for case in cases}
    assert found == dict.fromkeys(cases, "pass")


def test_the_page_of_checks_names_every_question() -> None:
    text = (ROOT / "docs" / "what-the-checks-mean.md").read_text()
    variants = {ask.variant for ask in ASKED} | {"forward", "backward", "saved"}
    named = {word.strip("`").removesuffix("…") for word in re.findall(r"`[^`]+`", text)}
    assert {v for v in variants if v not in named and not v.startswith("gradient-")} == set()
    headings = re.findall(r"^## (\w+)$", text, re.MULTILINE)
    assert set(CHECKS) <= set(headings)
