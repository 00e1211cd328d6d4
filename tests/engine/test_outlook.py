"""Who would serve calls: the places that are asked about, and what is shown of each answer."""

from __future__ import annotations

from io import StringIO
from types import SimpleNamespace
from typing import Any

import click
import pytest
from rich.console import Console

from ssm_backends import OPERATORS, ArgumentError, PluginError, UnknownBackendError
from ssm_conformance.cli import _outlook
from ssm_conformance.cli._outlook import show_outlook

torch = pytest.importorskip("torch")


class Outlook:
    """What is asked, and the same answer to all: reasons why not by backend, None for one that serves."""

    def __init__(self, said: dict[str, str | None]) -> None:
        self.said, self.asked = said, list[tuple[str, ...]]()

    def __call__(self, name: str, library: str, where: str, *, dtype: str) -> Any:
        self.asked.append((name, library, where, dtype))
        return SimpleNamespace(said_by=f"an order of {library}"), self.said

    def shown(self, device: str | None = None, op: str | None = "lssl", dtype: str = "float32") -> str:
        out = Console(file=StringIO(), width=200)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_outlook, "outlook", self)
            show_outlook(out, device, op, dtype)
        assert isinstance(out.file, StringIO)
        return out.file.getvalue()

    @property
    def places(self) -> list[tuple[str, ...]]:
        return [(library, where) for _, library, where, _ in self.asked]


def test_the_first_that_serves_is_shown_and_the_reasons_of_the_others() -> None:
    found = Outlook({"old": "it is too old", "mine": None, "slow": None, "poor": "lacks zoh"})
    said = found.shown("cpu", dtype="float64")
    row = next(line.split() for line in said.splitlines() if line.startswith("torch on cpu"))
    assert row == [
        "torch",
        "on",
        "cpu",
        "lssl",
        "mine",
        "old:",
        "it",
        "is",
        "too",
        "old;",
        "poor:",
        "lacks",
        "zoh",
    ]
    assert said.splitlines()[-1] == "in the order of: an order of torch; an order of numpy"
    assert {asked[3] for asked in found.asked} == {"float64"}
    row = next(line.split() for line in Outlook({"old": "no"}).shown("cpu").splitlines() if "lssl" in line)
    assert " ".join(row) == "torch on cpu lssl nobody old: no"


def test_one_operator_is_asked_about_or_all() -> None:
    for op, names in (("lssl", ["lssl"]), (None, list(OPERATORS))):
        found = Outlook({})
        found.shown("meta", op)
        assert [asked[0] for asked in found.asked] == names


@pytest.mark.parametrize(
    ("gpu", "device", "places"),
    [
        (False, None, ["torch cpu", "numpy cpu"]),
        (True, None, ["torch cuda", "torch cpu", "numpy cpu"]),
        (True, "cpu", ["torch cpu", "numpy cpu"]),
        (False, "cuda:1", ["torch cuda:1"]),
    ],
)
def test_arrays_are_where_they_can_be(
    gpu: bool, device: str | None, places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    found = Outlook({})
    found.shown(device)
    assert [" ".join(place) for place in found.places] == places


def test_without_pytorch_arrays_are_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = SimpleNamespace(name="torch", missing=("torch",))
    monkeypatch.setattr(_outlook, "installed", lambda: [absent])
    for device in (None, "cpu"):
        found = Outlook({})
        found.shown(device)
        assert found.places == [("numpy", "cpu")]
    with pytest.raises(click.UsageError, match="must be cpu, as PyTorch is not installed; got 'cuda'"):
        Outlook({}).shown("cuda")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"op": "lsl"}, r"--op must be one of .*; got 'lsl'; did you mean lssl"),
        ({"dtype": "float8"}, r"--dtype must be one of bfloat16, .*; got 'float8'"),
        ({"device": "gpu"}, r"--device must be one of PyTorch's, as cpu or cuda:1; got 'gpu'"),
        ({"device": ""}, r"--device must be one of PyTorch's, as cpu or cuda:1; got ''"),
    ],
)
def test_bad_use_is_told_before_anybody_is_asked(given: dict[str, str], message: str) -> None:
    found = Outlook({})
    with pytest.raises(click.UsageError, match=message):
        found.shown(**given)
    assert found.asked == []


@pytest.mark.parametrize("error", [ArgumentError, PluginError, UnknownBackendError])
def test_what_the_front_door_refuses_is_bad_use(error: type[Exception]) -> None:
    class Refusing(Outlook):
        def __call__(self, *given: str, **more: str) -> Any:
            raise error("the order is none")

    with pytest.raises(click.UsageError, match="the order is none"):
        Refusing({}).shown("cpu")
