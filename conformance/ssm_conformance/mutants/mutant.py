"""What a known-bad backend is: its defect, the check that must reject it, and the backend itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from ssm_backends import Backend
from ssm_conformance.mutants.kernels.kernel import Kernel


@dataclass(frozen=True)
class Mutant:
    """One known-bad implementation of one operator: exactly one defect.

    Attributes
    ----------
    name
        Of the mutant, and of its backend.
    failure
        Its number among the recorded failures of real kernels; None for a plausible slip.
    summary
        The defect, in one sentence.
    rejected_by
        The case that must reject it, "check/name": its id without operator and dtype.
    kernel
        The implementation.
    only
        The dtypes in which it is put to the suite; all that it claims if empty.
    claims
        What it claims otherwise than the honest implementation.
    isolated
        Whether it must be put to the suite in a worker: a call may take the process with it.
    patience
        Seconds that its case may take there.
    """

    name: str
    failure: int | None
    summary: str
    rejected_by: str
    kernel: Kernel
    only: tuple[str, ...] = ()
    claims: Mapping[str, Any] = field(default_factory=dict)
    isolated: bool = False
    patience: float = 60.0

    @property
    def op(self) -> str:
        """The operator that it implements."""
        return self.kernel.op

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes in which it is put to the suite."""
        return self.only or tuple(self.kernel.claims["dtypes"])

    @property
    def check(self) -> str:
        """The word of the check that must reject it."""
        return self.rejected_by.partition("/")[0]

    def runs_here(self) -> bool:
        """Whether its library and its device are there."""
        return self.kernel.runs_here()

    def case_id(self, dtype: str) -> str:
        """Id of the case that must reject it in a dtype."""
        check, _, name = self.rejected_by.partition("/")
        return f"{self.op}/{check}/{dtype}/{name}"

    def backend(self) -> Backend:
        """The mutant as a backend like any other."""
        return serving(self.name, self.kernel, **{"dtypes": self.dtypes} | dict(self.claims))


def serving(name: str, *kernels: Kernel, **claims: Any) -> Backend:
    """A backend that serves some operators.

    Parameters
    ----------
    name
        Of the backend.
    *kernels
        At most one an operator, all of one library.
    **claims
        What they claim otherwise than they do by themselves.
    """
    arrays = kernels[0].arrays()
    ops = {kernel.op: kernel.claimed(**claims) for kernel in kernels}
    return Backend(name=name, version=version("ssm-spec"), arrays=arrays, ops=ops)
