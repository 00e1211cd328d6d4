"""Plugins of many kinds, installed as a distribution would be: listed unimported, loaded one by one."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from typing import Any

import pytest

from ssm_backends import (
    OPERATORS,
    ArgumentError,
    Plugin,
    PluginError,
    UnavailableError,
    UnknownBackendError,
    find_plugin,
    installed,
    load,
)

from .conftest import Install

GOOD = """
    from ssm_backends import Backend, NumpyArrays, Op, hookimpl

    @hookimpl
    def ssm_backend(device):
        return Backend(name="acme", version="0.3", arrays=NumpyArrays(device),
                       ops={"hippo_legs": Op(max, dtypes=("float64",))})
"""


def names() -> list[str]:
    return [plugin.name for plugin in installed()]


def test_plugins_are_listed_without_being_imported(install: Install) -> None:
    install("raise RuntimeError('imported')")
    install(GOOD, name="zebra", module="a_zebra")
    assert find_plugin("acme") == Plugin("acme", "acme_plugin", "acme_plugin", "0.3")
    assert "acme" in names()
    assert "acme_plugin" not in sys.modules
    assert names() == sorted(names())


def test_a_plugin_is_loaded_with_the_device(install: Install) -> None:
    install(GOOD)
    backend = load("acme", "cpu")
    assert (backend.name, backend.version, list(backend.ops)) == ("acme", "0.3", ["hippo_legs"])
    assert load(find_plugin("acme")).name == "acme"


def test_a_device_that_it_cannot_serve_is_unavailable(install: Install) -> None:
    install(GOOD)
    with pytest.raises(UnavailableError, match="NumPy arrays live on 'cpu'; got device 'cuda'"):
        load("acme", "cuda")


HOOK = "from ssm_backends import hookimpl\n@hookimpl\ndef "
BROKEN: list[tuple[str, str]] = [
    ("raise RuntimeError('no driver')", "importing acme_plugin raised RuntimeError: no driver"),
    ("import module_that_nobody_has", "raised ModuleNotFoundError: No module named"),
    ("def broken(:", "raised SyntaxError"),
    ("import sys\nsys.exit(3)", "raised SystemExit: 3"),
    ("x = 1", "must hand over a Backend; got no hook `ssm_backend` marked with hookimpl"),
    ("def ssm_backend(device): return 1", "got no hook `ssm_backend` marked with hookimpl"),
    (HOOK + "ssm_backend(device): return {'name': 'acme'}", "got dict"),
    (HOOK + "ssm_backend(device): return None", "must hand over a Backend; got None"),
    (HOOK + "ssm_backend(device): 1 / 0", "hook raised ZeroDivisionError"),
    (HOOK + "ssm_backend(device): exit(2)", "hook raised SystemExit: 2"),
    (HOOK + "ssm_backends(device): 1", "hook raised PluginValidationError"),
    (HOOK + "ssm_backend(gpu): 1", "hook raised PluginValidationError"),
    (
        GOOD.replace('("float64",)', "()"),
        "breaks the contract: `dtypes` of hippo_legs must name at least one",
    ),
    (GOOD.replace('version="0.3"', 'version="0.3", contract=7'), "breaks the contract: `contract` must be 1"),
    (GOOD.replace('"acme"', '"other"'), "handed over a backend called 'other'"),
]


@pytest.mark.parametrize(("source", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_a_broken_plugin_is_reported_and_takes_nobody_down(
    install: Install, source: str, message: str
) -> None:
    install(source)
    with pytest.raises(PluginError) as caught:
        load("acme")
    assert message in str(caught.value)
    assert "acme" in str(caught.value)
    assert "acme" in names()
    assert load("numpy").name == "numpy"


@pytest.mark.parametrize(
    "source", ["raise KeyboardInterrupt", HOOK + "ssm_backend(device): raise KeyboardInterrupt"]
)
def test_a_keyboard_interrupt_is_nobody_s_fault(install: Install, source: str) -> None:
    install(source)
    with pytest.raises(KeyboardInterrupt):
        load("acme")


def test_the_cause_is_kept(install: Install) -> None:
    install("raise RuntimeError('no driver')")
    with pytest.raises(PluginError) as caught:
        load("acme")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_two_plugins_of_one_name_are_an_error_that_names_both(install: Install) -> None:
    install(GOOD)
    install(GOOD, module="acme_again")
    assert names().count("acme") == 2
    with pytest.raises(PluginError, match=r"acme_again.* and acme_plugin|acme_plugin.* and acme_again"):
        find_plugin("acme")
    assert load("numpy").name == "numpy"


def test_an_unknown_name_is_answered_with_those_there_are(install: Install) -> None:
    install(GOOD)
    with pytest.raises(UnknownBackendError, match="no backend is called 'acne'; installed: acme, "):
        load("acne")


def test_a_missing_extra_makes_it_unavailable_with_the_command_that_mends_it(install: Install) -> None:
    install("raise RuntimeError('imported')", requires="distribution-that-nobody-has>=2")
    plugin = find_plugin("acme")
    assert plugin.missing == ("distribution-that-nobody-has",)
    with pytest.raises(UnavailableError, match=r"pip install 'acme_plugin\[gpu\]'"):
        load("acme")
    assert "acme_plugin" not in sys.modules


def test_an_extra_that_is_there_is_not_missing(install: Install) -> None:
    install(GOOD, requires="numpy>=1.26")
    assert find_plugin("acme").missing == ()
    assert load("acme").name == "acme"


@pytest.mark.parametrize("plugin", [None, 3, b"numpy", ["numpy"]])
def test_what_is_no_plugin_is_refused(plugin: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^`plugin` must be a Plugin, or the name of an .*; got "):
        load(plugin)


def test_a_module_that_is_not_installed_may_be_named_directly(install: Install) -> None:
    install(GOOD, name="elsewhere")
    assert load(Plugin("anything", "acme_plugin")).name == "acme"


@pytest.mark.parametrize(("name", "device"), [("numpy", "cuda"), ("torch", "meta"), ("torch", "nonsense")])
def test_the_built_in_backends_refuse_a_device_by_name(name: str, device: str) -> None:
    with pytest.raises(UnavailableError, match=device):
        load(name, device)


def test_pytorch_serves_every_operator_and_numpy_the_first_ones() -> None:
    assert list(load("torch", "cpu").ops) == list(OPERATORS)
    assert load("numpy", "cpu").ops.keys() < OPERATORS.keys()
    for name in ("torch", "numpy"):
        assert load(name, "cpu").version == importlib.metadata.version("ssm-spec")
