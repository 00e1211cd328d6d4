"""Machine code on disk: found again, made anew if spoilt, done without if it cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssm_cpu import _jit

PROGRAM = """
import sys, time
import numpy as np
import ssm_cpu
x = np.ones((1, 3, 5), np.float32)
y = ssm_cpu.selective_scan(x, x, -np.ones((3, 2), np.float32), x[:, :2], x[:, :2])
assert "torch" not in sys.modules
print(y.sum(), time.process_time())
"""


def _run(folder: str) -> tuple[str, float]:
    environment = os.environ | {"SSM_CPU_CACHE_DIR": folder}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    total, seconds = done.stdout.split()
    return total, float(seconds)


def test_kept_used_and_mended(tmp_path: Path) -> None:
    total, _ = _run(str(tmp_path))
    (kept,) = tmp_path.glob("forward_float32-*.o")
    made = kept.stat().st_mtime_ns
    again, seconds = _run(str(tmp_path))
    assert again == total
    assert kept.stat().st_mtime_ns == made
    assert seconds < 2, "processor time of a cold start with machine code on disk"
    kept.write_bytes(kept.read_bytes()[:-100])
    assert _run(str(tmp_path))[0] == total
    assert kept.stat().st_mtime_ns != made


@pytest.mark.parametrize("folder", ["", "/dev/null/nowhere"])
def test_no_folder_is_no_error(folder: str) -> None:
    assert float(_run(folder)[0]) > 0


def test_the_users_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(_jit.CACHE_VARIABLE, raising=False)
    monkeypatch.setattr(_jit.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = _jit.cache_file("forward_float32")
    assert file is not None
    assert file.parent == tmp_path / "ssm-spec" / "cpu"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    file = _jit.cache_file("forward_float32")
    assert file is not None
    assert file.parent == tmp_path / ".cache" / "ssm-spec" / "cpu"


def test_a_folder_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(_jit.CACHE_VARIABLE, "~/kept")
    file = _jit.cache_file("forward_float32")
    assert file is not None
    assert file.parent == tmp_path / "kept"


@pytest.mark.parametrize("what", ["features", "name"])
def test_another_processor_has_files_of_its_own(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_jit.CACHE_VARIABLE, "/somewhere")
    before = _jit.cache_file("forward_float32")
    if what == "features":
        monkeypatch.setattr(_jit, "_features", lambda: "+another")
    else:
        monkeypatch.setattr(_jit.llvm, "get_host_cpu_name", lambda: "another")
    assert _jit.cache_file("forward_float32") != before
