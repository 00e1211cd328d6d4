"""Known-bad backends, and the honest one that they are made from: the suite's own test.

Each mutant has exactly one defect, taken from a real kernel or a plausible slip, and names the
case that must reject it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ssm_backends import ArgumentError, Backend
from ssm_conformance.mutants.adjoint import Honest
from ssm_conformance.mutants.chunked import Chunked
from ssm_conformance.mutants.gradients import GRADIENTS
from ssm_conformance.mutants.interface import INTERFACE
from ssm_conformance.mutants.mutant import DTYPES, Mutant, serving
from ssm_conformance.mutants.rounding import ROUNDING
from ssm_conformance.mutants.step import Step
from ssm_conformance.mutants.steps import STEPS
from ssm_conformance.mutants.structure import STRUCTURE

__all__ = ["DTYPES", "HONEST", "MUTANTS", "Mutant", "backend"]

MUTANTS: Final[Mapping[str, Mutant]] = {
    mutant.name: mutant for mutant in (*STRUCTURE, *ROUNDING, *GRADIENTS, *INTERFACE, *STEPS)
}
"""Name → mutant."""
HONEST: Final[Mapping[str, tuple[Honest | Step, ...]]] = {
    "honest": (Honest(), Step(Honest())),
    "honest-chunked": (Chunked(),),
}
"""Name → implementations without a defect, which the suite must pass."""


def backend(name: str) -> Backend:
    """A mutant, or an honest implementation, as a backend.

    Parameters
    ----------
    name
        A key of ``MUTANTS`` or of ``HONEST``.

    Raises
    ------
    ArgumentError
        If there is none of that name.
    """
    if name in HONEST:
        return serving(name, *HONEST[name])
    if name in MUTANTS:
        return MUTANTS[name].backend()
    raise ArgumentError(f"`name` must be one of {', '.join([*HONEST, *MUTANTS])}; got {name!r}")
