"""A call through the front door: chosen once for each kind of call, and safe to compile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from ssm_backends.checked import unchecked
from ssm_backends.errors import REFUSALS, NotSupportedError
from ssm_backends.front.choice import choose
from ssm_backends.front.kinds import Function, kind_of, recall, remember
from ssm_backends.imported import imported_torch
from ssm_backends.schema import Operator
from ssm_backends.tracing import Described, Refused, described, inputs_of, validate_described
from ssm_backends.validation import as_python, check_sizes, find, validate, validate_unsized

_TRACED: Final = SimpleNamespace()
"""The functions that graphs call, as attributes: of a dictionary PyTorch would keep the keys it first saw."""


def serve(operator: Operator, inputs: Mapping[str, Any], backend: str | None) -> Any:
    """Call the backend that is chosen for these inputs."""
    fn, given = served(operator, inputs, backend)
    return fn(**given)


def served(
    operator: Operator, inputs: Mapping[str, Any], backend: str | None
) -> tuple[Function, dict[str, Any]]:
    """The function that is chosen for these inputs, and those of them that it is given.

    Validity and choice follow from metadata alone, so that both are settled once for each kind of
    call: a call like one before costs a look into a table, a twentieth of its validation.

    Raises
    ------
    What a call raises that is not valid, or that nobody serves.
    """
    for x in inputs.values():
        if isinstance(x, np.generic):
            inputs = _with_python_scalars(operator, inputs)
            break
    if _compiling():
        return _served_traced(operator, inputs, backend)
    kind = kind_of((operator.name, *inputs), backend, inputs.values())
    found = recall(kind)
    if found is None:
        call = validate(operator, **inputs)
        found = unchecked(choose(call, backend).op.fn), tuple(call.inputs)
        remember(kind, found)
    fn, names = found
    return fn, {name: inputs[name] for name in names}


def _served_traced(
    operator: Operator, inputs: Mapping[str, Any], backend: str | None
) -> tuple[Function, dict[str, Any]]:
    arguments = described(operator, inputs)
    names, patterns, refused = validate_described(operator.name, arguments)
    if refused is not None:  # raised here, PyTorch leaves the call to Python, which tells it as ever
        raise refused[0](refused[1])
    given = {name: inputs[name] for name in names}
    of_sizes = check_sizes(operator, given, patterns)
    chosen, refused = choose_traced(operator.name, backend, arguments, of_sizes)
    if refused is not None:
        raise refused[0](refused[1])
    return getattr(_TRACED, chosen), given


def _with_python_scalars(operator: Operator, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs, with NumPy's scalars as Python's where a number or a word is meant, not an array."""
    kinds = {argument.name: argument for argument in operator.arguments}
    return {name: as_python(kinds[name], x) if name in kinds else x for name, x in inputs.items()}


def _compiling() -> bool:
    torch = imported_torch()
    return torch is not None and torch.compiler.is_compiling()


def choose_traced(
    op: str, backend: str | None, arguments: Described, of_sizes: tuple[str, ...]
) -> tuple[str, Refused | None]:
    """The choice while a graph is traced: by dtypes, devices and features, not by sizes.

    PyTorch calls it once, when it traces, and takes what it returns for a constant.

    Parameters
    ----------
    op, backend, arguments
        A valid call.
    of_sizes
        The features that its sizes need.

    Returns
    -------
    Its name in the table of functions; or the error of a call that nobody serves.
    """
    try:
        return _chosen(find(op), backend, arguments, of_sizes), None
    except REFUSALS as error:
        return "", (type(error), str(error))


def _chosen(operator: Operator, backend: str | None, arguments: Described, of_sizes: tuple[str, ...]) -> str:
    call, _ = validate_unsized(operator, inputs_of(arguments))
    call = replace(call, features=call.features.union(of_sizes))
    try:
        choice = choose(replace(call, features=call.features | {"compile"}), backend)
    except NotSupportedError:  # nobody claims to be traced whole: PyTorch will say where it cannot
        choice = choose(call, backend)
    number = choice.backend.implementations(operator.name).index(choice.op)
    words = f"{operator.name} {choice.backend.name} {number}"
    name = "served_" + words.encode().hex()  # a word that PyTorch can write
    setattr(_TRACED, name, choice.op.fn)
    return name


choose_traced._dynamo_marked_constant = True  # type: ignore[attr-defined] # torch.compiler.assume_constant_result
