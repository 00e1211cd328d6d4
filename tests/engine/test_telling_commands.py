"""The commands that judge nothing: explain, backends, doctor."""

from __future__ import annotations

import pytest

from ssm_backends import find_plugin

from .conftest import BAD, RIGHT, Run, Write


def test_explain_tells_inputs_and_the_worst_element(ssm_spec: Run, write_plugin: Write) -> None:
    said = ssm_spec("explain", BAD, "--plugin", write_plugin("wrong", "u[...] = 0"))
    assert said.status == 1
    for words in ("2×5×37", "normal", "y_t = Σ_j K_j u_{t−j}", "worst ratio", "expected", f"--case {BAD}"):
        assert words in said.out


def test_explain_takes_several_backends_and_exits_with_the_worst(ssm_spec: Run, write_plugin: Write) -> None:
    fine, wrong = write_plugin("fine"), write_plugin("wrong", "u[...] = 0")
    broken = write_plugin("broken", top="import sys; sys.exit('no licence')\n")
    modules = ("--plugin", fine, "--plugin", wrong)
    said = ssm_spec("explain", BAD, *modules, "--backend", "numpy", "--backend", "fine", "--backend", "numpy")
    assert said.status == 1
    judged = [line for line in said.out.splitlines() if " on cpu: " in line]
    assert judged == ["fine on cpu: pass", "wrong on cpu: fail", "numpy on cpu: pass"]
    assert said.out.count("2×5×37") == 1  # the inputs are told once
    assert ssm_spec("explain", BAD, "--plugin", fine, "--backend", "numpy").status == 0
    said = ssm_spec("explain", BAD, "--plugin", broken, "--plugin", fine)
    assert said.status == 2
    assert "broken: " in said.err
    assert "SystemExit: no licence" in said.err
    assert "fine on cpu: pass" in said.out


def test_what_a_plugin_claims_is_shown(
    ssm_spec: Run, write_plugin: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = [find_plugin("numpy")]  # the others import PyTorch, each in a process of its own
    monkeypatch.setattr("ssm_backends.installed", lambda: installed)
    modules = ("--plugin", write_plugin("fine"), "--plugin", write_plugin("faulty", hook="raise OSError(1)"))
    said = ssm_spec("backends", "--load", *modules)
    assert said.status == 0
    assert "numpy 0" in said.out
    assert "fine 0 on cpu; runs on cpu" in said.out
    assert "\nhippo_legs: it awaits a better compiler\n" in said.out
    assert "faulty: plugin: plugin 'faulty': its hook raised OSError: 1" in said.out


def test_explain_without_a_backend(ssm_spec: Run) -> None:
    said = ssm_spec("explain", RIGHT)
    assert said.status == 0
    assert f"ssm-spec conform NAME --case {RIGHT}" in said.out


def test_backends_and_doctor(ssm_spec: Run) -> None:
    listed = ssm_spec("backends")
    assert listed.status == 0
    assert "ssm_numpy" in listed.out
    examined = ssm_spec("doctor")
    assert examined.status == 0
    assert "CPython" in examined.out


def test_doctor_says_when_torch_misses_the_gpu(ssm_spec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = {"name": "G", "driver": "1", "memory": "80 GiB"}
    monkeypatch.setattr("ssm_conformance.engine.environment.gpus", lambda: [gpu])
    monkeypatch.setattr("ssm_conformance.engine.environment.version_of", lambda name: "1.0")
    for sees in (True, False):
        monkeypatch.setattr("ssm_conformance.cli.doctor.torch_sees_a_gpu", lambda sees=sees: sees)
        assert ("torch does not see it" in ssm_spec("doctor").out) is not sees
