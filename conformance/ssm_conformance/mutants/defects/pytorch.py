"""Mutants in PyTorch whose plain calls are right: compiled, captured, cast down, differentiated twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ssm_conformance.mutants.kernels.pytorch import ByHand, OnGpu, Registered, TorchScan, Whole
from ssm_conformance.mutants.mutant import Mutant

if TYPE_CHECKING:
    from torch import Tensor


class _BranchesOnNumbers(TorchScan):
    def step_size(self, x: Tensor, softplus: bool) -> Tensor:
        if softplus and x.numel() and float(x.detach().max()) > 1e4:
            return x
        return super().step_size(x, softplus)


class _CountsCalls(TorchScan):
    def __init__(self) -> None:
        self.calls = 0

    def step_size(self, x: Tensor, softplus: bool) -> Tensor:
        self.calls += 1
        return super().step_size(x, softplus)


class _SizeOfTheTrace(TorchScan):
    """A size is read when the call is traced, and what it was then is a constant of the graph."""

    def __init__(self, axis: int) -> None:
        def size(h: Tensor) -> int:
            return int(h.shape[axis])

        size._dynamo_marked_constant = True  # type: ignore[attr-defined] # assume_constant_result, without torch
        self.axis, self.size = axis, size

    def contract(self, C: Tensor, h: Tensor) -> Tensor:
        import torch

        known = torch.arange(h.shape[self.axis]) < self.size(h)
        return super().contract(C, h * known.view([-1 if i == self.axis else 1 for i in range(h.ndim)]))


class _OneRowTraced(TorchScan):
    """What a compiler is given for one row does not write the last step."""

    def contract(self, C: Tensor, h: Tensor) -> Tensor:
        import torch

        found = super().contract(C, h)
        if not torch.compiler.is_compiling() or h.shape[0] > 1:
            return found
        return torch.cat([found[..., :-1], torch.zeros_like(found[..., -1:])], -1)


class _FakeTransposed(Registered):
    def fake(self, C: Tensor, h: Tensor) -> Tensor:
        return super().fake(C, h).mT


class _CastDown(TorchScan):
    def contract(self, C: Tensor, h: Tensor) -> Tensor:
        import torch

        found: Tensor = torch.einsum("bnl,bdnl->bdl", C, h).to(h.dtype)
        return found


class _SlopesAreConstants(ByHand):
    def slopes(self, g: Tensor, C: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return super().slopes(g, C.detach(), h.detach())


class _GradientsAreConstants(Whole):
    def guarded(self, backward: Callable[..., Any]) -> Callable[..., Any]:
        return backward


class _CotangentIsConstant(ByHand):
    def slopes(self, g: Tensor, C: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return super().slopes(g.detach(), C, h)


class _AnotherWhenKept(ByHand):
    def slopes(self, g: Tensor, C: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        dC, dh = super().slopes(g, C, h)
        return (dC * (1 + 1e-3) if torch.is_grad_enabled() else dC), dh


class _SavedIsUsedUp(ByHand):
    def slopes(self, g: Tensor, C: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        dC, dh = super().slopes(g, C, h)
        h.data.zero_()  # behind autograd's back, which would refuse the second pass
        return dC, dh


class _Copies:
    """Copies of tensors, each kept while it is not written to, as PyTorch counts it: a replay reads the copy.

    The tensor is kept too, so that its address is never another's.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        return self.kept.setdefault((x.data_ptr(), x._version), (x, x.detach().clone()))[1]


class _KeepsModes(OnGpu):
    def __init__(self) -> None:
        self.copy = _Copies()

    def modes(self, A: Tensor) -> Tensor:
        return self.copy(A)


class _KeepsCotangents(OnGpu, Whole):
    claims: ClassVar = OnGpu.claims

    def __init__(self) -> None:
        self.copy = _Copies()

    def backward(self, inputs: Mapping[str, Any], cotangents: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return super().backward(inputs, [self.copy(r) for r in cotangents])


class _ClearsForTheNext(OnGpu):
    """Of two workspaces each call adds to one and clears the other: a replay knows only the first turn."""

    def __init__(self) -> None:
        self.spaces: dict[tuple[int, ...], list[Tensor]] = {}

    def contract(self, C: Tensor, h: Tensor) -> Tensor:
        found = super().contract(C, h)
        spaces = self.spaces.setdefault(tuple(found.shape), [found.new_zeros(found.shape) for _ in "ab"])
        spaces.reverse()
        spaces[1].zero_()
        return spaces[0].add_(found).clone()


class _OtherPathWhenRecorded(TorchScan):
    """Where a gradient is to be recorded, the function that trains is taken: its output is scaled."""

    def contract(self, C: Tensor, h: Tensor) -> Tensor:
        found = super().contract(C, h)
        return found + 1e-3 * found.detach() if h.requires_grad else found


class _WithoutRecord(TorchScan):
    """Parameters that require a gradient are taken for training, and under no_grad nothing was kept."""

    def contract(self, C: Tensor, h: Tensor) -> Tensor:
        found = super().contract(C, h)
        return found if h.requires_grad == C.requires_grad else found * 0


class _StateOfDefaultType(TorchScan):
    """The first state has the default dtype, not the inputs'."""

    def states(self, decay: Tensor, drive: Tensor) -> Tensor:
        import torch

        kept = torch.get_default_dtype()
        return super().states(decay.to(kept), drive.to(kept)).to(drive.dtype)


class _PutsBack(TorchScan):
    """delta is scaled in place, and what was there is put back: autograd counts two writes."""

    def __call__(self, *arguments: Any, **inputs: Any) -> Any:
        import torch

        delta = inputs["delta"]
        if not delta.requires_grad and not torch.is_inference_mode_enabled():
            kept = delta.clone()
            delta.mul_(2.0).copy_(kept)
        return super().__call__(*arguments, **inputs)


class _FirstStateOfDefaults(TorchScan):
    """The first state is made without a dtype."""

    def states(self, decay: Tensor, drive: Tensor) -> Tensor:
        import torch

        first = torch.zeros(drive.shape[:-1], device=drive.device)
        return super().states(decay, drive) + 0 * first.unsqueeze(-1)


class _ScratchOfDefaults(TorchScan):
    """Scratch memory is made without a device."""

    def contract(self, C: Tensor, h: Tensor) -> Tensor:
        import torch

        found = super().contract(C, h)
        return found + torch.zeros(found.shape, dtype=found.dtype)


def _mutant(name: str, summary: str, rejected_by: str, kernel: TorchScan, **more: Any) -> Mutant:
    return Mutant(name, None, summary, rejected_by, kernel, **{"only": ("float32",)} | more)


PYTORCH: Final = (
    _mutant(
        "branches-on-numbers",
        "A branch reads a number on the host, behind a claim of `compile`.",
        "property/compiled-typical",
        _BranchesOnNumbers(),
    ),
    _mutant(
        "counts-calls",
        "A counter in Python, behind a claim of `compile`: what was traced holds for one call alone.",
        "property/compiled-typical",
        _CountsCalls(),
    ),
    *(
        _mutant(
            f"{what}-of-the-trace",
            f"How many {what} there are is a constant of the graph: more than that are not read.",
            "property/compiled-typical",
            _SizeOfTheTrace(axis),
        )
        for axis, what in enumerate(("rows", "channels", "states"))
    ),
    _mutant(
        "one-row-traced",
        "In a graph for one row the last output is not written.",
        "property/compiled-typical",
        _OneRowTraced(),
    ),
    _mutant(
        "fake-kernel-transposed",
        "The fake kernel of a registered operator returns (b, l, d) for (b, d, l).",
        "property/compiled-typical",
        _FakeTransposed(),
    ),
    _mutant(
        "cast-down",
        "Under autocast Σ C h is a product of bfloat16 matrices.",
        "property/autocast-typical",
        _CastDown(),
    ),
    _mutant(
        "slopes-are-constants",
        "The gradient of a gradient takes what was saved for constants, silently.",
        "gradient/second-typical",
        _SlopesAreConstants(),
    ),
    _mutant(
        "gradients-are-constants",
        "Nothing is left of the backward pass to be differentiated, and nothing says so.",
        "gradient/second-typical",
        _GradientsAreConstants(),
    ),
    _mutant(
        "cotangent-is-constant",
        "The gradient of a gradient takes the cotangent for a constant, silently.",
        "gradient/second-typical",
        _CotangentIsConstant(),
    ),
    _mutant(
        "other-gradient-when-kept",
        "The gradient of C is off by 1e-3 where it is itself to be differentiated.",
        "gradient/second-typical",
        _AnotherWhenKept(),
    ),
    _mutant(
        "saved-is-used-up",
        "The backward pass writes over what was saved: a second one gives something else.",
        "gradient/again-typical",
        _SavedIsUsedUp(),
    ),
    _mutant(
        "other-path-when-recorded",
        "Where autograd records the call, the output is another one than in inference.",
        "robustness/modes-typical",
        _OtherPathWhenRecorded(),
    ),
    _mutant(
        "nothing-without-record",
        "Where inputs require a gradient and torch.no_grad is on, the output is zero.",
        "robustness/modes-typical",
        _WithoutRecord(),
    ),
    _mutant(
        "puts-delta-back",
        "delta is written and what was there is put back, which autograd takes for a change.",
        "robustness/inputs-unchanged-typical",
        _PutsBack(),
    ),
    _mutant(
        "first-state-of-default-type",
        "The first state is made without a dtype: under another default the results are wider.",
        "robustness/modes-typical",
        _FirstStateOfDefaults(),
    ),
    _mutant(
        "scratch-on-default-device",
        "Scratch memory is made without a device: under another default the call fails.",
        "robustness/modes-typical",
        _ScratchOfDefaults(),
    ),
    _mutant(
        "state-of-default-type",
        "The state is kept in PyTorch's default dtype, whatever the inputs' is.",
        "value/typical",
        _StateOfDefaultType(),
        only=("float64",),
    ),
    _mutant(
        "modes-kept-by-address",
        "A copy of A is kept by its address: a captured call replays with the first one.",
        "property/captured-typical",
        _KeepsModes(),
        claims={"gradients": ()},
    ),
    _mutant(
        "cotangent-kept-by-address",
        "A copy of a cotangent is kept by its address: a captured backward pass replays with the first one.",
        "property/captured-typical",
        _KeepsCotangents(),
    ),
    _mutant(
        "cleared-for-the-next-call",
        "A call clears the workspace of the next one: a second replay adds to what the first one left.",
        "property/captured-typical",
        _ClearsForTheNext(),
        claims={"gradients": ()},
    ),
)
"""Defects under PyTorch's transformations."""
