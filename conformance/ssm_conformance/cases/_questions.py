"""Questions beyond value and gradient, as data: what is asked, of which recipes, from which level on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ssm_backends import OPERATORS, Operator
from ssm_backends.dtypes import HALF
from ssm_conformance.case import LEVELS, Case, Check, Level, Recipe
from ssm_conformance.cases import _duality, _selective

DTYPES: Final = ("float64", "float32", *HALF)
SINGLE: Final = ("float32",)
COMMON: Final = ("float32", "bfloat16")
STRIDED: Final = ("transposed", "strided", "offset", "padded", "broadcast", "broadcast-last")

UNCHANGED: Final = "common-6: inputs are never written"
IN_MEMORY: Final = "claim-2: the values do not depend on how the inputs lie in memory"
REPEATS: Final = "claim-3: the same call gives the same bits"
CAUSALITY: Final = "common-5: what happens at t reaches no output before t"
CONFINEMENT: Final = "common-5: a NaN or an infinity stays in its row, its channel or group, and its time"
BATCHES: Final = "common-8: the rows of a batch do not know each other"
RESETS: Final = "scan-8: nothing crosses a reset, not even a NaN"
PACKED: Final = "scan-9: packed sequences are the separate ones"
SPLIT: Final = "scan-7: a scan that goes on from a last state is the whole scan"
CHAIN: Final = "step-1: l steps equal one scan, outputs and state"
LINEAR: Final = "scan-3: the state and the output are linear in u and the initial state together"
PADDING: Final = "scan-3: steps with u = 0 before the first one leave a state of zero at zero"
INVARIANT: Final = (
    "recurrence-1: with parameters constant in time the scan is h_t = Ā h_{t−1} + B̄ u_t, and K * u"
)
ONE_GRAPH: Final = "claim-6: torch.compile traces a call whole, as one graph; values and gradients are right"
REPLAY: Final = "claim-7: a captured call, replayed on other numbers, gives what the call gives on them"
NOT_CAST: Final = "claim-8: under torch.autocast a call means what it means without; nothing is cast down"
TWICE: Final = "common-9: a second backward pass and the gradient of a gradient are right, or raise"
IN_PLACE: Final = "step-3: with `inplace` the new state is written into `state`, and nothing else is written"

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
SHORT_STEPS: Final[Names] = {"causal_conv1d_update": ("typical",)}
DUAL: Final[Names] = {"ssd": ("typical", "plain", "groups", "packed")}
DUAL_STEPS: Final[Names] = {"ssd_update": ("typical", "groups")}
TURNED: Final[Names] = {"mamba3_siso": ("typical", "groups", "packed")}
SINGLE_STEPS: Final[Names] = {**SHORT_STEPS, **DUAL_STEPS, "mamba3_siso_step": ("typical", "groups")}
EVERY: Final[Names] = {**SYSTEMS, **STREAMS, **SCANS, **STEPS, **SHORT, **DUAL, **TURNED, **SINGLE_STEPS}
UNPACKED: Final = ("typical", "plain", "groups", "complex")
PACKS: Final[Names] = {
    "selective_scan": ("packed", "offsets"),
    "causal_conv1d": ("packed",),
    "ssd": ("packed",),
    "mamba3_siso": ("packed",),
}
"""Sequences that share a call."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One question, put to some recipes.

    Attributes
    ----------
    check, method, variant, options
        As of a case.
    clause
        Of the specification.
    of
        Operator → names of the recipes.
    level
        The smallest level that has it; a recipe's own level if that is larger.
    first
        The dtypes that are asked at that level, the others at full; all, if empty.
    dtypes
        The only dtypes that are asked; those of the recipe, if empty.
    """

    check: Check
    method: str
    variant: str
    clause: str
    of: Names
    level: Level = "quick"
    options: Mapping[str, Any] = field(default_factory=dict)
    first: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()

    def cases(self, recipe: Recipe) -> Iterator[Case]:
        """The cases of one recipe, if it is among those that are asked."""
        if recipe.name not in self.of.get(recipe.op, ()):
            return
        about = replace(recipe, clause=self.clause)
        for dtype in (dtype for dtype in dtypes_of(recipe) if dtype in (self.dtypes or DTYPES)):
            level = self.level if not self.first or dtype in self.first else "full"
            level = max(level, recipe.level_in(dtype), key=LEVELS.index)
            yield Case(about, dtype, self.check, self.method, self.variant, level, self.options)


def _placements() -> Iterator[Ask]:
    """Where the arrays lie."""
    for how in STRIDED:
        options = {"layout": how}
        yield Ask(
            check="robustness",
            method="layout",
            variant=how,
            clause=IN_MEMORY,
            of=EVERY,
            options=options,
            first=COMMON if how.startswith("broadcast") else (),
        )
        yield Ask(
            check="robustness",
            method="gradient_layout",
            variant=f"gradient-{how}",
            clause=IN_MEMORY,
            of={
                **SYSTEMS,
                **STREAMS,
                **SHORT,
                **SINGLE_STEPS,
                "ssd": ("groups",),
                "selective_scan": ("groups",),
                "selective_state_update": ("groups",),
            },
            options=options,
            first=SINGLE,
        )
    yield Ask(
        check="robustness", method="guarded", variant="guarded", clause=UNCHANGED, of=EVERY, first=COMMON
    )
    yield Ask(
        check="robustness", method="poison", variant="poisoned", clause=IN_MEMORY, of=EVERY, first=COMMON
    )
    yield Ask(
        check="robustness",
        method="far",
        variant="far",
        clause=IN_MEMORY,
        of={"selective_scan": ("small",), "selective_state_update": ("small",)},
        first=SINGLE,
    )


def _repetitions() -> Iterator[Ask]:
    """The same bits again."""
    wide = {"selective_scan": (*SCANS["selective_scan"], "uneven")}
    for direction in ("forward", "backward"):
        yield Ask(
            check="determinism",
            method="repeats",
            variant=direction,
            clause=REPEATS,
            of={**EVERY, **wide},
            options={"direction": direction},
        )
    rooms: tuple[tuple[Names, Level], ...] = (
        ({**SCANS, **DUAL}, "quick"),
        ({**SYSTEMS, **STREAMS, **STEPS, **SHORT, **TURNED, **SINGLE_STEPS}, "full"),
    )
    for of, level in rooms:
        yield Ask(
            check="determinism",
            method="processes",
            variant="processes",
            clause=REPEATS,
            of={op: names[:1] for op, names in of.items()},
            level=level,
            first=SINGLE,
        )


def _pytorch() -> Iterator[Ask]:
    """What is asked of PyTorch tensors alone."""
    soon: Names = {"selective_scan": ("typical",), "selective_state_update": ("typical",)}
    more: Names = {
        **SYSTEMS,
        **STREAMS,
        **SHORT,
        **DUAL,
        **TURNED,
        **SINGLE_STEPS,
        "selective_scan": ("groups", "complex", "packed", "offsets"),
        "selective_state_update": ("groups", "complex", "pool"),
    }
    claims = (
        ("compiled", "compile", ONE_GRAPH),
        ("captured", "cuda_graph", REPLAY),
        ("autocast", "autocast", NOT_CAST),
    )
    levels: tuple[tuple[Names, Level], ...] = ((soon, "quick"), (more, "full"))
    for of, level in levels:
        for method, claim, clause in claims:
            yield Ask(
                check="property",
                method=method,
                variant=method,
                clause=clause,
                of=of,
                level=level,
                options={"claim": claim},
                first=SINGLE,
            )
        real = {op: tuple(name for name in names if "complex" not in name) for op, names in of.items()}
        yield Ask(
            check="gradient",
            method="backward_again",
            variant="again",
            clause=TWICE,
            of=of,
            level=level,
            first=SINGLE,
        )
        yield Ask(
            check="gradient",
            method="second_derivative",
            variant="second",
            clause=TWICE,
            of=real,
            level=level,
            first=SINGLE,
            dtypes=DTYPES[:2],
        )


ASKED: Final = (
    Ask(
        check="robustness",
        method="unchanged",
        variant="inputs-unchanged",
        clause=UNCHANGED,
        of=EVERY,
        level="smoke",
        first=COMMON,
    ),
    *_placements(),
    *_repetitions(),
    *_pytorch(),
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
        clause=CONFINEMENT,
        of={
            **STREAMS,
            **SHORT,
            **SINGLE_STEPS,
            "ssd": ("typical", "groups", "initial"),
            "mamba3_siso": ("typical", "groups", "initial"),
            "selective_scan": ("typical", "groups", "complex", "initial"),
            "selective_state_update": ("typical", "groups", "complex"),
        },
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
        of={"selective_state_update": ("inplace",)},
    ),
)
"""Every question but those about memory and about errors."""


def questions(recipes: tuple[Recipe, ...]) -> Iterator[Case]:
    """All of them, recipe by recipe, then memory."""
    for recipe in recipes:
        for ask in ASKED:
            yield from ask.cases(recipe)
    yield from _memory()


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


def _memory() -> Iterator[Case]:
    """Growth over a grid in which b, d, l, n, g vary independently."""
    law = "claim-4: peak = c₀ + c₁bdl + c₂bdn + c₃bdln + c₄bgnl; fused: c₃ at most 1/8 of one state element"
    for op, inputs in (
        ("selective_scan", _selective.scan_inputs(2, 16, 256, 16)),
        ("ssd", _duality.ssd_inputs(2, 256, 4, 4, 16)),
    ):
        recipe = Recipe(op, "growth", inputs, law, check="memory")
        for direction in ("forward", "backward", "saved"):
            yield Case(recipe, "float32", "memory", "growth", direction, "quick", {"direction": direction})
