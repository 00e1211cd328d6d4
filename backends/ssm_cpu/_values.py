"""The values of a function under construction: integers, and sixteen channels side by side.

They carry Python's operators, each of which writes an instruction. A value of :class:`Lanes` is one vector
of LLVM's, so that kernels are vectorised by construction, on whatever width the machine has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llvmlite import ir

if TYPE_CHECKING:  # a value knows its function, and is part of what a function is made of
    from ssm_cpu._emit import Function

LANES: Final = 16
"""Channels in one vector: one register of AVX-512, two of AVX2, four of NEON, for float32."""

BIT, I16, I32, I64 = (ir.IntType(width) for width in (1, 16, 32, 64))
FLOAT, DOUBLE, HALF = ir.FloatType(), ir.DoubleType(), ir.HalfType()


@dataclass(frozen=True)
class Bit:
    """A truth value."""

    f: Function
    value: ir.Value

    def __and__(self, other: Bit) -> Bit:
        return Bit(self.f, self.f.builder.and_(self.value, other.value))

    def __or__(self, other: Bit) -> Bit:
        return Bit(self.f, self.f.builder.or_(self.value, other.value))

    @property
    def mask(self) -> Mask:
        """It, in every lane."""
        return Mask(self.f, self.f.splat(self.value))


@dataclass(frozen=True, eq=False)
class Int:
    """A 64-bit integer: a number, or an address."""

    f: Function
    value: ir.Value

    def __add__(self, other: Int | int) -> Int:
        return Int(self.f, self.f.builder.add(self.value, self.f.raw(other)))

    __radd__ = __add__

    def __sub__(self, other: Int | int) -> Int:
        return Int(self.f, self.f.builder.sub(self.value, self.f.raw(other)))

    def __mul__(self, other: Int | int) -> Int:
        return Int(self.f, self.f.builder.mul(self.value, self.f.raw(other)))

    __rmul__ = __mul__

    def __floordiv__(self, other: Int | int) -> Int:
        return Int(self.f, self.f.builder.udiv(self.value, self.f.raw(other)))

    def __mod__(self, other: Int | int) -> Int:
        return Int(self.f, self.f.builder.urem(self.value, self.f.raw(other)))

    def _compare(self, sign: str, other: Int | int) -> Bit:
        return Bit(self.f, self.f.builder.icmp_signed(sign, self.value, self.f.raw(other)))

    def __lt__(self, other: Int | int) -> Bit:
        return self._compare("<", other)

    def __le__(self, other: Int | int) -> Bit:
        return self._compare("<=", other)

    def __ge__(self, other: Int | int) -> Bit:
        return self._compare(">=", other)

    def equals(self, other: Int | int) -> Bit:
        """Whether they are the same number."""
        return self._compare("==", other)

    def differs(self, other: Int | int) -> Bit:
        """Whether they are not."""
        return self._compare("!=", other)


@dataclass(frozen=True)
class Mask:
    """Sixteen truth values."""

    f: Function
    value: ir.Value


@dataclass(frozen=True, eq=False)
class Lanes:
    """Sixteen numbers: one vector, or that of their real parts and that of their imaginary parts."""

    f: Function
    parts: tuple[ir.Value, ...]

    def __add__(self, other: Lanes) -> Lanes:
        a, b = (self, other) if len(self.parts) >= len(other.parts) else (other, self)
        sums = [self.f.builder.fadd(x, y) for x, y in zip(a.parts, b.parts, strict=False)]
        return Lanes(self.f, (*sums, *a.parts[len(sums) :]))

    def __neg__(self) -> Lanes:
        return Lanes(self.f, tuple(self.f.builder.fneg(part) for part in self.parts))

    def __sub__(self, other: Lanes) -> Lanes:
        if len(self.parts) == len(other.parts):
            pairs = zip(self.parts, other.parts, strict=True)
            return Lanes(self.f, tuple(self.f.builder.fsub(x, y) for x, y in pairs))
        return self + -other

    def __mul__(self, other: Lanes) -> Lanes:
        a, b = (self, other) if len(self.parts) >= len(other.parts) else (other, self)
        multiply = self.f.builder.fmul
        if len(b.parts) == 1:
            return Lanes(self.f, tuple(multiply(part, b.parts[0]) for part in a.parts))
        real = fma(a.real, b.real, -Lanes(self.f, (multiply(a.parts[1], b.parts[1]),)))
        imag = fma(a.real, b.imag, Lanes(self.f, (multiply(a.parts[1], b.parts[0]),)))
        return joined(real, imag)

    def __truediv__(self, other: Lanes) -> Lanes:
        assert len(other.parts) == 1, "a complex divisor is multiplied by its inverse"
        return Lanes(self.f, tuple(self.f.builder.fdiv(part, other.parts[0]) for part in self.parts))

    def __lt__(self, other: Lanes) -> Mask:
        return Mask(self.f, self.f.builder.fcmp_ordered("<", self.parts[0], other.parts[0]))

    @property
    def real(self) -> Lanes:
        """The real part."""
        return Lanes(self.f, self.parts[:1])

    @property
    def imag(self) -> Lanes:
        """The imaginary part of complex lanes."""
        return Lanes(self.f, self.parts[1:])

    def conj(self) -> Lanes:
        """The complex conjugate; itself, if real."""
        return Lanes(self.f, (*self.parts[:1], *(self.f.builder.fneg(part) for part in self.parts[1:])))

    def is_nan(self) -> Mask:
        """Which real lanes are NaN."""
        return Mask(self.f, self.f.builder.fcmp_unordered("uno", self.parts[0], self.parts[0]))


def joined(real: Lanes, imag: Lanes) -> Lanes:
    """real + i·imag."""
    return Lanes(real.f, (real.parts[0], imag.parts[0]))


def fma(a: Lanes, b: Lanes, c: Lanes) -> Lanes:
    """a·b + c, each product rounded once with its sum. c is complex if a or b is."""

    def emit(x: Lanes, y: Lanes, z: Lanes) -> Lanes:
        return Lanes(x.f, (x.f.intrinsic("llvm.fma", x.parts[0], y.parts[0], z.parts[0]),))

    if len(c.parts) == 1:
        return emit(a, b, c)
    if len(a.parts) < len(b.parts):
        a, b = b, a
    if len(a.parts) == 1:
        return joined(emit(a, b, c.real), c.imag)
    if len(b.parts) == 1:
        return joined(emit(a.real, b, c.real), emit(a.imag, b, c.imag))
    real = emit(-a.imag, b.imag, emit(a.real, b.real, c.real))
    return joined(real, emit(a.imag, b.real, emit(a.real, b.imag, c.imag)))


def real_fma(a: Lanes, b: Lanes, c: Lanes) -> Lanes:
    """Re(a·b) + c, for real c."""
    value = fma(a.real, b.real, c)
    return fma(-a.imag, b.imag, value) if len(a.parts) == len(b.parts) == 2 else value


def choose(mask: Mask, yes: Lanes, no: Lanes) -> Lanes:
    """`yes` in the lanes where the mask holds, `no` elsewhere."""
    pairs = zip(yes.parts, no.parts, strict=True)
    return Lanes(yes.f, tuple(yes.f.builder.select(mask.value, *pair) for pair in pairs))
