"""What the implementations have in common: an operator, claims, how arrays come in and go out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

from ssm_backends import Arrays, Op
from ssm_conformance.mutants.kernels.bits import Array, BitArrays, loaded, stored

DTYPES: Final = ("float64", "float32", "bfloat16", "float16")
"""Those in which an implementation streams its input."""
WIDE: Final = ("float64", "float32")
"""Those of an operator that streams nothing."""


class Kernel(ABC):
    """One implementation of one operator. With a method ``vjp`` it has gradients; ``forward`` may save.

    Attributes
    ----------
    op
        The operator.
    claims
        What it claims of it, as for ``ssm_backends.Op``.
    """

    op: ClassVar[str]
    claims: ClassVar[Mapping[str, Any]]

    @abstractmethod
    def __call__(self, *arguments: Any, **inputs: Any) -> Any:
        """The operator."""

    def arrays(self) -> Arrays:
        """The adapter to its library."""
        return BitArrays()

    def runs_here(self) -> bool:
        """Whether its library and its device are there."""
        return True

    def claimed(self, **claims: Any) -> Op:
        """It as a backend serves it.

        Parameters
        ----------
        **claims
            What it claims otherwise.
        """
        passes: dict[str, Any] = {name: getattr(self, name, None) for name in ("vjp", "forward")}
        return Op(self, **passes | dict(self.claims) | claims)

    def load(self, x: Any, compute: str) -> Array:
        """An argument in the compute type."""
        return loaded(x, compute)

    def store(self, x: Array, dtype: str) -> Any:
        """A result in its dtype."""
        return stored(x, dtype)

    def cotangent(self, cotangents: Mapping[str, Any], name: str, like: Array, compute: str) -> Array:
        """A cotangent in the compute type; zeros where there is none."""
        given = cotangents.get(name)
        return np.zeros_like(like) if given is None else self.load(given, compute)
