"""Mutants that raise where there is nothing to compute: no row, channel, head or width, with options."""

from __future__ import annotations

from typing import Any, Final

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.convolution import Convolution
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.layers import Lssl
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint, SisoAdjointStep
from ssm_conformance.mutants.kernels.modal import S4d
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant


class _Needing(Kernel):
    """Some calls of no elements raise: a reshape that has to find a size, or a launch over nothing."""

    def __init__(self, name: str, axis: int, *others: str) -> None:
        self.name, self.axis, self.others = name, axis, others

    def __call__(self, **given: Any) -> Any:
        among = all(given.get(other) is not None for other in self.others)
        if among and given[self.name].shape[self.axis] == 0:
            raise RuntimeError("cannot reshape array of 0 elements: the size of an axis is ambiguous")
        return super().__call__(**given)  # type: ignore[safe-super]  # of the kernel beside it


class _NeedingGroups(_Needing):
    """The same where there are several groups."""

    def __init__(self, name: str, axis: int, matrix: str, groups: int) -> None:
        super().__init__(name, axis)
        self.grouped_by, self.of = matrix, groups

    def __call__(self, **given: Any) -> Any:
        shape = given[self.grouped_by].shape
        if len(shape) > self.of + 1 and shape[self.of] > 1:
            return super().__call__(**given)
        return super(_Needing, self).__call__(**given)  # type: ignore[safe-super]  # of the kernel beside it


class _ScanOf(_Needing, Honest):
    pass


class _ScanOfGroups(_NeedingGroups, Honest):
    pass


class _DualOf(_Needing, Dual):
    pass


class _DualOfGroups(_NeedingGroups, Dual):
    pass


class _SisoOf(_Needing, SisoAdjoint):
    pass


class _SisoOfGroups(_NeedingGroups, SisoAdjoint):
    pass


class _ConvolutionOf(_Needing, ShortConvolution):
    pass


class _LongConvolutionOf(_Needing, Convolution):
    pass


class _S4dOf(_Needing, S4d):
    pass


class _LsslOf(_Needing, Lssl):
    pass


class _SisoStepOf(_Needing, SisoAdjointStep):
    pass


class _SisoStepOfGroups(_NeedingGroups, SisoAdjointStep):
    pass


class _StepOf(_Needing, Step):
    def __init__(self, *needed: Any) -> None:
        _Needing.__init__(self, *needed)
        Step.__init__(self, Honest())


class _StepOfGroups(_NeedingGroups, Step):
    def __init__(self, *needed: Any) -> None:
        _NeedingGroups.__init__(self, *needed)
        Step.__init__(self, Honest())


class _DualStepOf(_Needing, DualStep):
    def __init__(self, *needed: Any) -> None:
        _Needing.__init__(self, *needed)
        DualStep.__init__(self)


class _DualStepOfGroups(_NeedingGroups, DualStep):
    def __init__(self, *needed: Any) -> None:
        _NeedingGroups.__init__(self, *needed)
        DualStep.__init__(self)


class _ConvolutionStepOf(_Needing, ShortConvolutionStep):
    def __init__(self, *needed: Any) -> None:
        _Needing.__init__(self, *needed)
        ShortConvolutionStep.__init__(self)


def _mutant(name: str, failure: int | None, summary: str, rejected_by: str, kernel: Kernel) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=("float32",))


NONE_WITH_OPTIONS: Final = (
    *(
        _mutant(f"{kind}no-{what}-fails", 8, f"{summary} raises.", f"robustness/{case}", kernel)
        for kind, what, summary, case, kernel in (
            (
                "", "row-of-groups", "A batch of zero with groups", "no-batch-grouped",
                _ScanOfGroups("u", 0, "B", 1),
            ),
            (
                "", "packed-row", "A batch of zero that is packed", "no-batch-packed",
                _ScanOf("u", 0, "seq_idx"),
            ),
            (
                "", "row-of-modes", "A batch of zero under the exact hold", "no-batch-complex-zoh",
                _ScanOf("u", 0, "b_discretization"),
            ),
            (
                "ssd-", "row-of-groups", "A batch of zero with groups", "no-batch-grouped",
                _DualOfGroups("x", 0, "B", 2),
            ),
            (
                "ssd-", "packed-row", "A batch of zero that is packed", "no-batch-packed",
                _DualOf("x", 0, "seq_idx"),
            ),
            (
                "mamba3-", "row-of-groups", "A batch of zero with groups", "no-batch-grouped",
                _SisoOfGroups("v", 0, "q", 2),
            ),
            (
                "mamba3-", "packed-row", "A batch of zero that is packed", "no-batch-packed",
                _SisoOf("v", 0, "seq_idx"),
            ),
            (
                "conv1d-", "packed-row", "A batch of zero that is packed", "no-batch-packed",
                _ConvolutionOf("x", 0, "seq_idx"),
            ),
            (
                "step-", "row-of-groups", "A batch of zero with groups", "no-batch-grouped",
                _StepOfGroups("u", 0, "B", 1),
            ),
            (
                "ssd-step-", "row-of-groups", "A batch of zero with groups", "no-batch-grouped",
                _DualStepOfGroups("x", 0, "B", 1),
            ),
            (
                "mamba3-step-", "row-of-groups", "A batch of zero with groups", "no-batch-grouped",
                _SisoStepOfGroups("v", 0, "q", 1),
            ),
            ("conv1d-", "channel", "A width of zero", "no-channels", _ConvolutionOf("x", 1)),
            ("conv1d-step-", "channel", "A width of zero", "no-channels", _ConvolutionStepOf("x", 1)),
            ("step-", "channel", "A width of zero", "no-channels", _StepOf("u", 1)),
            ("conv-", "channel", "A width of zero", "no-channels", _LongConvolutionOf("u", 1)),
            ("s4d-", "channel", "A width of zero", "no-channels", _S4dOf("u", 1)),
            ("lssl-", "channel", "A width of zero", "no-channels", _LsslOf("u", 1)),
            ("ssd-step-", "head", "A step of no heads", "no-heads", _DualStepOf("x", 1)),
            ("ssd-step-", "width", "A step of heads of no width", "no-width", _DualStepOf("x", 2)),
            ("mamba3-", "head", "A call of no heads", "no-heads", _SisoOf("v", 2)),
            ("mamba3-", "width", "A call of heads of no width", "no-width", _SisoOf("v", 3)),
            ("mamba3-step-", "head", "A step of no heads", "no-heads", _SisoStepOf("v", 1)),
            ("mamba3-step-", "width", "A step of heads of no width", "no-width", _SisoStepOf("v", 2)),
        )
    ),
)  # fmt: skip
"""Defects of calls of no elements."""
