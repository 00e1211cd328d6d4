"""Calls that must be refused: one for each rule that the declaration of an operator states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from ssm_backends import OPERATORS, Argument, choose_forms
from ssm_conformance.case import Case, Recipe
from ssm_conformance.cases._ask import dtypes_of, operator

BAD: Final = "common-7: bad input raises a typed error that names the argument, and nothing is written"
UNCLAIMED: Final = "claim-1: an argument taken and not claimed is refused or served right, never ignored"
NOT_SUPPORTED: Final = "claim-5: what is not claimed raises NotSupportedError, and nothing is written"

RULES: Final = {
    "selective_scan": (
        ("B", "groups", "groups"),
        ("C", "groups", "groups"),
        ("cu_seqlens", "together", "packed"),
        ("cu_seqlens", "batch", "typical"),
        ("initial_state", "rows", "initial"),
        ("initial_state", "real", "complex-initial"),
    ),
    "ssd": (("B", "groups", "groups"), ("C", "groups", "groups")),
    "ssd_update": (("B", "groups", "groups"), ("C", "groups", "groups"), ("state", "rows", "typical")),
    "mamba3_siso": (("q", "groups", "groups"), ("k", "groups", "groups")),
    "mamba3_siso_step": (("q", "groups", "groups"), ("k", "groups", "groups")),
    "selective_state_update": (
        ("B", "groups", "groups"),
        ("C", "groups", "groups"),
        ("state", "rows", "typical"),
        ("state", "real", "complex"),
    ),
    "causal_conv1d_update": (("state", "rows", "typical"), ("state", "short", "typical")),
}
"""Operator → (argument, broken rule, recipe): what concerns several arguments at once."""


def refusals(recipes: tuple[Recipe, ...]) -> Iterator[Case]:
    """All of them, operator by operator."""
    for name in OPERATORS:
        own = tuple(recipe for recipe in recipes if recipe.op == name)
        yield from _bad_input(name, own)
        yield from _unclaimed(name, own)


def _bad_input(name: str, own: tuple[Recipe, ...]) -> Iterator[Case]:
    for argument in OPERATORS[name].arguments:
        recipe = _with(argument.name, own)
        for fault in _faults(argument, recipe):
            yield _bad(recipe, argument.name, fault)
    for named, fault, of in RULES.get(name, ()):
        yield _bad(next(recipe for recipe in own if recipe.name == of), named, fault)
    yield _bad(own[0], "nonsense", "unknown")


def _bad(recipe: Recipe, argument: str, fault: str) -> Case:
    spoiled = replace(
        recipe, name=f"{argument}-{fault}", seed=recipe.name, clause=BAD, level="smoke", check="error"
    )
    options = {"argument": argument, "fault": fault}
    return Case(spoiled, "float32", "error", "bad_input", "bad", "smoke", options)


def _faults(argument: Argument, recipe: Recipe) -> Iterator[str]:
    """What can be wrong with one argument alone."""
    if argument.required:
        yield "missing"
    if argument.name in recipe.inputs and argument.forms:
        if "*" not in argument.forms[0].shape:
            yield "rank"
        if shared_axis(recipe, argument.name) is not None:
            yield "size"
        yield from ("bool-dtype", "not-an-array", "device")
        if argument.kind == "index":
            yield "float-dtype"
        else:
            yield "integer-dtype"
            if argument.complex in ("never", "with A", "as A"):
                yield "complex"
            if argument.forms[0].role == "parameter":
                yield "half-dtype"
    if argument.kind == "choice":
        yield "choice"
    if argument.kind == "flag":
        yield "not-a-flag"
    if argument.kind == "pair":
        yield from ("not-a-pair", "disorder")
    if argument.kind in ("integer", "number"):
        yield "not-a-number"
    if argument.interval is not None:
        yield "interval"


def _unclaimed(name: str, own: tuple[Recipe, ...]) -> Iterator[Case]:
    """What a backend may leave out: arguments, values of arguments, features, dtypes."""
    for argument in OPERATORS[name].arguments:
        values = dict(argument.value_features or {})
        asked: list[tuple[str, str, Any]] = [
            (f"{argument.name}-{value}", feature, value)
            for value, feature in values.items()
            if value != argument.default
        ]
        if argument.feature is not None:
            asked.append((argument.name, argument.feature, None))
        for what, feature, value in asked:
            base = replace(own[0], name=what, seed=own[0].name, clause=UNCLAIMED, check="error")
            options = {"argument": argument.name, "feature": feature, "value": value}
            yield Case(base, "float32", "error", "unclaimed", "unclaimed", "smoke", options)
    needs = [(recipe, _features(recipe)) for recipe in own]
    for feature in OPERATORS[name].features:
        having = [(recipe, needed) for recipe, needed in needs if feature in needed]
        if having:
            least, _ = min(having, key=lambda item: len(item[1]))
            base = replace(
                least, name=feature, seed=least.name, clause=NOT_SUPPORTED, check="error", dtypes=()
            )
            dtype = "bfloat16" if feature in ("mixed_dtypes", "half_state") else "float32"
            yield Case(base, dtype, "error", "not_supported", "unclaimed-feature", "smoke")
    for dtype in dtypes_of(own[0]):
        base = replace(own[0], name="dtype", seed=own[0].name, clause=NOT_SUPPORTED, check="error")
        yield Case(base, dtype, "error", "not_supported", "unclaimed", "smoke")


def _features(recipe: Recipe) -> frozenset[str]:
    """The features that a call of the recipe needs."""
    dtype = recipe.dtypes[0] if recipe.dtypes else "float32"
    return Case(recipe, dtype, recipe.check, "value").call().features


def _with(argument: str, own: tuple[Recipe, ...]) -> Recipe:
    """The first recipe that gives an argument; the first of all if none does."""
    return next((r for r in own if argument in r.inputs and r.check == "value"), own[0])


def shared_axis(recipe: Recipe, argument: str) -> int | None:
    """An axis of an array (from the end) whose size another argument fixes too; None if there is none."""
    forms = choose_forms(operator(recipe), recipe.inputs)
    own = forms[argument].shape.split()
    elsewhere = {symbol for name, form in forms.items() if name != argument for symbol in form.shape.split()}
    for position, symbol in enumerate(reversed(own)):
        if symbol[0] not in "*=" and (symbol in elsewhere or own.count(symbol) > 1):
            return -1 - position
    return None
