"""The golden cases of the layers and of their kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ssm_spec.vectors._case import Case, posed
from ssm_spec.vectors._dice import Dice

_RULES = ("zoh", "bilinear", "forward_euler", "backward_euler")


def layer_cases() -> Iterator[Case]:
    """Every case, in order."""
    yield from _s4d()
    yield from _s4d_kernels()
    yield from _s4_kernels()
    yield from _lssl()
    yield from _s5()
    yield from _h3()


def _modes(dice: Dice, d: int, n: int, complex_: bool) -> dict[str, Any]:
    """Diagonal systems side by side."""
    return {
        "delta": dice.positive(d),
        "A": dice.modes(d, n, complex_=complex_),
        "B": dice.general(d, n, complex_=complex_),
        "C": dice.general(d, n, complex_=complex_),
    }


def _near_zero(dice: Dice) -> dict[str, Any]:
    """A mode at zero, and modes near it."""
    A = np.array([[0.0, 2.0**-60, -(2.0**-30), 1e-9]])
    return {"delta": np.ones(1), "A": A, "B": dice.real(1, 4), "C": dice.real(1, 4)}


def _rule(rule: str, default: str) -> dict[str, str]:
    return {} if rule == default else {"discretization": rule}


def _s4d() -> Iterator[Case]:
    op = "s4d"
    for complex_ in (False, True):
        kind, clause = ("complex", "s4d-1") if complex_ else ("real", "s4d-2")
        for rule in _RULES:
            dice = Dice(f"{op} {kind} {rule}")
            arrays = _modes(dice, 3, 2, complex_) | {"u": dice.real(2, 3, 9)}
            yield posed(op, f"{kind}-{rule}", f"{clause} s4d-3", dice, arrays, **_rule(rule, "zoh"))
        for l in (0, 1, 13):
            dice = Dice(f"{op} {kind} {l}")
            arrays = _modes(dice, 2, 3, complex_) | {"u": dice.real(2, 2, l), "D": dice.real(2)}
            arrays["initial_state"] = dice.general(2, 2, 3, complex_=complex_)
            yield posed(op, f"{kind}-whole-{l}", f"{clause} s4d-4" if l else "s4d-5", dice, arrays)
    dice = Dice(f"{op} long")
    yield posed(op, "long", "s4d-1", dice, _modes(dice, 1, 2, True) | {"u": dice.real(1, 1, 257)})
    dice = Dice(f"{op} near zero", "float64")
    yield posed(op, "modes-near-zero", "s4d-2", dice, _near_zero(dice) | {"u": dice.real(1, 1, 9)})


def _s4d_kernels() -> Iterator[Case]:
    op = "s4d_kernel"
    for complex_ in (False, True):
        kind = "complex" if complex_ else "real"
        for rule in _RULES:
            dice = Dice(f"{op} {kind} {rule}")
            arrays, clause = _modes(dice, 3, 2, complex_), "s4d-kernel-1 s4d-kernel-3"
            yield posed(op, f"{kind}-{rule}", clause, dice, arrays, length=33, **_rule(rule, "zoh"))
        for l in (0, 1, 257):
            dice = Dice(f"{op} {kind} {l}")
            yield posed(op, f"{kind}-l{l}", "s4d-kernel-1", dice, _modes(dice, 1, 3, complex_), length=l)
    dice = Dice(f"{op} near zero", "float64")
    yield posed(op, "modes-near-zero", "s4d-kernel-1", dice, _near_zero(dice), length=9)


def _s4_kernels() -> Iterator[Case]:
    op = "s4_kernel"
    for paired in (False, True):
        for l in (0, 1, 33):
            dice = Dice(f"{op} {paired} {l}")
            arrays = {"delta": dice.positive(2, high=0), "Lambda": dice.modes(2, 3, complex_=True)}
            arrays |= {x: dice.general(2, 3, complex_=True, high=0) for x in ("P", "Q", "B", "C")}
            name, clause = ("paired", "s4-1 s4-2 s4-3") if paired else ("whole", "s4-1 s4-3")
            yield posed(
                op, f"{name}-l{l}", clause, dice, arrays, length=l, **({"paired": True} if paired else {})
            )
    dice = Dice(f"{op} real")
    arrays = {"delta": dice.positive(2, high=0), "Lambda": dice.modes(2, 3, complex_=False)}
    arrays |= {x: dice.real(2, 3, high=0) for x in ("P", "Q", "B", "C")}
    yield posed(op, "real-arrays", "s4-1", dice, arrays, length=7)


def _lssl() -> Iterator[Case]:
    op = "lssl"
    for rule in _RULES:
        for l, whole in ((0, True), (1, False), (9, True)):
            dice = Dice(f"{op} {rule} {l}")
            arrays = {
                "u": dice.real(2, 2, l),
                "delta": dice.positive(2, high=-1),
                "A": dice.real(2, 3, 3, high=0),
                "B": dice.real(2, 3),
                "C": dice.real(2, 2, 3),
            }
            if whole:
                arrays |= {"D": dice.real(2, 2), "initial_state": dice.real(2, 2, 3)}
            clause = "lssl-1 lssl-2 lssl-3" if l else "lssl-4"
            yield posed(op, f"{rule}-{l}", clause, dice, arrays, **_rule(rule, "bilinear"))


def _s5() -> Iterator[Case]:
    op = "s5"
    for complex_ in (False, True):
        kind, clause = ("complex", "s5-1") if complex_ else ("real", "s5-2")
        for rule in _RULES:
            for l in (0, 1, 9) if rule == "zoh" else (9,):
                dice = Dice(f"{op} {kind} {rule} {l}")
                arrays = {
                    "u": dice.real(2, 3, l),
                    "delta": dice.positive(4),
                    "A": dice.modes(4, complex_=complex_),
                    "B": dice.general(4, 3, complex_=complex_),
                    "C": dice.general(3, 4, complex_=complex_),
                    "D": dice.real(3),
                    "initial_state": dice.general(2, 4, complex_=complex_),
                }
                about = f"{clause} s5-3 s5-4" if l else "s5-5"
                yield posed(op, f"{kind}-{rule}-{l}", about, dice, arrays, **_rule(rule, "zoh"))


def _h3() -> Iterator[Case]:
    op = "h3"
    for complex_ in (False, True):
        kind = "complex" if complex_ else "real"
        for h, width, l, whole in ((1, 1, 1, False), (2, 3, 9, True), (3, 1, 17, False), (2, 2, 0, True)):
            dice, d = Dice(f"{op} {kind} {h} {width} {l}"), h * width
            arrays = _modes(dice, h, 2, complex_) | {x: dice.real(2, d, l) for x in ("q", "k", "v")}
            arrays |= {"shift": dice.real(d, 3), "shift_D": dice.real(d)}
            if whole:
                arrays |= {"D": dice.real(h), "out_proj": dice.real(2, d)}
            yield posed(op, f"{kind}-h{h}-w{width}-l{l}", "h3-1 h3-2 h3-3 h3-4", dice, arrays)
    dice = Dice(f"{op} bilinear")
    arrays = _modes(dice, 1, 2, True) | {x: dice.real(1, 2, 5) for x in ("q", "k", "v")}
    arrays |= {"shift": dice.real(2, 7), "shift_D": dice.real(2)}
    yield posed(op, "bilinear", "h3-3", dice, arrays, discretization="bilinear")
