"""What honest arithmetic may do: the facts about an implementation, and the constants of its rounding.

Every bound in this package is a running error analysis written with these names
(Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., sections 2.2, 3.1 and 3.3).
The docs page "How the bounds are derived" has the proofs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, log2
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ssm_spec._errors import DomainError

ComputeType = Literal["float32", "float64"]
StorageType = Literal["float64", "float32", "bfloat16", "float16"]
Evaluation = Literal["any", "sequential", "scan", "right_fold", "chunk", "matmul_chunk", "fft"]
Softplus = Literal["log1p", "naive"]
DecayedState = Literal["direct", "subtractive"]
SavedGate = Literal["compute", "io"]
Operands = Literal["compute", "bfloat16", "float16", "tf32"]

UNIT_ROUNDOFF: Final = {"float64": 2.0**-53, "float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}
"""u, half the gap between 1 and the next number: the relative error of rounding to nearest."""
SMALLEST_NORMAL: Final = {
    "float64": 2.0**-1022,
    "float32": 2.0**-126,
    "bfloat16": 2.0**-126,
    "float16": 2.0**-14,
}
LARGEST_FINITE: Final = {
    "float64": (2 - 2.0**-52) * 2.0**1023,
    "float32": (2 - 2.0**-23) * 2.0**127,
    "bfloat16": (2 - 2.0**-7) * 2.0**127,
    "float16": 65504.0,
}
COARSEST: Final = 2**14
"""The largest error of a function, in units of u, that is still arithmetic: the 8192 ulp that OpenCL allows
half_exp, half_log and half_divide, the coarsest functions of single precision in any standard. It leaves ten
bits; from 1/u on the error would be as large as the value, and anything would pass."""
_LARGEST_OPERAND: Final = {"compute": float("inf"), "tf32": (2 - 2.0**-10) * 2.0**127, **LARGEST_FINITE}


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """The arithmetic of one implementation of one operator: facts, never tolerances.

    Fields
    ------
    compute
        The type in which everything between load and store is computed.
    io
        The type of the streamed inputs and outputs; at most as wide as ``compute``.
    evaluation
        The order of evaluation in time. "sequential" is one step after the other; "scan"
        any bracketing of the associative operator, sequential included; "any" the
        element-wise maximum of "scan" and "chunk" at 256, which is what an implementation
        gets that declares nothing.
    chunk
        Q, the length of a chunk, for "chunk" and "matmul_chunk"; at most 1024.
    fold_depth
        r, for "right_fold": the most tree nodes that share one right end. Over l steps no tree has
        more than l.
    softplus
        How log(1 + exp(x)) is computed: "log1p", or "naive" (no guard for small exp(x)).
    decayed_state
        How a_t h_{t-1} is obtained for the gradient of A and delta: "direct", or
        "subtractive" (as h_t - b_t u_t).
    saved_gate
        The type in which the output before the gate is kept for the backward pass:
        "compute" or "io".
    operands
        The type to which operands of a matrix product are rounded: "compute", or narrower.
    k_exp, k_log, k_div, k_scale
        Error of exp, log1p, division and the prescaled argument of exp2, in units of
        the unit roundoff. The defaults follow the single-precision limits of the
        OpenCL specification (3, 2 and 2.5 ulp); at most 16384, what it allows half_exp.

    Raises
    ------
    DomainError
        Naming a field whose word or number is none of these.
    """

    compute: ComputeType = "float32"
    io: StorageType | None = None
    evaluation: Evaluation = "any"
    chunk: int = 256
    fold_depth: int | None = None
    softplus: Softplus = "log1p"
    decayed_state: DecayedState = "subtractive"
    saved_gate: SavedGate = "compute"
    operands: Operands = "compute"
    k_exp: float = 6
    k_log: float = 4
    k_div: float = 5
    k_scale: float = 3

    def __post_init__(self) -> None:
        for name, words in _WORDS.items():
            given = getattr(self, name)
            if not isinstance(given, str | None) or given not in words:
                raise DomainError(f"`{name}` must be one of {words}; got {given!r}")
        if UNIT_ROUNDOFF[self.storage] < self.u:
            raise DomainError(f"`io` must be at most as wide as `compute`, {self.compute}; got {self.io!r}")
        if self.evaluation == "right_fold" and self.fold_depth is None:
            raise DomainError("`fold_depth` must be given when `evaluation` is 'right_fold'; got None")
        _check_whole("chunk", self.chunk, 1024)
        if self.fold_depth is not None:
            _check_whole("fold_depth", self.fold_depth, 2**31)
        for name in ("k_exp", "k_log", "k_div", "k_scale"):
            _check_roundings(name, getattr(self, name))

    @property
    def storage(self) -> StorageType:
        """The type of the streamed inputs and outputs."""
        return self.compute if self.io is None else self.io

    @property
    def u(self) -> float:
        """Unit roundoff of the compute type."""
        return UNIT_ROUNDOFF[self.compute]

    @property
    def eta(self) -> float:
        """What flushing a subnormal result to zero may lose: the smallest normal number."""
        return SMALLEST_NORMAL[self.compute]

    @property
    def largest(self) -> float:
        """The largest finite number of the compute type, or of its operands' type if that is less.

        What is larger may be rounded to an infinity where it becomes an operand.
        """
        return min(LARGEST_FINITE[self.compute], _LARGEST_OPERAND[self.operands])

    @property
    def in_chunks(self) -> bool:
        """Whether time is cut into chunks, by products of matrices or not."""
        return self.evaluation in ("chunk", "matmul_chunk")

    def tree_depth(self, steps: int) -> int:
        """R, how often a path through the tree over so many steps turns right at most."""
        if self.evaluation == "right_fold" and self.fold_depth is not None:
            return min(int(self.fold_depth), steps)  # the leaves are the steps, and what is before them
        return ceil(log2(max(steps, 1)))

    @property
    def operand_rounding(self) -> float:
        """The relative error of a product of products whose operands are rounded to a narrower type.

        In a chunk a weight (C·B, then exp and Δ) and what it multiplies are rounded, or two of the
        carried state's factors; what comes in is exact in that type: else see :class:`RoundedInputs`.
        """
        if self.operands == "compute":
            return 0.0
        # Hardware may truncate to tf32's 10 bits instead of rounding to nearest.
        return 2.0 * (2.0**-10 if self.operands == "tf32" else UNIT_ROUNDOFF[self.operands])

    def product(self, complex_: bool) -> float:
        """u_m, the relative error of one product: 2√2 u if complex (Higham, lemma 3.5), else u."""
        return 2.0 * 2.0**0.5 * self.u if complex_ else self.u

    def exponential(self, complex_: bool) -> float:
        """k_e: a complex exponential takes exp, sin and cos and two products."""
        return 15.0 if complex_ else self.k_exp


@dataclass(frozen=True, kw_only=True)
class ComplexArithmetic(Arithmetic):
    """The same among complex numbers: of either component of a product two real products may be lost."""

    @property
    def eta(self) -> float:
        """2√2 times the smallest normal number; a factor that is read as zero loses √2."""
        eta: float = 2.0 * 2.0**0.5 * SMALLEST_NORMAL[self.compute]
        return eta

    @classmethod
    def of(cls, arithmetic: Arithmetic) -> Arithmetic:
        """The arithmetic asked about; this package's own is not changed, which flushes nothing."""
        if arithmetic is ORACLE or isinstance(arithmetic, cls):
            return arithmetic
        return cls(**vars(arithmetic))


@dataclass(frozen=True, kw_only=True)
class RoundedInputs(Arithmetic):
    """The same where what comes in is rounded as an operand as well: two more of a product's factors."""

    @property
    def operand_rounding(self) -> float:
        """Twice as much."""
        return 2.0 * super().operand_rounding

    @classmethod
    def of(cls, arithmetic: Arithmetic, *inputs: NDArray[np.float64]) -> Arithmetic:
        """The arithmetic asked about, if the type of its operands has all these numbers."""
        bits = _SIGNIFICAND.get(arithmetic.operands)
        exact = bits is None or all(_has_bits(x, bits) for x in inputs)
        return arithmetic if exact else cls(**vars(arithmetic))


_SIGNIFICAND: Final = {"bfloat16": 8, "float16": 11, "tf32": 11}
"""Bits of a number of the type, the leading one counted."""


def _has_bits(x: NDArray[np.float64], bits: int) -> bool:
    """Whether so many bits hold every finite number; of a subnormal one what is lost is flushing's."""
    significand, _ = np.frexp(x[np.isfinite(x)])
    whole = np.ldexp(significand, bits)
    return bool((whole == np.rint(whole)).all())


def _check_whole(name: str, given: Any, most: int) -> None:
    whole = isinstance(given, int | np.integer) and not isinstance(given, bool)
    if not whole or not 1 <= given <= most:
        raise DomainError(f"`{name}` must be an integer in 1..{most}; got {given!r:.80}")


def _check_roundings(name: str, given: Any) -> None:
    real = isinstance(given, int | float | np.integer | np.floating) and not isinstance(given, bool)
    if not real or not 0 <= given <= COARSEST:
        raise DomainError(f"`{name}` must be a number in 0..{COARSEST}; got {given!r:.80}")


_WORDS: Final[dict[str, tuple[str | None, ...]]] = {
    "compute": get_args(ComputeType),
    "io": (*get_args(StorageType), None),
    "evaluation": get_args(Evaluation),
    "softplus": get_args(Softplus),
    "decayed_state": get_args(DecayedState),
    "saved_gate": get_args(SavedGate),
    "operands": get_args(Operands),
}
"""The words that a field of `Arithmetic` may hold."""

ORACLE: Final = Arithmetic(compute="float64", evaluation="sequential", decayed_state="direct")
"""How this package itself computes: float64, sequential in time."""


@dataclass(frozen=True)
class Bounded:
    """One array of exact meaning: its value, and how far from it an honest result may lie.

    Attributes
    ----------
    value
        The oracle's value, float64 or complex128.
    bound
        For each element, the largest |error| of honest arithmetic of the stated kind
        (the modulus, for complex elements). float64, same shape.
    own
        The same for the oracle's own evaluation in float64.
    judged
        False where the exact value, or an intermediate that feeds it, leaves the range
        of the compute type, so that honest forms of evaluation differ. bool, same shape.
    """

    value: NDArray[Any]
    bound: NDArray[np.float64]
    own: NDArray[np.float64]
    judged: NDArray[np.bool_] = field(repr=False)

    def map(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Bounded:
        """The same in another layout."""
        return Bounded(change(self.value), change(self.bound), change(self.own), change(self.judged))
