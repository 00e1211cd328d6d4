"""The golden cases of the continuous system's responses, and of the associative scan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ssm_spec.vectors._case import Case, posed
from ssm_spec.vectors._dice import Dice

_KINDS = (("full", "real"), ("full", "complex"), ("modes", "real"), ("modes", "complex"))


def system_cases() -> Iterator[Case]:
    """Every case, in order."""
    yield from _continuous()
    yield from _responses()
    yield from _scans()


def _continuous() -> Iterator[Case]:
    op = "continuous_response"
    for form, kind in _KINDS:
        for l, whole in ((7, True), (1, False)):
            name = f"{form}-{kind}-{l}"
            dice, complex_ = Dice(f"{op} {name}"), kind == "complex"
            arrays = _system(dice, form, complex_) | {"u": dice.real(2, 2, 2, l), "delta": dice.positive(2)}
            if whole:
                arrays |= {"D": dice.real(2, 1, 2), "initial_state": dice.general(2, 2, 3, complex_=complex_)}
            clause = "continuous-1 continuous-4" if complex_ else "continuous-1"
            yield posed(op, name, clause, dice, arrays, **({"diagonal": True} if form == "modes" else {}))
    dice = Dice(f"{op} singular")
    arrays = {
        "A": np.tril(dice.real(3, 3), -1),
        "B": dice.real(3, 1),
        "C": dice.real(1, 3),
        "u": dice.real(1, 2, 1, 5),
        "delta": np.array([0.0, 1.5]),
        "initial_state": dice.real(1, 2, 3),
    }
    yield posed(op, "singular-and-no-step", "continuous-3", dice, arrays)
    dice = Dice(f"{op} no time")
    arrays = _system(dice, "full", False) | {"u": np.zeros((2, 2, 2, 0)), "delta": dice.positive(2)}
    yield posed(op, "no-time", "common-2", dice, arrays | {"initial_state": dice.real(2, 2, 3)})


def _responses() -> Iterator[Case]:
    times = np.array([0.0, 0.25, 1.0, 3.0])
    for op, clause in (("impulse_response", "impulse-1"), ("step_response", "step-response-1")):
        for form, kind in _KINDS:
            dice = Dice(f"{op} {form} {kind}")
            arrays = _system(dice, form, kind == "complex") | {"times": times}
            if op == "step_response":
                arrays["D"] = dice.real(2, 1, 2)
            name, more = f"{form}-{kind}", {"diagonal": True} if form == "modes" else {}
            yield posed(op, name, clause, dice, arrays, **more)


def _system(dice: Dice, form: str, complex_: bool) -> dict[str, Any]:
    """Two systems of three states, two inputs and one output."""
    if form == "modes":
        A = dice.modes(2, 3, complex_=complex_)
    else:
        A = dice.general(2, 3, 3, complex_=complex_, high=0)
    return {
        "A": A,
        "B": dice.general(2, 3, 2, complex_=complex_),
        "C": dice.general(2, 1, 3, complex_=complex_),
    }


def _scans() -> Iterator[Case]:
    op = "ssm_associative_scan"
    for form, kind in (
        ("matrices", "real"),
        ("matrices", "complex"),
        ("numbers", "real"),
        ("numbers", "complex"),
    ):
        for l in (1, 11):
            dice, complex_ = Dice(f"{op} {form} {kind} {l}"), kind == "complex"
            shape = (2, 3, 3, l) if form == "matrices" else (2, 3, l)
            a = dice.general(*shape, complex_=complex_, low=-4, high=-1)
            arrays = {"a": a, "x": dice.general(2, 3, l, complex_=complex_)}
            clause = "associative-1 associative-3" if form == "matrices" else "associative-1"
            yield posed(op, f"{form}-{kind}-{l}", clause, dice, arrays)
    dice = Dice(f"{op} mixed")
    arrays = {"a": dice.general(2, 3, 5, complex_=True, low=-4, high=0), "x": dice.real(2, 3, 5)}
    yield posed(op, "complex-and-real", "associative-1", dice, arrays)
    yield posed(op, "no-time", "common-2", Dice(op), {"a": np.zeros((2, 3, 0)), "x": np.zeros((2, 3, 0))})
