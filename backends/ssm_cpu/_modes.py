"""What a mode of A does in one step: its decay exp(ΔA), its hold, and the hold's slope; real or complex.

For each mode of sixteen channels a record is kept: A, the scaled forms of A that the exponential and the
circle take, and 1/A.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from typing import Final

from ssm_cpu._emit import Function
from ssm_cpu._functions import circle_product, exp2_scale, exp_product, polynomial, quieted, turn_scale
from ssm_cpu._values import Int, Lanes, Mask, choose

REAL_VECTORS: Final = 4
COMPLEX_VECTORS: Final = 8
"""Real vectors in a record."""

_HOLD: Final = (
    tuple(1 / factorial(k + 1) for k in range(10, -1, -1)),
    tuple(1 / factorial(k + 1) for k in range(19, -1, -1)),
)
"""expm1(p)/p for |p| < 1."""
_PSI: Final = (
    tuple((k + 1) / factorial(k + 2) for k in range(10, -1, -1)),
    tuple((k + 1) / factorial(k + 2) for k in range(20, -1, -1)),
)
"""ψ(p) = (p exp(p) − expm1(p))/p² for |p| < 1."""


def record_bytes(complex_: bool, vector: int) -> int:
    """Bytes of a record, for vectors of so many."""
    return (COMPLEX_VECTORS if complex_ else REAL_VECTORS) * vector


@dataclass(frozen=True)
class Mode:
    """One mode of sixteen channels: A, its scaled forms, and 1/A."""

    A: Lanes
    scales: tuple[Lanes, ...]
    inverse: Lanes

    @classmethod
    def of(cls, A: Lanes) -> Mode:
        """The mode of these lanes of A."""
        high, low = exp2_scale(A.real)
        scales = (high if A.f.program.in_register else quieted(high), low)  # no bits are computed with there
        if len(A.parts) == 1:
            return cls(A, scales, A.f.constant(1.0) / A)
        inverse = A.conj() / (A.real * A.real + A.imag * A.imag)
        return cls(A, (*scales, *turn_scale(A.imag)), inverse)

    def remember(self, address: Int) -> None:
        """Write a record."""
        f = self.A.f
        for value in (self.A, *self.scales, self.inverse):
            f.store(address, value)
            address = address + len(value.parts) * f.program.vector

    @classmethod
    def recall(cls, f: Function, address: Int) -> Mode:
        """Read a record."""
        p = f.program
        scales = 2 * p.parts
        return cls(
            A=f.load(address, p.parts),
            scales=tuple(f.load(address + (p.parts + i) * p.vector) for i in range(scales)),
            inverse=f.load(address + (p.parts + scales) * p.vector, p.parts),
        )

    def decay(self, x: Lanes) -> Lanes:
        """exp(ΔA) for x = Δ."""
        size = exp_product(x, *self.scales[:2])
        return size * circle_product(x, *self.scales[2:]) if len(self.scales) == 4 else size

    def hold(self, x: Lanes, a: Lanes) -> Lanes:
        """∫₀^Δ exp(sA) ds = expm1(ΔA)/A, which is Δ at A = 0; a = exp(ΔA)."""
        p = x * self.A
        return choose(_near(p), x * polynomial(_HOLD, p), (a - x.f.constant(1.0)) * self.inverse)

    def hold_slope(self, x: Lanes, a: Lanes, held: Lanes) -> Lanes:
        """∂/∂A of :meth:`hold`: Δ²ψ(ΔA)."""
        p = x * self.A
        return choose(_near(p), x * x * polynomial(_PSI, p), (x * a - held) * self.inverse)


def _near(p: Lanes) -> Mask:
    """|p| < 1."""
    return (p * p.conj()).real < p.f.constant(1.0)
