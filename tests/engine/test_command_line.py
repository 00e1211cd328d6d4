"""The commands: what they say, and the status they exit with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from functools import partial
from pathlib import Path

import jsonschema
import psutil
import pytest

from ssm_conformance.engine import Limits

from .conftest import BAD, RIGHT, Run, Write


def test_a_selection_that_passes_is_not_conformance(ssm_spec: Run, write_plugin: Write) -> None:
    said = ssm_spec("conform", "--plugin", write_plugin("fine"), "--case", RIGHT)
    assert said.status == 0
    assert "selection passed: 1 cases judged (fine 0 on cpu" in said.out
    assert "conforms" not in said.out


def test_a_whole_level_that_passes_conforms(ssm_spec: Run, write_plugin: Write) -> None:
    said = ssm_spec("conform", "--plugin", write_plugin("fine"), "--level", "smoke", "--quiet")
    assert said.status == 0
    assert said.out.splitlines()[0].startswith("conforms: ")
    assert len(said.out.splitlines()) == 1


def test_a_failure_says_what_where_which_clause_and_how_to_rerun(ssm_spec: Run, write_plugin: Write) -> None:
    module = write_plugin("wrong", "u[...] = 0")
    said = ssm_spec("conform", "--plugin", module, "--case", BAD, "--case", RIGHT)
    assert said.status == 1
    assert f"fail  {BAD}  " in said.out
    assert "times the bound" in said.out
    assert "expected" in said.out
    assert "clause: conv-1: y_t = Σ_j K_j u_{t−j}" in said.out
    assert f"ssm-spec conform --plugin wrong --case {BAD}" in said.out
    assert "selection failed: 1 of 2 judged cases failed" in said.out


def test_the_printed_command_runs_that_case_alone(ssm_spec: Run, write_plugin: Write) -> None:
    module = write_plugin("wrong", "u[...] = 0")
    first = ssm_spec("conform", "--plugin", module, "--dtype", "float64", "--op", "causal_convolution",
                     "--check", "value", "--level", "smoke", "--fail-fast", "-n", "1")  # fmt: skip
    assert first.status == 1
    command = next(line for line in first.out.splitlines() if line.strip().startswith("ssm-spec conform"))
    again = ssm_spec(*command.split()[1:])
    assert again.status == 1
    assert "1 of 1 judged cases failed" in again.out


def test_what_is_withheld_is_said_to_whoever_asks_for_it(ssm_spec: Run, write_plugin: Write) -> None:
    plugin = ("--plugin", write_plugin("fine"), "--in-process")
    said = ssm_spec("conform", *plugin, "--op", "hippo_legs")
    assert said.status == 2
    nothing = "undecided: no case applies to what the backend claims"
    assert f"{nothing}; hippo_legs: it awaits a better compiler (fine 0 on cpu" in said.out
    said = ssm_spec("conform", *plugin, "--op", "lssl")
    assert f"{nothing} (fine 0 on cpu" in said.out
    said = ssm_spec("conform", *plugin, "--check", "value", "--dtype", "float32", "--level", "smoke")
    assert said.status == 0
    assert "\nhippo_legs: it awaits a better compiler\n" in said.out


def test_fail_fast_says_what_was_not_run(ssm_spec: Run, write_plugin: Write) -> None:
    module = write_plugin("wrong", "u[...] = 0")
    said = ssm_spec("conform", "--plugin", module, "--level", "smoke", "--fail-fast", "-n", "1")
    assert said.status == 1
    assert "stopped at the first failure: " in said.out
    assert "were not run" in said.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["conform"], "name a backend"),
        (["conform", "nobody"], "no backend is called 'nobody'; installed: "),
        (["conform", "numpy", "--op", "scan"], "`--op` must be one of discretize_zoh, "),
        (["conform", "numpy", "--dtype", "float8"], "`--dtype` must be one of bfloat16, "),
        (["conform", "numpy", "--check", "values"], "'values' is not one of 'value', "),
        (["conform", "numpy", "--case", RIGHT + "l"], f"did you mean {RIGHT}"),
        (["conform", "numpy", "-n", "0"], "must be a positive number or auto; got '0'"),
        (["conform", "numpy", "-n", "²"], "must be a positive number or auto; got '²'"),
        (["conform", "numpy", "--report", "/dev/null/x"], "`--report` must be a folder that can be written"),
        (["conform", "numpy", "--expected", "nowhere.toml"], "`--expected` must be a TOML or JSON file"),
        (["conform", "--plugin", "nowhere_at_all"], "no module is called 'nowhere_at_all'"),
        (["conform", "--plugin", "./mine"], "`--plugin` must name a module, as `import` would; got './mine'"),
        (["conform", "--plugin", "mine.py"], "`--plugin` must name a module, not a file: 'mine'"),
        (["conform", "--plugin", ""], "`--plugin` must name a module, as `import` would; got ''"),
        (["conform", "numpy", "--device", "cuda", "--op", "hippo_legs"], "got device 'cuda'"),
        (["conform", "numpy", "--op", "hippo_legs", "--check", "memory"], "no case of level quick is left"),
        (["explain", "nothing"], "`CASE` must be the id of a case; got 'nothing'"),
        (["explain", RIGHT, "--device", "cpu"], "give --backend or --plugin too"),
        (["explain", RIGHT, "--backend", "numpy", "--backend", "nobody"], "no backend is called 'nobody'"),
        (["explain", RIGHT, "--plugin", "nowhere_at_all"], "no module is called 'nowhere_at_all'"),
        (["explain", RIGHT, "--plugin", "./mine"], "`--plugin` must name a module, as `import` would"),
        (["bench", "--plugin", "nowhere_at_all"], "no module is called 'nowhere_at_all'"),
        (["bench", "numpy", "nobody", "--device", "cpu"], "no backend is called 'nobody'"),
        (["backends", "--device", "cpu"], "give --load or --explain too"),
        (["backends", "--plugin", "mine"], "give --load too"),
        (["backends", "--load", "--explain"], "give --load or --explain, not both"),
        (["vectors", "export", "/dev/null/x"], "`DIR` must be a folder that can be written to; got "),
        (["conform", "torch", "--device", "", "--case", RIGHT], "PyTorch has no device '' here"),
        (["teach"], "No such command 'teach'"),
        (["confrom", "numpy"], "No such command 'confrom'; did you mean conform?"),
        (["conform", "numpy", "--op", "selective_scn"], "got 'selective_scn'; did you mean selective_scan"),
        (["conform", "numpy", "--dtype", "float"], "got 'float'; did you mean float"),
        (["backends", "--explain", "--op", "lsl"], "got 'lsl'; did you mean lssl"),
        (["backends", "--explain", "--device", "gpu"], "--device must be one of PyTorch's"),
    ],
)
def test_bad_use_is_told_and_exits_2(ssm_spec: Run, arguments: list[str], message: str) -> None:
    said = ssm_spec(*arguments)
    assert said.status == 2
    assert message in said.err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_found_out_first(ssm_spec: Run, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    said = ssm_spec("conform", "numpy", "--report", tmp_path / "report")
    assert said.status == 2
    assert "`--report` must be a folder that can be written to" in said.err


def test_one_plugin_that_does_not_load_does_not_stop_the_others(ssm_spec: Run, write_plugin: Write) -> None:
    broken = write_plugin("broken", top="import sys; sys.exit('no licence')\n")
    said = ssm_spec("conform", "--plugin", broken, "--plugin", write_plugin("fine"), "--case", RIGHT)
    assert said.status == 2
    assert "SystemExit: no licence" in said.err
    assert "selection passed" in said.out


@pytest.mark.parametrize("slow", [True, False])
def test_a_plugin_that_hangs_is_named_while_it_is_waited_for(
    ssm_spec: Run, write_plugin: Write, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    monkeypatch.setattr("ssm_conformance.cli._request.Limits", partial(Limits, load=4.0))
    monkeypatch.setattr("ssm_conformance.engine.opening.PATIENCE", 1.0 if slow else 60.0)
    said = ssm_spec("conform", "--plugin", write_plugin("hangs", top="import time; time.sleep(60)\n"))
    told = "hangs: still waiting for hangs to be imported"
    assert (told in said.err) == slow
    assert said.err.count("given up after 4 s") == slow
    assert "the time limit was 4 s" in said.err.partition(told)[2 if slow else 0]
    assert said.status == 2


def test_a_shorter_timeout_shortens_the_import(
    ssm_spec: Run, write_plugin: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssm_conformance.engine.limits.SHORTEST_LOAD", 1.0)
    hangs = write_plugin("hangs", top="import time; time.sleep(60)\n")
    said = ssm_spec("conform", "--plugin", hangs, "--timeout", "0.4")
    assert said.status == 2
    assert "stopped after 2 s: the time limit was 2 s" in said.err


def test_several_backends_end_in_one_matrix(ssm_spec: Run, write_plugin: Write, tmp_path: Path) -> None:
    modules = ("--plugin", write_plugin("fine"), "--plugin", write_plugin("wrong", "u[...] = 0"))
    said = ssm_spec("conform", *modules, "--case", BAD, "--case", RIGHT, "--report", tmp_path)
    assert said.status == 1
    matrix = said.out.split("report: ")[2]
    assert "fine" in matrix.splitlines()[2]
    assert "wrong" in matrix.splitlines()[2]
    assert "FAIL" in matrix.splitlines()[3]
    for name in ("fine", "wrong"):
        report = json.loads((tmp_path / name / "report.json").read_text())
        assert report["filters"]["case"] == [BAD, RIGHT]
        assert [case["id"] for case in report["cases"]] == [BAD, RIGHT]


def test_no_report_takes_the_place_of_another(ssm_spec: Run, write_plugin: Write, tmp_path: Path) -> None:
    other = "return Backend(name='fine', version='1', arrays=NumpyArrays(), ops={})"
    modules = ("--plugin", write_plugin("fine"), "--plugin", write_plugin("another", hook=other))
    said = ssm_spec("conform", *modules, "--case", RIGHT, "--report", tmp_path)
    assert said.status == 2
    assert "two backends must not have one name in one run" in said.err
    assert "got 'fine' again, from another" in said.err
    assert json.loads((tmp_path / "fine" / "report.json").read_text())["backend"]["version"] == "0"


def announced(folder: Path, text: str) -> Path:
    path = folder / "expected.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_announced_failure_does_not_fail_the_run(
    ssm_spec: Run, write_plugin: Write, tmp_path: Path
) -> None:
    path = announced(
        tmp_path, f'[[expected]]\nid = "{BAD}"\ncheck = "value"\nreason = "known"\nurl = "a.b/1"\n'
    )
    module = write_plugin("wrong", "u[...] = 0")
    said = ssm_spec("conform", "--plugin", module, "--case", BAD, "--expected", path)
    assert said.status == 0
    assert "expected to fail: known (a.b/1)" in said.out
    assert "selection passed but for 1 announced failure: 1 cases judged" in said.out


def test_an_announced_failure_that_passes_fails_the_run(
    ssm_spec: Run, write_plugin: Write, tmp_path: Path
) -> None:
    path = tmp_path / "expected.json"
    path.write_text(json.dumps([{"id": BAD, "reason": "known"}]), encoding="utf-8")
    said = ssm_spec("conform", "--plugin", write_plugin("fine"), "--case", BAD, "--expected", path)
    assert said.status == 1
    assert f"unexpected pass  {BAD}" in said.out
    assert "1 passed that were expected to fail" in said.out


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('id = "a/b/c/d"\nreason = "x"', "no case has the id 'a/b/c/d'"),
        (f'id = "{BAD}l"\nreason = "x"', f"the nearest is {BAD}"),
        (f'id = "{BAD}"\nreason = ""', "must say why"),
        (f'id = "{BAD}"\nreason = "x"\n[[unexpected]]\n', "must hold one list called expected"),
        (f'id = "{BAD}"\nreason = "x"\ncheck = "gradient"', "is a case of value, not gradient"),
        (f'id = "{BAD}"', "must have `id` and `reason`"),
        (f'id = "{BAD}"\nreason = "x"\ncolour = "red"', "got colour = 'red'"),
        (f'id = "{BAD}"\nreason = "x"\n[[expected]]\nid = "{BAD}"\nreason = "y"', "twice"),
        ('id = "hippo_legs/value/float32/n-1"\nreason = "x"', "is not asked hippo_legs/value/float32/n-1"),
    ],
)
def test_a_stale_announcement_is_an_error(
    ssm_spec: Run, write_plugin: Write, tmp_path: Path, entry: str, message: str
) -> None:
    path = announced(tmp_path, f"[[expected]]\n{entry}\n")
    said = ssm_spec("conform", "--plugin", write_plugin("fine"), "--level", "smoke", "--expected", path)
    assert said.status == 2
    assert message in said.err


def test_the_example_of_announced_failures_holds_to_the_schema() -> None:
    root = Path(__file__).parents[2]
    text = (root / "conformance/ssm_conformance/engine/expected.schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    examples = sorted((root / "docs" / "examples").glob("*/expected-failures.toml"))
    assert examples
    for path in examples:
        jsonschema.validate(tomllib.loads(path.read_text(encoding="utf-8")), schema)
    assert tuple(schema["$defs"]["entry"]["properties"]) == ("id", "check", "reason", "url", "backend")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([{"id": BAD}], schema)


def test_without_the_extra_it_says_how_to_get_it(ssm_spec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssm_conformance.__main__.find_spec", lambda name: None if name == "rich" else "here")
    said = ssm_spec("conform", "numpy")
    assert said.status == 2
    assert said.err == "ssm-spec needs rich: pip install 'ssm-spec[conformance]'\n"


def test_a_fault_of_the_suite_is_not_a_failure(ssm_spec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a slip")

    monkeypatch.setattr("ssm_conformance.engine.environment.environment", broken)
    said = ssm_spec("doctor")
    assert said.status == 2
    assert "ZeroDivisionError: a slip" in said.err
    assert "a fault of ssm-spec itself" in said.err


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ssm_conformance", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_was_judged(
    write_plugin: Write, tmp_path: Path, ending: signal.Signals
) -> None:
    module = write_plugin("sleepy", "time.sleep(60)")
    report = tmp_path / "sleepy" / "report.json"
    cases = ("--op", "causal_convolution", "--level", "smoke", "-n", "1")
    with start("conform", "--plugin", module, *cases, "--report", tmp_path) as process:
        until = time.monotonic() + 20
        while not (report.exists() and json.loads(report.read_text())["not_run"]):
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.5)  # now a case is being judged
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(ending)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "interrupted: " in out
    assert "were not run" in out
    data = json.loads(report.read_text())
    assert data["ended"] == "interrupted"
    assert data["outcome"] == "undecided"
    assert data["not_run"] > 0
    assert len(data["cases"]) > 0
    assert (tmp_path / "sleepy" / "report.html").exists()
    gone, alive = psutil.wait_procs(children, timeout=5)
    assert gone
    assert not alive


@pytest.mark.skipif(os.name != "posix", reason="file sizes are limited by POSIX systems alone")
def test_a_disk_that_fills_up_keeps_the_last_report_and_undecides_the_run(
    write_plugin: Write, tmp_path: Path
) -> None:
    limited = ["bash", "-c", 'ulimit -f 4; exec "$@"', "-"]  # no file may grow beyond 4 KiB
    command = [sys.executable, "-m", "ssm_conformance", "conform", "--plugin", write_plugin("fine")]
    selection = ["--op", "causal_convolution", "--report", str(tmp_path)]
    done = subprocess.run([*limited, *command, *selection], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "selection passed: " in done.stdout
    assert "the report could not be written: [Errno 27] File too large" in done.stderr
    data = json.loads((tmp_path / "fine" / "report.json").read_text())
    assert (data["outcome"], data["cases"]) == ("undecided", [])
    assert not list((tmp_path / "fine").glob(".*"))  # no half of a draft


def test_side_effects_are_told(ssm_spec: Run, write_plugin: Write, tmp_path: Path) -> None:
    said = ssm_spec("conform", "--plugin", write_plugin("rude", "os.chdir('/')"), "--case", BAD,
                    "--report", tmp_path)  # fmt: skip
    assert said.status == 0
    told = "the current directory (1 case)"
    assert f"the backend changed, and the suite put back where it can: {told}" in said.out
    assert told in (tmp_path / "rude" / "report.md").read_text()
    assert os.getcwd() != "/"


def test_what_an_import_changes_is_told(ssm_spec: Run, write_plugin: Write, tmp_path: Path) -> None:
    top = "import numpy as np; np.seterr(all='ignore')\n"
    said = ssm_spec("conform", "--plugin", write_plugin("early", top=top), "--case", BAD,
                    "--report", tmp_path)  # fmt: skip
    assert said.status == 0
    told = "NumPy's handling of floating-point errors"
    assert f"importing the backend changed: {told}" in said.out
    for name in ("report.md", "report.html"):
        assert "Importing the backend changed: NumPy" in (tmp_path / "early" / name).read_text()
    assert json.loads((tmp_path / "early" / "report.json").read_text())["at_import"] == [told]


def test_a_reader_that_has_enough_is_no_error() -> None:
    with start("explain", RIGHT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(timeout=20) == 2
        assert "Traceback" not in process.stderr.read()


def test_a_module_of_this_folder_that_an_installed_one_hides_is_told(
    ssm_spec: Run, write_plugin: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write_plugin("hidden")
    monkeypatch.chdir(tmp_path)
    command = ("conform", "--plugin", module, "--case", RIGHT, "--in-process", "-q")
    assert ssm_spec(*command).err == ""
    (tmp_path / "hidden.py").write_text("an edit that nobody loads")
    sys.modules.pop(module)  # what is found on the path is loaded once more
    said = ssm_spec(*command)
    assert said.status == 0
    assert said.err.startswith(
        f"hidden: loaded from {tmp_path / 'plugins' / 'hidden.py'}, not from hidden.py"
    )
    monkeypatch.chdir(tmp_path / "plugins")
    assert ssm_spec(*command).err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's")
def test_a_full_disk_behind_the_output_is_no_fault_of_ours() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "ssm_conformance", "backends"]
        said = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert said.returncode == 2
    assert said.stderr == "the output could not be written: [Errno 28] No space left on device\n"
