"""Launching a kernel again without finding out again what Triton makes of its arguments.

Of each argument Triton asks at every launch what the kernel is compiled for: its type, whether it is a
multiple of 16, whether it is 1. That takes the host longer than most of these kernels take the device. It
follows from types, numbers and alignment alone; so it is settled once for each kind of launch, and the
compiled kernel, which Triton hands back, is launched from then on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from triton.compiler import CompiledKernel
from triton.runtime.jit import JITFunction

from ssm_backends.once import MOST

ALIGNED: Final = 16
"""Bytes: what Triton asks of an address."""
_KNOWN: Final[dict[tuple[Any, ...], tuple[CompiledKernel, tuple[Any, ...], JITFunction[Any]]]] = {}
"""Kind of launch → the compiled kernel, its arguments after those that are given, and whose it is."""


def launch(kernel: Any, grid: tuple[int, ...], *given: Any, **constants: Any) -> None:
    """``kernel[grid](*given, **constants)``, on the current stream; its tensors are on the current device.

    Parameters
    ----------
    kernel
        Of ``triton.jit`` or ``gluon.jit``.
    grid
        Programs along one to three axes.
    *given
        Its first arguments: tensors, whole numbers, flags, None.
    **constants
        All others, and how to compile it. Numbers that are equal are the same to it: of floats no zero may be
        negative.
    """
    if not isinstance(kernel, JITFunction) or kernel.pre_run_hooks:  # the interpreter's; or somebody looks on
        kernel[grid](*given, **constants)
        return
    kind = (id(kernel), *constants.values(), *[_read(x) for x in given])
    found = _KNOWN.get(kind)
    if found is not None:
        compiled, rest, _ = found
        compiled[(*grid, 1, 1)[:3]](*given, *rest)
        return
    compiled = kernel[grid](*given, **constants)
    if isinstance(compiled, CompiledKernel):
        if len(_KNOWN) >= MOST:
            _KNOWN.clear()
        rest = tuple(constants[name] for name in kernel.arg_names[len(given) :])
        _KNOWN[kind] = compiled, rest, kernel  # which keeps its id


def _read(x: Any) -> Any:
    """All that Triton compiles for, of an argument."""
    kind = type(x)
    if x is None or kind is int:
        return x
    if kind is bool:
        return kind, x
    return x.dtype, x.get_device(), x.data_ptr() % ALIGNED


def without_sign(numbers: Iterable[float]) -> list[float]:
    """Floats as constants of :func:`launch`: a zero is positive."""
    return [float(x) + 0.0 for x in numbers]
