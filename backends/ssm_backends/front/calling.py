"""A call through the front door: chosen once for each kind of call, and safe to compile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from ssm_backends.errors import REFUSALS, NotSupportedError
from ssm_backends.front.choice import choose
from ssm_backends.front.preference import wishes
from ssm_backends.once import MOST, can_be_remembered, metadata
from ssm_backends.schema import Operator
from ssm_backends.tracing import Described, Patterns, Refused, described, inputs_of
from ssm_backends.validation import as_python, check_sizes, find, validate, validate_unsized

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
        chosen, names, patterns, refused = choose_traced(operator.name, backend, described(operator, inputs))
        if refused is not None:  # raised here, PyTorch leaves the call to Python, which tells it as ever
            raise refused[0](refused[1])
        given = {name: inputs[name] for name in names}
        check_sizes(operator, given, patterns)
        return getattr(_TRACED, chosen)(**given)
    named = backend if isinstance(backend, str | None) else repr(backend)
    kind = (operator.name, named, wishes(), _recording(), *map(_metadata, inputs.items()))
    known = can_be_remembered(kind)
    served = _REMEMBERED.get(kind) if known else None
    if served is None:
        call = validate(operator, **inputs)
        served = choose(call, backend).op.fn, tuple(call.inputs)
        if known:
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
    return name, *metadata(x), getattr(x, "requires_grad", None)


def _recording() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.is_grad_enabled()


def _compiling() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()


def choose_traced(
    op: str, backend: str | None, arguments: Described
) -> tuple[str, tuple[str, ...], Patterns, Refused | None]:
    """The choice while a graph is traced: by dtypes, devices and features, not by sizes.

    PyTorch calls it once, when it traces, and takes what it returns for a constant.

    Returns
    -------
    Its name in the table of functions, the names of the inputs it is called with, and their symbolic shapes;
    or the error of a call that is not valid or that nobody serves.
    """
    try:
        return *_chosen(find(op), backend, arguments), None
    except REFUSALS as error:
        return "", (), (), (type(error), str(error))


def _chosen(
    operator: Operator, backend: str | None, arguments: Described
) -> tuple[str, tuple[str, ...], Patterns]:
    call, patterns = validate_unsized(operator, inputs_of(arguments))
    try:
        choice = choose(replace(call, features=call.features | {"compile"}), backend)
    except NotSupportedError:  # nobody claims to be traced whole: PyTorch will say where it cannot
        choice = choose(call, backend)
    number = choice.backend.implementations(operator.name).index(choice.op)
    words = f"{operator.name} {choice.backend.name} {number}"
    name = "served_" + words.encode().hex()  # a word that PyTorch can write
    setattr(_TRACED, name, choice.op.fn)
    return name, tuple(call.inputs), patterns


choose_traced._dynamo_marked_constant = True  # type: ignore[attr-defined] # torch.compiler.assume_constant_result
