"""How the suite talks to an array library: into it, out of it, and what can be observed there."""

from ssm_backends.arrays.numpy import NumpyArrays
from ssm_backends.arrays.protocol import Arrays, Layout, MemoryUse
from ssm_backends.arrays.torch import TorchArrays

__all__ = ["Arrays", "Layout", "MemoryUse", "NumpyArrays", "TorchArrays"]
