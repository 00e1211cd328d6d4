"""Where arrays lie inside larger ones of NaN: small calls, pools, and sizes just past a tile or a chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ssm_conformance.case import Level
from ssm_conformance.cases._ask import COMMON, EVERY, SINGLE, Ask, Names

UNTOUCHED: Final = "common-6: what lies around an array is not written, and reaches no result"

POOLS: Final[Names] = {
    **dict.fromkeys(
        ("selective_state_update", "ssd_update"),
        ("inplace", "pool-inplace", "pool-inplace-skipping", "pool-idle", "layer-pool"),
    ),
    "causal_conv1d_update": (
        *("inplace", "pool-inplace", "pool-inplace-skipping", "pool-idle", "layer-pool", "served"),
    ),
}
"""States written in place, which may change inside their frame; slots of which no row names any."""
SOON: Final[Names] = {
    "selective_scan": ("length-33", "uneven", "states-17"),
    "selective_state_update": ("width-33",),
    "causal_conv1d": ("length-129",),
}
"""Past the smallest tiles, of 16 and of 32, and past one of 128: what costs little."""
PAST_A_TILE: Final[Names] = {
    "selective_scan": (
        *("length-17", "length-65", "length-129", "length-257", "length-513", "length-1025"),
        *("width-17", "width-33", "width-65", "width-129", "width-257"),
        *("states-33", "states-65", "states-129", "packed-at-blocks"),
        *("offsets-at-blocks", "layer"),
    ),
    "ssd": (
        *("length-17", "length-65", "length-129", "length-257", "length-513", "packed-at-chunks"),
        *("heads-65", "states-129", "widths-129", "groups-of-5", "layer-64-128"),
    ),
    "mamba3_siso": ("length-65", "packed-at-blocks", "layer"),
    "causal_conv1d": ("length-257", "length-513", "length-1025", "widths-129", "packed-at-blocks"),
    "selective_state_update": (
        *("width-17", "width-65", "width-129", "width-257"),
        *("states-17", "states-33", "states-65", "states-129", "rows-129", "layer-128-states"),
    ),
    "ssd_update": ("states-129", "rows-65", "layer-heads"),
    "mamba3_siso_step": ("layer",),
    "causal_conv1d_update": ("large-pool-with-none", "layer"),
}
"""A kernel's tiles and chunks end there: what lies beyond is read unless it is masked.

Of a layer every size is past a tile at once.
"""


def guards() -> Iterator[Ask]:
    """The small calls in every dtype; what is large in the two that kernels are written for."""
    for of, first in ((EVERY, COMMON), (POOLS, SINGLE)):
        yield Ask(
            check="robustness",
            method="guarded",
            variant="guarded",
            clause=UNTOUCHED,
            of=of,
            first=first,
        )
    levels: tuple[tuple[Names, Level], ...] = ((SOON, "quick"), (PAST_A_TILE, "full"))
    for of, level in levels:
        yield Ask(
            check="robustness",
            method="guarded",
            variant="guarded",
            clause=UNTOUCHED,
            of=of,
            level=level,
            first=SINGLE,
            dtypes=COMMON,
        )
