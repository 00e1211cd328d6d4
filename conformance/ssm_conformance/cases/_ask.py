"""One question as data, and the recipes that questions are put to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final

from ssm_backends import OPERATORS, Operator
from ssm_backends.dtypes import HALF
from ssm_conformance.case import LEVELS, Case, Check, Level, Recipe
from ssm_conformance.draw import Draw

DTYPES: Final = ("float64", "float32", *HALF)
SINGLE: Final = ("float32",)
COMMON: Final = ("float32", "bfloat16")

FOREMOST: Final = ("selective_scan", "selective_state_update")
"""What most backends serve: asked in more dtypes at once."""

CAUSALITY: Final = "common-5: what happens at t reaches no output before t"
CONFINEMENT: Final = "common-5: a NaN or an infinity stays in its row, its channel or group, and its time"
SHOWN: Final = f"{CONFINEMENT}; of a scan, or of a step, a NaN comes out"

Names = Mapping[str, tuple[str, ...]]

SYSTEMS: Final[Names] = {
    "discretize_zoh": ("dense", "diagonal"),
    "discretize_bilinear": ("dense", "diagonal"),
    "ssm_kernel": ("siso", "diagonal-complex"),
    "s4d_kernel": ("typical", "complex"),
    "s4_kernel": ("typical", "paired"),
    "hippo_legs_compress": ("typical", "prefixes", "bilinear"),
}
SYSTEMS_RUN: Final[Names] = {
    "ssm_recurrence": ("mimo", "diagonal-complex"),
    "causal_convolution": ("typical",),
    "lssl": ("typical",),
    "s4d": ("typical", "complex"),
    "s5": ("typical", "complex"),
}
"""Linear in what streams in."""
STREAMS: Final[Names] = {**SYSTEMS_RUN, "h3": ("typical", "complex")}
SCANS: Final[Names] = {"selective_scan": ("typical", "plain", "groups", "complex", "packed", "offsets")}
STEPS: Final[Names] = {"selective_state_update": ("typical", "groups", "complex", "pool")}
SHORT: Final[Names] = {"causal_conv1d": ("typical", "packed")}
SHORT_STEPS: Final[Names] = {"causal_conv1d_update": ("typical", "longer")}
SHORT_POOLS: Final[Names] = {"causal_conv1d_update": ("typical", "longer", "pool")}
DUAL: Final[Names] = {"ssd": ("typical", "plain", "groups", "packed")}
DUAL_STEPS: Final[Names] = {"ssd_update": ("typical", "groups")}
DUAL_POOLS: Final[Names] = {"ssd_update": ("typical", "groups", "pool")}
TURNED: Final[Names] = {"mamba3_siso": ("typical", "groups", "packed")}
SINGLE_STEPS: Final[Names] = {**SHORT_STEPS, **DUAL_STEPS, "mamba3_siso_step": ("typical", "groups")}
_FORMS: Final[Names] = {**SYSTEMS, **STREAMS, **SCANS, **STEPS, **SHORT, **DUAL, **TURNED, **SINGLE_STEPS}
EVERY: Final[Names] = {**_FORMS, **SHORT_POOLS, **DUAL_POOLS}
RARE: Final[Names] = {
    "selective_scan": ("constant", "zoh", "complex-initial"),
    "selective_state_update": ("zoh", "half-state-pool"),
    "causal_conv1d_update": ("half-state-pool",),
    "ssd": ("wide-skip", "initial"),
    "ssd_update": ("wide-skip", "half-state-pool"),
    "lssl": ("initial",),
    **dict.fromkeys(("s4d", "s5"), ("initial", "initial-complex")),
}
"""Arguments and forms that none of the others has, or that none has alone."""
UNPACKED: Final = ("typical", "plain", "groups", "complex")
PACKS: Final[Names] = {
    "selective_scan": ("packed", "offsets"),
    "causal_conv1d": ("packed",),
    "ssd": ("packed",),
    "mamba3_siso": ("packed",),
}
"""Sequences that share a call."""


def clauses(numbers: Mapping[str, str], text: str) -> dict[str, str]:
    """A clause that each operator has under a number of its own: operator → the clause as a case cites it."""
    return {op: f"{number}: {text}" for op, number in numbers.items()}


RESET: Final = {
    "selective_scan": "scan-8",
    "causal_conv1d": "conv1d-2",
    "ssd": "ssd-5",
    "mamba3_siso": "mamba3-4",
}
"""Operator → the number of its clause about resets."""
RESETS: Final = clauses(RESET, "nothing crosses a reset, not even a NaN")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One question, put to some recipes.

    Attributes
    ----------
    check, method, variant, options
        As of a case.
    clause
        Of the specification; one for each operator, where they have clauses of their own.
    of
        Operator → names of the recipes.
    level
        The smallest level that has it; a recipe's own level if that is larger.
    first
        The dtypes that are asked at that level, the others at full; all, if empty. Of an operator
        that is not among the FOREMOST only the first one is asked.
    dtypes
        The only dtypes that are asked; those of the recipe, if empty.
    by_array
        Whether each array of more than one element is a case of its own, which has its name.
    """

    check: Check
    method: str
    variant: str
    clause: str | Mapping[str, str]
    of: Names
    level: Level = "quick"
    options: Mapping[str, Any] = field(default_factory=dict)
    first: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    by_array: bool = False

    def cases(self, recipe: Recipe) -> Iterator[Case]:
        """The cases of one recipe, if it is among those that are asked."""
        if recipe.name not in self.of.get(recipe.op, ()):
            return
        clause = self.clause if isinstance(self.clause, str) else self.clause[recipe.op]
        about = replace(recipe, clause=clause)
        first = self.first if recipe.op in FOREMOST else self.first[:1]
        for dtype in (dtype for dtype in dtypes_of(recipe) if dtype in (self.dtypes or DTYPES)):
            level = self.level if not first or dtype in first else "full"
            level = max(level, recipe.level_in(dtype), key=LEVELS.index)
            for variant, options in self._variants(recipe):
                yield Case(about, dtype, self.check, self.method, variant, level, options)

    def _variants(self, recipe: Recipe) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if not self.by_array:
            yield self.variant, self.options
            return
        for name, value in recipe.inputs.items():
            if isinstance(value, Draw) and prod(value.shape) > 1:
                yield f"{self.variant}-{name}", {**self.options, "array": name}


def operator(recipe: Recipe) -> Operator:
    """The operator of a recipe."""
    return OPERATORS[recipe.op]


def has_gradient(recipe: Recipe) -> bool:
    """Whether the operator has anything to differentiate in."""
    return bool(operator(recipe).differentiable)


def dtypes_of(recipe: Recipe) -> tuple[str, ...]:
    """The dtypes in which a recipe is asked: 16-bit only where the operator streams an input."""
    if recipe.dtypes:
        return recipe.dtypes
    streams = any(form.role == "io" for argument in operator(recipe).arguments for form in argument.forms)
    asked_for = operator(recipe).argument(operator(recipe).primary).kind == "dtype"
    return DTYPES if streams or asked_for else DTYPES[:2]
