"""What a backend changes of the process that it shares is noticed, told and put back."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ssm_conformance.engine import Limits, Selection, open_session
from ssm_conformance.engine.target import find_target, module_target

from .conftest import BAD, Write

LIMITS = Limits(seconds=20.0, first_call=1.0)
"""A busy machine may take its time."""

CHANGES = {
    "the current directory": "os.chdir('/')",
    "the standard streams": "sys.stdout.close()",
    "the filters of warnings": "import warnings; warnings.simplefilter('error')",
    "the handlers of signals": "signal.signal(signal.SIGALRM, signal.SIG_DFL); signal.alarm(1)",
    "the environment (SSM_LEFT)": "os.environ['SSM_LEFT'] = 'x'",
    "NumPy's handling of floating-point errors": "np.seterr(all='raise')",
    "the processor's floating-point mode": "import ctypes; ctypes.CDLL(None).fesetround(1024)",  # down
    "the shared random state": "np.random.seed(0)",
}
"""What a backend may change in its process, each with how."""


NO_STREAMS = ("os.close(1)", "os.close(2)", "sys.stderr = None")
TORCH_CHANGES = {
    "PyTorch's default dtype (float32 → float64)": "torch.set_default_dtype(torch.float64)",
    "PyTorch's default device (cpu → meta)": "torch.set_default_device('meta')",
    "PyTorch's gradient mode (True → False)": "torch.set_grad_enabled(False)",
    "PyTorch's precision of matrix products (highest → high)": "torch.set_float32_matmul_precision('high')",
    "PyTorch's demand for deterministic algorithms (False → True)": (
        "torch.use_deterministic_algorithms(True)"
    ),
    "PyTorch's shared random state": "torch.manual_seed(3)",
}
"""The same of PyTorch."""


@pytest.mark.parametrize("library", ["", "torch"])
@pytest.mark.parametrize("where", ["in its operator", "at import"])
def test_what_a_backend_changes_in_its_process_is_noticed_and_put_back(
    write_plugin: Write, where: str, library: str
) -> None:
    if library:
        pytest.importorskip(library)
    changes = dict(TORCH_CHANGES if library else CHANGES)
    lines = [*changes.values()] if library else [*changes.values(), *NO_STREAMS]
    todo = f"import os, signal, sys, numpy as np, {library or 'math'}; todo = {lines!r}\n"
    if where == "at import":
        module = write_plugin("early", top=todo + "for line in todo: exec(line)\n")
    else:
        module = write_plugin("rude", "exec(todo.pop(0) if todo else 'pass')", top=todo)
    session = open_session(module_target(module), LIMITS, workers=1)
    selection = Selection(ops=("causal_convolution",), dtypes=("float32", "float64"))
    found = list(session.judge(session.plan("quick", selection)))
    wrong = [f"{v.id}: {v.message}" for v in found if v.status not in ("pass", "not_claimed")]
    assert not wrong
    effects = {effect for verdict in found for effect in verdict.details.get("side_effects", ())}
    assert effects == (set(changes) if where == "in its operator" else set())
    changes.pop("PyTorch's shared random state", None)  # it has another seed after each import
    assert set(session.at_import) == (set(changes) if where == "at import" else set())


ONE_BY_ONE = """
import json, os, random, signal, sys, warnings
import numpy as np
from ssm_conformance.manners import manners_kept, noticed
from ssm_conformance.manners.keeping import PARTS
if "torch" in sys.argv:
    import torch
    torch.set_num_threads(1)
open_streams = lambda: [not stream.closed and os.fstat(stream.fileno()) and True
                        for stream in (sys.stdin, sys.stdout, sys.stderr)]
np.random.normal()
os.environ["SSM_CHANGED"] = "as it was"
found = {}
for line in json.loads(sys.argv[1]):
    before = {part: part.read() for part in PARTS}
    with manners_kept():
        exec(line)
    told = noticed()
    stay = [part.name for part, value in before.items() if part.name != "the standard streams"
            and part.write is not None and part.changed(value, part.read())]
    found[line] = told, stay, open_streams()
open(sys.argv[2], "w").write(json.dumps(found))
"""
"""Makes changes in a process of its own; of each: what was told, what stays, which streams can be used."""
FURTHER = {
    "random.seed(0)": "the shared random state",
    "np.random.normal()": "the shared random state",
    "warnings.simplefilter('ignore')": "the filters of warnings",
    "warnings.filters[:] = []": "the filters of warnings",
    "np.random.normal(); 'the other of two that are drawn together'": "the shared random state",
    "warnings.filterwarnings('ignore', 'one kind')": "",
    "warnings.filterwarnings('ignore', category=DeprecationWarning)": "",
    "warnings.filterwarnings('error', 'one kind')": "the filters of warnings",
    "del os.environ['SSM_CHANGED']": "the environment (SSM_CHANGED)",
    "os.environ['SSM_CHANGED'] = 'other'": "the environment (SSM_CHANGED)",
    "os.environ['TORCHINDUCTOR_CACHE_DIR'] = '/x'": "",
    "signal.signal(signal.SIGUSR2, signal.SIG_IGN)": "the handlers of signals",
    "signal.setitimer(signal.ITIMER_REAL, 60)": "the handlers of signals",
    "import ctypes; ctypes.CDLL(None).fesetround(2048)": "the processor's floating-point mode",  # up
    "os.close(1); sys.stdout.close()": "the standard streams",
    "sys.stderr = None": "the standard streams",
    "os.chdir('..')": "the current directory",
}
OF_TORCH = {
    **{line: name for name, line in TORCH_CHANGES.items()},
    "torch.set_flush_denormal(True)": "the processor's floating-point mode",
    "torch.set_num_threads(3)": "PyTorch's number of threads (1 → 3)",
}


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="rounding modes have other numbers there",
)
@pytest.mark.parametrize("library", ["", "torch"])
def test_each_change_is_told_and_put_back_before_anything_else_is_done(tmp_path: Path, library: str) -> None:
    if library:
        pytest.importorskip(library)
    changes = OF_TORCH if library else {line: name for name, line in CHANGES.items()} | FURTHER
    note = tmp_path / "found.json"
    command = [sys.executable, "-c", ONE_BY_ONE, json.dumps(list(changes)), str(note), library]
    subprocess.run(command, check=True, cwd=tmp_path)
    found = json.loads(note.read_text())
    assert {line: told for line, (told, _, _) in found.items()} == {
        line: [name] if name else [] for line, name in changes.items()
    }
    assert not {line: stay for line, (_, stay, _) in found.items() if stay}
    assert all(streams == [True] * 3 for _, _, streams in found.values())


def test_threads_and_filters_are_put_back_before_the_next_call(write_plugin: Write) -> None:
    pytest.importorskip("torch")
    fault = """import warnings
    assert torch.get_num_threads() == threads and not ignored(), "what another call set"
    torch.set_num_threads(threads + 3); warnings.simplefilter("ignore")"""
    top = """import torch
threads = torch.get_num_threads()
def ignored():
    import warnings
    return any(f[0] == "ignore" and f[1:4] == (None, Warning, None) for f in warnings.filters)
"""
    session = open_session(module_target(write_plugin("busy", fault, top=top)), LIMITS, workers=1)
    planned = session.plan("quick", Selection(ops=("causal_convolution",), checks=("robustness",)))
    found = [verdict for verdict in session.judge(planned) if verdict.dtype == "float64" and verdict.judged]
    assert {verdict.status for verdict in found} == {"pass"}, [verdict.message for verdict in found]
    effects = {effect.partition(" (")[0] for verdict in found for effect in verdict.details["side_effects"]}
    assert effects == {"PyTorch's number of threads", "the filters of warnings"}


def test_what_a_library_reads_later_stays_as_the_import_set_it(write_plugin: Write) -> None:
    fault = "assert os.environ['SSM_LEFT'] == 'x'"
    module = write_plugin("setting", fault, top="import os; os.environ['SSM_LEFT'] = 'x'\n")
    session = open_session(module_target(module), LIMITS, workers=1)
    assert session.at_import == ["the environment (SSM_LEFT)"]
    planned = session.plan("smoke", Selection(cases=(BAD,)))
    assert [verdict.status for verdict in session.judge(planned)] == ["pass"]


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_the_built_in_backends_change_nothing(name: str) -> None:
    session = open_session(find_target(name), LIMITS, workers=1)
    assert session.at_import == []
    planned = session.plan("smoke", Selection(ops=("selective_scan", "ssd", "causal_convolution")))
    assert not [verdict.id for verdict in session.judge(planned) if "side_effects" in verdict.details]
