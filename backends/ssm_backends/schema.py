"""How an operator is written down: arguments, forms, outputs, rules. Data, and no algorithm.

A shape is a string of symbols, slowest dimension first: ``"b d l"``. A symbol means one size
throughout a call. ``"r+1"`` is one more than r. ``"*s"`` stands for any number of leading
dimensions that broadcast among the arguments that have it; ``"=s"`` for the broadcast result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from ssm_backends.validation import Call

Kind = Literal["array", "index", "integer", "number", "pair", "flag", "choice", "dtype"]
Role = Literal["io", "stream", "parameter", "state"]
ComplexRule = Literal["never", "free", "with A", "as A"]


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED: Final = _Required()
"""The default of an argument that has none."""


@dataclass(frozen=True)
class Form:
    """One shape that an argument may take.

    Attributes
    ----------
    shape
        Symbols, as described in the module's docstring.
    role
        What its dtype must be. "io": the call's dtype. "stream": the call's dtype, or
        float32 where the feature ``mixed_dtypes`` is claimed. "parameter" and "state":
        the compute type (a state may be 16-bit where ``half_state`` is claimed).
    feature
        The feature that a backend must claim to be called with this form.
    """

    shape: str
    role: Role = "parameter"
    feature: str | None = None


@dataclass(frozen=True, kw_only=True)
class Argument:
    """One argument of an operator.

    Attributes
    ----------
    name, doc
        The keyword, and one sentence on its meaning.
    kind
        "array" (floating), "index" (integer array), or a plain Python value; "pair": two
        numbers (low, high), low <= high.
    forms
        The allowed shapes of an array, distinguished by their rank.
    default
        ``REQUIRED``, or the value that means "not given".
    keyword_only
        Whether it may only be passed by name.
    differentiable
        Whether a gradient with respect to it is defined.
    complex
        When it may be complex: "never"; "free"; "with A": only if A is; "as A": exactly if A is.
    feature
        The feature that a backend must claim for this argument to be given.
    value_features
        For a flag or choice: value → the feature it needs.
    choices
        For a choice: the allowed values. For an index array: the allowed dtypes.
    interval
        For an integer or number: the closed interval of allowed values.
    binds
        For an integer: the symbol whose size it gives.
    """

    name: str
    doc: str
    kind: Kind = "array"
    forms: tuple[Form, ...] = ()
    default: Any = REQUIRED
    keyword_only: bool = False
    differentiable: bool = False
    complex: ComplexRule = "never"
    feature: str | None = None
    value_features: Mapping[Any, str] = field(default_factory=dict)
    choices: tuple[str, ...] = ()
    interval: tuple[float, float] | None = None
    binds: str | None = None

    @property
    def required(self) -> bool:
        """Whether a call without it is an error."""
        return self.default is REQUIRED

    @property
    def allowed(self) -> str:
        """The numbers of the interval in words, to stand after "must be"; "" where there is none."""
        if self.interval is None:
            return ""
        low, high = self.interval
        if low == sys.float_info.min:
            return "positive and finite"
        return f"at least {low:g}" if high == inf else f"from {low:g} to {high:g}"


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output of an operator.

    Attributes
    ----------
    name, shape, role, doc
        As for an argument.
    when
        The flag that asks for it; None if it is always returned.
    complex
        "never", or "as A"; "dense A": complex where A is complex and not diagonal;
        "unpaired": complex unless one of each conjugate pair is given.
    period
        What it means the same modulo; None for a number that stands for itself.
    """

    name: str
    doc: str
    shape: str
    role: Role = "io"
    when: str | None = None
    complex: Literal["never", "as A", "dense A", "unpaired"] = "never"
    period: float | None = None


@dataclass(frozen=True)
class Rule:
    """A rule between arguments, of their sizes and of which are given.

    Attributes
    ----------
    argument
        The one to blame.
    text
        The rule in words, to stand after the argument's name.
    holds
        Whether a call keeps it.
    feature
        The feature that a backend must claim for a call that does not keep it; None: no call may break it.
    """

    argument: str
    text: str
    holds: Callable[[Call], bool]
    feature: str | None = None


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator of the specification, declared once.

    Attributes
    ----------
    name, doc
        Its name, and one sentence with the equation.
    source
        The publication, and the equation's number in it.
    arguments, outputs, rules
        In order.
    primary
        The argument whose dtype a claim's ``dtypes`` names.
    features
        Every feature that a claim may list → what it means.
    minimum
        Symbol → its smallest size, where that is not 0.
    symbols
        Symbol → what it counts, where that is not what it counts everywhere else.
    """

    name: str
    doc: str
    source: str
    arguments: tuple[Argument, ...]
    outputs: tuple[Output, ...]
    primary: str
    features: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    minimum: Mapping[str, int] = field(default_factory=dict)
    symbols: Mapping[str, str] = field(default_factory=dict)

    def argument(self, name: str) -> Argument:
        """The argument of this name (KeyError if there is none)."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Argument]:
        return {argument.name: argument for argument in self.arguments}

    @property
    def differentiable(self) -> tuple[str, ...]:
        """Names of the arguments that have a gradient, in order."""
        return tuple(argument.name for argument in self.arguments if argument.differentiable)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return tuple(output.name for output in self.outputs)
