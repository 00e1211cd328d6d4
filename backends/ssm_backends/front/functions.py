"""The operators as functions: ``ssm_backends.selective_scan(u, delta, A, B, C, …, backend=None)``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import Parameter, Signature
from typing import Any, Final

from ssm_backends._shapes import pretty
from ssm_backends.dispatch import bind
from ssm_backends.dtypes import REAL
from ssm_backends.front.calling import serve
from ssm_backends.operators import SYMBOLS
from ssm_backends.schema import Argument, Form, Operator, Role
from ssm_backends.validation import find


def front_door(op: str) -> Callable[..., Any]:
    """An operator as a function; its signature and its documentation come from the declaration."""
    operator = find(op)

    def function(*args: Any, backend: str | None = None, **kwargs: Any) -> Any:
        return serve(operator, bind(operator, args, kwargs), backend)

    function.__name__ = function.__qualname__ = op
    function.__module__ = "ssm_backends"
    function.__doc__ = _documentation(operator)
    function.__signature__ = _signature(operator)  # type: ignore[attr-defined] # read by inspect.signature
    return function


def _signature(operator: Operator) -> Signature:
    parameters = [_parameter(argument) for argument in operator.arguments]
    parameters.append(Parameter("backend", Parameter.KEYWORD_ONLY, default=None))
    return Signature(parameters)


def _parameter(argument: Argument) -> Parameter:
    kind = Parameter.KEYWORD_ONLY if argument.keyword_only else Parameter.POSITIONAL_OR_KEYWORD
    return Parameter(argument.name, kind, default=Parameter.empty if argument.required else argument.default)


def _documentation(operator: Operator) -> str:
    lines = [operator.doc, "", _letters(operator), "", "Parameters", "----------"]
    for argument in operator.arguments:
        optional = ", or None" if argument.default is None else ""
        lines += [f"{argument.name} : {_kind(operator, argument)}{optional}", f"    {argument.doc}"]
    lines += [
        "backend : str or None",
        "    Name of the backend that must serve the call; by default the best one that claims it.",
        "",
        "Returns",
        "-------",
    ]
    for output in operator.outputs:
        shape = " or ".join(map(pretty, output.shape.split("|")))
        lines += [
            f"{output.name} : {shape}, {_dtype(operator, output.role)}{_COMPLEX[output.complex]}"
            + (f", if {output.when}" if output.when else ""),
            f"    {output.doc}",
        ]
    lines += [
        "",
        "Raises",
        "------",
        "ShapeError, DTypeError, DeviceError, ArgumentError",
        "    If the call is not valid: naming the argument, the rule and what was given.",
        *(f"    `{rule.argument}`: {rule.text}." for rule in operator.rules if rule.feature is None),
        "NotSupportedError, UnavailableError",
        "    If no backend, or not the one named, serves it here.",
        "UnknownBackendError",
        "    If there is no backend of the name.",
        "",
        "References",
        "----------",
        operator.source,
    ]
    return "\n".join(lines)


def _kind(operator: Operator, argument: Argument) -> str:
    """Shapes and dtypes of an array; of anything else what it may be."""
    if argument.kind == "index":
        return f"{_shapes(argument.forms)}, {' or '.join(argument.choices)}"
    if argument.kind != "array":
        words = " or ".join(map(repr, argument.choices)) or _PLAIN[argument.kind]
        return ", ".join(filter(None, (words, argument.allowed)))
    if argument.name == operator.primary and argument.forms[0].role == "io":
        return f"{_shapes(argument.forms)}, {' or '.join(REAL)}{_COMPLEX[argument.complex]}"
    by_role: dict[Role, list[Form]] = {}
    for form in argument.forms:
        by_role.setdefault(form.role, []).append(form)
    parts = (f"{_shapes(forms)}, {_dtype(operator, role)}" for role, forms in by_role.items())
    return "; ".join(parts) + _COMPLEX[argument.complex]


def _shapes(forms: Iterable[Form]) -> str:
    return " or ".join(pretty(form.shape) for form in forms)


def _letters(operator: Operator) -> str:
    """What the symbols of the shapes count, in the order in which they come."""
    shapes = [form.shape for argument in operator.arguments for form in argument.forms]
    shapes += [output.shape for output in operator.outputs]
    found = [symbol.partition("+")[0].replace("=", "*") for shape in shapes for symbol in shape.split()]
    known = {**SYMBOLS, **operator.symbols}
    return "; ".join(f"{symbol}: {known[symbol]}" for symbol in dict.fromkeys(found) if symbol in known) + "."


def _dtype(operator: Operator, role: Role) -> str:
    """The real dtypes that an array of a role may have, beside the primary argument's."""
    primary = operator.argument(operator.primary)
    same = f"dtype of {primary.name}" if primary.kind == "array" else "the dtype asked for"
    half = " or narrower" if role == "state" and "half_state" in operator.features else ""
    return {"io": same, "stream": f"{same} or float32"}.get(role, f"float32 or float64{half}")


_PLAIN: Final = {"flag": "bool", "integer": "int", "number": "float", "pair": "(float, float)"}
"""The Python type of what is no array."""
_COMPLEX: Final = {
    "never": "",
    "free": ", or complex",
    "with A": ", or complex beside a complex A",
    "as A": ", complex where A is",
    "dense A": ", complex where A is complex and no diagonal",
    "unpaired": ", complex unless paired",
}

causal_conv1d = front_door("causal_conv1d")
causal_conv1d_update = front_door("causal_conv1d_update")
causal_convolution = front_door("causal_convolution")
discretize_bilinear = front_door("discretize_bilinear")
discretize_zoh = front_door("discretize_zoh")
h3 = front_door("h3")
hippo_fout = front_door("hippo_fout")
hippo_lagt = front_door("hippo_lagt")
hippo_legs = front_door("hippo_legs")
hippo_legs_compress = front_door("hippo_legs_compress")
hippo_legt = front_door("hippo_legt")
lssl = front_door("lssl")
mamba3_siso = front_door("mamba3_siso")
mamba3_siso_step = front_door("mamba3_siso_step")
s4_kernel = front_door("s4_kernel")
s4d = front_door("s4d")
s4d_kernel = front_door("s4d_kernel")
s5 = front_door("s5")
selective_scan = front_door("selective_scan")
selective_state_update = front_door("selective_state_update")
ssd = front_door("ssd")
ssd_update = front_door("ssd_update")
ssm_kernel = front_door("ssm_kernel")
ssm_recurrence = front_door("ssm_recurrence")
