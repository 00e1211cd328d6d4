"""A small language for kernels: Python functions that write LLVM code as they run.

A :class:`Function` is one function under construction; its values are those of `_values`. What is known
when the kernel is written, such as the type of the state, is plain Python and leaves no trace in the
code. Memory is addressed by integers: an array is its address and its strides in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

from llvmlite import ir

from ssm_cpu._values import DOUBLE, FLOAT, I32, I64, LANES, Bit, Int, Lanes

T = TypeVar("T")


@dataclass
class Program:
    """One module under construction, for one type of state.

    Attributes
    ----------
    double
        Whether the compute type is float64; float32 if not.
    complex
        Whether states are complex.
    halves
        Whether the processor converts float16. If not, arrays of it must be refused.
    processor
        The first word of LLVM's name of the machine: "x86_64", "aarch64", …
    avx512
        Whether the processor has AVX-512 (F and DQ).
    """

    double: bool
    complex: bool
    halves: bool = True
    processor: str = ""
    avx512: bool = False
    module: ir.Module = field(default_factory=ir.Module)
    written: dict[str, ir.Function] = field(default_factory=dict)

    @property
    def real(self) -> ir.Type:
        """LLVM's compute type."""
        return DOUBLE if self.double else FLOAT

    @property
    def width(self) -> int:
        """Bytes of a real number."""
        return 8 if self.double else 4

    @property
    def vector(self) -> int:
        """Bytes of sixteen real numbers."""
        return LANES * self.width

    @property
    def parts(self) -> int:
        """Real numbers in a state."""
        return 2 if self.complex else 1

    @property
    def in_register(self) -> bool:
        """Whether sixteen real numbers are one register of AVX-512."""
        return self.avx512 and not self.double

    @property
    def together(self) -> int:
        """Steps of time that are computed side by side: as many as there are registers for."""
        return 4 if self.in_register else 1

    def function(
        self, name: str, count: int, body: Callable[..., None], *, public: bool = False
    ) -> ir.Function:
        """A function of `count` integers, written by ``body(f, *integers)`` when it is first asked for."""
        if name not in self.written:
            kind = ir.FunctionType(ir.VoidType(), [I64] * count)
            made = ir.Function(self.module, kind, name)
            made.linkage = "external" if public else "internal"
            if not public:  # inlined, a loop would spill the registers it needs for its caller's sake
                made.attributes.add("noinline")
            self.written[name] = made
            f = Function(self, ir.IRBuilder(made.append_basic_block("entry")))
            with f.flushing() if public and not self.double else nullcontext():
                body(f, *(Int(f, argument) for argument in made.args))
            f.builder.ret_void()
        return self.written[name]


class Variable:
    """What a loop may change: an integer or lanes. The optimiser puts it in registers."""

    def __init__(self, f: Function, initial: Int | Lanes) -> None:
        self._f = f
        self._integer = isinstance(initial, Int)
        with f.builder.goto_entry_block():
            self._places = [f.builder.alloca(part.type) for part in self._parts(initial)]
        self.set(initial)

    @staticmethod
    def _parts(value: Int | Lanes) -> tuple[ir.Value, ...]:
        return (value.value,) if isinstance(value, Int) else value.parts

    def set(self, value: Int | Lanes) -> None:
        """Give it another value."""
        for part, place in zip(self._parts(value), self._places, strict=True):
            self._f.builder.store(part, place)

    @property
    def lanes(self) -> Lanes:
        """Its value, if it holds lanes."""
        return Lanes(self._f, tuple(self._f.builder.load(place) for place in self._places))

    @property
    def integer(self) -> Int:
        """Its value, if it holds an integer."""
        return Int(self._f, self._f.builder.load(self._places[0]))


class Function:
    """One function under construction.

    Parameters
    ----------
    program
        What it belongs to.
    builder
        llvmlite's builder, at its entry.
    """

    def __init__(self, program: Program, builder: ir.IRBuilder) -> None:
        self.program = program
        self.builder = builder

    def raw(self, x: Int | int) -> ir.Value:
        """LLVM's value of an integer."""
        return x.value if isinstance(x, Int) else I64(x)

    def number(self, x: int) -> Int:
        """A known integer."""
        return Int(self, I64(x))

    def call(self, name: str, body: Callable[..., None], *arguments: Int | int) -> None:
        """Call a function of the program, which ``body(f, *integers)`` writes."""
        self.builder.call(
            self.program.function(name, len(arguments), body), [self.raw(argument) for argument in arguments]
        )

    # Control.

    @contextmanager
    def loop(self, stop: Int | int, start: Int | int = 0, step: int = 1) -> Iterator[Int]:
        """A loop over start, start + step, … below `stop`."""
        index = Variable(self, Int(self, self.raw(start)))
        with self.while_(lambda: index.integer < stop):
            yield index.integer
            index.set(index.integer + step)

    @contextmanager
    def while_(self, condition: Callable[[], Bit]) -> Iterator[None]:
        """A loop for as long as a condition holds, which is tested before each turn."""
        head, body, after = (self.builder.append_basic_block(name) for name in ("head", "body", "after"))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(condition().value, body, after)
        self.builder.position_at_end(body)
        yield
        self.builder.branch(head)
        self.builder.position_at_end(after)

    def side_by_side(self, count: int, body: Callable[[int], T]) -> list[T]:
        """What ``body(0)`` to ``body(count - 1)`` return, their instructions taking turns.

        An exponential is a long chain, and a processor has few places for instructions that wait: so placed,
        most of them need not. A body may not branch, and none may take what another gives.
        """
        instructions = self.builder.block.instructions
        begin = len(instructions)
        results, written = [], []
        for i in range(count):
            here = len(instructions)
            results.append(body(i))
            written.append(instructions[here:])
        instructions[begin:] = [one for turn in zip(*written, strict=True) for one in turn]
        return results

    def each(self, steps: Int, body: Callable[[Int], None]) -> None:
        """``body(t)`` for every t below `steps`, some of them side by side.

        They are rounded up to whole turns, so there must be room for a few more.
        """
        turn = self.program.together
        with self.loop(steps, step=turn) as t:
            self.side_by_side(turn, lambda k: body(t + k))

    def turns(self, steps: Int, body: Callable[[Int, int], None], turn: int) -> None:
        """``body(t, count)`` does `count` steps from t on: as many as a turn has, then one by one."""
        whole = steps // turn * turn
        with self.loop(whole, step=turn) as t:
            body(t, turn)
        if turn > 1:
            with self.loop(steps, whole) as t:
                body(t, 1)

    def when(self, condition: Bit) -> AbstractContextManager[Any]:
        """What is written inside runs if the condition holds."""
        held: AbstractContextManager[Any] = self.builder.if_then(condition.value)
        return held

    def either(self, condition: Bit) -> AbstractContextManager[Any]:
        """``with f.either(c) as (then, otherwise): with then: …; with otherwise: …``."""
        held: AbstractContextManager[Any] = self.builder.if_else(condition.value)
        return held

    @contextmanager
    def flushing(self) -> Iterator[None]:
        """What is written inside takes subnormal numbers for zero, which the bound of float32 allows.

        A state that decays through them costs ten times the time otherwise (measured). The caller's
        own mode is restored.
        """
        match self.program.processor:
            case "x86_64":
                yield from self._flushing_x86()
            case "aarch64" | "arm64":
                yield from self._flushing_arm()
            case _:
                yield

    def _flushing_x86(self) -> Iterator[None]:
        """Bits 15 (results) and 6 (operands) of MXCSR."""
        place, ours = self.builder.alloca(I32), self.builder.alloca(I32)
        kind = ir.FunctionType(ir.VoidType(), [ir.PointerType()])
        get, put = (
            self.program.module.declare_intrinsic(f"llvm.x86.sse.{name}", fnty=kind)
            for name in ("stmxcsr", "ldmxcsr")
        )
        self.builder.call(get, [place])
        self.builder.store(self.builder.or_(self.builder.load(place, typ=I32), I32(0x8040)), ours)
        self.builder.call(put, [ours])
        yield
        self.builder.call(put, [place])

    def _flushing_arm(self) -> Iterator[None]:
        """Bit 24 of FPCR."""
        module = self.program.module
        get = module.declare_intrinsic("llvm.aarch64.get.fpcr", fnty=ir.FunctionType(I64, []))
        put = module.declare_intrinsic("llvm.aarch64.set.fpcr", fnty=ir.FunctionType(ir.VoidType(), [I64]))
        mode = self.builder.call(get, [])
        self.builder.call(put, [self.builder.or_(mode, I64(1 << 24))])
        yield
        self.builder.call(put, [mode])

    # Integers and memory.

    def least(self, a: Int | int, b: Int | int) -> Int:
        """The smaller of two integers."""
        x, y = self.raw(a), self.raw(b)
        return Int(self, self.builder.select(self.builder.icmp_signed("<", x, y), x, y))

    def pick(self, condition: Bit, yes: Int | int, no: Int | int) -> Int:
        """One of two integers."""
        return Int(self, self.builder.select(condition.value, self.raw(yes), self.raw(no)))

    def pointer(self, address: Int, kind: ir.Type) -> ir.Value:
        """An address as LLVM's pointer."""
        return self.builder.inttoptr(address.value, kind.as_pointer())

    def word(self, address: Int, offset: int = 0) -> Int:
        """The 64-bit integer at an address."""
        return Int(self, self.builder.load(self.pointer(address + offset, I64), align=8, typ=I64))

    def word32(self, address: Int) -> Int:
        """The 32-bit integer at an address."""
        return Int(
            self, self.builder.sext(self.builder.load(self.pointer(address, I32), align=4, typ=I32), I64)
        )

    def take(self, address: Int) -> Int:
        """The integer at an address, which is then one more: atomic, so that threads may share out tasks."""
        return Int(self, self.builder.atomic_rmw("add", self.pointer(address, I64), I64(1), "monotonic"))

    def fetch(self, address: Int, *, write: bool) -> None:
        """Ask for the cache line at an address, which need not be anybody's."""
        kind = ir.FunctionType(ir.VoidType(), [ir.PointerType(), I32, I32, I32])
        function = self.program.module.declare_intrinsic("llvm.prefetch.p0", fnty=kind)
        self.builder.call(function, [self.pointer(address, I64), I32(int(write)), I32(3), I32(1)])

    def load(self, address: Int, parts: int = 1) -> Lanes:
        """Lanes at an address: the real parts, then the imaginary parts."""
        p = self.program
        kind = ir.VectorType(p.real, LANES)
        places = [self.pointer(address + i * p.vector, kind) for i in range(parts)]
        return Lanes(self, tuple(self.builder.load(place, align=p.width, typ=kind) for place in places))

    def store(self, address: Int, value: Lanes) -> None:
        """Write lanes to an address."""
        p = self.program
        for i, part in enumerate(value.parts):
            self.builder.store(part, self.pointer(address + i * p.vector, part.type), align=p.width)

    def spread(self, address: Int, parts: int = 1) -> Lanes:
        """The one number at an address, in every lane; a complex one is two neighbours in memory."""
        p = self.program
        places = [self.pointer(address + i * p.width, p.real) for i in range(parts)]
        numbers = [self.builder.load(place, align=p.width, typ=p.real) for place in places]
        return Lanes(self, tuple(self.splat(number) for number in numbers))

    # Lanes.

    def splat(self, scalar: ir.Value) -> ir.Value:
        """The vector that has one number in every lane."""
        kind = ir.VectorType(scalar.type, LANES)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, I32(0))
        return self.builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(I32, LANES), [0] * LANES))

    def constant(self, value: float) -> Lanes:
        """The same known number in every lane."""
        kind = ir.VectorType(self.program.real, LANES)
        return Lanes(self, (ir.Constant(kind, [value] * LANES),))

    def zeros(self, parts: int = 1) -> Lanes:
        """Zero in every lane."""
        return Lanes(self, self.constant(0.0).parts * parts)

    def intrinsic(self, name: str, *values: ir.Value) -> ir.Value:
        """One of LLVM's own functions, whose arguments and result are vectors of one type."""
        kind = values[0].type
        letter = "f64" if self.program.double else "f32"
        function = ir.FunctionType(kind, [kind] * len(values))
        name = f"{name}.v{LANES}{letter}"
        return self.builder.call(self.program.module.declare_intrinsic(name, fnty=function), list(values))

    def avx512(self, name: str, a: Lanes, b: Lanes, *control: int) -> Lanes:
        """An instruction of AVX-512 by LLVM's name, for two registers of float32."""
        (x,), (y,) = a.parts, b.parts
        every, rounding = ir.IntType(LANES)(-1), I32(4)
        values = [x, y, *(I32(c) for c in control), x, every, rounding]
        kind = ir.FunctionType(x.type, [value.type for value in values])
        function = self.program.module.declare_intrinsic(f"llvm.x86.avx512.mask.{name}.ps.512", fnty=kind)
        return Lanes(self, (self.builder.call(function, values),))

    def shuffled(self, a: ir.Value, b: ir.Value, order: Sequence[int]) -> ir.Value:
        """The vector of those lanes, of sixteen of `a` and then sixteen of `b`."""
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(order)), list(order)))
