"""Wild arguments for every certified operator: each regime strains one thing that goes wrong in practice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
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
        """One of some sizes; the least where the sequence is long."""
        return min(choices) if self.regime == "long" else int(self.rng.choice(choices))

    def length(self) -> int:
        """l."""
        return LONGEST if self.regime == "long" else int(self.rng.choice(_LENGTHS))

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

    def modes(self, *shape: int) -> Array:
        """Rates of decay, with a frequency each if complex."""
        rates = -(10.0 ** self.rng.uniform(*_RATES.get(self.regime, (-2, 1)), shape))
        if self.flip(0.3):
            rates = np.where(self.rng.random(shape) < 0.3, 0.0, rates)
        return rates + 1j * self.rng.uniform(-20, 20, shape) if self.complex else rates

    def matrix(self, *shape: int) -> Array:
        """State matrices: stable and full, triangular and far from normal, or nilpotent."""
        n, kind = shape[-1], self.rng.integers(3)
        A = self.general(*shape) / max(n, 1)
        if kind == 1:
            A = np.tril(A * 8)
        if kind == 2:
            return np.tril(A, -1)
        return A + np.eye(n) * -np.abs(self.modes(*shape[:-1])[..., None])

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


def _discretize(draw: Draw) -> Inputs:
    s, n, m, diagonal = draw.size(1, 5, 16), draw.size(1, 3, 8, 17), draw.size(1, 2), draw.flip()
    return {
        "A": draw.modes(s, n) if diagonal else draw.matrix(s, n, n),
        "B": draw.general(s, n, m),
        "delta": draw.steps(s),
        "diagonal": diagonal,
    }


def _bilinear(draw: Draw) -> Inputs:
    return _discretize(draw) | {"alpha": float(draw.rng.choice([0.0, 0.3, 0.5, 1.0]))}


def _recurrence(draw: Draw) -> Inputs:
    b, s, n, m, p = draw.size(1, 2), draw.size(1, 4), draw.size(1, 2, 5), draw.size(1, 2), draw.size(1, 2)
    diagonal = draw.flip()
    inputs = {
        "A_bar": draw.discrete(*((s, n) if diagonal else (s, n, n)), diagonal=diagonal),
        "B_bar": draw.general(s, n, m),
        "C": draw.general(s, p, n),
        "u": draw.real(b, s, m, draw.length()),
        "diagonal": diagonal,
    }
    if draw.flip():
        inputs |= {"D": draw.real(s, p, m), "initial_state": draw.general(b, s, n)}
    return inputs


def _kernel(draw: Draw) -> Inputs:
    s, n, diagonal = draw.size(1, 5), draw.size(1, 2, 5), draw.flip()
    return {
        "A_bar": draw.discrete(*((s, n) if diagonal else (s, n, n)), diagonal=diagonal),
        "B_bar": draw.general(s, n, 1),
        "C": draw.general(s, draw.size(1, 2), n),
        "length": draw.length(),
        "diagonal": diagonal,
    }


def _convolution(draw: Draw) -> Inputs:
    d, l = draw.size(1, 3), draw.length()
    k = int(draw.rng.choice([1, max(l // 2, 1), l, l + 3]))
    return {"u": draw.real(draw.size(1, 2), d, l), "K": draw.real(d, k)}


def _order(draw: Draw) -> Inputs:
    return {"n": int(draw.rng.choice([1, 2, 7, 16, 33, 64]))}


def _even_order(draw: Draw) -> Inputs:
    return {"n": int(draw.rng.choice([2, 4, 14, 34, 64]))}


def _window(draw: Draw) -> Inputs:
    return _order(draw) | {"theta": float(draw.steps())}


def _scan(draw: Draw) -> Inputs:
    b, d, n, l = draw.size(1, 2), draw.size(1, 2, 6), draw.size(2, 3, 5), draw.length()
    inputs = _channels(draw, b, d, n, (l,)) | {
        "B": _projection(draw, b, d, n, l),
        "C": _projection(draw, b, d, n, l),
    }
    if draw.flip():
        inputs["initial_state"] = draw.general(b, d, n)
    if draw.flip(0.3):
        inputs["seq_idx"] = np.cumsum(draw.rng.random((b, l)) < 0.1, axis=1)
    elif b == 1 and draw.flip(0.3):
        inner = np.sort(draw.rng.integers(0, l + 1, 2))
        inputs["cu_seqlens"] = np.array([0, *inner, l])
        if "initial_state" in inputs:
            inputs["initial_state"] = draw.general(3, d, n)
    return inputs


def _update(draw: Draw) -> Inputs:
    b, d, n, g = draw.size(1, 3), draw.size(2, 6, 16), draw.size(2, 5, 16), draw.size(1, 2)
    inputs = _channels(draw, b, d, n, ()) | {"B": draw.general(b, g, n), "C": draw.general(b, n)}
    slots = b
    if draw.flip():
        slots = b + 2
        chosen = draw.rng.permutation(slots)[:b]
        chosen[0] = -1 if draw.flip(0.3) else chosen[0]
        inputs["state_indices"] = chosen
    return inputs | {"state": draw.general(slots, d, n)}


def _short_convolution(draw: Draw) -> Inputs:
    b, d, l, w = draw.size(1, 2), draw.size(1, 3), draw.length(), draw.size(1, 2, 4, 7)
    inputs = _filter(draw, d, w) | {"x": draw.real(b, d, l)}
    if draw.flip():
        inputs["initial_state"] = draw.real(b, d, w - 1)
    if draw.flip(0.3):
        inputs["seq_idx"] = np.cumsum(draw.rng.random((b, l)) < 0.1, axis=1)
    return inputs


def _short_convolution_step(draw: Draw) -> Inputs:
    b, d, w = draw.size(1, 4), draw.size(1, 17), draw.size(1, 2, 4, 7)
    return _filter(draw, d, w) | {"x": draw.real(b, d), "state": draw.real(b, d, w - 1)}


def _filter(draw: Draw, d: int, w: int) -> Inputs:
    """What the short convolution and its step share."""
    inputs: Inputs = {"weight": draw.real(d, w), "activation": "silu" if draw.flip() else None}
    return inputs | {"bias": draw.real(d)} if draw.flip() else inputs


def _ssd(draw: Draw) -> Inputs:
    b, l, h, p, n = draw.size(1, 2), draw.length(), draw.size(2, 4), draw.size(1, 3), draw.size(1, 3)
    inputs = _heads(draw, (b, l), h, p, n)
    if draw.flip():
        inputs["initial_states"] = draw.real(b, h, p, n)
    if draw.flip(0.3):
        inputs["seq_idx"] = np.cumsum(draw.rng.random((b, l)) < 0.1, axis=1)
    return inputs


def _ssd_step(draw: Draw) -> Inputs:
    b, h, p, n = draw.size(1, 3), draw.size(2, 4), draw.size(1, 5), draw.size(1, 8)
    return _heads(draw, (b,), h, p, n) | {"state": draw.real(b, h, p, n)}


def _heads(draw: Draw, lead: tuple[int, ...], h: int, p: int, n: int) -> Inputs:
    """What SSD and its step share; lead is (b, l) or (b,)."""
    softplus, g = draw.flip(), int(draw.rng.choice([1, 2]))
    inputs: Inputs = {
        "x": draw.real(*lead, h, p),
        "dt": _raw_steps(draw, softplus, *lead, h),
        "A": draw.modes(h).real,
        "B": draw.real(*lead, g, n),
        "C": draw.real(*lead, g, n),
        "dt_softplus": softplus,
    }
    if draw.flip():
        inputs |= {"D": draw.real(h, p), "z": draw.real(*lead, h, p) * 5.0}
    if draw.flip():
        inputs |= {"dt_limit": (0.01, 0.5), "dt_bias": draw.rng.standard_normal(h)}
    return inputs


def _channels(draw: Draw, b: int, d: int, n: int, time: tuple[int, ...]) -> Inputs:
    """What the scan and its step share."""
    softplus = draw.flip()
    inputs = {
        "u": draw.real(b, d, *time),
        "delta": _raw_steps(draw, softplus, b, d, *time),
        "A": draw.modes(d, n),
        "delta_softplus": softplus,
        "b_discretization": "zoh" if draw.flip() else "euler",
    }
    if draw.flip():
        inputs |= {"D": draw.real(d), "z": draw.real(b, d, *time) * 5.0}
    if softplus and draw.flip():
        inputs["delta_bias"] = draw.rng.standard_normal(d)
    return inputs


def _raw_steps(draw: Draw, softplus: bool, *shape: int) -> Array:
    """Step sizes, some of them zero in the wild; before softplus about their logarithms."""
    steps = draw.steps(*shape)
    if softplus:
        return np.where(steps > 1, steps, np.maximum(np.log(steps), -700.0))
    return steps * (draw.rng.random(shape) > 0.1) if draw.regime == "wild" else steps


def _projection(draw: Draw, b: int, d: int, n: int, l: int) -> Array:
    """B or C: constant, one group, or several."""
    g = 2 if d % 2 == 0 else 1
    shapes = ((d, n), (b, n, l), (b, g, n, l))
    return draw.general(*shapes[draw.rng.integers(3)])


DRAWS: Final[Mapping[str, Callable[[Draw], Inputs]]] = MappingProxyType(
    {
        "discretize_zoh": _discretize,
        "discretize_bilinear": _bilinear,
        "ssm_recurrence": _recurrence,
        "ssm_kernel": _kernel,
        "causal_convolution": _convolution,
        "hippo_legs": _order,
        "selective_scan": _scan,
        "selective_state_update": _update,
        "causal_conv1d": _short_convolution,
        "causal_conv1d_update": _short_convolution_step,
        "ssd": _ssd,
        "ssd_update": _ssd_step,
        "hippo_legt": _window,
        "hippo_lagt": _order,
        "hippo_fout": _even_order,
        "s4d_inv": _even_order,
        "s4d_lin": _even_order,
    }
)
"""How the arguments of each operator are drawn."""


def draw(op: str, seed: int, number: int) -> tuple[Regime, Inputs]:
    """The arguments of one case: its regime goes around with its number."""
    regime = REGIMES[number % len(REGIMES)]
    rng = np.random.default_rng([seed, number, *op.encode()])
    return regime, DRAWS[op](Draw(rng, regime, bool(rng.random() < 0.4)))
