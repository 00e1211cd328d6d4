"""What a known-bad backend is: its defect, the check that must reject it, and the backend itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

from ssm_backends import Backend, Op
from ssm_conformance.mutants.adjoint import Honest
from ssm_conformance.mutants.bits import BitArrays
from ssm_conformance.mutants.step import Step

DTYPES: Final = ("float64", "float32", "bfloat16")
"""What the honest implementation claims, and a mutant unless it says otherwise."""
SELECTIVE: Final = ("complex", "mixed_dtypes", "grouped", "zoh")
"""Features that the scan and the step share."""
SCAN_CLAIMS: Final[Mapping[str, Any]] = {
    "dtypes": DTYPES,
    "gradients": "all",
    "features": (*SELECTIVE, "constant", "initial_state", "seq_idx", "cu_seqlens"),
    "memory": {"forward": "fused", "backward": "materialised"},
    "deterministic": True,
}
"""What the honest scan claims. Its arithmetic is undeclared: the widest bound judges it."""
STEP_CLAIMS: Final[Mapping[str, Any]] = {
    "dtypes": DTYPES,
    "features": (*SELECTIVE, "state_indices", "inplace"),
    "deterministic": True,
}
"""What the honest step claims."""


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
        The scan, or the step.
    dtypes
        Those in which it is put to the suite.
    claims
        What it claims otherwise than the honest implementation.
    """

    name: str
    failure: int | None
    summary: str
    rejected_by: str
    kernel: Honest | Step
    dtypes: tuple[str, ...] = DTYPES
    claims: Mapping[str, Any] = field(default_factory=dict)

    @property
    def op(self) -> str:
        """The operator that it implements."""
        return "selective_state_update" if isinstance(self.kernel, Step) else "selective_scan"

    def case_id(self, dtype: str) -> str:
        """Id of the case that must reject it in a dtype."""
        check, _, name = self.rejected_by.partition("/")
        return f"{self.op}/{check}/{dtype}/{name}"

    def backend(self) -> Backend:
        """The mutant as a backend like any other."""
        return serving(self.name, self.kernel, **{"dtypes": self.dtypes} | dict(self.claims))


def serving(name: str, *kernels: Honest | Step, **claims: Any) -> Backend:
    """A backend that serves the scan, the step, or both.

    Parameters
    ----------
    name
        Of the backend.
    *kernels
        At most one scan and one step.
    **claims
        What they claim otherwise than the honest implementations.
    """
    ops = {}
    for kernel in kernels:
        if isinstance(kernel, Step):
            ops["selective_state_update"] = Op(kernel, **dict(STEP_CLAIMS) | claims)
        else:
            ops["selective_scan"] = Op(kernel, vjp=kernel.vjp, **dict(SCAN_CLAIMS) | claims)
    return Backend(name=name, version=version("ssm-spec"), arrays=BitArrays(), ops=ops)
