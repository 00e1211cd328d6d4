"""What is kept for a backward pass, as it was kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def as_kept(tensors: Sequence[Tensor | None]) -> list[Any]:
    """Parameters and offsets contiguous again, as kernels read them: a hook may hand back other strides.

    Parameters
    ----------
    tensors
        Of a call; those with more than two dimensions are read by their strides.
    """
    return [x if x is None or x.ndim > 2 else x.contiguous() for x in tensors]
