"""The golden cases of the basic operators on linear time-invariant systems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ssm_spec.vectors._case import Case
from ssm_spec.vectors._dice import Dice


def linear_cases() -> Iterator[Case]:
    """Every case, in order."""
    yield from _discretisations("discretize_zoh", "zoh-1", "zoh-3")
    yield from _zoh_only()
    yield from _discretisations("discretize_bilinear", "bilinear-1", "bilinear-1")
    yield from _bilinear_only()
    yield from _recurrences()
    yield from _kernels()
    yield from _convolutions()


Shapes = Mapping[str, tuple[tuple[int, ...], bool]]
"""Output -> its shape, and whether it is complex."""


def _with_cotangents(dice: Dice, shapes: Shapes) -> dict[str, Any]:
    return {name: dice.general(*shape, complex_=complex_) for name, (shape, complex_) in shapes.items()}


def _discretisation(
    op: str,
    name: str,
    clause: str,
    dice: Dice,
    arrays: dict[str, Any],
    exact_in: str = "bfloat16",
    **more: Any,
) -> Case:
    """One system, or several side by side, with cotangents of both outputs."""
    A, B = arrays["A"], arrays["B"]
    trailing = 1 if more.get("diagonal") else 2
    s = np.broadcast_shapes(A.shape[:-trailing], B.shape[:-2], np.shape(arrays["delta"]))
    complex_ = np.iscomplexobj(A)
    shapes = {"A_bar": ((*s, *A.shape[-trailing:]), complex_), "B_bar": ((*s, *B.shape[-2:]), complex_)}
    return Case(
        op=op,
        name=name,
        clause=(clause,),
        arrays=arrays,
        parameters=more,
        exact_in=exact_in,
        cotangents=_with_cotangents(dice, shapes),
    )


def _discretisations(op: str, dense: str, modes: str) -> Iterator[Case]:
    for complex_ in (False, True):
        kind = "complex" if complex_ else "real"
        dice = Dice(f"{op} full {kind}")
        arrays = {
            "A": dice.general(3, 3, complex_=complex_),
            "B": dice.general(2, 3, 2, complex_=complex_),
            "delta": dice.positive(2),
        }
        yield _discretisation(op, f"full-{kind}", dense, dice, arrays)
        dice = Dice(f"{op} modes {kind}")
        arrays = {
            "A": dice.modes(5, complex_=complex_),
            "B": dice.general(5, 1, complex_=complex_),
            "delta": dice.positive(3),
        }
        yield _discretisation(op, f"modes-{kind}", modes, dice, arrays, diagonal=True)
    dice = Dice(f"{op} float64", "float64")
    arrays = {"A": dice.real(4, 4), "B": dice.real(4, 1), "delta": dice.positive()}
    yield _discretisation(op, "full-float64", dense, dice, arrays, "float64")


def _zoh_only() -> Iterator[Case]:
    op = "discretize_zoh"
    dice = Dice(f"{op} singular")
    arrays = {"A": np.tril(dice.real(3, 3), -1), "B": dice.real(3, 2), "delta": np.array([0.0, 1.5])}
    yield _discretisation(op, "singular-and-no-step", "zoh-2", dice, arrays)
    dice = Dice(f"{op} small modes", "float64")
    A = np.array([0.0, 2.0**-60, -(2.0**-30), 1e-9, -745.0])
    arrays = {"A": A, "B": dice.real(5, 1), "delta": np.array(1.0)}
    yield _discretisation(op, "modes-near-zero", "zoh-3", dice, arrays, "float64", diagonal=True)
    dice = Dice(f"{op} turns", "float64")
    A = np.array([6.283185307179586j, 1e-8 + 12.566370614359172j, -0.5 + 100j, 0j])
    arrays = {"A": A, "B": dice.general(4, 1, complex_=True), "delta": np.array(1.0)}
    yield _discretisation(op, "modes-near-whole-turns", "zoh-3", dice, arrays, "float64", diagonal=True)


def _bilinear_only() -> Iterator[Case]:
    op = "discretize_bilinear"
    for alpha in (0.0, 0.25, 1.0):
        dice = Dice(f"{op} {alpha}")
        arrays = {"A": dice.real(3, 3), "B": dice.real(3, 1), "delta": dice.positive(high=-1)}
        yield _discretisation(op, f"alpha-{alpha}", "bilinear-2", dice, arrays, alpha=alpha)


def _recurrences() -> Iterator[Case]:
    """Sizes b, n, m, p, l; 's' systems side by side."""
    yield _recurrence("full-real", ("recurrence-1",), (2, 3, 2, 1, 7), whole=True)
    yield _recurrence("full-complex", ("recurrence-2",), (1, 3, 1, 2, 7), complex_=True)
    yield _recurrence("modes-real", ("recurrence-1",), (2, 4, 1, 1, 13), diagonal=True, whole=True)
    yield _recurrence(
        "modes-complex", ("recurrence-2", "recurrence-3"), (2, 4, 2, 2, 13), True, True, whole=True
    )
    yield _recurrence("one-step", ("recurrence-1",), (1, 1, 1, 1, 1))
    yield _recurrence("no-step", ("common-2",), (2, 2, 1, 1, 0), whole=True)
    yield _recurrence("long", ("recurrence-1",), (1, 2, 1, 1, 257), diagonal=True)


def _recurrence(
    name: str,
    clause: tuple[str, ...],
    sizes: tuple[int, int, int, int, int],
    diagonal: bool = False,
    complex_: bool = False,
    *,
    whole: bool = False,
) -> Case:
    b, n, m, p, l = sizes
    dice, s = Dice(f"ssm_recurrence {name}"), 2
    arrays = _system(dice, s, n, m, p, diagonal, complex_) | {"u": dice.real(b, s, m, l)}
    if whole:
        arrays["D"] = dice.real(s, p, m)
        arrays["initial_state"] = dice.general(b, s, n, complex_=complex_)
    y_complex = complex_ and not diagonal
    shapes = {"y": ((b, s, p, l), y_complex), "last_state": ((b, s, n), complex_)}
    return Case(
        op="ssm_recurrence",
        name=name,
        clause=clause,
        arrays=arrays,
        parameters={"diagonal": True} if diagonal else {},
        cotangents=_with_cotangents(dice, shapes),
    )


def _system(dice: Dice, s: int, n: int, m: int, p: int, diagonal: bool, complex_: bool) -> dict[str, Any]:
    """A stable discrete system: every row of Ā sums to less than one in size."""
    shape = (s, n) if diagonal else (s, n, n)
    scale = 0.5 if diagonal else 2.0 ** -np.ceil(np.log2(4 * n))
    return {
        "A_bar": dice.general(*shape, complex_=complex_, low=-2, high=0) * scale,
        "B_bar": dice.general(s, n, m, complex_=complex_),
        "C": dice.general(s, p, n, complex_=complex_),
    }


def _kernels() -> Iterator[Case]:
    for diagonal in (False, True):
        for complex_ in (False, True):
            for length in (1, 33):
                name = f"{'modes' if diagonal else 'full'}-{'complex' if complex_ else 'real'}-{length}"
                dice = Dice(f"ssm_kernel {name}")
                shapes = {"K": ((2, 1, 2, length), complex_ and not diagonal)}
                arrays = _system(dice, 2, 3, 2, 1, diagonal, complex_)
                yield Case(
                    op="ssm_kernel",
                    name=name,
                    clause=("kernel-1",),
                    arrays=arrays,
                    parameters={"length": length, **({"diagonal": True} if diagonal else {})},
                    cotangents=_with_cotangents(dice, shapes),
                )


def _convolutions() -> Iterator[Case]:
    for l, k in ((1, 1), (7, 3), (3, 7), (61, 61), (0, 2)):
        dice = Dice(f"causal_convolution {l} {k}")
        yield Case(
            op="causal_convolution",
            name=f"l{l}-k{k}",
            clause=("conv-1", "conv-2"),
            arrays={"u": dice.real(2, 3, l), "K": dice.real(3, k)},
            cotangents={"y": dice.real(2, 3, l)},
        )
    dice = Dice("causal_convolution float64", "float64")
    yield Case(
        op="causal_convolution",
        name="float64",
        clause=("conv-1",),
        arrays={"u": dice.real(1, 2, 17, low=-20, high=20), "K": dice.real(2, 17, low=-20, high=20)},
        exact_in="float64",
        cotangents={"y": dice.real(1, 2, 17)},
    )
