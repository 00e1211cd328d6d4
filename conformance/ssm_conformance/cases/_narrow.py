"""Calls of one sign where numbers are complex or turn: what a sum adds points one way all the same.

Modes and vectors lie within a few degrees of the real axis, and modes grow so slowly that no step outweighs
the others. Matrices of S4 have no negative entry but on the diagonal: P is positive where Q is negative.
Pairs of Mamba-3 turn by less than a degree a step, queries and keys across each other: the cotangent of an
angle takes the cross product of both.
"""

from __future__ import annotations

import cmath
from collections.abc import Iterator
from math import prod, sin
from typing import Any, Final

from ssm_conformance.cases._layers import (
    H3,
    S4_KERNEL,
    S4D,
    S4D_KERNEL,
    S5,
    dplr_inputs,
    h3_inputs,
    modal_inputs,
    s4d_inputs,
    s5_inputs,
)
from ssm_conformance.cases._linear import RECURRENCE
from ssm_conformance.cases._mamba3 import VALUE as SISO
from ssm_conformance.cases._mamba3 import siso_inputs
from ssm_conformance.cases._rows import Row
from ssm_conformance.draw import Draw

_SLOW: Final = {"low": 1e-4, "high": 1e-2, "sign": -1.0}


def _near(*shape: int, low: float, high: float, turn: float, stride: int = 1, sign: float = 1.0) -> Draw:
    """Complex numbers from low to high in size, at most so many radians from the axis."""
    count = prod(shape)
    sizes = (low * (high / low) ** (stride * k % count / count) for k in range(count))
    values = [sign * cmath.rect(size, turn * sin(k + stride)) for k, size in enumerate(sizes)]
    return _filled(values, *shape)


def _filled(values: list[Any], *shape: int) -> Draw:
    for size in reversed(shape[1:]):
        values = [tuple(values[i : i + size]) for i in range(0, len(values), size)]
    return Draw(shape, "fixed", complex=True, parameters={"values": tuple(values)})


def _modes(*shape: int, rate: float) -> Draw:
    """Modes that grow, slowly."""
    return _near(*shape, low=rate / 4, high=rate, turn=0.2, stride=5)


def _vectors(*shape: int, stride: int) -> Draw:
    return _near(*shape, low=0.25, high=2.0, turn=0.1, stride=stride)


def _modal(d: int, n: int, rate: float) -> dict[str, Draw]:
    return {
        "A": _modes(d, n, rate=rate),
        "B": _vectors(d, n, stride=7),
        "C": _vectors(d, n, stride=11),
    }


def layers() -> Iterator[Row]:
    """More channels than a block of 64 and more steps than a program's 1024, of complex modes."""
    s4d = s4d_inputs(1, 66, 1030, 4, True) | _modal(66, 4, 1 / 256)
    yield "s4d", "layer-complex", S4D, "full", s4d
    kernel = modal_inputs(66, 4, True, length=1030) | _modal(66, 4, 1 / 256)
    yield "s4d_kernel", "layer-complex", S4D_KERNEL, "full", kernel
    s5 = {"A": _modes(8, rate=1 / 16), "B": _vectors(8, 66, stride=7), "C": _vectors(66, 8, stride=11)}
    yield "s5", "layer-complex", S5, "quick", s5_inputs(1, 66, 70, 8, True) | s5
    yield "h3", "layer-complex", H3, "quick", h3_inputs(1, 66, 130, 66, 2, True) | _modal(66, 2, 1 / 32)


def systems() -> Iterator[Row]:
    """Discrete systems, whose decays are near one."""
    modes = {
        "A_bar": _near(66, 4, low=0.99, high=1.0, turn=5e-4, stride=5),
        "B_bar": _vectors(66, 4, 1, stride=7),
        "C": _vectors(66, 1, 4, stride=11),
        "diagonal": True,
    }
    yield "ssm_recurrence", "layer-complex", RECURRENCE, "full", modes | {"u": Draw((1, 66, 1, 1030))}


def _s4(d: int, n: int, length: int, rate: float, paired: bool) -> dict[str, Any]:
    weight = rate / (2 * n)
    low_rank = {
        "P": _near(d, n, low=0.5, high=1.0, turn=0.1, stride=5),
        "Q": _near(d, n, low=weight / 2, high=2 * weight, turn=0.1, stride=7, sign=-1.0),
    }
    rest = {
        "Lambda": _near(d, n, low=rate / 4, high=2 * rate, turn=0.2, stride=3, sign=-1.0),
        "B": _vectors(d, n, stride=11),
        "C": _vectors(d, n, stride=13),
    }
    return dplr_inputs(d, n, True, length, paired=paired) | low_rank | rest


def kernels_of_s4() -> Iterator[Row]:
    """More channels than a block; more states than 32, and 32 pairs."""
    yield "s4_kernel", "layer", S4_KERNEL, "quick", _s4(66, 4, 70, 0.2, True)
    yield "s4_kernel", "layer-states", S4_KERNEL, "quick", _s4(2, 33, 130, 0.1, False)
    yield "s4_kernel", "layer-pairs", S4_KERNEL, "full", _s4(2, 32, 130, 0.1, True)


def _pairs(first: float, second: float, *shape: int) -> Draw:
    """Components of pairs, in turn of two sizes."""
    values = [(second if i % 2 else first) * (1 + 0.3 * sin(i)) for i in range(shape[-1])]
    return Draw(shape, "fixed", parameters={"values": tuple(values)})


def _turned(b: int, l: int, h: int, p: int, n: int, a: int) -> dict[str, Any]:
    crossed = {"q": _pairs(2.0, 0.5, b, l, 1, n), "k": _pairs(0.5, 2.0, b, l, 1, n)}
    biases = {"q_bias": _pairs(0.5, 0.1, h, n), "k_bias": _pairs(0.1, 0.5, h, n)}
    angles = Draw((b, l, h, a), "log_uniform", parameters={"low": 0.01 / l, "high": 0.5 / l})
    slow = {"adt": Draw((b, h, l), "log_uniform", parameters=_SLOW), "angles": angles}
    return siso_inputs(b, l, h, p, n, a=a) | crossed | biases | slow


def turned_pairs() -> Iterator[Row]:
    """Mamba-3 past a chunk of 256 in wide heads, and past 1024 steps."""
    yield "mamba3_siso", "layer-turned", SISO, "full", _turned(1, 261, 1, 64, 32, 16)
    yield "mamba3_siso", "layer-segments-turned", SISO, "full", _turned(1, 1030, 2, 4, 8, 2)
