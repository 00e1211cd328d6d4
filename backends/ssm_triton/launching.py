"""Launching a kernel again without finding out again what Triton makes of its arguments.

Of each argument Triton asks at every launch what the kernel is compiled for: its type, whether it is a
multiple of 16, whether it is 1. That takes the host longer than most of these kernels take the device. It
follows from types, numbers and alignment alone; so it is settled once for each kind of launch, and the
compiled kernel, which Triton hands back, is launched from then on. For AMD's GPUs Triton also asks how much
memory stands behind a tensor, of which 32 bits may not reach the end: there every launch is Triton's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from triton.compiler import CompiledKernel
from triton.runtime.jit import JITFunction

from ssm_backends.once import MOST

ALIGNED: Final = 16
"""Bytes: what Triton asks of an address."""
_KNOWN: Final[dict[tuple[Any, ...], tuple[CompiledKernel, tuple[Any, ...], JITFunction[Any]]]] = {}
"""Kind of launch → the compiled kernel, its arguments after those that are given, and whose it is."""


def launch(
    kernel: Any,
    grid: tuple[int, ...],
    tensors: Sequence[Tensor | None],
    numbers: Iterable[int],
    **constants: Any,
) -> None:
    """``kernel[grid](*tensors, *numbers, **constants)``, on the current stream.

    Parameters
    ----------
    kernel
        Of ``triton.jit`` or ``gluon.jit``.
    grid
        Programs along one to three axes.
    tensors
        Its first arguments, on the current device.
    numbers
        The next ones.
    **constants
        All others, and how to compile it. Those that are equal are the same to it: of floats no zero may be
        negative (:func:`without_sign`).
    """
    interpreted = not isinstance(kernel, JITFunction)
    if interpreted or kernel.pre_run_hooks or torch.version.hip is not None:  # hooks: somebody looks on
        kernel[grid](*tensors, *numbers, **constants)
        return
    numbers = tuple(numbers)
    arrays: list[tuple[Any, ...] | None] = []
    addresses: list[int | None] = []
    for x in tensors:
        if x is None:
            addresses.append(None)
            arrays.append(None)
        else:
            addresses.append(address := x.data_ptr())
            arrays.append((x.dtype, x.get_device(), address % ALIGNED))
    kind = (id(kernel), numbers, *constants.values(), *arrays)
    found = _KNOWN.get(kind)
    if found is not None:
        compiled, rest, _ = found
        compiled[(*grid, 1, 1)[:3]](*addresses, *numbers, *rest)
        return
    compiled = kernel[grid](*tensors, *numbers, **constants)
    if isinstance(compiled, CompiledKernel):
        if len(_KNOWN) >= MOST:
            _KNOWN.clear()
        given = len(tensors) + len(numbers)
        rest = tuple(constants[name] for name in kernel.arg_names[given:])
        _KNOWN[kind] = compiled, rest, kernel  # which keeps its id


def without_sign(numbers: Iterable[float]) -> list[float]:
    """Floats as constants of :func:`launch`: a zero is positive."""
    return [float(x) + 0.0 for x in numbers]
