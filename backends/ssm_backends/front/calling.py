"""A call through the front door: chosen once for each kind of call, and safe to compile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from ssm_backends.errors import NotSupportedError
from ssm_backends.front.choice import choose
from ssm_backends.front.preference import wishes
from ssm_backends.schema import Operator
from ssm_backends.validation import as_python, find, validate

MOST: Final = 4096
"""Kinds of call that are remembered."""

Function = Callable[..., Any]

_REMEMBERED: Final[dict[tuple[Any, ...], tuple[Function, tuple[str, ...]]]] = {}
_TRACED: Final = SimpleNamespace()
"""The functions that graphs call, as attributes: of a dictionary PyTorch would keep the keys it first saw."""


def serve(operator: Operator, inputs: Mapping[str, Any], backend: str | None) -> Any:
    """Call the backend that is chosen for these inputs.

    Validity and choice follow from metadata alone, so that both are settled once for each kind of
    call: a call like one before costs a look into a table, a twentieth of its validation.
    """
    if any(isinstance(x, np.generic) for x in inputs.values()):
        inputs = _with_python_scalars(operator, inputs)
    if _compiling():
        chosen, names = choose_traced(operator.name, backend, tuple(map(_described, inputs.items())))
        return getattr(_TRACED, chosen)(**{name: inputs[name] for name in names})
    named = backend if isinstance(backend, str | None) else repr(backend)
    kind = (operator.name, named, wishes(), _recording(), *map(_metadata, inputs.items()))
    served = _REMEMBERED.get(kind)
    if served is None:
        call = validate(operator, **inputs)
        served = choose(call, backend).op.fn, tuple(call.inputs)
        if len(_REMEMBERED) >= MOST:
            _REMEMBERED.clear()
        _REMEMBERED[kind] = served
    fn, names = served
    return fn(**{name: inputs[name] for name in names})


def _with_python_scalars(operator: Operator, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs, with NumPy's scalars as Python's where a number or a word is meant, not an array."""
    kinds = {argument.name: argument for argument in operator.arguments}
    return {name: as_python(kinds[name], x) if name in kinds else x for name, x in inputs.items()}


def _metadata(item: tuple[str, Any]) -> tuple[Any, ...]:
    """All that validity and choice depend on, of one argument."""
    name, x = item
    shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
    if shape is None or dtype is None or isinstance(x, type):
        return name, type(x), x if isinstance(x, bool | int | float | str | None) else repr(x)
    gradient = getattr(x, "requires_grad", None)
    layout = None if gradient is None else x.layout  # PyTorch's
    return name, type(x), tuple(shape), dtype, getattr(x, "device", None), layout, gradient


def _recording() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.is_grad_enabled()


def _compiling() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()


def _described(item: tuple[str, Any]) -> tuple[Any, ...]:
    """One argument without its sizes, as a constant of a trace: lengths may vary in one graph."""
    name, x = item
    if hasattr(x, "ndim"):
        return name, x.ndim, str(x.dtype), str(x.device), x.requires_grad
    return name, x


@dataclass(frozen=True)
class _Tensor:
    """A tensor of a trace, all sizes 1."""

    shape: tuple[int, ...]
    dtype: str
    device: str
    requires_grad: bool


_Tensor.__module__ = "torch"  # the library whose arrays it stands for


def choose_traced(
    op: str, backend: str | None, described: tuple[tuple[Any, ...], ...]
) -> tuple[str, tuple[str, ...]]:
    """The choice while a graph is traced: by dtypes, devices and features; the backend sees the sizes.

    PyTorch calls it once, when it traces, and takes what it returns for a constant.

    Returns
    -------
    Its name in the table of functions, and the names of the inputs it is called with.
    """
    operator = find(op)
    inputs = {
        name: _Tensor(_ones(operator, name, *rest), *rest[1:]) if len(rest) > 1 else rest[0]
        for name, *rest in described
    }
    call = validate(operator, **inputs)
    try:
        choice = choose(replace(call, features=call.features | {"compile"}), backend)
    except NotSupportedError:  # nobody claims to be traced whole: PyTorch will say where it cannot
        choice = choose(call, backend)
    number = choice.backend.implementations(op).index(choice.op)
    name = "served_" + f"{op} {choice.backend.name} {number}".encode().hex()  # a word that PyTorch can write
    setattr(_TRACED, name, choice.op.fn)
    return name, tuple(call.inputs)


choose_traced._dynamo_marked_constant = True  # type: ignore[attr-defined] # torch.compiler.assume_constant_result


def _ones(operator: Operator, name: str, rank: int, *_: Any) -> tuple[int, ...]:
    """Sizes of 1, but for the offsets of packed sequences, of which there is one more."""
    return (2,) if name == "cu_seqlens" else (1,) * rank
