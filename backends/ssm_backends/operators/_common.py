"""What the declarations of several families share."""

from __future__ import annotations

from typing import Final

BASE_FEATURES: Final = {
    "complex": "A is complex: one mode of each conjugate pair is kept",
    "mixed_dtypes": "arrays of a call may differ in dtype where the specification allows it",
}
