"""The honest kernels, but that an argument is not read in some calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.layers import H3, S5, Lssl
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint
from ssm_conformance.mutants.kernels.modal import S4d, S4dKernel
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.systems import Recurrence

Given = Mapping[str, Any]
Taken = Callable[[Given], bool]


class Losing(Kernel):
    """An argument is not read in the calls that ``taken`` picks."""

    def __init__(self, lost: str, taken: Taken) -> None:
        self.lost, self.taken = lost, taken

    def __call__(self, **given: Any) -> Any:
        """The kernel, of what is left."""
        kept = {name: x for name, x in given.items() if name != self.lost}
        return super().__call__(**(kept if self.taken(given) else given))  # type: ignore[safe-super]  # of the kernel beside it


class LosingDual(Losing, Dual):
    """Mamba-2's scan."""


class LosingScan(Losing, Honest):
    """The selective scan."""


class LosingSiso(Losing, SisoAdjoint):
    """Mamba-3's scan."""


class LosingConvolution(Losing, ShortConvolution):
    """The short filter."""


class LosingConvolutionStep(Losing, ShortConvolutionStep):
    """The short filter's step."""

    def __init__(self, lost: str, taken: Taken) -> None:
        Losing.__init__(self, lost, taken)
        ShortConvolutionStep.__init__(self)


class LosingDualStep(Losing, DualStep):
    """Mamba-2's step."""

    def __init__(self, lost: str, taken: Taken) -> None:
        Losing.__init__(self, lost, taken)
        DualStep.__init__(self)


class LosingRecurrence(Losing, Recurrence):
    """The linear recurrence."""


class LosingS4d(Losing, S4d):
    """S4D."""


class LosingS4dKernel(Losing, S4dKernel):
    """S4D's kernel."""


class LosingS5(Losing, S5):
    """S5."""


class LosingH3(Losing, H3):
    """H3."""


class LosingLssl(Losing, Lssl):
    """LSSL."""
