"""The golden cases of the initialisations, and of LegS as a memory of the past."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ssm_spec.vectors._case import Case, posed
from ssm_spec.vectors._dice import Dice

_SIZES = {
    "hippo_legs": ("legs-1 legs-2", (1, 2, 7, 64)),
    "hippo_lagt": ("lagt-1", (1, 2, 7)),
    "hippo_fout": ("fout-1 fout-2", (2, 4, 34)),
    "hippo_legs_nplr": ("nplr-1 nplr-2 nplr-4", (2, 4, 32)),
    "s4d_legs": ("s4d-legs-1 s4d-legs-2 s4d-legs-3", (2, 4, 64)),
    "s4d_inv": ("s4d-inv-1", (2, 4, 64)),
    "s4d_lin": ("s4d-lin-1", (2, 4, 64)),
}


def start_cases() -> Iterator[Case]:
    """Every case, in order."""
    for op, (clause, sizes) in _SIZES.items():
        for n in sizes:
            yield posed(op, f"n{n}", clause, Dice(op), {}, n=n)
    for n, theta in ((1, 1.0), (2, 0.5), (7, 1.0), (33, 3.0)):
        yield posed("hippo_legt", f"n{n}", "legt-1 legt-2", Dice("hippo_legt"), {}, n=n, theta=theta)
    yield from _compressions()
    yield from _reconstructions()


def _compressions() -> Iterator[Case]:
    op = "hippo_legs_compress"
    for method in ("exact", "bilinear"):
        for n, l in ((1, 1), (6, 17), (20, 5)):
            dice = Dice(f"{op} {method} {n} {l}")
            clause = "compress-1 compress-2"
            yield posed(op, f"{method}-n{n}-l{l}", clause, dice, {"f": dice.real(2, l)}, n=n, method=method)
        dice = Dice(f"{op} {method} prefixes")
        arrays = {"f": dice.real(2, 9)}
        name = f"{method}-prefixes"
        yield posed(op, name, "compress-1 compress-2", dice, arrays, n=5, method=method, prefixes=True)
    dice = Dice(f"{op} nothing")
    yield posed(op, "nothing", "compress-3", dice, {"f": np.zeros((2, 0))}, n=3)


def _reconstructions() -> Iterator[Case]:
    op = "hippo_legs_reconstruct"
    for n in (1, 2, 9, 40):
        dice = Dice(f"{op} {n}")
        arrays = {"c": dice.real(2, n), "points": np.array([0.0, 0.125, 0.5, 0.65625, 0.99609375, 1.0])}
        yield posed(op, f"n{n}", "reconstruct-1", dice, arrays)
