"""Who takes part: backends that load here, and how each is called and differentiated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssm_backends import (
    Arrays,
    Backend,
    Call,
    NotSupportedError,
    Op,
    Plugin,
    PluginError,
    UnavailableError,
    load,
    run_vjp,
    select,
    validate,
)
from ssm_backends.dtypes import compute_dtype
from ssm_conformance.bench.problem import Problem
from ssm_conformance.storage import store

STREAMS = ("u", "delta", "z", "B", "C")


@dataclass(frozen=True)
class Rival:
    """One backend that takes part.

    Attributes
    ----------
    backend
        The backend.
    arrays
        The adapter that its arrays are made with: PyTorch's, if it has that one.
    """

    backend: Backend
    arrays: Arrays

    @property
    def name(self) -> str:
        """The backend's name."""
        return self.backend.name

    def prepare(self, problem: Problem, seed: int) -> Callable[[], Any]:
        """A function that does the problem once, with everything made beforehand.

        Raises
        ------
        NotSupportedError
            If the backend does not claim it.
        """
        inputs = {name: self._take(problem, name, x) for name, x in problem.inputs(seed).items()}
        call, op = self._choose(problem, inputs)
        if problem.pass_ != "both":
            return self._values(op, call.inputs)
        wrt = tuple(name for name in op.differentiable(call.operator) if name in call.inputs)
        lacking = set(call.operator.differentiable) & set(call.inputs) - set(wrt)
        if lacking:
            raise NotSupportedError(f"backend {self.name!r} has no gradient in {', '.join(sorted(lacking))}")
        shape = (problem.shape.b, problem.shape.d, problem.shape.l)
        drawn = np.random.default_rng(seed + 1).standard_normal(shape)
        cotangents = {"y": self.arrays.from_numpy(store(drawn, problem.dtype), problem.dtype)}
        return lambda: run_vjp(op, self.arrays, call, cotangents, wrt)

    def _choose(self, problem: Problem, inputs: Mapping[str, Any]) -> tuple[Call, Op]:
        """Who serves the call; a step is done in place where that is claimed."""
        if problem.pass_ == "step":
            try:
                call = validate(problem.operator, **inputs, inplace=True)
                return call, select(self.backend, call)
            except NotSupportedError:
                pass
        call = validate(problem.operator, **inputs)
        return call, select(self.backend, call)

    def _take(self, problem: Problem, name: str, x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        dtype = problem.dtype if name in STREAMS else compute_dtype([problem.dtype])
        return self.arrays.from_numpy(store(x, dtype), dtype)

    def _values(self, op: Op, inputs: Mapping[str, Any]) -> Callable[[], Any]:
        """The operator alone; PyTorch records no graph."""

        def call() -> Any:
            with self._quiet():
                return op.fn(**inputs)

        return call

    def _quiet(self) -> Any:
        if self.arrays.name != "torch":
            return nullcontext()
        import torch

        return torch.no_grad()


def rivals(
    plugins: Sequence[Plugin], device: str, *, forgiving: bool = False
) -> tuple[list[Rival], dict[str, str]]:
    """Load backends on a device.

    Parameters
    ----------
    plugins, device
        Which, and where.
    forgiving
        Whether one that fails to load is one of the others.

    Returns
    -------
    Those that run here, in order; and for each of the others, why not.

    Raises
    ------
    PluginError
        If one fails to import, has no hook, or breaks the contract, unless that is forgiven.
    """
    found: list[Rival] = []
    absent: dict[str, str] = {}
    for plugin in plugins:
        try:
            backend = load(plugin, device)
        except UnavailableError as error:
            absent[plugin.name] = str(error)
            continue
        except PluginError as error:
            if not forgiving:
                raise
            absent[plugin.name] = str(error)
            continue
        adapters = sorted(backend.adapters, key=lambda arrays: arrays.name != "torch")
        found.append(Rival(backend, adapters[0]))
    return found, absent
