"""Mutants of the linear rooms and of Mamba-3 past the first calls: later, one step longer, in 16 bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import HALF, dtype_name
from ssm_conformance.mutants.kernels.bits import Array, rounded
from ssm_conformance.mutants.kernels.convolution import Convolution
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


class _RealLate(Recurrence):
    """Of real modes, or of a full matrix, h begins from zero at step 1024."""

    def __init__(self, diagonal: bool) -> None:
        self.modes = diagonal

    def advance(self, p: Mapping[str, Array], k: int, h: Array, diagonal: bool) -> Array:
        taken = diagonal == self.modes and not np.iscomplexobj(p["A_bar"])
        return super().advance(p, k, np.zeros_like(h) if taken and k == TABLE else h, diagonal)


class _S5RealLate(S5):
    def recurrence(self) -> Recurrence:
        return _RealLate(True)


class _RealAgain(ConvolutionKernel):
    """Of real modes, or of a full matrix, lag 1024 is lag 0 again."""

    def __init__(self, diagonal: bool) -> None:
        self.modes = diagonal

    def powers(self, A_bar: Array, B_bar: Array, length: int, diagonal: bool) -> list[Array]:
        found = super().powers(A_bar, B_bar, length, diagonal)
        if diagonal == self.modes and not np.iscomplexobj(A_bar):
            found[TABLE:] = found[: max(length - TABLE, 0)]
        return found


class _S4dKernelAgain(S4dKernel):
    def lags(self) -> ConvolutionKernel:
        return _RealAgain(True)


class _WholeAgain(S4Kernel):
    """Where all states are given lag 1024 is lag 0 again."""

    def __call__(self, *, length: int, paired: bool = False, **inputs: Any) -> Any:
        K = super().__call__(length=length, paired=paired, **inputs)
        return K if paired else np.asarray(K[:, np.arange(length) % TABLE])


class _EulerOfTile(Lssl):
    """By forward Euler 16 states take an input."""

    def discrete(self, p: Mapping[str, Array], rule: str) -> tuple[Array, Array]:
        A_bar, B_bar = super().discrete(p, rule)
        read = 16 if rule == "forward_euler" else B_bar.shape[-2]
        return A_bar, np.where(np.arange(B_bar.shape[-2])[:, None] < read, B_bar, 0)


class _HeadsInFloat16(Siso):
    """In heads of 64 and 16 bits S is kept in float16."""

    def __call__(self, **given: Any) -> Any:
        self.kept = dtype_name(given["v"]) == "float16" and given["v"].shape[-1] >= BLOCK
        return super().__call__(**given)

    def one_step(self, p: Mapping[str, Array], t: int, states: list[Array]) -> tuple[Array, list[Array]]:
        y, (theta, S, *rest) = super().one_step(p, t, states)
        return y, [theta, rounded(S, "float16") if self.kept else S, *rest]


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


def _mutant(
    name: str, failure: int | None, summary: str, rejected_by: str, kernel: Kernel, *only: str
) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=only or ("float32",))


_LATE: Final = "Step 2048 begins from zero."
_REAL_LATE: Final = "Of real modes, step 1024 begins from zero."
_AGAIN: Final = "Of real modes, lag 1024 is lag 0 again."
_LONE: Final = "Of whole chunks of 64 and one step more, the last is not computed."
_NARROW: Final = "With 64 channels in 16 bits the state is kept in the input's dtype."
BEYOND: Final = (
    _mutant("s4d-late-segment-lost", 2, _LATE, "value/layer-late", _S4dLate()),
    _mutant("lssl-late-segment-lost", 2, _LATE, "value/layer-late", _LsslLate()),
    _mutant("s5-segment-lost", 2, "Step 1024 begins from zero.", "value/layer-late", _S5Late()),
    _mutant("h3-late-lags-lost", 2, "No lag beyond 2048 is seen.", "value/layer-late", _H3Late()),
    _mutant("h3-taps-beyond-warp", None, "The shift system has 32 taps.", "value/layer-shift", _TapsOfWarp()),
    _mutant("s5-real-segment-lost", 2, _REAL_LATE, "value/layer-late-real", _S5RealLate()),
    _mutant(
        "recurrence-dense-segment-lost", 2, "Of a full matrix, step 1024 begins from zero.",
        "value/layer-dense-late", _RealLate(False),
    ),
    _mutant("kernel-real-begins-again", None, _AGAIN, "value/layer-real", _RealAgain(True)),
    _mutant(
        "kernel-dense-begins-again", None, "Of a full matrix, lag 1024 is lag 0 again.",
        "value/layer-dense-long", _RealAgain(False),
    ),
    _mutant("s4d-kernel-real-begins-again", None, _AGAIN, "value/layer-real", _S4dKernelAgain()),
    _mutant(
        "s4-kernel-whole-begins-again", None, "Where all states are given, lag 1024 is lag 0 again.",
        "value/layer-long-whole", _WholeAgain(),
    ),
    _mutant(
        "lssl-euler-of-tile", 7, "By forward Euler, 16 states take an input.",
        "value/large-forward-euler", _EulerOfTile(),
    ),
    _mutant(
        "mamba3-wide-state-in-float16", 22, "In heads of 64 and float16, S is kept in float16.",
        "value/layer-initial", _HeadsInFloat16(), "float16",
    ),
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
    _mutant("s5-wide-state-of-stream", 12, _NARROW, "value/layer", _S5StateOfStream(), *HALF),
    _mutant("lssl-wide-state-of-stream", 12, _NARROW, "value/layer", _LsslStateOfStream(), *HALF),
)  # fmt: skip
"""Defects that the first calls of the linear rooms do not show."""
