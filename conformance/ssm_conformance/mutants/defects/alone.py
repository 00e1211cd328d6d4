"""Mutants of the path that is taken where no state is returned, as in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

import numpy as np

from ssm_backends.dtypes import dtype_name
from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.layers import S5, Lssl
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint
from ssm_conformance.mutants.kernels.modal import S4d
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.systems import Recurrence
from ssm_conformance.mutants.mutant import Mutant

_FLAGS: Final = ("return_last_state", "return_final_states")


def _alone(given: Mapping[str, Any]) -> bool:
    """Whether no state is asked for."""
    return not any(given.get(flag) for flag in _FLAGS)


class _InSinglePrecision(Kernel):
    """Without a state to return, the output in float64 is computed in float32."""

    def __call__(self, **given: Any) -> Any:
        found = super().__call__(**given)  # type: ignore[safe-super]  # of the kernel beside it
        return found.astype("float32").astype("float64") if _alone(given) else found


class _Scan(_InSinglePrecision, Honest):
    pass


class _Filter(_InSinglePrecision, ShortConvolution):
    pass


class _Dual(_InSinglePrecision, Dual):
    pass


class _Siso(_InSinglePrecision, SisoAdjoint):
    pass


class _System(_InSinglePrecision, Recurrence):
    pass


class _S4d(_InSinglePrecision, S4d):
    pass


class _S5(_InSinglePrecision, S5):
    pass


class _Lssl(_InSinglePrecision, Lssl):
    pass


class _StatesInHalf(Honest):
    """Without a state to return, those of streams in 16 bits are kept in 16 bits."""

    narrow = False

    def __call__(self, **given: Any) -> Any:
        self.narrow = _alone(given) and dtype_name(given["u"]) == "bfloat16"
        return super().__call__(**given)

    def advance(self, p: Problem, t: int, h: Array) -> tuple[Array, Array]:
        decayed, after = super().advance(p, t, h)
        return decayed, rounded(after, "bfloat16") if self.narrow else after


class _ChunksInHalf(Dual):
    """The same of the states that heads carry from chunk to chunk."""

    def outputs(self, a: Mapping[str, Array], given: Mapping[str, Any]) -> tuple[Array, Array]:
        narrow = dtype_name(given["x"]) == "bfloat16"
        y, last = super().outputs(a, given)
        return (y if not narrow else self.carried_in_half(a, given, y)), last

    def carried_in_half(self, a: Mapping[str, Array], given: Mapping[str, Any], y: Array) -> Array:
        """y as it is where the states are rounded at each step, but for the first chunk."""
        scan = _StatesInHalf()
        scan.narrow = True
        p = scan.prepare(**self.in_scan(a, given))
        v = scan.finish(p, scan.scan(p)[0])
        b, l, h, width = y.shape
        found = y.copy()
        found[:, 64:] = v.reshape(b, h, width, l).transpose(0, 3, 1, 2)[:, 64:]
        return found

    def __call__(self, *, return_final_states: bool = False, **given: Any) -> Any:
        """The operator."""
        if return_final_states:
            return Dual()(return_final_states=True, **given)
        return super().__call__(**given)


class _TapsInHalf(ShortConvolution):
    """Without a state to return, what the taps of a filter in 16 bits give is added up in 16 bits."""

    narrow = False

    def __call__(self, **given: Any) -> Any:
        self.narrow = _alone(given) and dtype_name(given["x"]) == "bfloat16"
        return super().__call__(**given)

    def before_activation(self, line: Array, weight: Array, bias: Array, seen: Array) -> Array:
        p = super().before_activation(line, weight, bias, seen)
        return rounded(p, "bfloat16") if self.narrow else p


class _ByOrderInMemory(Kernel):
    """Without a state to return, the input is read in the order in which it lies."""

    primary: ClassVar[str] = "u"

    def __call__(self, **given: Any) -> Any:
        x = given[self.primary]
        if _alone(given) and x.ndim > 1:
            given[self.primary] = np.ravel(x, "K").reshape(x.shape)
        return super().__call__(**given)  # type: ignore[safe-super]  # of the kernel beside it


class _ScanByOrder(_ByOrderInMemory, Honest):
    pass


class _FilterByOrder(_ByOrderInMemory, ShortConvolution):
    primary = "x"


class _RowsByProduct(ShortConvolution):
    """Without a state to return, a row is taken from a batch by a product with zeros and ones."""

    def __call__(self, **given: Any) -> Any:
        found = super().__call__(**given)
        return found + 0 * found.sum(0) if _alone(given) else found


class _StatesMaterialised(Honest):
    """Without a state to return, every state is kept until the outputs are made."""

    def __call__(self, **given: Any) -> Any:
        if _alone(given):
            p = self.prepare(**{name: x for name, x in given.items() if name not in _FLAGS})
            kept = [h for times, rows in p.spans() for _, _, h in self.states(p, times, p.initial[rows])]
            assert kept
        return super().__call__(**given)


def _narrowed(op: str, kernel: Callable[[], Any]) -> Mutant:
    return Mutant(
        f"{op}-alone-in-single", None, "Where no state is returned, float64 goes by way of float32.",
        "value/alone", kernel(), only=("float64",),
    )  # fmt: skip


def _mutant(
    name: str, failure: int | None, summary: str, rejected_by: str, kernel: Any, **more: Any
) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, **{"only": ("float32",)} | more)


ALONE: Final = (
    _narrowed("scan", _Scan),
    _narrowed("conv1d", _Filter),
    _narrowed("ssd", _Dual),
    _narrowed("mamba3", _Siso),
    _narrowed("recurrence", _System),
    _narrowed("s4d", _S4d),
    _narrowed("s5", _S5),
    _narrowed("lssl", _Lssl),
    _mutant(
        "scan-alone-states-in-half", 12, "Where no state is returned, states are kept in bfloat16.",
        "value/alone", _StatesInHalf(), only=("bfloat16",),
    ),
    _mutant(
        "ssd-alone-chunks-in-half", 12,
        "Where no state is returned, what is carried past the first chunk is kept in bfloat16.",
        "value/alone-long", _ChunksInHalf(), only=("bfloat16",),
    ),
    _mutant(
        "conv1d-alone-taps-in-half", 12, "Where no state is returned, the taps are added up in bfloat16.",
        "value/alone", _TapsInHalf(), only=("bfloat16",),
    ),
    _mutant(
        "scan-alone-by-order", 31, "Where no state is returned, u is read in the order in which it lies.",
        "robustness/transposed-alone", _ScanByOrder(),
    ),
    _mutant(
        "conv1d-alone-by-order", 31, "Where no state is returned, x is read in the order in which it lies.",
        "robustness/transposed-alone", _FilterByOrder(),
    ),
    _mutant(
        "conv1d-alone-rows-by-product", None,
        "Where no state is returned, rows are taken by a product with zeros and ones.",
        "extreme/confinement-alone", _RowsByProduct(),
    ),
    _mutant(
        "scan-alone-materialised", 35, "Where no state is returned, all of them are kept.",
        "memory/forward-growth", _StatesMaterialised(),
    ),
)  # fmt: skip
"""Defects of calls that return the output alone."""
