"""A call's validation while PyTorch traces a graph: once, without its sizes; then they guard the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ssm_backends.errors import ArgumentError, DeviceError, DTypeError, ShapeError
from ssm_backends.schema import Operator
from ssm_backends.validation import check_order, check_sizes, find, is_pair, validate_unsized

Described = tuple[tuple[Any, ...], ...]
"""The arguments of a call as constants of a trace: name, value; of a tensor name, rank, dtype, device, …"""
Patterns = tuple[tuple[str, str], ...]
"""Name and symbolic shape of every array of a call."""
_NUMPY: Final = (np.ndarray, np.generic)
Refused = tuple[type[Exception], str]
"""An error that a trace carries out as a value: raised within a constant, it would be PyTorch's own."""


def validate_traced(op: str, **inputs: Any) -> None:
    """What :func:`ssm_backends.validate` raises, for a backend's own function in a graph.

    Parameters
    ----------
    op
        Name of the operator.
    **inputs
        Its arguments.
    """
    names, patterns, refused = validate_described(op, described(find(op), inputs))
    if refused is not None:
        raise refused[0](refused[1])
    check_sizes(find(op), {name: inputs[name] for name in names}, patterns)


def described(operator: Operator, inputs: Mapping[str, Any]) -> Described:
    """The arguments without their sizes: lengths may vary in one graph.

    Raises
    ------
    ArgumentError
        If a pair of numbers is not in order.
    DTypeError
        If an argument is NumPy's.
    """
    pairs = [argument.name for argument in operator.arguments if argument.kind == "pair"]
    return tuple([_described(name, x, name in pairs) for name, x in inputs.items()])


def _described(name: str, x: Any, pair: bool) -> tuple[Any, ...]:
    refuse_numpys(name, x)
    if hasattr(x, "ndim"):
        return name, x.ndim, str(x.dtype), str(x.device), x.requires_grad
    if pair and is_pair(x):  # its numbers may be open in the graph: they are compared here, which guards it
        check_order(name, x)
        return name, (-1.0, 1.0)  # written here: numbers of a name may be open too
    return name, x


def refuse_numpys(name: str, x: Any) -> None:
    """Refuse an array of NumPy's, and a scalar, which a graph takes for an array that is known when it runs.

    PyTorch then leaves the call to Python, where a scalar is a number; a whole graph ends with this error.

    Raises
    ------
    DTypeError
        Naming it.
    """
    if isinstance(x, _NUMPY):
        raise DTypeError(
            f"`{name}` must be a tensor, or a number or flag of Python's, in a graph; got one of NumPy's"
        )


class _Open:
    """A size that a trace leaves open."""

    def __repr__(self) -> str:
        return "?"


@dataclass(frozen=True)
class _Tensor:
    """A tensor of a trace, of whose shape the rank is known."""

    shape: tuple[_Open, ...]
    dtype: str
    device: str
    requires_grad: bool


_Tensor.__module__ = "torch"  # the library whose arrays it stands for


def inputs_of(arguments: Described) -> dict[str, Any]:
    """Inputs that are like those described, their tensors without numbers."""
    return {
        name: _Tensor((_Open(),) * rest[0], *rest[1:]) if len(rest) > 1 else rest[0]
        for name, *rest in arguments
    }


def validate_described(op: str, arguments: Described) -> tuple[tuple[str, ...], Patterns, Refused | None]:
    """All of a call's validation but its sizes. PyTorch takes what it returns for a constant.

    Returns
    -------
    The names of the inputs that are not at their defaults, and their symbolic shapes; or the error of a call
    that is not valid.
    """
    try:
        call, patterns = validate_unsized(find(op), inputs_of(arguments))
    except (ArgumentError, DeviceError, DTypeError, ShapeError) as error:
        return (), (), (type(error), str(error))
    return tuple(call.inputs), patterns, None


validate_described._dynamo_marked_constant = True  # type: ignore[attr-defined] # torch.compiler.assume_constant_result
