"""Mutants of an option that is lost where a call is wide and long at once, or as wide as a layer is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import HALF, dtype_name
from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array, loaded, rounded
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.layers import H3, S5, Lssl
from ssm_conformance.mutants.kernels.mamba3 import Siso, SisoStep
from ssm_conformance.mutants.kernels.modal import S4d
from ssm_conformance.mutants.kernels.scan import Problem, State
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant

CHUNK: Final = 64
TILE: Final = 8
BLOCK: Final = 512
VECTOR: Final = 8
PAIRS: Final = 32


class _TileCarried(Honest):
    """In one variant the first eight states are carried on from chunk to chunk of 64, and no others."""

    def __init__(self, taken: Callable[[Problem], bool]) -> None:
        self.taken = taken

    def states(self, p: Problem, times: range, h: Array) -> Iterator[State]:
        taken = self.taken(p)
        for t in times:
            if taken and t > times.start and t % CHUNK == 0:
                h = np.concatenate([h[..., :TILE], np.zeros_like(h[..., TILE:])], axis=-1)
            decayed, h = self.advance(p, t, h)
            yield t, decayed, h


class _AdjointOfTile(Honest):
    """Of a complex A the first eight adjoint states are carried back from chunk to chunk of 64."""

    def carry_back(self, p: Problem, t: int, adjoint: Array) -> Array:
        below = np.array(super().carry_back(p, t, adjoint))
        if np.iscomplexobj(p.A) and t % CHUNK == 0:
            below[..., TILE:] = 0
        return below


class _InitialOfTile(Honest):
    """Past a chunk of 64 steps the initial state is read for its first eight states."""

    def begin(self, p: Problem, times: range, rows: slice) -> Array:
        h = np.array(super().begin(p, times, rows))
        if len(times) > CHUNK:
            h[..., TILE:] = 0
        return h


class _ResetsOfBlock(Honest):
    """Between chunks of 64 the first 512 numbers of a head's state are reset, in blocks of which it lies."""

    def __init__(self, width: int) -> None:
        self.width = width

    def advance(self, p: Problem, t: int, h: Array) -> tuple[Array, Array]:
        kept, after = super().advance(p, t, h)
        channel, state = np.indices(h.shape[1:])
        beyond = channel % self.width * h.shape[2] + state >= BLOCK
        leaked = np.where(beyond & (t % CHUNK == 0 < t), self.decay(p, t) * h, kept)
        return leaked, after + (leaked - kept)


class _DualResetsOfBlock(Dual):
    """SSD by such a scan."""

    def __call__(self, **given: Any) -> Any:
        self.scan = _ResetsOfBlock(given["x"].shape[3])  # type: ignore[misc]  # one of its own
        return super().__call__(**given)


class _SkipOfFirstTile(Dual):
    """A D of (h, p) is read by the first 64 channels of a head, over and over."""

    def skip(self, D: Array, p: int) -> Array:
        return super().skip(D[:, np.arange(p) % CHUNK] if D.ndim == 2 else D, p)


class _SisoGroups(Siso):
    """Of more than four groups of q and k the rest read the fourth."""

    def of_heads(self, x: Array, bias: Array) -> Array:
        return super().of_heads(x[:, np.minimum(np.arange(x.shape[1]), 3)], bias)


class _SisoAngles(Siso):
    """Pairs beyond the 32nd do not turn."""

    def rotated(self, x: Array, theta: Array) -> Array:
        return super().rotated(x, theta[..., :PAIRS])


class _LsslOutputs(Lssl):
    """Of more than 64 outputs of a channel the rest are not written."""

    def outputs(self, y: Array) -> Array:
        y[:, :, CHUNK:] = 0
        return y


class _S5Modes(S5):
    """Modes beyond the 64th are not read by the output."""

    def inside(self, primary: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        p = super().inside(primary, inputs)
        return p | {"C": np.where(np.arange(p["C"].shape[1]) < CHUNK, p["C"], 0)}


class _H3Keys(H3):
    """Keys of a head beyond the 16th are not read."""

    def in_heads(self, x: Array, heads: int) -> Array:
        found = np.array(super().in_heads(x, heads))
        found[:, :, 2 * TILE :] = 0
        return found


class _H3Projected(H3):
    """Rows of out_proj beyond the 64th are not read."""

    def inside(self, primary: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        p = super().inside(primary, inputs)
        if "out_proj" in p:
            p["out_proj"] = np.where(np.arange(len(p["out_proj"]))[:, None] < CHUNK, p["out_proj"], 0)
        return p


def _is_wide_half(x: Any) -> bool:
    """Whether it is (b, d, l) in 16 bits, of 64 channels at least."""
    return bool(x.shape[1] >= CHUNK and dtype_name(x) in HALF)


class _H3Half(H3):
    """The path for 16 bits and 64 channels rounds the keys between the systems."""

    def __call__(self, *, q: Any, discretization: str = "zoh", **inputs: Any) -> Any:
        self.taken = _is_wide_half(q)
        return super().__call__(q=q, discretization=discretization, **inputs)

    def keys(self, p: Mapping[str, Array]) -> Array:
        return rounded(super().keys(p), "bfloat16") if self.taken else super().keys(p)


class _S4dHalf(S4d):
    """The path for 16 bits and 64 channels rounds D u before it is added."""

    def __call__(self, *, u: Any, **inputs: Any) -> Any:
        self.taken = _is_wide_half(u)
        return super().__call__(u=u, **inputs)

    def feedthrough(self, p: Mapping[str, Array]) -> Array:
        return rounded(super().feedthrough(p), "bfloat16") if self.taken else super().feedthrough(p)


class _SisoWide(Siso):
    """An argument is not read where heads have 64 channels."""

    def __init__(self, lost: str) -> None:
        self.lost = lost

    def __call__(self, **given: Any) -> Any:
        wide = given["v"].shape[3] >= CHUNK
        return super().__call__(**{name: x for name, x in given.items() if not (wide and name == self.lost)})


class _SisoChunks(Siso):
    """S begins from zero at some steps."""

    def __init__(self, lost: Callable[[Mapping[str, Array], int], bool]) -> None:
        self.lost = lost

    def one_step(self, p: Mapping[str, Array], t: int, states: list[Array]) -> tuple[Array, list[Array]]:
        theta, S, *before = states
        return super().one_step(p, t, [theta, np.zeros_like(S) if self.lost(p, t) else S, *before])


def _without_last_vector(state: Any, new: Array, inplace: bool) -> Array:
    """Wide states in 16 bits, whose last eight channels are not written in place."""
    if inplace and state.shape[1] >= CHUNK and dtype_name(state) in HALF:
        new[:, -VECTOR:] = loaded(state, str(new.dtype))[:, -VECTOR:]
    return new


class _StepOfVectors(Step):
    def held(self, state: Any, new: Array, inplace: bool) -> Any:
        return super().held(state, _without_last_vector(state, new, inplace), inplace)


class _ConvolutionStepOfVectors(ShortConvolutionStep):
    def held(self, state: Any, new: Array, inplace: bool) -> Any:
        return super().held(state, _without_last_vector(state, new, inplace), inplace)


def _mutant(
    name: str, failure: int | None, summary: str, rejected_by: str, kernel: Any, only: str = "float32"
) -> Mutant:
    return Mutant(name, failure, summary, rejected_by, kernel, only=(only,))


_PACKED: Final = "D-bias-last-seq_idx-zoh-B-grouped-C-grouped"
_COMPLEX: Final = "D-z-bias-softplus-initial-seq_idx-B-constant-complex"
LARGE: Final = (
    _mutant(
        "complex-states-carried-in-part", 2, "Of complex states eight are carried from chunk to chunk.",
        f"value/large-with-{_COMPLEX}", _TileCarried(lambda p: bool(np.iscomplexobj(p.A))),
    ),
    _mutant(
        "packed-states-carried-in-part", 2, "Of packed rows' states eight are carried from chunk to chunk.",
        f"value/large-with-{_PACKED}", _TileCarried(lambda p: bool(p.reset.any())),
    ),
    _mutant(
        "offsets-states-carried-in-part", 2, "Of sequences by offsets eight states are carried on.",
        "value/large-with-D-z-bias-softplus-cu_seqlens-zoh", _TileCarried(lambda p: p.offsets is not None),
    ),
    _mutant(
        "held-states-carried-in-part", 2, "Under the exact hold eight states are carried on.",
        f"value/large-with-{_PACKED}", _TileCarried(lambda p: p.zoh),
    ),
    _mutant(
        "constant-states-carried-in-part", 2, "Where C is constant in time eight states are carried on.",
        "value/large-with-z-softplus-last-B-grouped-C-constant", _TileCarried(lambda p: p.C.ndim == 2),
    ),
    _mutant(
        "complex-adjoints-carried-in-part", 2, "Of complex adjoint states eight are carried back.",
        f"gradient/large-with-{_COMPLEX}", _AdjointOfTile(),
    ),
    _mutant(
        "initial-states-in-part", 24, "Past a chunk of 64 steps eight states of the initial one are read.",
        "value/large-with-bias-softplus-initial-seq_idx-C-constant", _InitialOfTile(),
    ),
    _mutant(
        "ssd-resets-of-first-block", 27, "Between chunks the first 512 numbers of a head's state are reset.",
        "value/large-with-wide-D-z-limits-initial-seq_idx", _DualResetsOfBlock(),
    ),
    _mutant(
        "ssd-skip-of-first-tile", None, "A D of (h, p) is read for 64 channels of a head, over and over.",
        "value/layer-wide-skip", _SkipOfFirstTile(),
    ),
    _mutant(
        "ssd-step-skip-of-first-tile", None, "A step reads a D of (h, p) for 64 channels, over and over.",
        "value/layer-wide-skip", DualStep(_SkipOfFirstTile()),
    ),
    _mutant(
        "mamba3-groups-beyond-four", None, "Of more than four groups of q and k the rest read the fourth.",
        "value/layer-groups", _SisoGroups(),
    ),
    _mutant(
        "mamba3-step-groups-beyond-four", None, "Of more than four groups the rest read the fourth.",
        "value/layer-groups", SisoStep(_SisoGroups()),
    ),
    _mutant(
        "mamba3-wide-heads-packed", 27, "Heads of 64 have no resets.", "value/layer-packed",
        _SisoWide("seq_idx"),
    ),
    _mutant(
        "mamba3-wide-heads-begin", 24, "Heads of 64 begin from zero.", "value/layer-packed",
        _SisoWide("ssm_state"),
    ),
    _mutant(
        "mamba3-wide-heads-without-skip", 2, "Without D, chunks of heads of 64 begin from zero.",
        "value/layer-plain", _SisoChunks(lambda p, t: "D" not in p and p["v"].shape[3] >= CHUNK == t),
    ),
    _mutant(
        "mamba3-segments-lost", 2, "Segments of 1024 steps begin from zero.", "value/layer-segments",
        _SisoChunks(lambda p, t: 0 < t == t // 1024 * 1024),
    ),
    _mutant(
        "mamba3-turns-32-pairs", None, "Pairs beyond the 32nd do not turn.", "value/layer-turned",
        _SisoAngles(),
    ),
    _mutant(
        "mamba3-step-turns-32-pairs", None, "Pairs of a step beyond the 32nd do not turn.",
        "value/layer-turned", SisoStep(_SisoAngles()),
    ),
    _mutant(
        "lssl-outputs-beyond-block", 5, "Of more than 64 outputs of a channel the rest are not written.",
        "value/layer-outputs", _LsslOutputs(),
    ),
    _mutant(
        "s5-modes-beyond-block", 5, "Modes beyond the 64th are not read.", "value/layer-modes", _S5Modes(),
    ),
    _mutant(
        "h3-keys-beyond-block", 5, "Keys of a head beyond the 16th are not read.",
        "value/layer-wide-heads", _H3Keys(),
    ),
    _mutant(
        "h3-projection-beyond-block", 5, "Rows of out_proj beyond the 64th are not read.",
        "value/layer-projected", _H3Projected(),
    ),
    _mutant(
        "h3-wide-keys-in-bfloat16", 12, "With 64 channels in 16 bits keys are rounded between the systems.",
        "value/layer", _H3Half(), "bfloat16",
    ),
    _mutant(
        "s4d-wide-feedthrough-in-bfloat16", 12, "With 64 channels in 16 bits D u is rounded by itself.",
        "value/layer", _S4dHalf(), "bfloat16",
    ),
    _mutant(
        "step-last-vector-unwritten", 26,
        "Of a wide state in 16 bits eight channels are not written in place.",
        "value/layer-served", _StepOfVectors(Honest()),
    ),
    _mutant(
        "conv1d-step-last-vector-unwritten", 26,
        "Of a wide state in 16 bits eight channels are not written in place.",
        "value/layer-served", _ConvolutionStepOfVectors(),
    ),
)  # fmt: skip
"""Defects that neither a wide call nor a long one shows."""
