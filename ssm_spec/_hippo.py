"""The HiPPO-LegS system, whose state holds the Legendre coefficients of everything seen so far.

    A_nk = −√((2n+1)(2k+1)) for n > k, −(n+1) for n = k, 0 for n < k;   B_n = √(2n+1)

(HiPPO, arXiv:2008.07669, theorem 2; the sign that makes h' = A h + B u stable.)
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ssm_spec._calls import arguments_of, operator
from ssm_spec._errors import DomainError, DTypeError
from ssm_spec._roundoff import UNIT_ROUNDOFF, Arithmetic, Bounded
from ssm_spec._validate import Float

_DTYPES: Final = ("float64", "float32", "bfloat16", "float16")
_MOST_STATES: Final = 2**26
"""(2n + 1)(2k + 1) is then an exact float64, so that its square root is correctly rounded."""
UNITS: Final = 4.0


@operator
def hippo_legs(n: int, *, dtype: str = "float64") -> tuple[Float, Float]:
    """Return A (n, n) and B (n, 1) of HiPPO-LegS, every entry correctly rounded to float64.

    Parameters
    ----------
    n
        The number of states, >= 1.
    dtype
        The type that an implementation was asked for; the oracle returns float64 always.

    Returns
    -------
    A, B
        (n, n) and (n, 1), float64.
    """
    size = read_order(n, dtype)
    odd = 2.0 * np.arange(size) + 1.0
    A = -np.tril(np.sqrt(np.outer(odd, odd)), -1) - np.diag(np.arange(1.0, size + 1.0))
    # A positive zero above the diagonal, not the −0 of the negated triangle.
    return A + 0.0, np.sqrt(odd)[:, None]


@arguments_of(hippo_legs)
def hippo_legs_bounds(*, arithmetic: Arithmetic, n: int, dtype: str = "float64") -> dict[str, Bounded]:
    """Return both outputs with 4 u for each entry: two roots, their product, and the rounding of each.

    An entry above the diagonal is exactly zero.
    """
    return {
        name: Bounded(
            value,
            UNITS * arithmetic.u * np.abs(value),
            UNIT_ROUNDOFF["float64"] * np.abs(value),
            np.ones(value.shape, dtype=bool),
        )
        for name, value in zip(("A", "B"), hippo_legs(n, dtype=dtype), strict=True)
    }


def read_order(n: object, dtype: object) -> int:
    """Check the number of states and the name of the type asked for."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise DTypeError(f"`n` must be an integer; got {n!r}")
    if not 1 <= n <= _MOST_STATES:
        raise DomainError(f"`n` must lie in 1..{_MOST_STATES}; got {n}")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise DTypeError(f"`dtype` must be one of {_DTYPES}; got {dtype!r}")
    return int(n)
