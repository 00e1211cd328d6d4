"""What docstrings of an operator's functions have in common, written once: arguments, errors, source."""

from __future__ import annotations

import inspect
from typing import Final

from ssm_spec._reference import Reference

_GRADIENT: Final = """\
cotangents
    Output name, {outputs} → array of its shape; None or missing means zero.
wrt
    Names of inputs, among {differentiable}; by default all of these that were given."""
_ARITHMETIC: Final = """\
arithmetic
    What is judged, an `Arithmetic`."""
_INPUTS: Final = """\
inputs
    The arguments of `{name}`."""

_PARAMETERS: Final = {
    "vjp": [_GRADIENT, _INPUTS],
    "bounds": [_ARITHMETIC, _INPUTS],
    "vjp_bounds": [_GRADIENT, _ARITHMETIC, _INPUTS],
}
_RETURNS: Final = {
    "vjp": "Input name → ∂L/∂Re + i ∂L/∂Im in the input's shape; the real part for a real input.",
    "bounds": "Output name, {outputs} → `Bounded` of its shape.",
    "vjp_bounds": "Input name → `Bounded` of its shape.",
}
_RAISES: Final = """\
ShapeError, DTypeError, DomainError
    Naming an argument of the wrong rank or size, the wrong dtype, or a value that has no meaning here.
TypeError
    If an argument is missing, or none has the name that was given."""
_REFERENCES: Final = """\
{source}:
{equation}"""


def complete(row: Reference) -> Reference:
    """Give the docstrings of an operator's functions the sections that they leave to their table.

    Parameters
    ----------
    row
        The operator; the docstrings of its functions are changed.
    """
    words = {
        "name": row.name,
        "outputs": ", ".join(row.outputs),
        "differentiable": ", ".join(row.differentiable),
        "source": row.source,
        "equation": row.equation,
    }
    for kind in ("value", "vjp", "bounds", "vjp_bounds"):
        function = getattr(row, kind)
        if function is not None:
            text = inspect.cleandoc(function.__doc__ or "")
            lacking = [part for title, part in _sections(kind, words) if f"\n{title}\n-" not in text]
            function.__doc__ = "\n\n".join([text, *lacking])
    return row


def _sections(kind: str, words: dict[str, str]) -> list[tuple[str, str]]:
    """Title and text of every section, in order."""
    bodies = {
        "Parameters": "\n".join(_PARAMETERS.get(kind, [])),
        "Returns": _RETURNS.get(kind, ""),
        "Raises": _RAISES,
        "References": _REFERENCES,
    }
    return [
        (title, f"{title}\n{'-' * len(title)}\n{body.format(**words)}")
        for title, body in bodies.items()
        if body
    ]
