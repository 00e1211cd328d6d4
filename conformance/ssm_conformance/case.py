"""One case as data: an operator, its inputs, what is asked of it. No numbers are drawn here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

from ssm_backends import OPERATORS, Call, Operator, choose_forms, validate
from ssm_backends.dtypes import COMPLEX_OF, compute_dtype
from ssm_conformance.draw import Draw

Level = Literal["smoke", "quick", "full"]
Check = Literal["value", "gradient", "property", "memory", "determinism", "robustness", "extreme", "error"]
LEVELS: Final[tuple[Level, ...]] = ("smoke", "quick", "full")


@dataclass(frozen=True)
class Recipe:
    """Inputs of one operator, before a dtype is chosen.

    Attributes
    ----------
    op, name
        The operator, and what is special about these inputs.
    inputs
        Argument name → Draw, or a plain value.
    clause
        The clause of the specification that they exercise.
    level
        The smallest level that has it.
    check
        The word that a report files its values under.
    seed
        Name of the stream of numbers; recipes that share it share their numbers.
    first
        The dtypes asked at ``level``, the others at full; all, if empty.
    dtypes
        The only dtypes that it is asked in; those of the operator, if empty.
    one_sign
        Whether cotangents are positive, so that what a gradient sums does not cancel.
    """

    op: str
    name: str
    inputs: Mapping[str, Any]
    clause: str
    level: Level = "quick"
    check: Check = "value"
    seed: str = ""
    first: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    one_sign: bool = False

    def level_in(self, dtype: str) -> Level:
        """The smallest level that asks it in a dtype."""
        return self.level if not self.first or dtype in self.first else "full"


@dataclass(frozen=True)
class Case:
    """One question to a backend; its id is stable.

    Attributes
    ----------
    recipe
        The inputs.
    dtype
        Of the operator's primary argument.
    check
        The word in the report.
    method
        Name of the function that asks: a key of ``ssm_conformance.checks.METHODS``.
    variant
        Told apart in the id, where one method asks several questions of one recipe.
    options
        What that function needs besides.
    """

    recipe: Recipe
    dtype: str
    check: Check
    method: str
    variant: str = ""
    level: Level = "quick"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """operator/check/dtype/name, where name says what is special about the case."""
        name = self.recipe.name if not self.variant else f"{self.variant}-{self.recipe.name}"
        return f"{self.op}/{self.check}/{self.dtype}/{name}"

    @property
    def op(self) -> str:
        """Name of the operator."""
        return self.recipe.op

    @property
    def operator(self) -> Operator:
        """The operator as declared."""
        return OPERATORS[self.recipe.op]

    @property
    def clause(self) -> str:
        """The clause of the specification."""
        return self.recipe.clause

    @property
    def draws(self) -> dict[str, Draw]:
        """The arrays among the inputs."""
        return {name: value for name, value in self.recipe.inputs.items() if isinstance(value, Draw)}

    @property
    def written(self) -> tuple[str, ...]:
        """The arguments that the call is asked to write."""
        return ("state",) if self.plain.get("inplace") else ()

    @property
    def plain(self) -> dict[str, Any]:
        """The other inputs; the dtype too, for an operator that takes it as an argument."""
        values = {name: value for name, value in self.recipe.inputs.items() if not isinstance(value, Draw)}
        if self.operator.argument(self.operator.primary).kind == "dtype":
            values[self.operator.primary] = self.dtype
        return values

    @property
    def returned(self) -> tuple[str, ...]:
        """The outputs that the call returns."""
        outputs = self.operator.outputs
        return tuple(o.name for o in outputs if o.when is None or self.plain.get(o.when, False))

    def dtypes(self) -> dict[str, str]:
        """The dtype of each array, from its role in the operator and the case's dtype."""
        forms = choose_forms(self.operator, self.draws | self.plain)
        compute = compute_dtype([self.dtype])
        result = {}
        for name, draw in self.draws.items():
            real = self.dtype if forms[name].role in ("io", "stream") else compute
            result[name] = draw.dtype or (COMPLEX_OF[compute] if draw.complex else real)
        return result

    def call(self) -> Call:
        """The call as metadata: what a claim is matched against. It is validated once."""
        return self._call

    @cached_property
    def _call(self) -> Call:
        dtypes = self.dtypes()
        stubs = {name: _Stub(draw.shape, dtypes[name]) for name, draw in self.draws.items()}
        return validate(self.operator, **stubs, **self.plain)


@dataclass(frozen=True)
class _Stub:
    """Shape and dtype of an array that is not there yet."""

    shape: tuple[int, ...]
    dtype: str
