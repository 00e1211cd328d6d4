"""Where wild arguments come from: each regime strains one thing that goes wrong in practice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Inputs = dict[str, Any]
Regime = Literal[
    "typical", "nearly no decay", "strong decay", "tiny steps", "huge steps", "cancellation", "wild", "long"
]

REGIMES: Final[tuple[Regime, ...]] = Regime.__args__  # type: ignore[attr-defined]  # typing's own name for them
_RATES: Final[Mapping[str, tuple[float, float]]] = {
    "nearly no decay": (-12, -6),
    "strong decay": (1, 3),
    "wild": (-9, 3),
}
_STEPS: Final[Mapping[str, tuple[float, float]]] = {
    "tiny steps": (-200, -8),
    "huge steps": (0.5, 3),
    "wild": (-30, 2),
}
_LENGTHS: Final = (1, 2, 3, 7, 16, 61, 255, 509)
LONGEST: Final = 4096


@dataclass(frozen=True)
class Draw:
    """A source of arguments in one regime.

    Attributes
    ----------
    rng
        Where all numbers come from.
    regime
        What the arguments strain.
    complex
        Whether the system is complex.
    """

    rng: np.random.Generator
    regime: Regime
    complex: bool

    def flip(self, chance: float = 0.5) -> bool:
        """Whether an option is taken."""
        return bool(self.rng.random() < chance)

    def size(self, *choices: int) -> int:
        """One of some sizes, given in order; one of the first two where the sequence is long."""
        return int(self.rng.choice(choices[:2] if self.regime == "long" else choices))

    def length(self) -> int:
        """l."""
        return LONGEST if self.regime == "long" else int(self.rng.choice(_LENGTHS))

    def slots(self, batch: int) -> tuple[int, Inputs]:
        """How many states there are, and whose they are where they lie in a pool; some rows are skipped."""
        if not self.flip():
            return batch, {}
        chosen = self.rng.permutation(batch + 2)[:batch]
        chosen[0] = -1 if self.flip(0.3) else chosen[0]
        return batch + 2, {"state_indices": chosen}

    def real(self, *shape: int) -> Array:
        """Real numbers: of one size, of all sizes with exact zeros, or of opposite sign and nearly equal."""
        x = self.rng.standard_normal(shape)
        if self.regime == "wild":
            x = np.sign(x) * 10.0 ** self.rng.uniform(-40, 5, shape) * (self.rng.random(shape) > 0.05)
        if self.regime == "cancellation":
            x = np.where(self.rng.random(shape) < 0.5, 1.0, -1.0) * (1 + 2.0**-30 * x)
        return x

    def general(self, *shape: int) -> Array:
        """Numbers of the system's kind."""
        return self.real(*shape) + 1j * self.real(*shape) if self.complex else self.real(*shape)

    def steps(self, *shape: int) -> Array:
        """Positive step sizes."""
        return np.asarray(10.0 ** self.rng.uniform(*_STEPS.get(self.regime, (-3, 0)), shape))

    def raw_steps(self, softplus: bool, *shape: int) -> Array:
        """Step sizes, some of them zero in the wild; before softplus about their logarithms."""
        steps = self.steps(*shape)
        if softplus:
            return np.where(steps > 1, steps, np.maximum(np.log(steps), -700.0))
        return steps * (self.rng.random(shape) > 0.1) if self.regime == "wild" else steps

    def modes(self, *shape: int) -> Array:
        """Rates of decay, with a frequency each if complex."""
        rates = -(10.0 ** self.rng.uniform(*_RATES.get(self.regime, (-2, 1)), shape))
        if self.flip(0.3):
            rates = np.where(self.rng.random(shape) < 0.3, 0.0, rates)
        return rates + 1j * self.rng.uniform(-20, 20, shape) if self.complex else rates

    def matrix(self, *shape: int) -> Array:
        """State matrices: full, triangular and far from normal, or nilpotent.

        Some grow, but not where the sequence is long: 4096 steps would leave float64's range.
        """
        n, kind = shape[-1], self.rng.integers(3)
        A = self.general(*shape) / max(n, 1)
        if kind == 1:
            A = np.tril(A * 8)
        if kind == 2:
            return np.tril(A, -1)
        A = A + np.eye(n) * -np.abs(self.modes(*shape[:-1])[..., None])
        return A - _growth(A)[..., None, None] * np.eye(n) if self.regime == "long" else A

    def discrete(self, *shape: int, diagonal: bool) -> Array:
        """State matrices or modes of discrete systems: inside the unit circle, some near it."""
        near = {"nearly no decay": (-12, -6), "strong decay": (-0.3, 0), "long": (-5, -2)}
        radius = 1 - 10.0 ** self.rng.uniform(*near.get(self.regime, (-4, 0)), shape[:1] if diagonal else ())
        if diagonal:
            angle = self.rng.uniform(0, 2 * np.pi, shape)
            sign = np.exp(1j * angle) if self.complex else np.where(self.rng.random(shape) < 0.5, 1.0, -1.0)
            return np.asarray(radius[..., None] * sign if len(shape) > 1 else radius * sign)
        A = self.general(*shape)
        norm = np.linalg.norm(A, 2, axis=(-2, -1), keepdims=True)
        return np.asarray(radius * A / np.where(norm > 0, norm, 1.0))


def _growth(A: Array) -> NDArray[np.float64]:
    """The rate at which ‖exp(tA)‖₂ may grow: the largest eigenvalue of A's Hermitian part, if positive."""
    hermitian = 0.5 * (A + np.conj(np.swapaxes(A, -1, -2)))
    return np.asarray(np.maximum(np.linalg.eigvalsh(hermitian)[..., -1], 0.0))
