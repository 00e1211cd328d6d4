"""Questions whose answer must not change: the call elsewhere in memory, again, and transformed by PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ssm_conformance.case import Check, Level
from ssm_conformance.cases._ask import (
    COMMON,
    DTYPES,
    DUAL,
    DUAL_POOLS,
    EVERY,
    RARE,
    SCANS,
    SHORT,
    SHORT_POOLS,
    SINGLE,
    SINGLE_STEPS,
    STEPS,
    STREAMS,
    SYSTEMS,
    TURNED,
    Ask,
    Names,
)

_LONGER: Final = (*DUAL["ssd"], "long", "wide-state")
UNWRITTEN: Final[Names] = {
    **dict.fromkeys(STREAMS, ("empty", "no-batch", "no-batch-wide")),
    "selective_scan": ("no-batch-wide", "no-steps-wide", "no-channels"),
    "ssd": ("no-batch-wide", "no-steps-wide", "no-heads", "no-width"),
    **dict.fromkeys((*TURNED, *SHORT), ("no-batch-wide", "no-steps-wide", "no-heads")),
    **dict.fromkeys((*STEPS, *SINGLE_STEPS), ("no-batch-wide", "no-batch", "no-heads", "no-channels")),
}
"""Calls for which nothing may be launched, and of which something must be written all the same."""
GIVEN_BACK: Final[Names] = {
    "selective_scan": ("empty-initial", "offsets-empty"),
    **dict.fromkeys(("selective_state_update", "causal_conv1d_update", "ssd_update"), ("pool-idle",)),
    "ssd": ("empty-initial",),
    **dict.fromkeys((*TURNED, *SHORT), ("empty",)),
    "ssm_recurrence": ("empty-initial",),
    **dict.fromkeys(("s4d", "s5", "lssl"), ("empty-with-D-initial_state-return_last_state",)),
}
"""Calls that end in the state that they were given."""
_SCAN: Final = (("u", "delta", "z"), ("B", "C"), ("D", "delta_bias"))
_DUAL: Final = (("x", "z"), ("B", "C"), ("D", "dt_bias"))
_TURNED: Final = (("v", "z"), ("q", "k"), ("q_bias", "k_bias"), ("dt", "trap"))
ALIKE: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "selective_scan": _SCAN,
    "selective_state_update": _SCAN,
    "ssd": _DUAL,
    "ssd_update": _DUAL,
    "mamba3_siso": _TURNED,
    "mamba3_siso_step": _TURNED,
    "h3": (("q", "k", "v"), ("B", "C")),
    "s4d": (("B", "C"),),
    "s4d_kernel": (("B", "C"),),
    "s4_kernel": (("P", "Q"), ("B", "C")),
}
"""Operator → arguments of one shape, whose numbers may be each other's."""
STRIDED: Final = ("transposed", "strided", "offset", "padded", "reversed", "broadcast", "broadcast-last")
INNER: Final[Names] = {**STREAMS, **SCANS, **STEPS, **SHORT, **DUAL, **TURNED, **SINGLE_STEPS}
"""Calls with arrays of three dimensions and more."""
AT_SIZE: Final[Mapping[str, Names]] = {
    "transposed": {
        "selective_scan": ("layer", "large-with-D-bias-last-seq_idx-zoh-B-grouped-C-grouped"),
        "causal_conv1d": ("layer-long", "layer-packed"),
        **dict.fromkeys(("selective_state_update", "causal_conv1d_update"), ("layer",)),
        "ssd_update": ("layer-wide-skip",),
        "causal_convolution": ("layer",),
        **dict.fromkeys(("s4d", "s5", "lssl", "h3"), ("layer",)),
    },
    "padded": {
        "ssd": ("layer-groups", "large-with-wide-D-groups-seq_idx-last"),
        "mamba3_siso": ("layer-packed",),
    },
}
"""As a model hands over what is larger than a block: channels last, and pieces of one projection."""
_FAR: Final = ("selective_scan", "selective_state_update", *DUAL, *TURNED, *SHORT, *SINGLE_STEPS)
_FOURS: Final = (
    *("16-states", "33-states", "taps-5"),
    *("constant", "complex", "complex-17", "packed", "offsets", "pool", "inplace"),
)
DISTANT: Final[tuple[tuple[Names, Level], ...]] = (
    ({"selective_scan": ("small",), "selective_state_update": ("small", "small-pool")}, "quick"),
    (dict.fromkeys((*DUAL, *TURNED, *SHORT, *SINGLE_STEPS), ("square", "taps-2")), "full"),
    (dict.fromkeys(_FAR, ("fours", *(f"fours-{name}" for name in _FOURS))), "full"),
)
"""Calls of few elements, each of which may lie far from the next, and when they are asked."""
PIECES: Final[Names] = {
    **dict.fromkeys(("selective_scan", "ssd"), ("length-17", "length-65", "length-257")),
    "mamba3_siso": ("length-65",),
    "causal_conv1d": ("length-129", "length-513"),
}
"""One step more than a chunk. Over 2³², that many steps of a chunk, or of half of it, are over 2³¹."""

UNCHANGED: Final = "common-6: inputs are never written"
IN_MEMORY: Final = "claim-2: the values do not depend on how the inputs lie in memory"
SCALED: Final = "common-11: gradients are linear in the cotangents, however small or large these are"
REPEATS: Final = "claim-3: the same call gives the same bits"
ONE_GRAPH: Final = "claim-6: torch.compile traces a call whole; results are right for other numbers and sizes"
REPLAY: Final = "claim-7: a captured call, replayed on other numbers, gives what the call gives on them"
NOW: Final = "claim-9: a call is about what its arrays hold now; what was returned is not written again"
APART: Final = "common-10: a gradient does not depend on which others, or which cotangents, there are"
MODES: Final = "claim-10: whether and how autograd records a call changes no value"
NOT_CAST: Final = "claim-8: under torch.autocast a call means what it means without; nothing is cast down"
TWICE: Final = "common-9: a second backward pass and the gradient of a gradient are right, or raise"

_RARELY: Final[tuple[tuple[Check, str, str, str], ...]] = (
    ("gradient", "gradients_apart", "apart", APART),
    ("robustness", "reused", "reused", NOW),
)
"""What is asked of rare arguments too: check, method, variant and clause."""


def placements() -> Iterator[Ask]:
    """Where the arrays lie, and that nothing is written over them."""
    yield Ask(
        check="robustness",
        method="unchanged",
        variant="inputs-unchanged",
        clause=UNCHANGED,
        of=EVERY,
        level="smoke",
        first=COMMON,
    )
    for how in STRIDED:
        options = {"layout": how}
        yield Ask(
            check="robustness",
            method="layout",
            variant=how,
            clause=IN_MEMORY,
            of=EVERY,
            options=options,
            first=COMMON,
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
    for method, variant in (("layout", "broadcast-inner"), ("gradient_layout", "gradient-broadcast-inner")):
        yield Ask(
            check="robustness",
            method=method,
            variant=variant,
            clause=IN_MEMORY,
            of=INNER,
            level="full",
            options={"layout": "broadcast-inner"},
            dtypes=SINGLE,
        )
    for how, of in AT_SIZE.items():
        yield Ask(
            check="robustness",
            method="layout",
            variant=how,
            clause=IN_MEMORY,
            of=of,
            options={"layout": how},
            first=COMMON,
        )
    yield from _soon_and_later("robustness", "layouts_apart", "apart", IN_MEMORY)
    yield Ask(
        check="robustness", method="poison", variant="poisoned", clause=IN_MEMORY, of=EVERY, first=COMMON
    )
    # Where there is nothing to launch a kernel for, nothing may be left unwritten.
    yield Ask(
        check="robustness",
        method="poison",
        variant="poisoned",
        clause=IN_MEMORY,
        of=UNWRITTEN,
        dtypes=SINGLE,
    )
    for method, variant, clause in (
        ("unchanged", "inputs-unchanged", UNCHANGED),
        ("layouts_apart", "apart", IN_MEMORY),
        ("poison", "poisoned", IN_MEMORY),
    ):
        yield Ask(
            check="robustness",
            method=method,
            variant=variant,
            clause=clause,
            of=RARE,
            level="full",
            dtypes=SINGLE,
        )
    for of, level in (*DISTANT, (PIECES, "full")):
        for method, variant in (("far", "far"), ("far_cotangents", "far-cotangents")):
            yield Ask(
                check="robustness",
                method=method,
                variant=variant,
                clause=IN_MEMORY,
                of=of,
                level=level,
                first=SINGLE,
                dtypes=SINGLE if of is PIECES else (),
                by_array=method == "far",
            )


def one_by_one() -> Iterator[Ask]:
    """One input differentiated in, one cotangent given; one call after the other in the same arrays."""
    yield from _soon_and_later("gradient", "gradients_apart", "apart", APART)
    # Backward passes of 16 bits may take another way where there is one cotangent.
    yield Ask(
        check="gradient",
        method="gradients_apart",
        variant="apart",
        clause=APART,
        of={op: EVERY[op][:1] for op in _FAR if op not in TURNED and op != "mamba3_siso_step"},
        level="full",
        dtypes=("bfloat16",),
    )
    # A packed call that begins from nothing may have a backward pass of its own.
    yield Ask(
        check="gradient",
        method="gradients_apart",
        variant="apart",
        clause=APART,
        of=dict.fromkeys((*SCANS, *DUAL, *TURNED, *SHORT), ("packed-ids", "offsets-empty-ends")),
        level="full",
        dtypes=SINGLE,
    )
    yield Ask(
        check="gradient",
        method="scaled_cotangents",
        variant="scaled",
        clause=SCALED,
        of={op: names[:1] for op, names in EVERY.items()} | {"lssl": ("typical", "zoh")},
        dtypes=SINGLE,
    )
    yield from _soon_and_later("robustness", "reused", "reused", NOW)
    for check, method, variant, clause in _RARELY:
        yield Ask(
            check=check, method=method, variant=variant, clause=clause, of=RARE, level="full", dtypes=SINGLE
        )
    # Where nothing is done, what was given may not be returned.
    yield Ask(
        check="robustness",
        method="reused",
        variant="reused",
        clause=NOW,
        of=GIVEN_BACK,
        options={"gradients": False},
        dtypes=SINGLE,
    )
    for op, alike in ALIKE.items():
        yield Ask(
            check="robustness",
            method="shared",
            variant="shared",
            clause=IN_MEMORY,
            of={op: EVERY[op][:2]},
            options={"alike": alike},
            dtypes=SINGLE,
        )


def _soon_and_later(check: Check, method: str, variant: str, clause: str) -> Iterator[Ask]:
    """A question to the first recipe of each operator at the level quick, to the others at full."""
    soon = {op: names[:1] for op, names in EVERY.items()}
    later = {op: names[1:] for op, names in EVERY.items()}
    levels: tuple[tuple[Names, Level], ...] = ((soon, "quick"), (later, "full"))
    for of, level in levels:
        yield Ask(
            check=check,
            method=method,
            variant=variant,
            clause=clause,
            of=of,
            level=level,
            dtypes=SINGLE,
        )


def repetitions() -> Iterator[Ask]:
    """The same bits again."""
    wide = {"selective_scan": (*SCANS["selective_scan"], "uneven", "long", "wide-state"), "ssd": _LONGER}
    for direction in ("forward", "backward"):
        yield Ask(
            check="determinism",
            method="repeats",
            variant=direction,
            clause=REPEATS,
            of={**EVERY, **wide},
            options={"direction": direction},
            first=COMMON,
        )
    yield Ask(
        check="determinism",
        method="processes",
        variant="processes",
        clause=REPEATS,
        of={op: names[:1] for op, names in EVERY.items()},
        level="full",
        first=SINGLE,
    )


def under_pytorch() -> Iterator[Ask]:
    """What is asked of PyTorch tensors alone."""
    soon: Names = {"selective_scan": ("typical",), "selective_state_update": ("typical",)}
    more: Names = {
        **SYSTEMS,
        **STREAMS,
        **SHORT,
        **DUAL,
        **TURNED,
        **SINGLE_STEPS,
        **SHORT_POOLS,
        **DUAL_POOLS,
        "selective_scan": ("groups", "complex", "packed", "offsets"),
        "selective_state_update": ("groups", "complex", "pool"),
    }
    claims = (
        ("compiled", "compile", ONE_GRAPH),
        ("captured", "cuda_graph", REPLAY),
        ("autocast", "autocast", NOT_CAST),
    )
    yield Ask(
        check="property",
        method="compiled",
        variant="compiled",
        clause=ONE_GRAPH,
        of=dict.fromkeys(("selective_state_update", "causal_conv1d_update", "ssd_update"), ("pool-inplace",)),
        level="full",
        options={"claim": "compile"},
        first=SINGLE,
    )
    levels: tuple[tuple[Names, Level], ...] = ((soon, "quick"), (more, "full"), (RARE, "full"))
    for of, level in levels:
        dtypes = SINGLE if of is RARE else ()
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
                dtypes=dtypes,
            )
        yield Ask(
            check="robustness",
            method="modes",
            variant="modes",
            clause=MODES,
            of=of,
            level=level,
            dtypes=SINGLE,
        )
        # A second gradient of complex numbers has no bound, nor has one that is rounded to 16 bits.
        real = {
            op: tuple(name for name in names if "complex" not in name and "half" not in name)
            for op, names in of.items()
        }
        yield Ask(
            check="gradient",
            method="backward_again",
            variant="again",
            clause=TWICE,
            of=of,
            level=level,
            first=SINGLE,
            dtypes=dtypes,
        )
        yield Ask(
            check="gradient",
            method="second_derivative",
            variant="second",
            clause=TWICE,
            of=real,
            level=level,
            first=SINGLE,
            dtypes=dtypes or DTYPES[:2],
        )
