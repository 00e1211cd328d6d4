"""Code that imports mamba-ssm or causal-conv1d finds the drop-ins, once it was asked for, and never else."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from threading import Barrier
from types import ModuleType
from typing import Any

import pytest

from ssm_backends import ArgumentError, UnavailableError, mamba_ssm
from ssm_backends.mamba_ssm import stand_in
from ssm_backends.mamba_ssm.stand_in import _MODULES, _PACKAGES, _STANDING

PUBLISHED = {
    "mamba_ssm": "selective_scan_fn mamba_inner_fn",
    "mamba_ssm.ops.selective_scan_interface": "selective_scan_fn mamba_inner_fn selective_scan_ref",
    "mamba_ssm.ops.triton.selective_state_update": "selective_state_update selective_state_update_ref",
    "mamba_ssm.ops.triton.ssd_combined": "mamba_chunk_scan_combined mamba_split_conv1d_scan_combined",
    "causal_conv1d": "causal_conv1d_fn causal_conv1d_update",
    "causal_conv1d.causal_conv1d_interface": "causal_conv1d_fn causal_conv1d_update",
}


@pytest.fixture(autouse=True)
def nothing_stands() -> Iterator[None]:
    if any(name in sys.modules or find_spec(name) for name in _PACKAGES):
        pytest.skip("one of the packages is installed here, and is not replaced")
    yield
    forget()


def forget() -> None:
    for name in _MODULES:
        sys.modules.pop(name, None)
    _STANDING.clear()


def test_nothing_stands_in_unasked() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("mamba_ssm")


@pytest.mark.parametrize("module", PUBLISHED)
def test_each_function_is_where_its_package_has_it(module: str) -> None:
    stand_in()
    found = importlib.import_module(module)
    for name in PUBLISHED[module].split():
        assert getattr(found, name) is getattr(mamba_ssm, name)
    spec = find_spec(module)
    assert spec is not None
    assert (spec.name, spec.loader) == (module, None)


def test_every_function_has_a_place() -> None:
    placed = {function for functions in _MODULES.values() for function in functions}
    assert placed == {getattr(mamba_ssm, name) for name in mamba_ssm.__all__} - {stand_in}


def test_what_is_reached_by_attributes_is_there_too() -> None:
    stand_in()
    import mamba_ssm as found  # the package of that name

    assert found.ops.triton.ssd_combined.mamba_chunk_scan_combined is mamba_ssm.mamba_chunk_scan_combined


def test_what_the_package_has_and_this_one_has_not_is_an_import_error() -> None:
    stand_in()
    with pytest.raises(ImportError, match="Mamba2"):
        exec("from mamba_ssm import Mamba2")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("mamba_ssm.modules")


def test_it_may_be_asked_for_again_and_for_one_alone() -> None:
    stand_in("causal_conv1d")
    assert "mamba_ssm" not in sys.modules
    first = sys.modules["causal_conv1d"]
    stand_in()
    assert sys.modules["causal_conv1d"] is first
    assert "mamba_ssm" in sys.modules


def test_an_unknown_package_is_refused() -> None:
    message = "^`packages` must be 'mamba_ssm' or 'causal_conv1d'; got 'fla'"
    with pytest.raises(ArgumentError, match=message):
        stand_in("fla")


@pytest.mark.parametrize("name", ["mamba_ssm.ops", ["mamba_ssm"], None])
def test_what_names_no_package_is_refused_before_and_after(name: Any) -> None:
    message = f"^`packages` must be 'mamba_ssm' or 'causal_conv1d'; got {re.escape(repr(name))}$"
    for _ in range(2):
        with pytest.raises(ArgumentError, match=message):
            stand_in(name)
        stand_in()


def test_threads_may_ask_at_once() -> None:
    """None finds the packages installed, or half of their modules, while another puts them there."""

    def ask(together: Barrier) -> None:
        together.wait()
        stand_in()
        importlib.import_module("mamba_ssm.ops.triton.ssd_combined")

    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(100):
                forget()
                together = Barrier(4)
                for asked in [pool.submit(ask, together) for _ in range(4)]:
                    asked.result()
    finally:
        sys.setswitchinterval(often)


def test_what_is_installed_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "causal_conv1d.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    message = "^`packages` must name none that is installed here; got 'causal_conv1d'"
    with pytest.raises(ArgumentError, match=message):
        stand_in()
    assert "mamba_ssm" not in sys.modules
    stand_in("mamba_ssm")
    assert "mamba_ssm" in sys.modules


def test_a_stub_of_somebody_else_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that was made by hand has no spec, and importlib looks for none."""
    stub = ModuleType("mamba_ssm")
    monkeypatch.setitem(sys.modules, "mamba_ssm", stub)
    with pytest.raises(ArgumentError, match=r"^`packages` must name none that is installed here"):
        stand_in()
    assert sys.modules["mamba_ssm"] is stub
    assert "causal_conv1d" not in sys.modules
    monkeypatch.delitem(sys.modules, "mamba_ssm")


def test_it_is_told_when_it_comes_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModuleType("modeling_mamba")
    model.causal_conv1d_fn = None  # type: ignore[attr-defined] # as a model of transformers has it
    monkeypatch.setitem(sys.modules, "transformers.models.mamba.modeling_mamba", model)
    message = r"^call stand_in before transformers\.models\.mamba\.modeling_mamba is imported"
    with pytest.raises(UnavailableError, match=message):
        stand_in()
    assert "mamba_ssm" not in sys.modules
    monkeypatch.setitem(sys.modules, "transformers.models.falcon_mamba", None)  # nobody is to import it
    monkeypatch.delattr(model, "causal_conv1d_fn")
    stand_in()
    model.causal_conv1d_fn = None  # type: ignore[attr-defined] # which has found them
    stand_in()
