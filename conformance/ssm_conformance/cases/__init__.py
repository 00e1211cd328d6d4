"""The catalogue: every case of a level, in a fixed order, with stable ids. No asserts, and no numbers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final

from ssm_conformance.case import LEVELS, Case, Level, Recipe
from ssm_conformance.cases import (
    _alone,
    _ask,
    _convolution_step,
    _crossed,
    _distance,
    _dual_step,
    _duality,
    _ends,
    _engines,
    _few,
    _float16,
    _layer_sizes,
    _layers,
    _linear,
    _mamba3,
    _mixed,
    _numbers,
    _one_sign,
    _options,
    _packed,
    _packed_rows,
    _questions,
    _real,
    _refusals,
    _selective,
    _selective_ends,
    _short_convolution,
    _sizes,
    _step,
    _templates,
    _triples,
    _unusual,
    _wide,
    _with,
    searched,
)

RECIPES: Final[tuple[Recipe, ...]] = (
    *_linear.ZERO_ORDER_HOLD,
    *_linear.GENERALISED_BILINEAR,
    *_linear.SYSTEM_RECURRENCE,
    *_linear.SYSTEM_KERNEL,
    *_linear.LONG_CONVOLUTION,
    *_linear.HIPPO,
    *_sizes.LINEAR,
    *_layers.MATRICES,
    *_layers.LAYERS,
    *_layers.MEMORY,
    *_selective.ORDINARY,
    *_selective_ends.EXTREME,
    *_selective_ends.EDGES,
    *_options.SCAN,
    *_step.STEP,
    *_options.STEP,
    *_sizes.SCAN_AND_STEP,
    *_real.REAL,
    *_short_convolution.SHORT_CONVOLUTION,
    *_short_convolution.SHORT_CONVOLUTION_STEP,
    *_convolution_step.ENGINE,
    *_duality.SSD,
    *_dual_step.SSD_UPDATE,
    *_engines.ENGINES,
    *_mamba3.SISO,
    *_mamba3.SISO_STEP,
    *_packed.PACKED,
    *_packed_rows.PACKED_ROWS,
    *_wide.WIDE,
    *_templates.TEMPLATES,
    *_layer_sizes.LAYER_SIZES,
    *_one_sign.ONE_SIGN,
    *_ends.ENDS,
    *_float16.FLOAT16,
    *_with.WITH,
    *_crossed.CROSSED,
    *_triples.TRIPLES,
    *_numbers.NUMBERS,
    *_mixed.MIXED_ALONE,
    *_alone.ALONE,
    *_unusual.UNUSUAL,
    *_few.FEW,
    *_distance.DISTANCE,
)


def catalogue(level: Level) -> tuple[Case, ...]:
    """Every case of a level; a level contains the smaller ones.

    Parameters
    ----------
    level
        "smoke", "quick" or "full".
    """
    reach = LEVELS.index(level)
    return tuple(case for case in _all().values() if LEVELS.index(case.level) <= reach)


def find_case(case_id: str) -> Case:
    """The case of this id, of the catalogue or found by a search; ArgumentError if there is none."""
    for known in (_asked, _all):
        if case_id in known():
            return known()[case_id]
    return searched.found_case(case_id)


@cache
def _asked() -> dict[str, Case]:
    """All but the refusals, which take four times as long to list and of which a worker may be asked none."""
    return _by_id((*_values(), *_questions.questions(RECIPES)))


@cache
def _all() -> dict[str, Case]:
    return _by_id((*_asked().values(), *_refusals.refusals(RECIPES)))


def _by_id(listed: tuple[Case, ...]) -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for case in listed:
        if case.id in cases:
            raise AssertionError(f"two cases have the id {case.id}")
        cases[case.id] = case
    return cases


def _values() -> Iterator[Case]:
    for recipe in RECIPES:
        for dtype in _ask.dtypes_of(recipe):
            level = recipe.level_in(dtype)
            yield Case(recipe, dtype, recipe.check, "value", level=level)
            if _ask.has_gradient(recipe):
                variant = "gradient" if recipe.check != "value" else ""
                check = "gradient" if recipe.check == "value" else recipe.check
                yield Case(recipe, dtype, check, "gradient", variant, level=level)
