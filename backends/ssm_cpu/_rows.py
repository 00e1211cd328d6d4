"""Sixteen neighbours in memory as lanes, or the first few of them; complex ones each part after the other."""

from __future__ import annotations

from typing import Final

from llvmlite import ir

from ssm_cpu._emit import Function
from ssm_cpu._values import I32, LANES, Int, Lanes, Mask

_IN_TURN: Final = [lane // 2 + LANES * (lane % 2) for lane in range(2 * LANES)]
"""Of real parts and then imaginary ones, the order of complex numbers in memory."""


def load_row(f: Function, address: Int, parts: int, count: Int | None = None) -> Lanes:
    """Lanes of the compute type; those past `count` are 0, and their memory is not touched."""
    vectors = [_load(f, *place) for place in _places(f, address, parts, count)]
    if parts == 2:
        low, high = vectors
        vectors = [f.shuffled(low, high, range(part, 2 * LANES, 2)) for part in range(2)]
    return Lanes(f, tuple(vectors))


def store_row(f: Function, address: Int, value: Lanes, count: Int | None = None) -> None:
    """The inverse of :func:`load_row`."""
    vectors = list(value.parts)
    if len(vectors) == 2:
        real, imag = vectors
        vectors = [f.shuffled(real, imag, half) for half in (_IN_TURN[:LANES], _IN_TURN[LANES:])]
    for vector, place in zip(vectors, _places(f, address, len(vectors), count), strict=True):
        _store(f, vector, *place)


def _places(f: Function, address: Int, parts: int, count: Int | None) -> list[tuple[Int, Mask | None]]:
    """Of each vector of a row, its address, and which of its lanes are there."""
    masks = [None if count is None else first_lanes(f, count * parts - i * LANES) for i in range(parts)]
    return [(address + i * f.program.vector, mask) for i, mask in enumerate(masks)]


def first_lanes(f: Function, count: Int) -> Mask:
    """The first `count` lanes."""
    lanes = ir.Constant(ir.VectorType(I32, LANES), list(range(LANES)))
    return Mask(f, f.builder.icmp_signed("<", lanes, f.splat(f.builder.trunc(count.value, I32))))


def _load(f: Function, address: Int, mask: Mask | None) -> ir.Value:
    if mask is None:
        return f.load(address).parts[0]
    none = f.zeros().parts[0]
    return _masked(f, "load", none.type, f.pointer(address, none.type), mask.value, none)


def _store(f: Function, vector: ir.Value, address: Int, mask: Mask | None) -> None:
    if mask is None:
        f.store(address, Lanes(f, (vector,)))
    else:
        _masked(f, "store", ir.VoidType(), vector, f.pointer(address, vector.type), mask.value)


def _masked(f: Function, name: str, result: ir.Type, *values: ir.Value) -> ir.Value:
    """LLVM's access to some lanes of a vector in memory; the alignment follows the pointer."""
    given: list[ir.Value] = []
    for value in values:
        given += [value, I32(f.program.width)] if isinstance(value.type, ir.PointerType) else [value]
    kinds = [ir.PointerType() if isinstance(v.type, ir.PointerType) else v.type for v in given]
    name = f"llvm.masked.{name}.v{LANES}f{8 * f.program.width}.p0"
    function = f.program.module.declare_intrinsic(name, fnty=ir.FunctionType(result, kinds))
    return f.builder.call(function, given)
