"""Numbers between arrays of any dtype and the compute type: one, or sixteen neighbours, at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir

from ssm_cpu._emit import Function
from ssm_cpu._values import DOUBLE, FLOAT, HALF, I16, I32, LANES, Int

BFLOAT16, FLOAT16, FLOAT32, FLOAT64, COMPLEX64, COMPLEX128 = 1, 2, 3, 4, 5, 6
CODES: Final = {
    "bfloat16": BFLOAT16,
    "float16": FLOAT16,
    "float32": FLOAT32,
    "float64": FLOAT64,
    "complex64": COMPLEX64,
    "complex128": COMPLEX128,
}
"""Name of a dtype → its code in the table of a call. A complex dtype's is 2 more than that of its parts."""

_STORED: Final = {FLOAT32: FLOAT, BFLOAT16: I16, FLOAT16: HALF, FLOAT64: DOUBLE}


def size_of(f: Function, code: Int) -> Int:
    """Bytes of a real number of a stored dtype, or of one part of a complex one."""
    double = code.equals(FLOAT64) | code.equals(COMPLEX128)
    return f.pick(code < FLOAT32, 2, f.pick(double, 8, 4))


def part_of(f: Function, code: Int) -> Int:
    """The code of a complex dtype's parts; of a real one, itself."""
    return f.pick(code < COMPLEX64, code, code - 2)


def own_code(f: Function) -> int:
    """The code of the compute type."""
    return FLOAT64 if f.program.double else FLOAT32


def read(f: Function, target: Int, source: Int, code: Int, count: int = 1) -> None:
    """Copy one real number, or sixteen neighbours, into the compute type."""
    f.call(f"read_{count}", _reader(count), target, source, code)


def write(f: Function, target: Int, source: Int, code: Int, count: int = 1) -> None:
    """Copy one real number, or sixteen neighbours, from the compute type, rounded once to nearest even."""
    f.call(f"write_{count}", _writer(count), target, source, code)


def _reader(count: int) -> Callable[..., None]:
    def body(f: Function, target: Int, source: Int, code: Int) -> None:
        own = _shaped(f.program.real, count)
        for each, stored in _stored(f).items():
            with f.when(code.equals(each)):
                kind = _shaped(stored, count)
                raw = f.builder.load(f.pointer(source, kind), align=1, typ=kind)
                f.builder.store(_widen(f, raw, each, count), f.pointer(target, own), align=f.program.width)

    return body


def _writer(count: int) -> Callable[..., None]:
    def body(f: Function, target: Int, source: Int, code: Int) -> None:
        own = _shaped(f.program.real, count)
        value = f.builder.load(f.pointer(source, own), align=f.program.width, typ=own)
        for each, stored in _stored(f).items():
            with f.when(code.equals(each)):
                place = f.pointer(target, _shaped(stored, count))
                f.builder.store(_narrow(f, value, each, count), place, align=1)

    return body


def _stored(f: Function) -> dict[int, ir.Type]:
    """The dtypes that can be converted: float16 only where the processor does it, for LLVM would call C."""
    return {code: kind for code, kind in _STORED.items() if f.program.halves or code != FLOAT16}


def _shaped(kind: ir.Type, count: int) -> ir.Type:
    return ir.VectorType(kind, count) if count > 1 else kind


def _filled(kind: ir.Type, count: int, value: Any) -> ir.Constant:
    return ir.Constant(_shaped(kind, count), [value] * count if count > 1 else value)


def _cast(f: Function, value: ir.Value, stored: ir.Type, wanted: ir.Type, count: int) -> ir.Value:
    if stored == wanted:
        return value
    return (f.builder.fpext if wanted == DOUBLE else f.builder.fptrunc)(value, _shaped(wanted, count))


def _widen(f: Function, raw: ir.Value, code: int, count: int) -> ir.Value:
    """A stored number in the compute type."""
    if code == FLOAT64:
        return _cast(f, raw, DOUBLE, f.program.real, count)
    if code == BFLOAT16:
        bits = f.builder.shl(f.builder.zext(raw, _shaped(I32, count)), _filled(I32, count, 16))
        raw = f.builder.bitcast(bits, _shaped(FLOAT, count))
    if code == FLOAT16:
        raw = f.builder.fpext(raw, _shaped(FLOAT, count))
    return _cast(f, raw, FLOAT, f.program.real, count)


def _narrow(f: Function, value: ir.Value, code: int, count: int) -> ir.Value:
    """A number of the compute type as it is stored."""
    if code in (FLOAT32, FLOAT64):
        return _cast(f, value, f.program.real, _STORED[code], count)
    single = _to_odd(f, value, count) if f.program.double else value
    return (
        f.builder.fptrunc(single, _shaped(HALF, count)) if code == FLOAT16 else _to_bfloat16(f, single, count)
    )


def _to_odd(f: Function, value: ir.Value, count: int) -> ir.Value:
    """float64 as float32, rounded to odd: what is lost stays visible to the rounding that follows."""
    b = f.builder
    near = b.fptrunc(value, _shaped(FLOAT, count))
    lost = b.fsub(value, b.fpext(near, _shaped(DOUBLE, count)))
    bits = b.bitcast(near, _shaped(I32, count))
    zero, none, one = _filled(DOUBLE, count, 0.0), _filled(I32, count, 0), _filled(I32, count, 1)
    even = b.icmp_unsigned("==", b.and_(bits, one), none)
    inexact = b.and_(b.fcmp_ordered("!=", lost, zero), even)
    outward = b.icmp_unsigned("==", b.fcmp_ordered("<", lost, zero), b.fcmp_ordered("<", value, zero))
    step = b.select(outward, one, _filled(I32, count, -1))
    return b.bitcast(b.add(bits, b.select(inexact, step, none)), _shaped(FLOAT, count))


def _to_bfloat16(f: Function, value: ir.Value, count: int) -> ir.Value:
    b = f.builder
    bits = b.bitcast(value, _shaped(I32, count))
    half = _filled(I32, count, 16)
    odd = b.and_(b.lshr(bits, half), _filled(I32, count, 1))
    rounded = b.lshr(b.add(b.add(bits, _filled(I32, count, 0x7FFF)), odd), half)
    nan = b.fcmp_unordered("uno", value, value)
    return b.trunc(b.select(nan, _filled(I32, count, 0x7FC0), rounded), _shaped(I16, count))


WHOLE: Final = LANES
"""The count that copies sixteen neighbours."""
