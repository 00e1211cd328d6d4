"""What this backend asks of a valid call: arrays of one library, which a kernel is given the memory of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ssm_backends import DTypeError
from ssm_cpu._library import is_tensor, library_of


def check_library(inputs: Mapping[str, Any]) -> None:
    """Refuse an array that is not of u's library: a kernel is given the memory of one."""
    library_of(inputs["u"])
    wanted = _kind(inputs["u"])
    for name, x in inputs.items():
        is_array = hasattr(x, "dtype") and not isinstance(x, np.generic)
        if is_array and _kind(x) != wanted:
            raise DTypeError(f"`{name}` must be {wanted}, as `u` is; got {_kind(x)}")


def _kind(x: Any) -> str:
    if is_tensor(x):
        return "a PyTorch tensor"
    return "a NumPy array" if isinstance(x, np.ndarray) else f"{type(x).__module__}.{type(x).__name__}"
