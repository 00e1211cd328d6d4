"""Mutants of the linear rooms and of Mamba-3 past the first calls: later, one step longer, of two kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import HALF, dtype_name
from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.convolution import Convolution
from ssm_conformance.mutants.kernels.discretize import Bilinear, Discretisation, System, ZeroOrderHold
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.layers import H3, S5, Layer, Lssl
from ssm_conformance.mutants.kernels.mamba3 import Siso
from ssm_conformance.mutants.kernels.modal import S4d, S4dKernel, S4Kernel
from ssm_conformance.mutants.kernels.online_memory import Compress
from ssm_conformance.mutants.kernels.systems import ConvolutionKernel, Recurrence
from ssm_conformance.mutants.mutant import Mutant

BLOCK: Final = 64
"""Channels, or steps, of a block."""
TABLE: Final = 1024
"""Samples, or steps, that a table is made for."""


class _From(Recurrence):
    """h begins from zero at a step."""

    def __init__(self, at: int) -> None:
        self.lost_at = at

    def advance(self, p: Mapping[str, Array], k: int, h: Array, diagonal: bool) -> Array:
        return super().advance(p, k, np.zeros_like(h) if k == self.lost_at else h, diagonal)


class _Late(Layer):
    def recurrence(self) -> Recurrence:
        return _From(2 * TABLE)


class _S4dLate(_Late, S4d):
    pass


class _LsslLate(_Late, Lssl):
    pass


class _S5Late(S5):
    def recurrence(self) -> Recurrence:
        return _From(TABLE)


class _LagsOfTable(ConvolutionKernel):
    def powers(self, A_bar: Array, B_bar: Array, length: int, diagonal: bool) -> list[Array]:
        found = super().powers(A_bar, B_bar, length, diagonal)
        return [power if j < 2 * TABLE else np.zeros_like(power) for j, power in enumerate(found)]


class _H3Late(H3):
    def lags(self) -> ConvolutionKernel:
        return _LagsOfTable()


class _TapsOfWarp(H3):
    """The shift system has 32 taps."""

    def keys(self, p: Mapping[str, Array]) -> Array:
        return super().keys({**p, "shift": p["shift"][:, :32]})


class _LoneStepLost(Kernel):
    """A chunk of one step is not computed."""

    def __call__(self, **given: Any) -> Any:
        found = super().__call__(**given)  # type: ignore[safe-super]  # of the layer beside it
        y = found[0] if isinstance(found, tuple) else found
        l = y.shape[-1]
        if l > 1 and l % BLOCK == 1:
            y[..., -1] = 0
        return found


class _S4dLone(_LoneStepLost, S4d):
    pass


class _S5Lone(_LoneStepLost, S5):
    pass


class _LsslLone(_LoneStepLost, Lssl):
    pass


class _H3Lone(_LoneStepLost, H3):
    pass


class _S4dKernelLone(_LoneStepLost, S4dKernel):
    pass


class _S4KernelLone(_LoneStepLost, S4Kernel):
    pass


class _LoneSampleLost(Compress):
    """A chunk of one sample is not read."""

    def __call__(self, *, f: Any, **rest: Any) -> Any:
        l = f.shape[-1]
        lone = l > 1 and l % BLOCK == 1 and not rest.get("prefixes")
        return super().__call__(f=f[..., : l - int(lone)], **rest)


class _TimesOfTable(Compress):
    """Ā is looked up, and the table has 1024 samples."""

    def step(self, k: Array, method: str) -> Array:
        return super().step(np.minimum(k, TABLE), method)


class _TimesOfBilinear(Compress):
    def step(self, k: Array, method: str) -> Array:
        return super().step(np.minimum(k, TABLE) if method == "bilinear" else k, method)


class _PrefixesOfTable(Compress):
    def __call__(self, *, prefixes: bool = False, **given: Any) -> Any:
        found = super().__call__(prefixes=prefixes, **given)
        if prefixes:
            found[..., TABLE:] = 0
        return found


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


class _StateTurned(Siso):
    """Where a head is as wide as it has states, 64, the initial S is read the other way round."""

    def start(self, p: Mapping[str, Array]) -> list[Array]:
        theta, S, *before = super().start(p)
        square = S.shape[-1] == S.shape[-2] == BLOCK
        return [theta, S.swapaxes(-1, -2) if square else S, *before]


class _LoneStepBegins(Siso):
    """A chunk of 128 that holds one step begins from zero."""

    def one_step(self, p: Mapping[str, Array], t: int, states: list[Array]) -> tuple[Array, list[Array]]:
        theta, S, *before = states
        l = p["v"].shape[1]
        lone = t == l - 1 > 0 and l % (2 * BLOCK) == 1
        return super().one_step(p, t, [theta, np.zeros_like(S) if lone else S, *before])


class _TransformOfPoints(Convolution):
    """A transform has 4096 points: what lies beyond is not computed."""

    def convolve(self, u: Array, K: Array) -> Array:
        y = super().convolve(u, K)
        y[..., 4096:] = 0
        return y


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


class _StateIn(Recurrence):
    """h is kept in a narrower type."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def advance(self, p: Mapping[str, Array], k: int, h: Array, diagonal: bool) -> Array:
        return np.asarray(rounded(super().advance(p, k, h, diagonal), self.dtype))


class _StateOfStream(Layer):
    """The path for 16 bits and 64 channels keeps its state in the input's dtype."""

    def __call__(self, *, u: Any, **inputs: Any) -> Any:
        self.kept = dtype_name(u) if dtype_name(u) in HALF and u.shape[1] >= BLOCK else ""
        return super().__call__(u=u, **inputs)  # type: ignore[safe-super]  # of the layer beside it

    def recurrence(self) -> Recurrence:
        return _StateIn(self.kept) if self.kept else super().recurrence()


class _S5StateOfStream(_StateOfStream, S5):
    pass


class _LsslStateOfStream(_StateOfStream, Lssl):
    pass


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


_LATE: Final = "Step 2048 begins from zero."
_LONE: Final = "Of whole chunks of 64 and one step more, the last is not computed."
_PAIRS: Final = "Of complex modes with a real C, one of each pair is counted."
_REAL: Final = "Of a complex A with a real B, the imaginary part of B̄ is lost."
_DEALT: Final = "Fewer systems than are meant are dealt out in turn, along whichever dimension."
_LAST: Final = "64 channels, which come last: those in whole blocks are read."
_NARROW: Final = "With 64 channels in 16 bits the state is kept in the input's dtype."
_BACK: Final = "Where there is no step the initial state itself is returned."
_EMPTY: Final = "robustness/reused-empty-with-D-initial_state-return_last_state"
BEYOND: Final = (
    _mutant("s4d-late-segment-lost", 2, _LATE, "value/layer-late", _S4dLate()),
    _mutant("lssl-late-segment-lost", 2, _LATE, "value/layer-late", _LsslLate()),
    _mutant("s5-segment-lost", 2, "Step 1024 begins from zero.", "value/layer-late", _S5Late()),
    _mutant("h3-late-lags-lost", 2, "No lag beyond 2048 is seen.", "value/layer-late", _H3Late()),
    _mutant("h3-taps-beyond-warp", None, "The shift system has 32 taps.", "value/layer-shift", _TapsOfWarp()),
    _mutant("s4d-lone-step-lost", 8, _LONE, "robustness/length-65", _S4dLone()),
    _mutant("s5-lone-step-lost", 8, _LONE, "robustness/length-65", _S5Lone()),
    _mutant("lssl-lone-step-lost", 8, _LONE, "robustness/length-257", _LsslLone()),
    _mutant("h3-lone-step-lost", 8, _LONE, "robustness/length-65", _H3Lone()),
    _mutant("s4d-kernel-lone-lag-lost", 8, _LONE, "robustness/length-65", _S4dKernelLone()),
    _mutant("s4-kernel-lone-lag-lost", 8, _LONE, "robustness/length-65", _S4KernelLone()),
    _mutant("compress-lone-sample-lost", 8, _LONE, "robustness/length-65", _LoneSampleLost()),
    _mutant(
        "compress-table-of-1024", None, "Beyond 1024 samples every step is that of the last one.",
        "value/beyond-1024", _TimesOfTable(),
    ),
    _mutant(
        "compress-bilinear-table-of-1024", None, "Beyond 1024 samples every bilinear step is the last one's.",
        "value/beyond-1024-bilinear", _TimesOfBilinear(),
    ),
    _mutant(
        "compress-prefixes-of-1024", 8, "Prefixes beyond 1024 samples are not written.",
        "value/beyond-1024-prefixes", _PrefixesOfTable(),
    ),
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
    _mutant(
        "mamba3-wide-state-turned", 25, "An initial S of 64 by 64 is read the other way round.",
        "value/layer-initial", _StateTurned(),
    ),
    _mutant(
        "mamba3-lone-step-begins", 2, "Of whole chunks of 128 and one step more, the last begins from zero.",
        "robustness/length-129", _LoneStepBegins(),
    ),
    _mutant(
        "convolution-of-4096", 8, "Outputs beyond 4096 steps are not computed.",
        "robustness/length-4097", _TransformOfPoints(),
    ),
    _mutant("s4d-channels-last-lost", 5, _LAST, "robustness/transposed-layer", _S4dChannelsLast()),
    _mutant("s5-channels-last-lost", 5, _LAST, "robustness/transposed-layer", _S5ChannelsLast()),
    _mutant("lssl-channels-last-lost", 5, _LAST, "robustness/transposed-layer", _LsslChannelsLast()),
    _mutant("h3-channels-last-lost", 5, _LAST, "robustness/transposed-layer", _H3ChannelsLast()),
    _mutant(
        "convolution-channels-last-lost", 5, _LAST, "robustness/transposed-layer", _ConvolutionChannelsLast()
    ),
    _mutant("s5-wide-state-of-stream", 12, _NARROW, "value/layer", _S5StateOfStream(), *HALF),
    _mutant("lssl-wide-state-of-stream", 12, _NARROW, "value/layer", _LsslStateOfStream(), *HALF),
    _mutant("s4d-state-given-back", None, _BACK, _EMPTY, _S4dGivenBack()),
    _mutant("s5-state-given-back", None, _BACK, _EMPTY, _S5GivenBack()),
    _mutant("lssl-state-given-back", None, _BACK, _EMPTY, _LsslGivenBack()),
    _mutant(
        "recurrence-state-given-back", None, _BACK, "robustness/reused-empty-initial", _RecurrenceGivenBack()
    ),
)  # fmt: skip
"""Defects that the first calls of the linear rooms do not show."""
