"""Valid calls of every operator, built from its declaration, out of arrays that have no data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ssm_backends import OPERATORS, Argument, Form, Operator

SIZES: Mapping[str, int] = {
    "b": 2, "d": 6, "l": 5, "n": 3, "m": 2, "p": 5, "k": 7, "h": 3, "s": 2, "o": 5, "r": 2, "v": 3,
    "g_B": 3, "g_C": 2, "g": 3, "a": 1,
}  # fmt: skip
SYSTEM = (5, 1)
"""What "*s" stands for; "=s" stands for the same, since all arguments are given it."""


@dataclass(frozen=True)
class Meta:
    """An array of which only the metadata exist: whatever reads a value of it fails."""

    shape: tuple[int, ...]
    dtype: str = "float64"
    device: str | None = None


def size_of(symbol: str, sizes: Mapping[str, int] = SIZES) -> int:
    base, _, offset = symbol.partition("+")
    return sizes[base] + int(offset or 0)


def shape_of(pattern: str, sizes: Mapping[str, int] = SIZES) -> tuple[int, ...]:
    shape: tuple[int, ...] = ()
    for symbol in pattern.split():
        shape += SYSTEM if symbol[0] in "*=" else (size_of(symbol, sizes),)
    return shape


def sizes_of(operator: Operator) -> Mapping[str, int]:
    """Those of an operator's calls: FouT has an even number of states."""
    return {**SIZES, "n": 4} if operator.name == "hippo_fout" else SIZES


def plain_value(argument: Argument, sizes: Mapping[str, int] = SIZES) -> Any:
    """A value of an argument that is not an array, other than its default where it has another."""
    match argument.kind:
        case "integer":
            return sizes[argument.binds] if argument.binds else 3
        case "number":
            return 0.25
        case "pair":
            return (-0.5, 0.25)
        case "flag":
            return not argument.default
        case _:
            return next(choice for choice in argument.choices if choice != argument.default)


def array(form: Form, argument: Argument, dtype: str = "float64", sizes: Mapping[str, int] = SIZES) -> Meta:
    return Meta(shape_of(form.shape, sizes), argument.choices[0] if argument.kind == "index" else dtype)


def call(
    operator: Operator, dtype: str = "float64", sizes: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Every required argument, each array in its first form."""
    sizes = sizes_of(operator) if sizes is None else sizes
    return {
        argument.name: array(argument.forms[0], argument, dtype, sizes)
        if argument.forms
        else plain_value(argument, sizes)
        for argument in operator.arguments
        if argument.required
    }


def arrays() -> Iterator[tuple[Operator, Argument, Form]]:
    """Every form of every array argument of every operator."""
    for operator in OPERATORS.values():
        for argument in operator.arguments:
            for form in argument.forms:
                yield operator, argument, form


def call_with(operator: Operator, argument: Argument, form: Form) -> dict[str, Any]:
    """A valid call in which one array argument has one form."""
    inputs = call(operator)
    if form.shape == "*s n":
        inputs["diagonal"] = True
    if argument.name == "cu_seqlens":
        inputs = call(operator, sizes=dict(SIZES) | {"b": 1})
    return inputs | {argument.name: array(form, argument)}
