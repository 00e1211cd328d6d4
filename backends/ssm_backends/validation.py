"""Whether a call is one that the operator allows, from metadata alone: before any work, nothing written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from ssm_backends._dtype_rules import check_dtypes
from ssm_backends._shapes import Sizes, pretty, rank_matches
from ssm_backends.dtypes import dtype_name
from ssm_backends.errors import ArgumentError, DeviceError, DTypeError, ShapeError
from ssm_backends.operators import OPERATORS
from ssm_backends.schema import Argument, Form, Operator

LONGEST: Final = 2**44
"""Numbers of eight bytes in the 2⁴⁷ that a process can address."""
_SEQUENCES: Final = (tuple, list)
_NUMBERS: Final = (int, float, np.integer, np.floating)
"""A union of types PyTorch 2.8 does not trace."""


@dataclass(frozen=True)
class Call:
    """One valid call, seen from outside: what a claim is matched against.

    Attributes
    ----------
    operator
        The operator.
    inputs
        The arguments that differ from their defaults, by name.
    dtype
        The dtype that a claim must list: the primary argument's, real part.
    compute
        The type in which it is computed: the wider of the primary argument's and the
        state matrix's, at least float32.
    sizes
        Symbol → size.
    system
        The broadcast ``*s`` dimensions.
    features
        The features that a backend must claim to serve it.
    """

    operator: Operator
    inputs: Mapping[str, Any]
    dtype: str
    compute: str
    sizes: Mapping[str, int]
    system: tuple[int, ...]
    features: frozenset[str]

    @property
    def given(self) -> frozenset[str]:
        """Names of the arguments that differ from their defaults."""
        return frozenset(self.inputs)


def validate(op: str | Operator, **inputs: Any) -> Call:
    """Check a call of an operator and describe it.

    Parameters
    ----------
    op
        The operator, or its name.
    **inputs
        Its arguments by name: arrays of any library that have ``shape`` and ``dtype``.
        An argument at its default counts as not given.

    Returns
    -------
    Call
        What the call asks for: sizes, dtypes, features.

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        Naming the argument in backticks, the rule, and what was given.
    """
    operator = find(op)
    given = _given(operator, inputs)
    forms = choose_forms(operator, given)
    sizes = _bind_sizes(operator, given, _patterns(forms))
    call = _described(operator, given, forms, sizes)
    return replace(call, features=call.features.union(_check_rules(call)))


def validate_unsized(
    operator: Operator, inputs: Mapping[str, Any]
) -> tuple[Call, tuple[tuple[str, str], ...]]:
    """Check all of a call but its sizes, which a trace may leave open: see :func:`check_sizes`.

    Parameters
    ----------
    operator
        The operator.
    inputs
        Its arguments by name; of their shapes the ranks alone are read.

    Returns
    -------
    call
        Without sizes.
    patterns
        Name and symbolic shape of every array.

    Raises
    ------
    As :func:`validate`.
    """
    given = _given(operator, inputs)
    forms = choose_forms(operator, given)
    return _described(operator, given, forms, Sizes(minimum={})), tuple(_patterns(forms).items())


def check_sizes(
    operator: Operator, given: Mapping[str, Any], patterns: tuple[tuple[str, str], ...]
) -> tuple[str, ...]:
    """The rest of a call's validation. PyTorch traces it: what it compares guards the graph.

    Parameters
    ----------
    operator
        The operator.
    given
        The arguments that differ from their defaults, by name.
    patterns
        As :func:`validate_unsized` gives them.

    Returns
    -------
    The features that its sizes need.

    Raises
    ------
    ShapeError
        Naming the argument, the rule, and what was given.
    """
    sizes = _bind_sizes(operator, given, dict(patterns))
    return _check_rules(Call(operator, given, "", "", sizes.bound, sizes.system, frozenset()))


def _described(operator: Operator, given: Mapping[str, Any], forms: Mapping[str, Form], sizes: Sizes) -> Call:
    dtype, compute, dtype_features = check_dtypes(operator, given, forms)
    _check_devices(operator, given)
    return Call(
        operator=operator,
        inputs=given,
        dtype=dtype,
        compute=compute,
        sizes=dict(sizes.bound),
        system=sizes.system,
        features=frozenset(dtype_features | _argument_features(operator, given, forms)),
    )


def _check_rules(call: Call) -> tuple[str, ...]:
    """The features that a backend must claim for rules that the call does not keep."""
    broken = [r for r in call.operator.rules if r.argument in call.inputs and not r.holds(call)]
    for rule in broken:
        if rule.feature is None:
            raise ShapeError(f"`{rule.argument}`: {rule.text}; got {_shown(call.inputs[rule.argument])}")
    return tuple([rule.feature for rule in broken if rule.feature is not None])


def find(op: str | Operator) -> Operator:
    """The operator of this name, or ArgumentError with the names there are."""
    if isinstance(op, Operator):
        return op
    try:
        return OPERATORS[op]
    except (KeyError, TypeError):  # not there, or nothing that could be
        raise ArgumentError(f"`op` must be one of {', '.join(OPERATORS)}; got {op!r}") from None


def is_default(argument: Argument, value: Any) -> bool:
    """Whether a value means "not given"; never compares arrays."""
    if argument.required:
        return False
    if value is argument.default:
        return True
    if argument.kind == "pair":
        return isinstance(value, tuple | list) and tuple(value) == argument.default
    plain = isinstance(value, bool | int | float | str)
    return (
        plain and value == argument.default and isinstance(value, bool) == isinstance(argument.default, bool)
    )


def _given(operator: Operator, inputs: Mapping[str, Any]) -> dict[str, Any]:
    names = [argument.name for argument in operator.arguments]
    for name in inputs:
        if name not in names:
            raise ArgumentError(
                f"`{name}` is not an argument of {operator.name}; it takes {', '.join(names)}"
            )
    for argument in operator.arguments:
        if argument.required and inputs.get(argument.name) is None:
            raise ArgumentError(f"`{argument.name}` is required by {operator.name}; got nothing")
    plain = {name: as_python(operator.argument(name), value) for name, value in inputs.items()}
    given = {
        argument.name: plain[argument.name]
        for argument in operator.arguments
        if argument.name in plain and not is_default(argument, plain[argument.name])
    }
    for name, value in given.items():
        _check_plain(operator.argument(name), value)
    return given


def as_python(argument: Argument, value: Any) -> Any:
    """A scalar of NumPy's as the Python number or word that it is, where the argument takes such a one."""
    kinds: dict[str, tuple[type[np.generic], ...]] = {
        "flag": (np.bool_,),
        "integer": (np.integer,),
        "number": (np.integer, np.floating),
        "choice": (np.str_,),
        "dtype": (np.str_,),
    }
    return value.item() if isinstance(value, kinds.get(argument.kind, ())) else value


def _is_array(value: Any) -> bool:
    """Whether a value has a shape and a dtype of its own: a class, NumPy's float32 say, has neither."""
    if getattr(value, "is_nested", False):  # of PyTorch's nested tensors some raise when asked
        return False
    return hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, type)


def _peculiarity(array: Any) -> str:
    """What sets an array apart from a plain dense one; "" if nothing does."""
    for cls in type(array).__mro__:
        if cls.__name__ in ("MaskedArray", "matrix") and cls.__module__.partition(".")[0] == "numpy":
            return f"a numpy {cls.__name__}, whose operations are its own"
    if getattr(array, "is_nested", False):  # its layout may be that of a plain one
        return "a nested tensor"
    layout = str(getattr(array, "layout", "")) if hasattr(array, "requires_grad") else ""  # PyTorch's
    return f"layout {layout}" if layout not in ("", "torch.strided") else ""


def _check_plain(argument: Argument, value: Any) -> None:
    """Kind and range of an argument that is not an array; that an array is one."""
    name, shown = argument.name, _shown(value)
    match argument.kind:
        case "array" | "index":
            if peculiarity := _peculiarity(value):
                raise DTypeError(f"`{name}` must be a plain dense array; got {peculiarity}")
            if not _is_array(value):
                raise DTypeError(f"`{name}` must be an array; got {shown}")
        case "flag":
            if not isinstance(value, bool):
                raise DTypeError(f"`{name}` must be True or False; got {shown}")
        case "integer":
            if not isinstance(value, int) or isinstance(value, bool):
                raise DTypeError(f"`{name}` must be an integer; got {shown}")
            if value > LONGEST:
                raise ArgumentError(
                    f"`{name}` must be at most 2⁴⁴, beyond which nothing can be stored; got {shown}"
                )
        case "number":
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise DTypeError(f"`{name}` must be a number; got {shown}")
        case "pair":
            if not is_pair(value):
                raise DTypeError(f"`{name}` must be a pair of numbers (low, high); got {shown}")
            check_order(name, value)
        case "choice" | "dtype":
            if not isinstance(value, str) or value not in argument.choices:
                raise ArgumentError(f"`{name}` must be one of {', '.join(argument.choices)}; got {shown}")
    if argument.interval is not None:
        low, high = argument.interval
        if not low <= value <= high:
            raise ArgumentError(f"`{name}` must be {argument.allowed}; got {shown}")


def is_pair(value: Any) -> bool:
    """Whether it is made of numbers, as a pair should be."""
    return isinstance(value, _SEQUENCES) and all(
        isinstance(x, _NUMBERS) and not isinstance(x, bool) for x in value
    )


def check_order(name: str, value: Any) -> None:
    """Two numbers, the larger one last; a NaN is in no order."""
    if len(value) != 2 or not value[0] <= value[1]:
        raise ArgumentError(f"`{name}` must be a pair (low, high) with low <= high; got {_shown(value)}")


def choose_forms(operator: Operator, given: Mapping[str, Any]) -> dict[str, Form]:
    """The form that each array takes: decided by its rank, and for a system's matrix by `diagonal`.

    Parameters
    ----------
    operator
        The operator.
    given
        Argument name → value; of an array only ``shape`` is read.
    """
    forms = {}
    for name, value in given.items():
        possible = operator.argument(name).forms
        if not possible:
            continue
        if len(possible) > 1 and possible[0].shape.startswith("*s"):
            possible = possible[1:] if given.get("diagonal", False) else possible[:1]
        shape = tuple(value.shape)
        fitting = [form for form in possible if rank_matches(form.shape, len(shape))]
        if not fitting:
            allowed = " or ".join(pretty(form.shape) for form in possible)
            raise ShapeError(f"`{name}` must have shape {allowed}; got {shape}")
        forms[name] = fitting[0]
    return forms


def _patterns(forms: Mapping[str, Form]) -> dict[str, str]:
    return {name: form.shape for name, form in forms.items()}


def _bind_sizes(operator: Operator, given: Mapping[str, Any], patterns: Mapping[str, str]) -> Sizes:
    sizes = Sizes(minimum=dict(operator.minimum))
    for argument in operator.arguments:
        if argument.binds and argument.name in given:
            sizes.bind(argument.binds, given[argument.name], argument.name)
    exact = [name for name, pattern in patterns.items() if "=" in pattern]
    for name in [*(name for name in patterns if name not in exact), *exact]:
        sizes.match(name, patterns[name], tuple(given[name].shape))
    return sizes


def _check_devices(operator: Operator, given: Mapping[str, Any]) -> None:
    devices = {
        name: str(device)
        for name, value in given.items()
        if operator.argument(name).kind in ("array", "index")
        and (device := getattr(value, "device", None)) is not None
    }
    for name, device in devices.items():
        first = next(iter(devices))
        if device != devices[first]:
            raise DeviceError(f"`{name}` must be on the device of `{first}`, {devices[first]}; got {device}")


def _argument_features(operator: Operator, given: Mapping[str, Any], forms: Mapping[str, Form]) -> set[str]:
    features = {form.feature for form in forms.values() if form.feature}
    for argument in operator.arguments:
        if argument.name in given and argument.feature:
            features.add(argument.feature)
        if argument.value_features:
            feature = argument.value_features.get(given.get(argument.name, argument.default))
            if feature:
                features.add(feature)
    return features


def _shown(value: Any) -> str:
    """An argument as a message shows it: an array by shape and dtype, anything else by repr, cut if long."""
    if _is_array(value):
        return f"shape {tuple(value.shape)}, dtype {dtype_name(value)}"
    text = repr(value)
    return text if len(text) <= 2 * _SHOWN else f"{text[:_SHOWN]} … {text[-_SHOWN:]}"


_SHOWN: Final = 60
"""Characters of each end of a long text."""
