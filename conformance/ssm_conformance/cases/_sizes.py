"""Sizes around the blocks that kernels are written in: one more, one less, odd, prime, one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ssm_conformance.case import Level, Recipe
from ssm_conformance.cases._linear import CONVOLUTION, KERNEL, RECURRENCE, diagonal_system
from ssm_conformance.cases._selective import EDGE, STATE, scan_inputs
from ssm_conformance.cases._step import step_inputs
from ssm_conformance.draw import Draw

AROUND: Final = tuple(sorted({size for k in range(1, 11) for size in (2**k - 1, 2**k, 2**k + 1)}))
"""1 to 1025: every power of two, and its neighbours."""
SOON: Final = (2, 15, 16, 17, 31, 32, 33)
"""Lengths that the quick level has too."""
LONG: Final = 255
"""From this length on two dtypes are asked."""
WIDTHS: Final = (1, 15, 17, 31, 33, 63, 65, 127, 128, 129, 257)
STATES: Final = (2, 3, 15, 16, 17, 31, 33, 63, 65, 127, 128, 129, 192, 256)


def _lengths() -> Iterator[Recipe]:
    for l in (*AROUND, 7 * 11, 2048, 4096):
        level: Level = "quick" if l in SOON else "full"
        yield Recipe(
            "selective_scan",
            f"length-{l}",
            scan_inputs(2, 3, l, 2),
            STATE,
            level,
            first=("float32",),
            dtypes=("float32", "bfloat16") if l >= LONG else (),
        )


def _widths() -> Iterator[Recipe]:
    for d in WIDTHS:
        level: Level = "quick" if d == 33 else "full"
        inputs = scan_inputs(2, d, 5, 3)
        yield Recipe("selective_scan", f"width-{d}", inputs, EDGE, level, "robustness", first=("float32",))
        inputs = step_inputs(2, d, 3)
        yield Recipe(
            "selective_state_update", f"width-{d}", inputs, EDGE, level, "robustness", first=("float32",)
        )
    for n in STATES:
        level = "quick" if n == 17 else "full"
        inputs = scan_inputs(1, 3, 5, n)
        yield Recipe("selective_scan", f"states-{n}", inputs, EDGE, level, "robustness", first=("float32",))
    for name, sizes in (("one-row", (1, 5, 9, 3)), ("one-channel", (3, 1, 9, 2)), ("rows-65", (65, 1, 3, 2))):
        inputs = scan_inputs(*sizes)
        yield Recipe("selective_scan", name, inputs, EDGE, "full", "robustness")


def _linear() -> Iterator[Recipe]:
    for l in (2, 3, 15, 16, 17, 64, 65, 255, 257):
        u = Draw((2, 3, l))
        yield Recipe("causal_convolution", f"length-{l}", {"u": u, "K": Draw((3, l))}, CONVOLUTION, "full")
        system = diagonal_system(3, n=4)
        inputs = system | {"u": Draw((2, 3, 1, l)), "return_last_state": True}
        yield Recipe("ssm_recurrence", f"length-{l}", inputs, RECURRENCE, "full")
        yield Recipe("ssm_kernel", f"length-{l}", system | {"length": l}, KERNEL, "full")


SCAN_AND_STEP: Final = (*_lengths(), *_widths())
LINEAR: Final = tuple(_linear())
