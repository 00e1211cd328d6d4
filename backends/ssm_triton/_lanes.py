"""Whether the kernels in Gluon can take a call: a rule of versions, machines and features."""

from __future__ import annotations

from functools import cache

import torch
import triton

from ssm_triton._inputs import Inputs

FIRST_TRITON = (3, 6)
"""Gluon names the layouts that are needed here from this version on; it has no interpreter."""
FIRST_CAPABILITY = (8, 0)
SHARED_BYTES = 99 * 1024
"""Shared memory of a program, at most: what GPUs of capability 8.6 and 8.9 have."""


def lanes_fit(x: Inputs) -> bool:
    """Real A in float32 with 9 to 64 states, B and C variable in time, no ZOH, a fit GPU.

    Sequences that `cu_seqlens` tells apart need a step: the kernels read whose the first and the last one is.
    """
    return (
        x.A.dtype == torch.float32
        and 8 < x.A.shape[1] <= 64
        and x.B.ndim == x.C.ndim == 4
        and not x.zoh
        and (x.cu_seqlens is None or x.u.shape[2] > 0)
        and x.u.is_cuda
        and _machine_fits(x.u.device.index)
    )


def can_be_copied(x: Inputs) -> bool:
    """Whether lanes can copy the streams to shared memory: four bytes at least, or two steps of 16 bits.

    What Triton knows of a stride, a length or an address is whether it is a multiple of 16.
    """
    for s in (x.u, x.delta, x.z, x.B, x.C):
        if s is None or s.element_size() >= 4:
            continue
        *strides, step = s.stride()
        if step != 1 or s.data_ptr() % 16 or s.shape[-1] % 16 or any(number % 16 for number in strides):
            return False
    return True


def triton_version() -> tuple[int, int]:
    """Major and minor version of Triton."""
    major, minor = triton.__version__.split(".")[:2]
    return int(major), int(minor)


@cache
def _machine_fits(device: int) -> bool:
    if triton_version() < FIRST_TRITON or triton.knobs.runtime.interpret or torch.version.hip is not None:
        return False
    properties = torch.cuda.get_device_properties(device)
    capability = (properties.major, properties.minor)
    room: int = properties.shared_memory_per_block_optin  # type: ignore[attr-defined] # missing in the stubs
    return capability >= FIRST_CAPABILITY and room >= SHARED_BYTES
