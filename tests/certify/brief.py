"""Draws of a few elements, for tests that are made often."""

from typing import Any

import numpy as np

from ssm_spec.certify._draws import DRAWS
from ssm_spec.certify._source import REGIMES, Draw, Inputs, Regime


class Brief(Draw):
    """The least sizes, and a few steps."""

    def size(self, *choices: int) -> int:
        return min(choices)

    def length(self) -> int:
        return 3


class Middling(Draw):
    """Any size, but a sequence no longer than 17."""

    def length(self) -> int:
        return int(self.rng.choice([1, 2, 5, 17]))


def brief(op: str, *seed: int, regime: Regime = "typical", complex_: bool = False) -> Inputs:
    """Arguments of a few elements."""
    return DRAWS[op](Brief(np.random.default_rng([*seed, *op.encode()]), regime, complex_))


def middling(op: str, seed: int, number: int) -> tuple[Regime, Inputs]:
    """What `draw` gives, but no long sequence."""
    regime, rng = REGIMES[number % len(REGIMES)], np.random.default_rng([seed, number, *op.encode()])
    return regime, DRAWS[op](Middling(rng, regime, bool(rng.random() < 0.4)))


def cotangents_of(outputs: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A cotangent for each enclosure."""
    found = {}
    for name, enclosure in outputs.items():
        r = rng.standard_normal(enclosure.balls.shape)
        found[name] = r + 1j * rng.standard_normal(r.shape) if enclosure.complex else r
    return found
