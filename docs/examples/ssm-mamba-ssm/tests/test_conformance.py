"""Where the scan cannot run, the backend says why; where it can, the suite judges it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssm_backends import UnavailableError, load


def test_without_a_gpu_it_is_unavailable_with_the_reason() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UnavailableError, match=r"needs mamba-ssm: pip install|sees no NVIDIA GPU"):
        load("mamba-ssm")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the scan is CUDA code")
def test_mamba_ssm_is_judged() -> None:
    announced = Path(__file__).parents[1] / "expected-failures.toml"
    command = [sys.executable, "-m", "ssm_conformance", "conform", "mamba-ssm", "--device", "cuda"]
    command += ["--expected", str(announced)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
