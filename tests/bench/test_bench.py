"""The instrument itself: who takes part, what is printed and written, and that a failure is a row."""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ssm_backends import Backend, NotSupportedError, NumpyArrays, Op, Plugin, PluginError, find_plugin, load
from ssm_conformance.bench import (
    Bench,
    Problem,
    Rival,
    Shape,
    ceilings,
    default_problems,
    plots,
    rivals,
)
from ssm_conformance.bench.ceilings import Ceilings
from ssm_conformance.cli import cli
from ssm_conformance.cli._benching import _current

SMALL = Shape(1, 2, 4, 3)
TINY = ("--device", "cpu", "--shape", "1,2,4,3")
CEILINGS = Ceilings(1e9, 1e6, ("a copy", "a loop"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["bench", *arguments], standalone_mode=False)


def rival(name: str, op: Op) -> Rival:
    arrays = NumpyArrays()
    return Rival(Backend(name=name, version="1", arrays=arrays, ops={"selective_scan": op}), arrays)


def test_a_rival_that_fails_or_does_not_claim_is_a_row_with_its_reason() -> None:
    def broken(**_: Any) -> Any:
        raise RuntimeError("out of luck")

    claims: dict[str, Any] = {"dtypes": ("float32",), "features": ("mixed_dtypes",)}
    rivals = (
        Rival(load("numpy", "cpu"), NumpyArrays()),
        rival("broken", Op(broken, **claims)),
        rival("narrow", Op(broken, **claims, limits={"n": 2})),
        rival("flat", Op(broken, **claims)),
    )
    bench = Bench(rivals, "cpu", CEILINGS, repeats=3)
    values = {row.rival: row for row in bench.rows([Problem("forward", SMALL, "float32")])}
    done = values["numpy"].times
    assert done is not None
    assert len(done.all) == 3
    assert values["numpy"].peak is not None
    assert values["broken"].why == "RuntimeError: out of luck"
    assert "n = 3 is above the limit 2" in values["narrow"].why
    both = {row.rival: row.why for row in bench.rows([Problem("both", SMALL, "float32")])}
    assert both["numpy"] == ""
    assert both["flat"].startswith("backend 'flat' has no gradient in A, B, C, D, delta")


@pytest.mark.parametrize("after", [0, 2, 4])
@pytest.mark.parametrize("error", [RuntimeError("out of luck"), SystemExit("out of luck")])
def test_a_rival_that_fails_while_it_is_timed_is_a_row_and_the_others_go_on(
    after: int, error: BaseException
) -> None:
    calls: list[None] = []

    def failing(u: Any, **_: Any) -> Any:
        calls.append(None)
        if len(calls) > after:
            raise error
        return u

    op = Op(failing, dtypes=("float32",), features=("mixed_dtypes",))
    rivals = (rival("failing", op), Rival(load("numpy", "cpu"), NumpyArrays()))
    found = {
        row.rival: row
        for row in Bench(rivals, "cpu", CEILINGS, 3).rows([Problem("forward", SMALL, "float32")])
    }
    assert found["failing"].times is None
    assert found["failing"].why == f"{type(error).__name__}: out of luck"
    done = found["numpy"].times
    assert done is not None
    assert len(done.all) == 3


def test_a_step_is_done_in_place_where_that_is_claimed() -> None:
    seen: list[bool] = []

    def step(state: Any, u: Any, *, inplace: bool = False, **_: Any) -> Any:
        seen.append(inplace)
        return u, state

    arrays = NumpyArrays()
    for features in ((), ("inplace",)):
        ops = {"selective_state_update": Op(step, dtypes=("float32",), features=features)}
        backend = Backend(name="steps", version="1", arrays=arrays, ops=ops)
        Rival(backend, arrays).prepare(Problem("step", Shape(2, 3, 1, 4), "float32"), 0)()
    assert seen == [False, True]


def test_streams_are_narrow_parameters_are_not_and_no_graph_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    seen: dict[str, Any] = {}

    def scan(u: Any, A: Any, delta_bias: Any, **_: Any) -> Any:
        seen.update(u=u.dtype, A=A.dtype, delta_bias=delta_bias.dtype, graph=torch.is_grad_enabled())
        return u

    class Named(NumpyArrays):
        name = "torch"

    op = Op(scan, dtypes=("float16",), features=("mixed_dtypes",))
    backend = Backend(name="x", version="1", arrays=(NumpyArrays(), Named()), ops={"selective_scan": op})
    module = sys.modules[rivals.__module__]  # whose name in its package is the function's
    monkeypatch.setattr(module, "load", lambda plugin, device: backend)
    (subject,), _ = rivals([Plugin("x", "x")], "cpu")
    assert subject.arrays.name == "torch"
    subject.prepare(Problem("forward", SMALL, "float16"), 0)()
    assert seen == {"u": np.float16, "A": np.float32, "delta_bias": np.float32, "graph": False}


def test_ceilings_are_of_all_that_was_done_and_of_a_second_call(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    ceilings._median_seconds(lambda: done.append(1))
    assert len(done) == 1 + ceilings.REPEATS
    ceilings._in_threads([lambda: (time.sleep(0.02), done.append(1)) for _ in range(2)])
    assert len(done) == 3 + ceilings.REPEATS
    monkeypatch.setattr(ceilings, "_median_seconds", lambda work: 0.5)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    found = ceilings.measure("cpu")
    assert found.bytes == 2 * 2 * 128 * 2**20
    assert found.exponentials == 2 * 3 * 64 * 2**14


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssm_conformance.cli._benching.measure", lambda kind: CEILINGS)
    small = {symbol: (Problem("forward", SMALL, "float32"),) for symbol in "ln"}
    monkeypatch.setattr("ssm_conformance.cli._benching._growing", lambda kind, dtype: small)


@pytest.mark.usefixtures("quick")
def test_a_run_prints_a_table_and_writes_data_and_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("COLUMNS", "160")
    options = (
        "--device",
        "cpu",
        "--shape",
        "1,2,4,3",
        "--repeats",
        "3",
        "--growth",
        "--report",
        str(tmp_path),
    )
    said = run("numpy", "--against", "torch", *options)
    assert said.exception is None
    assert said.return_value == 0
    assert "times torch" in said.output
    assert "forward and backward" in said.output
    assert "ceilings: copy 1 GB/s (a copy), exponentials 0.001e9/s (a loop)" in said.output
    data = json.loads((tmp_path / "bench.json").read_text())
    assert {row["pass"] for row in data["rows"]} == {"forward", "both", "step"}
    assert {row["backend"] for row in data["rows"]} == {"numpy", "torch"}
    row = data["rows"][0]
    assert row["least_s"] <= row["median_s"] <= row["most_s"]
    assert row["over_floor"] == pytest.approx(row["median_s"] / row["floor_s"])
    assert "attention" in {row["backend"] for row in data["growth"]["l"]}
    for name in ("time.png", "memory.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def write_numpys(path: Path, changes: str) -> None:
    """A module with the backend in NumPy, changed."""
    path.write_text(
        "from dataclasses import replace\n"
        "from ssm_backends import hookimpl, load\n"
        "@hookimpl\n"
        "def ssm_backend(device):\n"
        f"    return replace(load('numpy', device), {changes})\n",
        encoding="utf-8",
    )


@pytest.mark.usefixtures("quick")
def test_a_module_that_is_not_installed_takes_part_and_may_be_the_one_compared_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_numpys(tmp_path / "uninstalled_twin.py", "name='twin'")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "its_copy.py").write_text("from uninstalled_twin import ssm_backend\n", encoding="utf-8")
    twice = run("--plugin", "uninstalled_twin", "--plugin", "its_copy", *TINY, "--pass", "forward")
    said = run("numpy", "--plugin", "uninstalled_twin", "--against", "twin", *TINY, "--pass", "forward")
    for name in ("uninstalled_twin", "its_copy"):
        sys.modules.pop(name)
    assert str(twice.exception) == "each `--plugin` must hand over a backend of another name; got twin, twin"
    assert said.exception is None
    assert said.return_value == 0
    assert "times twin" in said.output
    assert "numpy" in said.output


@pytest.mark.usefixtures("quick")
def test_one_that_was_named_and_did_nothing_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_numpys(tmp_path / "idle_backend.py", "name='idle', ops={}")
    monkeypatch.syspath_prepend(tmp_path)
    said = run("numpy", "--plugin", "idle_backend", *TINY, "--pass", "forward")
    sys.modules.pop("idle_backend")
    assert said.return_value == 2
    assert "is not claimed" in " ".join(said.output.split())


@pytest.mark.usefixtures("quick")
def test_one_that_was_named_and_cannot_run_here_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lacking_chip.py").write_text(
        "from ssm_backends import UnavailableError, hookimpl\n"
        "@hookimpl\n"
        "def ssm_backend(device):\n"
        "    raise UnavailableError('no such chip')\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    said = run("numpy", "--plugin", "lacking_chip", *TINY, "--pass", "forward")
    alone = run("--plugin", "lacking_chip", *TINY)
    sys.modules.pop("lacking_chip")
    assert said.return_value == 2
    assert "lacking_chip did not take part: no such chip" in said.output
    assert str(alone.exception) == "'lacking_chip': no such chip"


@pytest.mark.usefixtures("quick")
def test_an_installed_plugin_that_does_not_load_takes_no_other_down(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = [Plugin("broken", "nowhere_at_all", "acme"), find_plugin("numpy")]
    monkeypatch.setattr("ssm_conformance.cli._benching.installed", lambda: plugins)
    said = run(*TINY, "--pass", "forward")
    assert said.exception is None
    assert said.return_value == 0
    assert "broken did not take part: plugin 'broken'" in said.output
    with pytest.raises(PluginError, match="plugin 'broken'"):  # one that is named
        rivals(plugins, "cpu")


def test_what_is_timed_on_a_gpu_is_the_one_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext(f"made current: {device}"))
    with _current("cuda:1") as made, _current("cpu") as nothing:
        assert made == "made current: cuda:1"
        assert nothing is None


@pytest.mark.usefixtures("quick")
def test_without_matplotlib_the_data_are_written_and_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = run(
        "numpy", "--device", "cpu", "--shape", "1,2,4,3", "--pass", "forward", "--report", str(tmp_path)
    )
    assert said.return_value == 0
    assert "plots need matplotlib: pip install 'ssm-spec[docs]'" in said.output
    assert (tmp_path / "bench.json").exists()
    with pytest.raises(plots.PlotsError):
        plots.draw({"growth": {}}, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody",), "no backend is called 'nobody'"),
        (("torch", "--device", "tpu"), "`--device` must be cuda, cuda:N or cpu; got 'tpu'"),
        (("torch", "--device", "cpu", "--dtype", "int8"), "`--dtype` must be one of"),
        (("numpy", "--device", "cpu", "--report", "/dev/null/x"), "`--report` must be a folder"),
        (("torch", "--shape", "1,2,3"), "must be four sizes b,d,l,n"),
        (("torch", "--shape", "1,0,3,4"), "must be four sizes b,d,l,n"),
        (("torch", "--shape", "1,2,3,²"), "must be four sizes b,d,l,n"),
        (("torch", "--device", "cuda", "--against", "numpy"), "`--against` must be able to run here"),
        (("numpy", "--device", "cuda"), "'numpy': NumPy arrays live on 'cpu'"),
    ],
)
def test_bad_use_is_told_before_any_work(arguments: tuple[str, ...], message: str) -> None:
    said = run(*arguments)
    assert message in str(said.exception)


def test_the_usual_shapes_are_those_of_the_peers() -> None:
    sizes = [str(p.shape) for p in default_problems("cuda", "bfloat16", ("forward",))]
    assert sizes[0] == "8, 2048, 2048, 16"
    assert len(sizes) == 8
    assert [str(p.shape) for p in default_problems("cpu", "float32", ("step",))] == [
        "1, 1536, 1, 16",
        "8, 1536, 1, 16",
    ]


def test_a_backend_without_a_gradient_is_not_timed_for_it() -> None:
    subject = rival("plain", Op(lambda **_: 0, dtypes=("float32",), features=("mixed_dtypes",)))
    with pytest.raises(NotSupportedError, match="has no gradient in"):
        subject.prepare(Problem("both", SMALL, "float32"), 0)
