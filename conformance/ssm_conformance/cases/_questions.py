"""Questions beyond value and gradient: properties, robustness, memory, determinism, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from ssm_backends import OPERATORS, Operator, choose_forms
from ssm_backends.dtypes import HALF
from ssm_conformance.case import Case, Check, Level, Recipe
from ssm_conformance.cases import _linear, _selective

LAYOUTS: Final = ("transposed", "strided", "offset", "padded")
DTYPES: Final = ("float64", "float32", *HALF)

Question = tuple[Check, str, str, str, Level, dict[str, Any]]
"""Word in the report, method, variant, clause, smallest level, what the method needs besides."""

UNCHANGED: Final = "common-6: inputs are never written"
IN_MEMORY: Final = "claim-2: the values do not depend on how the inputs lie in memory"
REPEATS: Final = "claim-3: the same call gives the same bits"
CAUSALITY: Final = "common-5: what happens at t reaches no output before t"
CONFINEMENT: Final = "common-5: a NaN or an infinity stays in its row, its channel or group, and its time"
BATCHES: Final = "common-8: the rows of a batch do not know each other"
PACKING: Final = {
    "seq_idx": "scan-8: nothing crosses a reset, not even a NaN",
    "cu_seqlens": "scan-9: packed sequences are the separate ones",
}
SPLIT: Final = "scan-7: a scan that goes on from a last state is the whole scan"
CHAIN: Final = "step-1: l steps equal one scan, outputs and state"


def operator(recipe: Recipe) -> Operator:
    """The operator of a recipe."""
    return OPERATORS[recipe.op]


def has_gradient(recipe: Recipe) -> bool:
    """Whether the operator has anything to differentiate in."""
    return bool(operator(recipe).differentiable)


def questions() -> Iterator[Case]:
    """All of them, operator by operator."""
    for recipe in _ordinary():
        yield from _about(recipe)
    yield from _memory()
    for name in OPERATORS:
        yield from _refusals(name)


def _ordinary() -> tuple[Recipe, ...]:
    """The recipes on which every backend is asked the general questions."""
    names = {
        "discretize_zoh": ("dense", "diagonal"),
        "discretize_bilinear": ("dense", "diagonal"),
        "ssm_recurrence": ("mimo", "diagonal-complex"),
        "ssm_kernel": ("siso", "diagonal-complex"),
        "causal_convolution": ("typical",),
        "selective_scan": ("typical", "plain", "groups", "complex", "packed", "offsets"),
        "selective_state_update": ("typical", "groups", "complex", "pool"),
    }
    every = (
        *_linear.ZERO_ORDER_HOLD,
        *_linear.GENERALISED_BILINEAR,
        *_linear.SYSTEM_RECURRENCE,
        *_linear.SYSTEM_KERNEL,
        *_linear.LONG_CONVOLUTION,
        *_selective.SCAN,
        *_selective.STEP,
    )
    return tuple(recipe for recipe in every if recipe.name in names[recipe.op])


def _about(recipe: Recipe) -> Iterator[Case]:
    streams = any(form.role == "io" for argument in operator(recipe).arguments for form in argument.forms)
    for dtype in DTYPES if streams else DTYPES[:2]:
        for check, method, variant, clause, level, options in _general(recipe):
            yield Case(replace(recipe, clause=clause), dtype, check, method, variant, level, options)
    if recipe.op.startswith("selective"):
        yield from _chains(recipe)


def _general(recipe: Recipe) -> Iterator[Question]:
    """What is asked of a recipe in each dtype."""
    first: Level = recipe.level
    yield "robustness", "unchanged", "inputs-unchanged", UNCHANGED, first, {}
    for layout in LAYOUTS:
        yield "robustness", "layout", layout, IN_MEMORY, "quick", {"layout": layout}
    for direction in ("forward", "backward"):
        yield "determinism", "repeats", direction, REPEATS, "quick", {"direction": direction}
    if recipe.op in ("ssm_recurrence", "causal_convolution", "selective_scan"):
        yield "property", "causality", "causality", CAUSALITY, first, {}
    for argument, clause in PACKING.items():
        if argument in recipe.inputs:
            yield "property", "packing", "packing", clause, first, {}
    if recipe.op == "selective_scan" and recipe.name in ("typical", "groups", "complex"):
        yield "extreme", "confinement", "confinement", CONFINEMENT, "quick", {}
    if recipe.op == "selective_scan" and "cu_seqlens" not in recipe.inputs:
        yield "property", "batches", "batch-reversed", BATCHES, "quick", {}


def _chains(recipe: Recipe) -> Iterator[Case]:
    """A scan resumed at any point, and a long chain of single steps."""
    if {"seq_idx", "cu_seqlens", "state_indices"} & set(recipe.inputs):
        return
    scan = recipe.op == "selective_scan"
    method, variant, clause = ("chaining", "split", SPLIT) if scan else ("steps", "chain", CHAIN)
    for dtype in DTYPES:
        yield Case(replace(recipe, clause=clause), dtype, "property", method, variant, "quick")


def _memory() -> Iterator[Case]:
    """Growth over a grid in which b, d, l, n vary independently; the recipe gives the base point."""
    recipe = Recipe(
        "selective_scan",
        "growth",
        _selective.scan_inputs(2, 16, 256, 16),
        "claim-4: peak = c₀ + c₁bdl + c₂bdn + c₃bdln + c₄bgnl; fused: c₃ at most 1/8 of one state element",
        check="memory",
    )
    for direction in ("forward", "backward"):
        yield Case(recipe, "float32", "memory", "growth", direction, "quick", {"direction": direction})


def _refusals(name: str) -> Iterator[Case]:
    """One bad call for each rule that the declaration of the operator states."""
    recipe = _BASE[name]
    clause = "common-7: bad input raises a typed error that names the argument, and nothing is written"
    for argument in OPERATORS[name].arguments:
        faults = ["missing"] if argument.required else []
        if argument.name in recipe.inputs and argument.forms:
            faults += ["rank"] if "*" not in argument.forms[0].shape else []
            faults += ["size"] if shared_axis(recipe, argument.name) is not None else []
            faults += ["integer-dtype"]
        if argument.choices and argument.kind == "choice":
            faults += ["choice"]
        if argument.interval is not None:
            faults += ["interval"]
        for fault in faults:
            spoiled = Recipe(name, f"{argument.name}-{fault}", recipe.inputs, clause, "smoke", "error")
            options = {"argument": argument.name, "fault": fault}
            yield Case(spoiled, "float32", "error", "bad_input", "bad", "smoke", options)
        if argument.feature is not None:
            asked = Recipe(
                name,
                argument.name,
                recipe.inputs,
                "claim-1: an argument in the signature that is not claimed raises; it is never ignored",
                "smoke",
                "error",
            )
            options = {"argument": argument.name, "feature": argument.feature}
            yield Case(asked, "float32", "error", "unclaimed", "unclaimed", "smoke", options)


def shared_axis(recipe: Recipe, argument: str) -> int | None:
    """An axis of an array (from the end) whose size another argument fixes too; None if there is none."""
    forms = choose_forms(operator(recipe), recipe.inputs)
    own = forms[argument].shape.split()
    elsewhere = {symbol for name, form in forms.items() if name != argument for symbol in form.shape.split()}
    for position, symbol in enumerate(reversed(own)):
        if symbol[0] not in "*=" and (symbol in elsewhere or own.count(symbol) > 1):
            return -1 - position
    return None


_BASE: Final = {
    recipe.op: recipe
    for recipe in reversed(
        (
            *_linear.ZERO_ORDER_HOLD,
            *_linear.GENERALISED_BILINEAR,
            *_linear.SYSTEM_RECURRENCE[1:],
            *_linear.SYSTEM_KERNEL,
            *_linear.LONG_CONVOLUTION,
            *_linear.HIPPO,
            *_selective.SCAN,
            *_selective.STEP,
        )
    )
}
"""For each operator the first recipe: the call that is spoiled."""
