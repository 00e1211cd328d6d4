"""Gluon's language on NumPy: the kernels' arithmetic and addresses, one program after another, on a CPU.

Gluon has no interpreter. What depends on lanes and warps is left out: a layout says nothing here, so that a
wrong one is not seen, nor a missing barrier; and what is written in instructions has a twin here. What a
kernel reads and writes, and where, is seen. Shared memory holds NaN until it is written.
"""

from __future__ import annotations

import importlib.util
import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

import ssm_triton

KERNELS = ("_lanes_forward", "_few_forward", "_lanes_messages", "_lanes_backward")
LAYOUTS = ("_lanes_layouts", "_lanes_pairs", "_forward_layouts", "_few_layouts")
NEEDED = ("_math", *LAYOUTS, "_lanes_resets", "_lanes_tiles", *KERNELS)


class Kind:
    """The type of an element, or of a pointer to one."""

    def __init__(self, numpy: Any) -> None:
        self.numpy = np.dtype(numpy)
        self.primitive_bitwidth = 8 * self.numpy.itemsize

    @property
    def element_ty(self) -> Kind:
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kind) and self.numpy == other.numpy

    def __hash__(self) -> int:
        return hash(self.numpy)


class Layout:
    """Any layout: nothing."""

    reg_bases = lane_bases = warp_bases = ()
    shape = ()
    layout: Layout

    def __init__(self, *_: Any, **__: Any) -> None:
        self.layout = self

    @classmethod
    def with_identity_for(cls, *_: Any) -> Layout:
        return cls()


def value(x: Any) -> Any:
    """What NumPy computes with."""
    return x.x if isinstance(x, Tensor) else x


class Tensor:
    """A tensor of a program, or a scalar that is none of its constants."""

    type = Layout()

    def __init__(self, x: Any) -> None:
        self.x = np.asarray(x)

    shape = property(lambda self: self.x.shape)
    dtype = property(lambda self: Kind(self.x.dtype))

    def to(self, kind: Kind, bitcast: bool = False) -> Tensor:
        return Tensor(self.x.view(kind.numpy) if bitcast else self.x.astype(kind.numpy))

    def reshape(self, shape: list[int]) -> Tensor:
        return Tensor(self.x.reshape(shape))

    def permute(self, order: tuple[int, ...]) -> Tensor:
        return Tensor(self.x.transpose(order))

    def __getitem__(self, at: Any) -> Tensor:
        return Tensor(self.x[at])

    def __bool__(self) -> bool:
        return bool(self.x)

    def __index__(self) -> int:
        return int(self.x)

    def __neg__(self) -> Tensor:
        return Tensor(-self.x)

    __hash__ = None  # type: ignore[assignment] # as of arrays


def _add_operators() -> None:
    for name in [
        "add",
        "sub",
        "mul",
        "truediv",
        "floordiv",
        "mod",
        "and_",
        "or_",
        "rshift",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
    ]:
        fn = getattr(operator, name)
        plain = name.rstrip("_")
        setattr(Tensor, f"__{plain}__", lambda a, b, fn=fn: fn_of(fn, a, b))
        setattr(Tensor, f"__r{plain}__", lambda a, b, fn=fn: fn_of(fn, b, a))


def fn_of(fn: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    """An operator; a pointer takes its own."""
    if isinstance(a, Pointer) or isinstance(b, Pointer):
        return NotImplemented
    return Tensor(fn(value(a), value(b)))


_add_operators()


class Pointer:
    """Addresses of elements of one array."""

    def __init__(self, flat: np.ndarray, at: Any = 0) -> None:
        self.flat, self.at, self.dtype = flat, at, Kind(flat.dtype)

    def __add__(self, steps: Any) -> Pointer:
        return Pointer(self.flat, self.at + value(steps))

    def __sub__(self, steps: Any) -> Pointer:
        return Pointer(self.flat, self.at - value(steps))


class Shared:
    """Shared memory, or a part of it."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    def store(self, given: Tensor) -> None:
        assert self.x.shape == given.shape
        self.x[...] = given.x

    def load(self, _: Any) -> Tensor:
        return Tensor(self.x.copy())

    def index(self, at: Any) -> Shared:
        return Shared(self.x[int(value(at))])

    def slice(self, start: int, size: int, dim: int) -> Shared:
        return Shared(self.x[(slice(None),) * dim + (slice(start, start + size),)])

    def reinterpret(self, _: Any, shape: list[int], __: Any) -> Shared:
        return Shared(self.x.reshape(shape))


class Kernel:
    """A function, or a kernel that is launched over a grid."""

    program = 0

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        def launch(
            *args: Any, num_warps: int, enable_fp_fusion: bool, maxnreg: int | None = None, **constants: Any
        ) -> None:
            given = [as_argument(x) for x in args]
            with np.errstate(all="ignore"):
                for Kernel.program in range(grid[0]):
                    self.fn(*given, **constants)

        return launch


def as_argument(x: Any) -> Any:
    """A tensor as a pointer to all of its memory, a number as a scalar."""
    if torch.is_tensor(x):
        storage = x.untyped_storage()
        flat = torch.tensor([], dtype=x.dtype).set_(storage, 0, (storage.nbytes() // x.element_size(),))
        return Pointer(flat.numpy(), x.storage_offset())
    return x if x is None else Tensor(np.int64(x))


def load(at: Pointer, mask: Any = True, other: float = 0.0, **_: Any) -> Tensor:
    """Elements where the mask is set; an address outside of the array fails."""
    where, chosen = np.broadcast_arrays(at.at, value(mask))
    assert not chosen.any() or 0 <= where[chosen].min() <= where[chosen].max() < at.flat.size
    return Tensor(np.where(chosen, at.flat[np.where(chosen, where, 0)], at.flat.dtype.type(other)))


def store(at: Pointer, given: Any, mask: Any = True) -> None:
    """Write elements where the mask is set, none of them twice with different values."""
    where, chosen, x = np.broadcast_arrays(at.at, value(mask), value(given))
    assert not chosen.any() or 0 <= where[chosen].min() <= where[chosen].max() < at.flat.size
    written = x[chosen].astype(at.flat.dtype)
    at.flat[where[chosen]] = written
    assert np.array_equal(at.flat[where[chosen]], written, equal_nan=True), "one element, two values"


def atomic_add(at: Pointer, more: int, **_: Any) -> Tensor:
    """What was there."""
    before = at.flat[at.at].copy()
    at.flat[at.at] += more
    return Tensor(before)


class Copies:
    """Copies to shared memory, which have come when they are waited for; NaN is there before."""

    def __init__(self) -> None:
        self.asked: list[tuple[Shared, Tensor]] = []
        self.committed: list[list[tuple[Shared, Tensor]]] = []

    def async_copy_global_to_shared(self, memory: Shared, at: Pointer, mask: Any) -> None:
        """Ask for one; zero where the mask is not set."""
        self.asked.append((memory, load(at, mask)))
        memory.x[...] = np.nan

    def commit_group(self) -> None:
        """What was asked for is one group."""
        self.committed.append(self.asked)
        self.asked = []

    def wait_group(self, outstanding: int) -> None:
        """All groups are there but the last `outstanding`."""
        while len(self.committed) > outstanding:
            for memory, given in self.committed.pop(0):
                memory.store(given)


def fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """a b + c, rounded once."""
    return Tensor((a.x.astype(np.float64) * b.x + c.x).astype(a.x.dtype))


def exchanged(a: Tensor, b: Tensor, bit: int, _: int) -> Tensor:
    """See `_lanes_layouts`; its instruction passes on what lies in another lane."""
    rank = np.arange(a.shape[0])
    late = ((rank & bit) != 0)[:, None]
    return Tensor(np.where(late, b.x, a.x) + np.where(late, a.x, b.x)[rank ^ bit])


def stepped(a: Tensor, h: Tensor, x: Tensor, word: Tensor, step: int) -> Tensor:
    """See `_few_forward`."""
    return x if word.x >> step & 1 else fma(a, h, x)


def handed_on(turn: Pointer, given: Any) -> None:
    """See `_lanes_layouts`."""
    turn.flat[turn.at] = value(given)


def _elementwise(fn: Callable[..., Any]) -> Callable[..., Tensor]:
    return lambda *args: Tensor(fn(*(value(x) for x in args)))


def language() -> ModuleType:
    """What the kernels import as `gl` and as `tl`."""
    gl: Any = ModuleType("language")
    gl.constexpr = lambda x: x
    gl.float32, gl.float64, gl.int32, gl.int64 = map(Kind, (np.float32, np.float64, np.int32, np.int64))
    gl.bfloat16 = Kind("V2")
    gl.program_id = lambda _: Tensor(np.int64(Kernel.program))
    gl.static_range = range
    gl.static_assert = lambda condition: None
    gl.barrier = lambda: None
    gl.cdiv = lambda a, b: Tensor(-(-value(a) // value(b)))
    gl.arange = lambda first, stop, _: Tensor(np.arange(first, stop))
    gl.zeros = lambda shape, kind, _: Tensor(np.zeros(shape, kind.numpy))
    gl.full = lambda shape, x, kind, _: Tensor(np.full(shape, x, kind.numpy))
    gl.exp2, gl.abs, gl.where, gl.maximum, gl.minimum = map(
        _elementwise, (np.exp2, np.abs, np.where, np.maximum, np.minimum)
    )
    gl.sum = lambda x, axis: Tensor(x.x.sum(axis, dtype=x.x.dtype))
    gl.join = lambda a, b: Tensor(np.stack([a.x, b.x], -1))
    gl.split = lambda x: (Tensor(x.x[..., 0]), Tensor(x.x[..., 1]))
    gl.permute = lambda x, order: x.permute(order)
    gl.convert_layout = lambda x, _: x
    gl.load, gl.store, gl.atomic_add, gl.fma = load, store, atomic_add, fma
    gl.shared_memory_descriptor = Shared
    gl.allocate_shared_memory = lambda kind, shape, _: Shared(np.full(shape, np.nan, kind.numpy))
    for name in ["DistributedLinear", "Slice", "Blocked", "SwizzledShared", "PaddedShared"]:
        setattr(gl, f"{name}Layout", Layout)
    return gl


def jit(fn: Callable[..., Any] | None = None, **_: Any) -> Any:
    """The decorator, with options or without."""
    return Kernel(fn) if fn is not None else Kernel


def steps(*bounds: Any) -> Any:
    """`range`: the counter of a loop whose bounds are no constants is a scalar of the program."""
    counted = range(*map(operator.index, bounds))
    known = all(isinstance(bound, int) for bound in bounds)
    return counted if known else (Tensor(np.int64(k)) for k in counted)


@contextmanager
def kernels_on_numpy() -> Iterator[None]:
    """Within it, the kernels in Gluon that a launch imports are these."""
    gl = language()
    fakes: dict[str, Any] = {
        name: ModuleType(name)
        for name in ("triton", "triton.experimental", "triton.experimental.gluon", "triton.runtime.jit")
    }
    fakes["triton"].jit = jit
    fakes["triton.experimental.gluon"].jit = jit
    fakes["triton.experimental"].gluon = fakes["triton.experimental.gluon"]
    fakes["triton.experimental.gluon"].language = gl
    fakes["triton.runtime.jit"].constexpr_function = lambda fn: fn
    fakes["triton.language"] = fakes["triton.experimental.gluon.language"] = gl
    fakes["triton"].language = gl
    fakes["triton.experimental.gluon.language.nvidia"] = ModuleType("nvidia")
    fakes["triton.experimental.gluon.language.nvidia.ampere"] = ampere = ModuleType("ampere")
    ampere.async_copy = Copies()
    ours = [f"ssm_triton.{name}" for name in NEEDED]
    known = {name: sys.modules.pop(name, None) for name in (*fakes, *ours)}
    sys.modules.update(fakes)
    try:
        for name in NEEDED:
            _load(name)
        for name in fakes:
            del sys.modules[name]
        sys.modules.update({name: x for name, x in known.items() if x is not None and name in fakes})
        yield
    finally:
        for name, x in known.items():
            sys.modules.pop(name, None)
            if x is not None:
                sys.modules[name] = x


def _load(name: str) -> None:
    path = Path(ssm_triton.__file__).parent / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"ssm_triton.{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    module.range = steps
    spec.loader.exec_module(module)
    if name == "_few_forward":
        module.stepped = stepped
    if name == "_lanes_layouts":
        module.exchanged, module.handed_on = exchanged, handed_on
        module.awaited = lambda turn: Tensor(turn.flat[turn.at])
        module.reciprocal = lambda x: Tensor(1 / x.x)
        module.widened = lambda x: x.to(Kind(np.float32))
