"""The output alone, as a model in training asks for it: no last state is returned.

A kernel that has no state to return may take another path, of another arithmetic, or that reads
by other strides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ssm_backends.dtypes import HALF
from ssm_conformance.case import Check, Level, Recipe
from ssm_conformance.cases._ask import CAUSALITY, COMMON, CONFINEMENT, RESETS, SHOWN, SINGLE, Ask, Names
from ssm_conformance.cases._duality import VALUE as SSD
from ssm_conformance.cases._duality import ssd_inputs
from ssm_conformance.cases._guards import UNTOUCHED
from ssm_conformance.cases._invariances import (
    APART,
    IN_MEMORY,
    MODES,
    NOW,
    REPEATS,
    STRIDED,
    TWICE,
    UNCHANGED,
)
from ssm_conformance.cases._layers import LSSL, S4D, S5, lssl_inputs, s4d_inputs, s5_inputs
from ssm_conformance.cases._linear import RECURRENCE, diagonal_system
from ssm_conformance.cases._mamba3 import VALUE as SISO
from ssm_conformance.cases._mamba3 import siso_inputs
from ssm_conformance.cases._selective import OUTPUT as SCAN
from ssm_conformance.cases._selective import halves, scan_inputs
from ssm_conformance.cases._short_convolution import OUTPUT as FILTER
from ssm_conformance.cases._short_convolution import conv_inputs
from ssm_conformance.draw import Draw

_FLAGS: Final = ("return_last_state", "return_final_states")
_WEAK: Final = {"low": 1e-4, "high": 1e-2, "sign": -1.0}
_RATES: Final = {"low": 0.05, "high": 0.3, "sign": -1.0}
"""Decays of which something is left after a chunk."""
Row = tuple[str, str, str, dict[str, Any]]
"""Operator, name, clause, inputs."""


def _short() -> Iterator[Row]:
    """A few steps, with what a layer has; sequences that share a row."""
    ids: dict[str, Any] = {"seq_idx": halves(2, 13)}
    yield "selective_scan", "alone", SCAN, scan_inputs(2, 4, 13, 3)
    yield "selective_scan", "alone-packed", SCAN, scan_inputs(2, 4, 13, 3, **ids)
    yield "causal_conv1d", "alone", FILTER, conv_inputs(2, 4, 13, 4)
    yield "causal_conv1d", "alone-packed", FILTER, conv_inputs(2, 4, 13, 4, **ids)
    yield "ssd", "alone", SSD, ssd_inputs(2, 13, 4, 3, 3)
    yield "ssd", "alone-packed", SSD, ssd_inputs(2, 13, 4, 3, 3, **ids)
    yield "mamba3_siso", "alone", SISO, siso_inputs(2, 13, 3, 2, 4)
    yield "mamba3_siso", "alone-packed", SISO, siso_inputs(2, 13, 3, 2, 4, **ids)
    yield "ssm_recurrence", "alone", RECURRENCE, diagonal_system(3, n=4) | {"u": Draw((2, 3, 1, 13))}
    yield "s4d", "alone", S4D, s4d_inputs(2, 3, 13, 4, True)
    yield "s5", "alone", S5, s5_inputs(2, 3, 13, 4, True)
    yield "lssl", "alone", LSSL, lssl_inputs(2, 3, 13, 3, 2)


def _long() -> Iterator[Row]:
    """Past chunks of 64 and of 128."""
    slow = Draw((2,), "log_uniform", parameters=_RATES)
    turned = Draw((1, 2, 150), "log_uniform", parameters=_WEAK)
    modes = Draw((2, 3), "log_uniform", parameters=_RATES)
    yield "selective_scan", "alone-long", SCAN, scan_inputs(1, 2, 150, 3) | {"A": modes}
    yield "causal_conv1d", "alone-long", FILTER, conv_inputs(1, 2, 150, 4)
    yield "ssd", "alone-long", SSD, ssd_inputs(1, 150, 2, 3, 3) | {"A": slow}
    yield "mamba3_siso", "alone-long", SISO, siso_inputs(1, 150, 2, 2, 4, adt=turned)
    yield "ssm_recurrence", "alone-long", RECURRENCE, diagonal_system(2, n=4) | {"u": Draw((1, 2, 1, 150))}
    yield "s4d", "alone-long", S4D, s4d_inputs(1, 2, 150, 4, True)
    yield "s5", "alone-long", S5, s5_inputs(1, 2, 150, 4, True)
    yield "lssl", "alone-long", LSSL, lssl_inputs(1, 2, 150, 3, 1) | {"A": Draw((2, 3, 3), "legs")}


_LEVELS: Final[dict[str, tuple[Level, tuple[str, ...]]]] = {
    "alone": ("quick", COMMON),
    "alone-packed": ("full", ()),
    "alone-long": ("quick", HALF[:1]),
}
"""Name → the smallest level, and the dtypes that are asked there: long rows are what models train on."""
_TRAINED: Final = ("selective_scan", "causal_conv1d", "ssd", "mamba3_siso")


def _recipe(op: str, name: str, clause: str, inputs: dict[str, Any]) -> Recipe:
    level, first = _LEVELS[name]
    if name == "alone-long" and op not in _TRAINED:
        level = "full"
    alone = {name: value for name, value in inputs.items() if name not in _FLAGS}
    return Recipe(op, name, alone, clause, level, first=first)


ALONE: Final = tuple(_recipe(*row) for row in (*_short(), *_long()))
_OF: Final[Names] = {recipe.op: ("alone",) for recipe in ALONE}
_PACKED: Final[Names] = {recipe.op: ("alone-packed",) for recipe in ALONE if recipe.name == "alone-packed"}
_QUESTIONS: Final[tuple[tuple[Check, str, str, str, Level], ...]] = (
    ("robustness", "unchanged", "inputs-unchanged", UNCHANGED, "full"),
    ("robustness", "guarded", "guarded", UNTOUCHED, "quick"),
    ("robustness", "poison", "poisoned", IN_MEMORY, "full"),
    ("robustness", "reused", "reused", NOW, "full"),
    ("robustness", "modes", "modes", MODES, "full"),
    ("robustness", "layouts_apart", "apart", IN_MEMORY, "full"),
    ("gradient", "gradients_apart", "apart", APART, "full"),
    ("gradient", "backward_again", "again", TWICE, "full"),
    ("property", "causality", "causality", CAUSALITY, "full"),
    ("property", "anticausality", "anticausality", CAUSALITY, "full"),
    ("extreme", "confinement", "confinement", SHOWN, "full"),
    ("extreme", "confinement_gradients", "confinement-gradients", CONFINEMENT, "full"),
)
"""Check, method, variant, clause and the smallest level."""


def alone() -> Iterator[Ask]:
    """What is asked of the calls that return a state is asked of those that do not."""
    for check, method, variant, clause, level in _QUESTIONS:
        yield Ask(
            check=check, method=method, variant=variant, clause=clause, of=_OF, level=level, dtypes=SINGLE
        )
    layouts: tuple[tuple[str, Level], ...] = (
        ("transposed", "quick"),
        *((how, "full") for how in STRIDED[1:]),
    )
    for how, level in layouts:
        for method, variant in (("layout", how), ("gradient_layout", f"gradient-{how}")):
            yield Ask(
                check="robustness", method=method, variant=variant, clause=IN_MEMORY, of=_OF, level=level,
                options={"layout": how}, dtypes=SINGLE,
            )  # fmt: skip
    for direction in ("forward", "backward"):
        yield Ask(
            check="determinism", method="repeats", variant=direction, clause=REPEATS, of=_OF, level="full",
            options={"direction": direction}, dtypes=SINGLE,
        )  # fmt: skip
    for method, variant in (("packing", "packing"), ("packing_gradients", "packing-gradients")):
        yield Ask(
            check="property", method=method, variant=variant, clause=RESETS, of=_PACKED, level="full",
            dtypes=SINGLE,
        )  # fmt: skip
