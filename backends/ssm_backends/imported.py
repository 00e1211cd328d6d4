"""PyTorch where it is imported already: nobody who has no tensors waits for it."""

from __future__ import annotations

import sys
from typing import Any

_TORCH: Any = None


def imported_torch() -> Any:
    """PyTorch's module; None before its import is done, which another thread may be at."""
    global _TORCH
    if _TORCH is None:
        torch = sys.modules.get("torch")
        if torch is not None and not getattr(getattr(torch, "__spec__", None), "_initializing", False):
            _TORCH = torch
    return _TORCH
