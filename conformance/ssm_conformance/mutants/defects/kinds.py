"""Mutants of the linear rooms: arrays of two kinds, that are repeated, lie otherwise or are handed back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution import Convolution
from ssm_conformance.mutants.kernels.discretize import Bilinear, Discretisation, System, ZeroOrderHold
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.layers import H3, S5, Layer, Lssl
from ssm_conformance.mutants.kernels.modal import S4d, S4Kernel
from ssm_conformance.mutants.kernels.systems import ConvolutionKernel, Recurrence
from ssm_conformance.mutants.mutant import Mutant

BLOCK: Final = 64
"""Channels of a block."""


class _InputsOfStates(Discretisation):
    """As many inputs as states are discretised."""

    def discretize(self, system: System, diagonal: bool, alpha: float) -> tuple[Array, Array]:
        A_bar, B_bar = super().discretize(system, diagonal, alpha)  # type: ignore[safe-super]  # the rule's
        return A_bar, B_bar if diagonal else np.where(np.arange(B_bar.shape[-1]) < B_bar.shape[-2], B_bar, 0)


class _ZohInputsOfStates(_InputsOfStates, ZeroOrderHold):
    pass


class _BilinearInputsOfStates(_InputsOfStates, Bilinear):
    pass


class _PairsByOutput(Recurrence):
    """That a mode stands for two is taken from C, not from Ā."""

    def run(self, p: Mapping[str, Array], diagonal: bool) -> tuple[Array, list[Array]]:
        y, kept = super().run(p, diagonal)
        single = diagonal and np.iscomplexobj(p["A_bar"]) and not np.iscomplexobj(p["C"])
        return (y / 2 if single else y), kept


class _KernelPairsByOutput(ConvolutionKernel):
    def __call__(self, *, length: int, diagonal: bool = False, **inputs: Any) -> Any:
        K = super().__call__(length=length, diagonal=diagonal, **inputs)
        single = diagonal and np.iscomplexobj(inputs["A_bar"]) and not np.iscomplexobj(inputs["C"])
        return K / 2 if single else K


class _LayerPairsByOutput(Layer):
    def recurrence(self) -> Recurrence:
        return _PairsByOutput()


class _S4dPairsByOutput(_LayerPairsByOutput, S4d):
    pass


class _S5PairsByOutput(_LayerPairsByOutput, S5):
    pass


class _H3PairsByOutput(H3):
    def lags(self) -> ConvolutionKernel:
        return _KernelPairsByOutput()


class _InputKeptReal(Discretisation):
    """B̄ is written into an array of B's kind."""

    def __call__(self, *, A: Any, B: Any, **rest: Any) -> tuple[Any, Any]:
        A_bar, B_bar = super().__call__(A=A, B=B, **rest)
        return A_bar, B_bar if np.iscomplexobj(B) else B_bar.real.astype(B_bar.dtype)


class _ZohInputKeptReal(_InputKeptReal, ZeroOrderHold):
    pass


class _BilinearInputKeptReal(_InputKeptReal, Bilinear):
    pass


class _KindOfModes(S4Kernel):
    """Where Λ is real, all vectors are read as real."""

    def __call__(self, *, length: int, paired: bool = False, **inputs: Any) -> Any:
        if not np.iscomplexobj(inputs["Lambda"]):
            inputs = {name: x.real for name, x in inputs.items()}
        return super().__call__(length=length, paired=paired, **inputs)


class _RealOnce(S4Kernel):
    """A real vector beside complex modes is not mirrored: its other half is zero."""

    def __call__(self, *, length: int, paired: bool = False, **inputs: Any) -> Any:
        turns = np.iscomplexobj(inputs["Lambda"])
        self.once = {name for name, x in inputs.items() if turns and not np.iscomplexobj(x)}
        return super().__call__(length=length, paired=paired, **inputs)

    def mirrored(self, x: Array, name: str) -> Array:
        found = super().mirrored(x, name)
        if name in self.once:
            found[..., x.shape[-1] :] = 0
        return found


def _dealt(x: Array, s: tuple[int, ...], own: int) -> Array:
    """Systems dealt out one after the other, whichever dimension they are to be repeated along."""
    return np.resize(x, s + x.shape[x.ndim - own :])


class _SystemsDealt(Discretisation):
    def system(self, A: Any, B: Any, delta: Any, diagonal: bool) -> System:
        matrix, inputs, step = super().system(A, B, delta, diagonal)
        own = 1 if diagonal else 2
        return _dealt(A, matrix.shape[: matrix.ndim - own], own).astype(matrix.dtype), inputs, step


class _ZohDealt(_SystemsDealt, ZeroOrderHold):
    pass


class _BilinearDealt(_SystemsDealt, Bilinear):
    pass


class _KernelDealt(ConvolutionKernel):
    def widened(self, inputs: Mapping[str, Any], diagonal: bool) -> tuple[Array, Array, Array]:
        A, B, C = super().widened(inputs, diagonal)
        own = 1 if diagonal else 2
        return _dealt(inputs["A_bar"], A.shape[: A.ndim - own], own), B, C


class _RecurrenceOfFirst(Recurrence):
    """A gradient of a leading dimension of one is that of the first system."""

    def given(self, total: Mapping[str, Array], inputs: Mapping[str, Any], wrt: tuple[str, ...]) -> Any:
        first = {}
        for name, x in total.items():
            shape = inputs[name].shape if name in inputs else x.shape
            lead = x.ndim - len(shape)
            pick = tuple(slice(1) if size == 1 else slice(None) for size in shape)
            first[name] = x[(slice(None),) * lead + pick]
        return super().given(first, inputs, wrt)


def _last_channels_unread(x: Any) -> Any:
    """(b, d, l) of 64 channels and more that come last in memory: those beyond whole blocks read as zero."""
    d = x.shape[1]
    if d < BLOCK or x.strides[1] != x.itemsize:
        return x
    x = x.copy()
    x[:, d - d % BLOCK :] = 0
    return x


class _ChannelsLast(Kernel):
    """The path for channels last reads whole blocks of them."""

    streamed = "u"

    def __call__(self, **given: Any) -> Any:
        read = {self.streamed: _last_channels_unread(given[self.streamed])}
        return super().__call__(**{**given, **read})  # type: ignore[safe-super]  # of the layer beside it


class _S4dChannelsLast(_ChannelsLast, S4d):
    pass


class _S5ChannelsLast(_ChannelsLast, S5):
    pass


class _LsslChannelsLast(_ChannelsLast, Lssl):
    pass


class _ConvolutionChannelsLast(_ChannelsLast, Convolution):
    pass


class _H3ChannelsLast(_ChannelsLast, H3):
    streamed = "v"


class _GivenBack(Kernel):
    """Where there is no step the initial state itself is returned."""

    def __call__(self, *, u: Any, **inputs: Any) -> Any:
        found = super().__call__(u=u, **inputs)  # type: ignore[safe-super]  # of the layer beside it
        given = inputs.get("initial_state")
        idle = u.shape[-1] == 0 and given is not None and inputs.get("return_last_state")
        return (found[0], given) if idle else found


class _S4dGivenBack(_GivenBack, S4d):
    pass


class _S5GivenBack(_GivenBack, S5):
    pass


class _LsslGivenBack(_GivenBack, Lssl):
    pass


class _RecurrenceGivenBack(Recurrence):
    def __call__(self, *, diagonal: bool = False, return_last_state: bool = False, **inputs: Any) -> Any:
        found = super().__call__(diagonal=diagonal, return_last_state=return_last_state, **inputs)
        given = inputs.get("initial_state")
        idle = inputs["u"].shape[-1] == 0 and given is not None and return_last_state
        return (found[0], given) if idle else found


def _mutant(
    name: str, failure: int | None, summary: str, rejected_by: str, kernel: Kernel, *only: str
) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=only or ("float32",))


_INPUTS: Final = "Of a full matrix, as many inputs as states are discretised."
_PAIRS: Final = "Of complex modes with a real C, one of each pair is counted."
_REAL: Final = "Of a complex A with a real B, the imaginary part of B̄ is lost."
_DEALT: Final = "Fewer systems than are meant are dealt out in turn, along whichever dimension."
_LAST: Final = "64 channels, which come last: those in whole blocks are read."
_BACK: Final = "Where there is no step the initial state itself is returned."
_EMPTY: Final = "robustness/reused-empty-with-D-initial_state-return_last_state"
KINDS: Final = (
    _mutant("zoh-inputs-of-states", None, _INPUTS, "robustness/more-inputs", _ZohInputsOfStates()),
    _mutant("bilinear-inputs-of-states", None, _INPUTS, "robustness/more-inputs", _BilinearInputsOfStates()),
    _mutant("recurrence-pairs-by-output", None, _PAIRS, "robustness/real-BC", _PairsByOutput()),
    _mutant("kernel-pairs-by-output", None, _PAIRS, "robustness/real-BC", _KernelPairsByOutput()),
    _mutant("s4d-pairs-by-output", None, _PAIRS, "robustness/real-BC", _S4dPairsByOutput()),
    _mutant("s5-pairs-by-output", None, _PAIRS, "robustness/real-BC", _S5PairsByOutput()),
    _mutant("h3-pairs-by-output", None, _PAIRS, "robustness/real-BC", _H3PairsByOutput()),
    _mutant("zoh-input-kept-real", None, _REAL, "robustness/real-B", _ZohInputKeptReal()),
    _mutant("bilinear-input-kept-real", None, _REAL, "robustness/dense-real-B", _BilinearInputKeptReal()),
    _mutant(
        "s4-kind-of-modes", None, "Where Λ is real, P, Q, B and C are read as real.",
        "robustness/real-modes", _KindOfModes(),
    ),
    _mutant(
        "s4-real-once", None, "The other half of a real vector is zero.", "robustness/real-PQB", _RealOnce()
    ),
    _mutant("zoh-systems-dealt", None, _DEALT, "robustness/systems-of-one", _ZohDealt()),
    _mutant("bilinear-systems-dealt", None, _DEALT, "robustness/diagonal-systems-of-one", _BilinearDealt()),
    _mutant("kernel-systems-dealt", None, _DEALT, "robustness/systems-of-one", _KernelDealt()),
    _mutant(
        "recurrence-slope-of-first", None, "A gradient along a leading dimension of one is not summed.",
        "robustness/gradient-diagonal-systems-of-one", _RecurrenceOfFirst(),
    ),
    _mutant("s4d-channels-last-lost", 5, _LAST, "robustness/transposed-layer", _S4dChannelsLast()),
    _mutant("s5-channels-last-lost", 5, _LAST, "robustness/transposed-layer", _S5ChannelsLast()),
    _mutant("lssl-channels-last-lost", 5, _LAST, "robustness/transposed-layer", _LsslChannelsLast()),
    _mutant("h3-channels-last-lost", 5, _LAST, "robustness/transposed-layer", _H3ChannelsLast()),
    _mutant(
        "convolution-channels-last-lost", 5, _LAST, "robustness/transposed-layer", _ConvolutionChannelsLast()
    ),
    _mutant("s4d-state-given-back", None, _BACK, _EMPTY, _S4dGivenBack()),
    _mutant("s5-state-given-back", None, _BACK, _EMPTY, _S5GivenBack()),
    _mutant("lssl-state-given-back", None, _BACK, _EMPTY, _LsslGivenBack()),
    _mutant(
        "recurrence-state-given-back", None, _BACK, "robustness/reused-empty-initial", _RecurrenceGivenBack()
    ),
)  # fmt: skip
"""Defects of kinds and of places."""
