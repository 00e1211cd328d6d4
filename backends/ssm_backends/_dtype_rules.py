"""The dtypes of a call: which each argument may have, the compute type, and the features that they need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssm_backends.dtypes import COMPLEX_OF, HALF, REAL, compute_dtype, dtype_name, is_complex, real_of
from ssm_backends.errors import DTypeError
from ssm_backends.schema import Argument, Form, Operator


def check_dtypes(
    operator: Operator, given: Mapping[str, Any], forms: Mapping[str, Form]
) -> tuple[str, str, set[str]]:
    """The call's dtype and compute type, and the features that its dtypes need."""
    if operator.argument(operator.primary).kind == "dtype":
        dtype = given.get(operator.primary, operator.argument(operator.primary).default)
        return dtype, compute_dtype([dtype]), set()
    names = {name: dtype_name(given[name]) for name in forms}
    floating = {name: dtype for name, dtype in names.items() if operator.argument(name).kind == "array"}
    for name, dtype in floating.items():
        if real_of(dtype) not in REAL:
            raise DTypeError(f"`{name}` must have a floating dtype ({', '.join(REAL)}); got {dtype}")
    for name, dtype in names.items():
        argument = operator.argument(name)
        if argument.kind == "index" and dtype not in argument.choices:
            raise DTypeError(f"`{name}` must have dtype {' or '.join(argument.choices)}; got {dtype}")
    dtype = real_of(floating[operator.primary])
    widener = next((name for name in ("A", "A_bar", "Lambda") if name in floating), operator.primary)
    matrix = floating[widener]
    compute = compute_dtype([dtype, matrix])
    complex_a = is_complex(matrix)
    features = {"complex"} if any(map(is_complex, floating.values())) else set()
    widths = f"`{operator.primary}` has {floating[operator.primary]}"
    if compute != compute_dtype([dtype]):
        features.add("mixed_dtypes")
        widths += f" and `{widener}` has {matrix}"
    for name, actual in floating.items():
        _check_complex(operator.argument(name), actual, complex_a)
    for name, actual in floating.items():
        form = forms[name]
        allowed = _allowed(operator, form, dtype, compute)
        if real_of(actual) not in allowed:
            listed = " or ".join(_with_complex(allowed, is_complex(actual)))
            raise DTypeError(f"`{name}` must have dtype {listed}, where {widths}; got {actual}")
        if form.role == "stream" and not _same_stream(actual, dtype):
            features.add("mixed_dtypes")
        if form.role == "state" and actual in HALF:
            features.add("half_state")
    return dtype, compute, features


def _allowed(operator: Operator, form: Form, dtype: str, compute: str) -> tuple[str, ...]:
    match form.role:
        case "io":
            return (dtype,)
        case "stream":
            return tuple(dict.fromkeys((dtype, "float32")))
        case "state" if "half_state" in operator.features:
            return (compute, *HALF)
        case _:
            return (compute,)


def _same_stream(actual: str, dtype: str) -> bool:
    """A complex stream is at least complex64, so for 16-bit calls that is its plain type."""
    return actual == dtype or (is_complex(actual) and actual == COMPLEX_OF[compute_dtype([dtype])])


def _with_complex(names: tuple[str, ...], complex_: bool) -> list[str]:
    return [COMPLEX_OF[name] for name in names if name in COMPLEX_OF] if complex_ else list(names)


def _check_complex(argument: Argument, actual: str, complex_a: bool) -> None:
    name, found = argument.name, is_complex(actual)
    if found and argument.complex == "never":
        raise DTypeError(f"`{name}` must be real; got {actual}")
    if found and not complex_a and argument.complex in ("with A", "as A"):
        raise DTypeError(f"`{name}` must be real where A is real; got {actual}")
    if not found and complex_a and argument.complex == "as A":
        raise DTypeError(f"`{name}` must be complex where A is complex; got {actual}")
