"""One golden case: the arguments of an operator, and the clause of the specification that they show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._references import REFERENCES
from ssm_spec.vectors._dice import Dice

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Arguments to be evaluated.

    Attributes
    ----------
    op, name
        The operator, and the case's name within it.
    clause
        Ids in the page "What the operators mean".
    arrays
        The array arguments, float64, complex128 or int64.
    parameters
        The other arguments that are not at their defaults.
    exact_in
        The narrowest type that holds every array argument and cotangent exactly.
    cotangents
        For each output the cotangent that the gradients belong to; none for no gradients.
    """

    op: str
    name: str
    clause: tuple[str, ...]
    arrays: Mapping[str, Array]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    exact_in: str = "bfloat16"
    cotangents: Mapping[str, Array] = field(default_factory=dict)

    @property
    def inputs(self) -> dict[str, Any]:
        """All arguments, by name."""
        return {**self.arrays, **self.parameters}


@dataclass(frozen=True, kw_only=True)
class Vector(Case):
    """A case with its answers, each the float64 nearest to the exact number.

    Attributes
    ----------
    outputs
        Name -> value.
    gradients
        Input -> gradient of Σ Re⟨cotangents, outputs⟩, ∂/∂Re + i ∂/∂Im.
    """

    outputs: Mapping[str, Array]
    gradients: Mapping[str, Array]

    def tensors(self) -> dict[str, Array]:
        """Every array, by its name in the file."""
        kinds = {
            "input": self.arrays,
            "cotangent": self.cotangents,
            "output": self.outputs,
            "gradient": self.gradients,
        }
        return {
            f"{self.name}/{kind}/{name}": np.asarray(array)
            for kind, arrays in kinds.items()
            for name, array in arrays.items()
        }


def posed(
    op: str, name: str, clause: str, dice: Dice, arrays: Mapping[str, Array], /, **parameters: Any
) -> Case:
    """The case that shows the clauses (parted by spaces), with a cotangent of every output that has one."""
    reference = REFERENCES[op]
    cotangents: dict[str, Array] = {}
    if reference.vjp is not None:
        flags = dict.fromkeys(
            (p for p in signature(reference.value).parameters if p.startswith("return_")), True
        )
        found = reference.value(**arrays, **parameters, **flags)
        outputs = zip(reference.outputs, found if isinstance(found, tuple) else (found,), strict=True)
        cotangents = {k: dice.general(*y.shape, complex_=np.iscomplexobj(y)) for k, y in outputs}
    return Case(
        op=op,
        name=name,
        clause=tuple(clause.split()),
        arrays=arrays,
        parameters=parameters,
        exact_in=dice.exact_in,
        cotangents=cotangents,
    )
