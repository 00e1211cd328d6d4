"""Questions beyond value and gradient, as data: what is asked, of which recipes, from which level on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from ssm_conformance.case import Case, Level, Recipe
from ssm_conformance.cases import _alone, _duality, _engines, _guards, _invariances, _passes, _selective
from ssm_conformance.cases._ask import (
    CAUSALITY,
    COMMON,
    CONFINEMENT,
    DUAL,
    PACKS,
    RESET,
    RESETS,
    SCANS,
    SHORT,
    SHOWN,
    SINGLE,
    SINGLE_STEPS,
    STREAMS,
    SYSTEMS_RUN,
    TURNED,
    UNPACKED,
    Ask,
    clauses,
)

BATCHES: Final = "common-8: the rows of a batch do not know each other"
PACKED: Final = clauses(RESET | {"selective_scan": "scan-9"}, "packed sequences are the separate ones")
SPLIT: Final = clauses(
    {
        "selective_scan": "scan-7",
        "causal_conv1d": "conv1d-3",
        "ssd": "ssd-5",
        "mamba3_siso": "mamba3-4",
        "s4d": "recurrence-3",
        "ssm_recurrence": "recurrence-3",
    },
    "a call that goes on from the last state is the whole call",
)
CHAIN: Final = clauses(
    {
        "selective_state_update": "step-1",
        "causal_conv1d_update": "conv1d-step-1",
        "ssd_update": "ssd-step-1",
        "mamba3_siso_step": "mamba3-step-1",
    },
    "l steps equal one call of length l, outputs and state",
)
LINEAR: Final = clauses(
    {
        "selective_scan": "scan-3",
        "selective_state_update": "scan-3",
        "ssd": "ssd-7",
        "ssd_update": "ssd-7",
        "causal_convolution": "conv-1",
        **dict.fromkeys(("lssl", "s4d", "s5", "ssm_recurrence"), "recurrence-1"),
    },
    "the output is linear in the input and the initial state together",
)
PADDING: Final = clauses(
    {"selective_scan": "scan-3", "ssd": "ssd-7"},
    "steps with an input of 0 before the first one leave a state of zero at zero",
)
INVARIANT: Final = (
    "recurrence-1: with parameters constant in time the scan is h_t = Ā h_{t−1} + B̄ u_t, and K * u"
)
UNREAD: Final = "conv1d-step-2: what the filter does not read reaches no output but the state"
SKIPPED: Final = clauses(
    {"selective_state_update": "step-2", "causal_conv1d_update": "conv1d-step-3", "ssd_update": "ssd-step-2"},
    "a skipped row reaches nothing, nor does a slot that no row names",
)
IN_PLACE: Final = clauses(
    {"selective_state_update": "step-3", "causal_conv1d_update": "conv1d-step-4", "ssd_update": "ssd-step-3"},
    "with `inplace` the new state is written into `state`, and nothing else is written",
)
_IN_PLACE: Final = (
    "inplace",
    "inplace-one-row",
    "pool-inplace",
    "pool-inplace-one-row",
    "pool-inplace-skipping",
)


ASKED: Final = (
    *_invariances.placements(),
    *_guards.guards(),
    *_engines.engines(),
    *_alone.alone(),
    *_passes.passes(),
    *_invariances.one_by_one(),
    *_invariances.repetitions(),
    *_invariances.under_pytorch(),
    Ask(
        check="property",
        method="causality",
        variant="causality",
        clause=CAUSALITY,
        of={**STREAMS, **SCANS, **SHORT, **DUAL, **TURNED},
        level="smoke",
        first=COMMON,
    ),
    Ask(
        check="property",
        method="causality",
        variant="causality-elsewhere",
        clause=CAUSALITY,
        of={**STREAMS, **SCANS, **DUAL},
        options={"cuts": ()},
        first=COMMON,
    ),
    Ask(
        check="property",
        method="causality",
        variant="causality",
        clause=CAUSALITY,
        of={"selective_scan": ("long",)},
        level="full",
        options={"cuts": (1, 63, 64, 65, 255, 256, 257, 512)},
    ),
    Ask(
        check="property",
        method="anticausality",
        variant="anticausality",
        clause=CAUSALITY,
        of={**STREAMS, **SCANS, **SHORT, **DUAL, **TURNED},
        dtypes=SINGLE,
    ),
    Ask(
        check="property",
        method="packing",
        variant="packing",
        clause=RESETS,
        of=PACKS,
        level="smoke",
    ),
    *(
        Ask(
            check="property",
            method=method,
            variant=variant,
            clause=clause,
            of=PACKS,
            first=COMMON,
        )
        for method, variant, clause in (
            ("packing_gradients", "packing-gradients", RESETS),
            ("separate", "separate", PACKED),
            ("separate_gradients", "separate-gradients", PACKED),
        )
    ),
    Ask(
        check="extreme",
        method="confinement",
        variant="confinement",
        clause=SHOWN,
        of={
            **STREAMS,
            **SHORT,
            **SINGLE_STEPS,
            "ssd": ("typical", "groups", "initial"),
            "mamba3_siso": ("typical", "groups", "initial"),
            "selective_scan": ("typical", "groups", "complex", "initial"),
            "selective_state_update": ("typical", "groups", "complex"),
        },
        first=COMMON,
    ),
    Ask(
        check="extreme",
        method="confinement",
        variant="confinement",
        clause=SHOWN,
        of={
            **dict.fromkeys(("selective_state_update", "ssd_update"), ("pool", "pool-inplace-skipping")),
            "causal_conv1d_update": ("pool", "served"),
        },
        first=SINGLE,
    ),
    Ask(
        check="extreme",
        method="confinement",
        variant="confinement",
        clause=SHOWN,
        of={
            **dict.fromkeys(
                ("selective_state_update", "ssd_update"),
                ("pool-inplace", "half-state-pool", "layer-pool", "fours-pool"),
            ),
            "causal_conv1d_update": (
                *("pool-inplace", "pool-inplace-skipping", "half-state-pool", "pool-longer", "layer-pool"),
            ),
        },
        level="full",
        dtypes=COMMON,
    ),
    Ask(
        check="extreme",
        method="confinement_gradients",
        variant="confinement-gradients",
        clause=CONFINEMENT,
        of={
            **SYSTEMS_RUN,
            **SHORT,
            "ssd": ("typical", "groups", "initial"),
            "mamba3_siso": ("typical", "groups", "initial"),
            "selective_scan": ("typical", "groups", "complex", "initial"),
            **dict.fromkeys(
                ("selective_state_update", "causal_conv1d_update", "ssd_update"), ("pool", "fours-pool")
            ),
        },
        first=SINGLE,
    ),
    Ask(
        check="property",
        method="batches",
        variant="batch-reversed",
        clause=BATCHES,
        of={
            **STREAMS,
            **SHORT,
            **DUAL,
            **TURNED,
            **SINGLE_STEPS,
            "selective_scan": (*UNPACKED, "packed"),
            "selective_state_update": UNPACKED,
        },
        first=COMMON,
    ),
    Ask(
        check="property",
        method="batches_alone",
        variant="batch-alone",
        clause=BATCHES,
        of={
            **STREAMS,
            **SHORT,
            **DUAL,
            **TURNED,
            **SINGLE_STEPS,
            "selective_scan": (*UNPACKED, "packed"),
            "selective_state_update": UNPACKED,
        },
        first=COMMON,
    ),
    Ask(
        check="property",
        method="superposition",
        variant="linear",
        clause=LINEAR,
        of={
            **SYSTEMS_RUN,
            "selective_scan": ("typical", "complex", "initial", "zoh"),
            "selective_state_update": ("typical", "complex"),
            "ssd": ("typical", "initial"),
            "ssd_update": ("typical",),
        },
        first=COMMON,
    ),
    Ask(
        check="property",
        method="left_padding",
        variant="padding",
        clause=PADDING,
        of={"selective_scan": (*UNPACKED, "feedthrough-only"), "ssd": ("typical", "plain")},
        first=COMMON,
    ),
    Ask(
        check="property",
        method="time_invariant",
        variant="invariant",
        clause=INVARIANT,
        of={"selective_scan": (*UNPACKED, "zoh")},
        first=COMMON,
    ),
    Ask(
        check="property",
        method="chaining",
        variant="split",
        clause=SPLIT,
        of={
            "selective_scan": UNPACKED,
            "ssm_recurrence": ("mimo", "diagonal-complex"),
            "s4d": ("typical", "complex"),
            "causal_conv1d": ("typical", "initial"),
            "ssd": ("typical", "plain", "groups"),
            "mamba3_siso": ("typical", "groups"),
        },
        first=COMMON,
    ),
    Ask(
        check="property",
        method="chaining",
        variant="split",
        clause=SPLIT,
        of={"selective_scan": ("long", "long-moderate-decay"), "ssd": ("long",)},
        level="full",
        options={"cuts": (1, 63, 64, 65, 255, 256, 257, 511, 512, 513)},
    ),
    Ask(
        check="property",
        method="steps",
        variant="chain",
        clause=CHAIN,
        of={"selective_state_update": ("typical", "plain", "groups", "complex"), **SINGLE_STEPS},
        options={"steps": 64},
        first=COMMON,
    ),
    Ask(
        check="property",
        method="steps",
        variant="long-chain",
        clause=CHAIN,
        of={"selective_state_update": ("typical", "complex", "zoh"), "ssd_update": ("typical",)},
        level="full",
        options={"steps": 512},
    ),
    Ask(
        check="property",
        method="in_place",
        variant="in-place",
        clause=IN_PLACE,
        of={
            "selective_state_update": (*_IN_PLACE, "half-state-inplace"),
            "causal_conv1d_update": (*_IN_PLACE, "inplace-longer", "half-state-inplace", "served"),
            "ssd_update": (*_IN_PLACE, "half-state-inplace", "layer-served"),
        },
    ),
    Ask(
        check="property",
        method="skipped",
        variant="skipped",
        clause=SKIPPED,
        of={
            **dict.fromkeys(
                ("selective_state_update", "ssd_update"), ("pool", "pool-of-few", "pool-inplace-skipping")
            ),
            "causal_conv1d_update": (
                *("pool", "pool-of-few", "pool-longer", "pool-inplace-skipping", "served"),
            ),
        },
        first=COMMON,
    ),
    Ask(
        check="extreme",
        method="unread",
        variant="unread",
        clause=UNREAD,
        of={"causal_conv1d_update": ("longer", "much-longer", "longer-one-tap", "pool-longer")},
        first=COMMON,
    ),
)
"""Every question but those about memory and about errors."""


def questions(recipes: tuple[Recipe, ...]) -> Iterator[Case]:
    """All of them, recipe by recipe, then memory."""
    for recipe in recipes:
        for ask in ASKED:
            yield from ask.cases(recipe)
    yield from _memory()


def _memory() -> Iterator[Case]:
    """Growth over a grid in which b, d, l, n, g vary independently."""
    law = "claim-4: peak = c₀ + c₁bdl + c₂bdn + c₃bdln + c₄bgnl; fused: c₃ at most 1/8 of one state element"
    scan = Recipe("selective_scan", "growth", _selective.scan_inputs(2, 16, 256, 16), law, check="memory")
    dual = Recipe("ssd", "growth", _duality.ssd_inputs(2, 256, 4, 4, 16), law, check="memory")
    backward: tuple[tuple[Recipe, Level], ...] = ((scan, "quick"), (dual, "full"))
    for recipe, later in backward:
        yield from _grown(recipe, "quick", later)
    # What a call holds for its options must not grow with the states either.
    packed = _selective.scan_inputs(
        2, 16, 256, 16, initial_state=_selective.states(2, 16, 16), seq_idx=_selective.halves(2, 256)
    )
    held = _selective.scan_inputs(2, 16, 256, 16, complex_=True, b_discretization="zoh")
    for name, inputs in (("growth-packed", packed), ("growth-complex-zoh", held)):
        yield from _grown(replace(scan, name=name, inputs=inputs), "full", "full")


def _grown(recipe: Recipe, forward: Level, backward: Level) -> Iterator[Case]:
    levels: dict[str, Level] = {"forward": forward, "backward": backward, "saved": backward}
    for direction, level in levels.items():
        yield Case(recipe, "float32", "memory", "growth", direction, level, {"direction": direction})
