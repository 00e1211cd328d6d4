"""Mutants that take short cuts for one row, one slot, one state or one head, or fail where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution import Convolution
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual
from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.layers import Lssl
from ssm_conformance.mutants.kernels.mamba3_adjoint import SisoAdjoint, SisoAdjointStep
from ssm_conformance.mutants.kernels.modal import S4d
from ssm_conformance.mutants.kernels.pooled import Pooled
from ssm_conformance.mutants.kernels.scan import Problem
from ssm_conformance.mutants.kernels.short_convolution import ShortConvolution
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant

BLOCK: Final = 64


class _LoneRow(Pooled):
    """A batch of one row reads and writes the first slot."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        return super().rows_and_slots(None if b == 1 else state_indices, b)


class _LoneSlot(Pooled):
    """A pool of one slot is the state of every row: −1 is not looked for."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        if state_indices is not None and self.slots == 1:
            state_indices = np.zeros_like(state_indices)
        return super().rows_and_slots(state_indices, b)

    def __call__(self, *, state: Any, **given: Any) -> Any:
        self.slots = state.shape[0]
        return super().__call__(state=state, **given)  # type: ignore[safe-super]  # of the kernel beside it


class _NoSlot(Pooled):
    """Skipped rows are computed from slot 0, and thrown away: a pool without one raises."""

    def wide(self, state: Any, compute: str) -> Array:
        found = super().wide(state, compute)
        found[np.zeros(1, dtype=int)]
        return found


class _LoneRowApart(Pooled):
    """The state of a single row is written to a copy."""

    def target(self, state: Array, inplace: bool) -> Array:
        return super().target(state, inplace and state.shape[0] > 1)


class _BlockWritten(Pooled):
    """Of states that are written in place, those of the first 64 rows are."""

    def target(self, state: Array, inplace: bool) -> Array:
        self.before = state[BLOCK:].copy() if inplace else None
        return super().target(state, inplace)

    def held(self, state: Any, new: Array, inplace: bool) -> Any:
        if inplace and self.before is not None:
            new[BLOCK:] = self.before
        return super().held(state, new, inplace)


class _LoneRowOfScan(_LoneRow, Step):
    pass


class _LoneRowOfConvolution(_LoneRow, ShortConvolutionStep):
    pass


class _LoneRowOfHeads(_LoneRow, DualStep):
    pass


class _LoneSlotOfScan(_LoneSlot, Step):
    pass


class _LoneSlotOfConvolution(_LoneSlot, ShortConvolutionStep):
    pass


class _LoneSlotOfHeads(_LoneSlot, DualStep):
    pass


class _NoSlotOfScan(_NoSlot, Step):
    pass


class _NoSlotOfConvolution(_NoSlot, ShortConvolutionStep):
    pass


class _NoSlotOfHeads(_NoSlot, DualStep):
    pass


class _LoneRowOfScanApart(_LoneRowApart, Step):
    pass


class _LoneRowOfConvolutionApart(_LoneRowApart, ShortConvolutionStep):
    pass


class _LoneRowOfHeadsApart(_LoneRowApart, DualStep):
    pass


class _BlockOfScanWritten(_BlockWritten, Step):
    pass


class _BlockOfConvolutionWritten(_BlockWritten, ShortConvolutionStep):
    pass


class _BlockOfHeadsWritten(_BlockWritten, DualStep):
    pass


class _SlotsOfFewTaps(ShortConvolutionStep):
    """Filters of more taps have a path of their own, which takes the rows in order."""

    def __init__(self, taps: int) -> None:
        super().__init__()
        self.taps = taps

    def __call__(self, *, state_indices: Any = None, **given: Any) -> Any:
        kept = None if given["weight"].shape[1] > self.taps else state_indices
        return super().__call__(state_indices=kept, **given)


class _StateOfFewTaps(ShortConvolutionStep):
    """Filters of more than eight taps keep w − 1 inputs: what a longer state holds besides is not shifted."""

    def shifted(self, line: Array, v: int) -> Array:
        new = super().shifted(line, v)
        unread = new.shape[-1] - v
        return np.concatenate([line[..., :unread], new[..., unread:]], axis=-1) if v > 7 else new


def _lone(ids: Array) -> Array:
    """The ids where a single row is one sequence."""
    return np.zeros_like(ids) if ids.shape[0] == 1 else ids


def _halved(ids: Array) -> Array:
    """The ids where beyond 64 steps those of 64 bits are read by their lower half."""
    late = ids.copy()
    if ids.dtype == np.int64:
        late[:, BLOCK:] = ids[:, BLOCK:].astype(np.int32)
    return late


class _LoneDual(Dual):
    def resets(self, seq_idx: Array) -> Array:
        return super().resets(_lone(seq_idx))


class _LoneSiso(SisoAdjoint):
    def begins(self, seq_idx: Array | None, t: int) -> Array | None:
        return super().begins(None if seq_idx is None else _lone(seq_idx), t)


class _Halved(Honest):
    def resets(self, seq_idx: Array) -> Array:
        return super().resets(_halved(seq_idx))


class _HalvedDual(Dual):
    def resets(self, seq_idx: Array) -> Array:
        return super().resets(_halved(seq_idx))


class _HalvedSiso(SisoAdjoint):
    def begins(self, seq_idx: Array | None, t: int) -> Array | None:
        return super().begins(None if seq_idx is None else _halved(seq_idx), t)


class _HalvedConvolution(ShortConvolution):
    def begins(self, seq_idx: Array, t: int) -> Array:
        return super().begins(_halved(seq_idx), t)


class _OneState(Honest):
    """A single state is a path of its own, that takes what is given as ``loses`` changes it."""

    def __init__(self, **lost: Any) -> None:
        self.lost = lost

    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        p = super().prepare(*args, **inputs)
        return (
            replace(p, **{name: change(p) for name, change in self.lost.items()}) if p.A.shape[1] == 1 else p
        )


class _OneMode(Honest):
    """Of a single complex mode the real part is the output: the factor 2 is missing."""

    def output(self, p: Problem, t: int, h: Array) -> Array:
        v = super().output(p, t, h)
        return v / p.gamma if p.A.shape[1] == 1 else v


class _OneConstant(Honest):
    """A constant B or C of a single state is squeezed: every channel reads the first one's."""

    def at(self, matrix: Array, t: int, d: int) -> Array:
        found = super().at(matrix, t, d)
        return found[:, :1] if matrix.ndim == 2 and matrix.shape[1] == 1 else found


class _OneStateOfGroups(Honest):
    """Groups of a single state are read by the axis of states: the first serves all."""

    def groups(self, d: int, g: int) -> Array:
        return np.zeros(d, dtype=int) if self.single else super().groups(d, g)

    def prepare(self, *args: Any, **inputs: Any) -> Problem:
        p = super().prepare(*args, **inputs)
        self.single = p.A.shape[1] == 1
        return p


class _OneStateOfDual(Dual):
    """Heads of a single state are one sequence in each row."""

    def in_scan(self, a: Mapping[str, Array], given: Mapping[str, Any]) -> dict[str, Any]:
        kept = dict(given)
        if a["B"].shape[3] == 1:
            kept.pop("seq_idx", None)
        return super().in_scan(a, kept)


class _SkipSqueezed(Dual):
    """A D of one head, or of heads of one channel, loses that axis, and is read as one number a head."""

    def skip(self, D: Array, p: int) -> Array:
        flat = D.squeeze()
        return np.resize(np.repeat(flat, p), D.size) if flat.ndim == 1 and D.ndim == 2 else super().skip(D, p)


class _SkipOfOne(Dual):
    """A D whose last axis is one is spread over the channels of all heads in turn."""

    def skip(self, D: Array, p: int) -> Array:
        return np.full(D.size, D.reshape(-1)[0]) if D.ndim == 2 and p == 1 else super().skip(D, p)


class _Sixteen(Honest):
    """With more than 32 states, blocks of 64 steps beyond the sixteenth begin from zero."""

    def advance(self, p: Problem, t: int, h: Array) -> tuple[Array, Array]:
        lost = p.A.shape[1] > 32 and t and t % (16 * BLOCK) == 0
        return super().advance(p, t, np.zeros_like(h) if lost else h)


class _SixteenOfDual(Dual):
    scan = _Sixteen()


class _SixteenOfSiso(SisoAdjoint):
    """Where heads are wider than 16, step 1024 begins from zero."""

    def one_step(self, p: Mapping[str, Array], t: int, states: list[Array]) -> tuple[Array, list[Array]]:
        theta, S, *before = states
        lost = t == 16 * BLOCK and S.shape[-2] > 16
        return super().one_step(p, t, [theta, np.zeros_like(S) if lost else S, *before])


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


def _pools(kind: str, *kernels: Kernel) -> tuple[Mutant, ...]:
    """The mutants of one operator's step in a pool."""
    rows = (
        ("lone-row-in-first-slot", "A single row reads and writes the first slot.", "value/pool-one-row"),
        ("lone-slot-not-skipped", "Of a pool of one slot no row is skipped.", "value/pool-one-slot"),
        ("no-slot-fails", "A pool without slots raises, though every row is skipped.", "value/pool-none"),
        (
            "lone-row-not-written",
            "The state of a single row is written to a copy.",
            "property/in-place-inplace-one-row",
        ),
        (
            "block-written",
            "Of states that are written in place those of 64 rows are.",
            "value/inplace-rows-67",
        ),
    )
    return tuple(
        _mutant(f"{kind}-{name}", 26, summary, rejected_by, kernel)
        for (name, summary, rejected_by), kernel in zip(rows, kernels, strict=True)
    )


FEW: Final = (
    *_pools(
        "step", _LoneRowOfScan(Honest()), _LoneSlotOfScan(Honest()), _NoSlotOfScan(Honest()),
        _LoneRowOfScanApart(Honest()), _BlockOfScanWritten(Honest()),
    ),
    *_pools(
        "conv1d-step", _LoneRowOfConvolution(), _LoneSlotOfConvolution(), _NoSlotOfConvolution(),
        _LoneRowOfConvolutionApart(), _BlockOfConvolutionWritten(),
    ),
    *_pools(
        "ssd-step", _LoneRowOfHeads(), _LoneSlotOfHeads(), _NoSlotOfHeads(), _LoneRowOfHeadsApart(),
        _BlockOfHeadsWritten(),
    ),
    _mutant(
        "conv1d-step-slots-of-four-taps", 26, "With more than four taps rows take the slots in order.",
        "value/taps-5-slots", _SlotsOfFewTaps(4),
    ),
    _mutant(
        "conv1d-step-slots-of-eight-taps", 26, "With more than eight taps rows take the slots in order.",
        "value/taps-9-slots", _SlotsOfFewTaps(8),
    ),
    _mutant(
        "conv1d-step-state-of-eight-taps", 26,
        "With more than eight taps what a state holds besides w − 1 inputs is not shifted.",
        "value/taps-9-slots-longer-inplace", _StateOfFewTaps(),
    ),
    _mutant(
        "ssd-lone-row-is-one-sequence", 27, "A single packed row is one sequence.",
        "value/packed-alone-long", _LoneDual(),
    ),
    _mutant(
        "mamba3-lone-row-is-one-sequence", 27, "A single packed row is one sequence.",
        "value/packed-alone-long", _LoneSiso(),
    ),
    _mutant(
        "ids-of-later-chunks-in-32-bits", 27, "Beyond 64 steps seq_idx of int64 is read by its lower half.",
        "value/packed-wide-ids-long", _Halved(),
    ),
    _mutant(
        "ssd-ids-of-later-chunks-in-32-bits", 27,
        "Beyond 64 steps seq_idx of int64 is read by its lower half.",
        "value/packed-wide-ids-long", _HalvedDual(),
    ),
    _mutant(
        "mamba3-ids-of-later-chunks-in-32-bits", 27,
        "Beyond 64 steps seq_idx of int64 is read by its lower half.",
        "value/packed-wide-ids-long", _HalvedSiso(),
    ),
    _mutant(
        "conv1d-ids-of-later-chunks-in-32-bits", 27,
        "Beyond 64 steps seq_idx of int64 is read by its lower half.",
        "value/packed-wide-ids-long", _HalvedConvolution(),
    ),
    _mutant(
        "one-state-not-reset", 27, "A single state of a channel is not reset.",
        "robustness/one-state-packed", _OneState(reset=lambda p: np.zeros_like(p.reset)),
    ),
    _mutant(
        "one-state-of-euler", 11, "A single state is held by the Euler rule.",
        "robustness/one-state-zoh-packed", _OneState(zoh=lambda p: False),
    ),
    _mutant(
        "one-state-begins-in-order", 24,
        "Of sequences by offsets, a single state of the first one begins them all.",
        "robustness/one-state-offsets",
        _OneState(initial=lambda p: p.initial if p.offsets is None else 0 * p.initial + p.initial[:1]),
    ),
    _mutant(
        "one-mode-without-its-pair", None, "Of a single complex mode the factor 2 is missing.",
        "robustness/one-state-complex-packed", _OneMode(),
    ),
    _mutant(
        "step-one-mode-without-its-pair", None, "Of a single complex mode of a step the factor 2 is missing.",
        "robustness/one-state-complex", Step(_OneMode()),
    ),
    _mutant(
        "step-one-state-of-euler", 11, "A single state of a step is held by the Euler rule.",
        "robustness/one-state-zoh", Step(_OneState(zoh=lambda p: False)),
    ),
    _mutant(
        "one-constant-squeezed", 31, "A constant B or C of one state is read for the first channel alone.",
        "robustness/one-state-constant", _OneConstant(),
    ),
    _mutant(
        "one-state-of-first-group", 1, "Groups of one state all read the first.",
        "robustness/one-state-grouped", _OneStateOfGroups(),
    ),
    _mutant(
        "ssd-one-state-not-reset", 27, "Heads of one state are not reset.",
        "robustness/one-state-packed", _OneStateOfDual(),
    ),
    _mutant(
        "ssd-skip-of-one-head-squeezed", 31, "A D of (1, p) is squeezed, and read as one number a head.",
        "robustness/one-head-wide-D", _SkipSqueezed(),
    ),
    _mutant(
        "ssd-skip-of-one-channel-spread", 31, "A D of (h, 1) is spread over the heads.",
        "robustness/one-channel-wide-D", _SkipOfOne(),
    ),
    _mutant(
        "ssd-step-skip-of-one-head-squeezed", 31,
        "A step's D of (1, p) is squeezed, and read as one number a head.",
        "robustness/one-head-wide-D", DualStep(_SkipSqueezed()),
    ),
    _mutant(
        "ssd-step-skip-of-one-channel-spread", 31, "A step's D of (h, 1) is spread over the heads.",
        "robustness/one-channel-wide-D", DualStep(_SkipOfOne()),
    ),
    _mutant(
        "many-states-sixteen-blocks", 2, "With more than 32 states step 1024 begins from zero.",
        "value/wide-and-long", _Sixteen(),
    ),
    _mutant(
        "ssd-many-states-sixteen-blocks", 2, "With more than 32 states step 1024 begins from zero.",
        "value/wide-and-long", _SixteenOfDual(),
    ),
    _mutant(
        "mamba3-wide-heads-sixteen-blocks", 2, "In heads wider than 16 step 1024 begins from zero.",
        "value/wide-and-long", _SixteenOfSiso(),
    ),
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
"""Defects of what is one, or none, where options meet it."""
