"""1 first, then many of 0.9 of a half of an ulp of it: added in order, the sum stays 1.

Of a complex product with `TURNED` the real part is two such terms, and the imaginary one cancels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ssm_spec import Bounded

Arrays = dict[str, Any]
COUNT = 64
LOST = np.float32(0.9 * 2.0**-24)
DIAGONAL, TURNED = np.complex64(1 + 1j), np.complex64(LOST * (1 - 1j))


def first(one: Any, others: Any, *shape: int) -> Any:
    """Numbers of which the first is another one."""
    array = np.full(shape, others)
    array.flat[0] = one
    return array


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


def ratio_of_one(bounded: Bounded, where: Any = ...) -> float:
    """The error of 1 over what is granted."""
    assert bounded.judged.all()
    return float(np.max((np.abs(1 - bounded.value) / (bounded.bound + bounded.own))[where]))
