"""What is measured: shapes, dtypes and passes, and the least that each has to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Pass = Literal["forward", "both", "step"]
PASSES: Final[tuple[Pass, ...]] = ("forward", "both", "step")
BYTES: Final = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}


@dataclass(frozen=True)
class Shape:
    """b batch, d channels, l length, n state."""

    b: int
    d: int
    l: int
    n: int

    def __str__(self) -> str:
        """As in the tables: b, d, l, n."""
        return f"{self.b}, {self.d}, {self.l}, {self.n}"

    @property
    def elements(self) -> int:
        """b·d·l."""
        return self.b * self.d * self.l


@dataclass(frozen=True)
class Problem:
    """One row of a benchmark: the selective scan with z, D, delta_bias and softplus, real A.

    Attributes
    ----------
    pass_
        "forward": values alone. "both": values and the gradient of every input.
        "step": one decode step of b rows (l = 1).
    shape, dtype
        Sizes, and the dtype of u, delta, z, B, C and y; parameters and states are float32 or wider.
    """

    pass_: Pass
    shape: Shape
    dtype: str

    @property
    def operator(self) -> str:
        """The operator that is called."""
        return "selective_state_update" if self.pass_ == "step" else "selective_scan"

    @property
    def exponentials(self) -> int:
        """One for each state and step, and once more to recompute it for the gradient."""
        return self.shape.elements * self.shape.n * (2 if self.pass_ == "both" else 1)

    @property
    def bytes(self) -> int:
        """Every input read and every output written once in each pass that needs it."""
        s, wide = self.shape, max(BYTES[self.dtype], 4)
        streams, matrices = s.elements * BYTES[self.dtype], 2 * s.b * s.n * s.l * BYTES[self.dtype]
        parameters = (s.d * s.n + 2 * s.d) * wide
        forward = 4 * streams + matrices + parameters
        if self.pass_ == "step":
            return forward + 2 * s.b * s.d * s.n * wide
        if self.pass_ == "forward":
            return forward
        return forward + 7 * streams + 2 * matrices + 2 * parameters

    def inputs(self, seed: int) -> Mapping[str, Any]:
        """Arguments of a call, by name, in float64; step sizes are those that Mamba starts from."""
        rng = np.random.default_rng(seed)
        s, step = self.shape, self.pass_ == "step"

        def normal(*size: int) -> NDArray[Any]:
            return rng.standard_normal(size)

        time = () if step else (s.l,)
        delta = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), s.d))
        inputs: dict[str, Any] = {"state": normal(s.b, s.d, s.n)} if step else {}
        return inputs | {
            "u": normal(s.b, s.d, *time),
            "delta": 0.5 * normal(s.b, s.d, *time),
            "A": -np.tile(np.arange(1.0, s.n + 1), (s.d, 1)),
            "B": normal(s.b, s.n, *time),
            "C": normal(s.b, s.n, *time),
            "D": np.ones(s.d),
            "z": normal(s.b, s.d, *time),
            "delta_bias": np.log(np.expm1(delta)),
            "delta_softplus": True,
        }


GPU_SHAPES: Final = tuple(
    Shape(*sizes)
    for sizes in (
        (8, 2048, 2048, 16),
        (2, 5120, 2048, 16),
        (8, 1536, 2048, 16),
        (1, 2048, 2048, 16),
        (2, 2048, 2048, 16),
        (1, 1536, 65536, 16),
        (32, 768, 512, 16),
        (4, 2048, 4096, 64),
    )
)
CPU_SHAPES: Final = tuple(
    Shape(*sizes) for sizes in ((1, 1536, 512, 16), (1, 1536, 2048, 16), (2, 256, 1024, 16))
)
STEPS: Final = {"cuda": (1, 64, 256), "cpu": (1, 8)}
STEP_CHANNELS: Final = {"cuda": 5120, "cpu": 1536}


def default_problems(kind: str, dtype: str, passes: tuple[Pass, ...]) -> Iterator[Problem]:
    """The rows of a benchmark on a kind of device, "cuda" or "cpu"."""
    for pass_ in passes:
        if pass_ == "step":
            for b in STEPS[kind]:
                yield Problem(pass_, Shape(b, STEP_CHANNELS[kind], 1, 16), dtype)
        else:
            for shape in GPU_SHAPES if kind == "cuda" else CPU_SHAPES:
                yield Problem(pass_, shape, dtype)


def growth(kind: str, dtype: str, pass_: Pass) -> Mapping[str, tuple[Problem, ...]]:
    """For each of l, n, d and b: problems in which that size alone doubles."""
    base = Shape(2, 1024, 1024, 16) if kind == "cuda" else Shape(1, 256, 256, 16)
    longest = 6 if kind == "cuda" else 4

    def along(symbol: str, doublings: int) -> tuple[Problem, ...]:
        sizes = {"b": base.b, "d": base.d, "l": base.l, "n": base.n}
        return tuple(
            Problem(pass_, Shape(**sizes | {symbol: sizes[symbol] << k}), dtype) for k in range(doublings)
        )

    return {"l": along("l", longest), "n": along("n", 4), "d": along("d", 4), "b": along("b", 4)}
