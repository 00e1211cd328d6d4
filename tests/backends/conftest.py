"""Both plain backends, a way to call them with NumPy arrays, and plugins to be installed."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ssm_backends import Arrays, Backend, call, load, outputs_of, run_vjp, select, validate

Array = NDArray[Any]
Install = Callable[..., None]


@dataclass(frozen=True)
class Caller:
    """A backend to be called with NumPy arrays, and to be read in them."""

    backend: Backend

    @property
    def arrays(self) -> Arrays:
        return self.backend.adapters[0]

    def take(self, x: Any) -> Any:
        return self.arrays.from_numpy(x, str(x.dtype)) if isinstance(x, np.ndarray) else x

    def __call__(self, op: str, **inputs: Any) -> Any:
        """The operator's result: one array or a tuple."""
        result = call(self.backend, op, **{name: self.take(x) for name, x in inputs.items()})
        if isinstance(result, tuple):
            return tuple(self.arrays.to_numpy(x) for x in result)
        return self.arrays.to_numpy(result)

    def vjp(
        self, op: str, cotangents: Mapping[str, Array | None], wrt: tuple[str, ...], **inputs: Any
    ) -> dict[str, Array]:
        """Gradients with respect to the named inputs."""
        valid = validate(op, **{name: self.take(x) for name, x in inputs.items()})
        given = {name: self.take(x) for name, x in cotangents.items()}
        found = run_vjp(select(self.backend, valid), self.arrays, valid, given, wrt)
        return {name: self.arrays.to_numpy(x) for name, x in found.items()}

    def outputs(self, op: str, **inputs: Any) -> dict[str, Array]:
        """The operator's outputs by name."""
        result = self(op, **inputs)
        return outputs_of(validate(op, **inputs), result)


@pytest.fixture(params=["numpy", "torch"])
def run(request: pytest.FixtureRequest) -> Caller:
    """Each backend in turn."""
    return Caller(load(request.param))


@pytest.fixture
def torch_run() -> Caller:
    """The PyTorch backend."""
    return Caller(load("torch"))


@pytest.fixture
def numpy_run() -> Caller:
    """The NumPy backend."""
    return Caller(load("numpy"))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Writes a module and the metadata of a distribution that names it as a plugin."""
    monkeypatch.syspath_prepend(tmp_path)
    modules: list[str] = []

    def write(source: str, name: str = "acme", module: str = "acme_plugin", requires: str = "") -> None:
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{module}-0.3.dist-info"
        info.mkdir()
        extra = " [gpu]" if requires else ""
        (info / "entry_points.txt").write_text(f"[ssm_backends]\n{name} = {module}{extra}\n")
        wanted = f"Provides-Extra: gpu\nRequires-Dist: {requires}; extra == 'gpu'\n" if requires else ""
        wanted += "Requires-Dist: needed-by-nobody-here; extra == 'docs'\n"
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 0.3\n{wanted}")
        modules.append(module)
        importlib.invalidate_caches()

    yield write
    for module in modules:
        sys.modules.pop(module, None)
