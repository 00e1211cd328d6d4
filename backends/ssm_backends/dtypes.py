"""Names of dtypes and what follows from a name: precision, complex counterpart, compute type.

Names are NumPy's, plus ``bfloat16``. Nothing here imports an array library.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

REAL: Final = ("bfloat16", "float16", "float32", "float64")
COMPLEX_OF: Final = {"float32": "complex64", "float64": "complex128"}
REAL_OF: Final = {"complex64": "float32", "complex128": "float64"}
INDEX: Final = ("int32", "int64")
HALF: Final = ("bfloat16", "float16")


def dtype_name(x: Any) -> str:
    """Name of an array's dtype, whatever its library: 'float32', 'bfloat16', 'complex64', …

    Parameters
    ----------
    x : any array with a ``dtype``
    """
    return str(x.dtype).rpartition(".")[2]


def is_complex(name: str) -> bool:
    """Whether the named dtype is complex."""
    return name in REAL_OF


def real_of(name: str) -> str:
    """The real dtype of the same precision: itself, if real."""
    return REAL_OF.get(name, name)


def compute_dtype(names: Iterable[str]) -> str:
    """The type in which a call is computed: the widest input type, at least float32."""
    return "float64" if any(real_of(name) == "float64" for name in names) else "float32"
