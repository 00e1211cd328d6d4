"""Mutants of LSSL, S5 and H3 whose outputs are right and whose gradients are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ssm_conformance.mutants.kernels.kernel import Kernel
from ssm_conformance.mutants.kernels.torch_layers import TorchH3, TorchLssl, TorchS5
from ssm_conformance.mutants.mutant import Mutant

if TYPE_CHECKING:
    from torch import Tensor


def on_the_way_back(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The same numbers, whose gradient is changed."""
    if not x.requires_grad:
        return x
    through = x.clone()
    through.register_hook(change)  # type: ignore[no-untyped-call]  # PyTorch's
    return through


class _StepThroughDecayAlone(TorchLssl):
    def held(self, delta: Tensor) -> Tensor:
        return delta.detach()


class _FeedthroughAveraged(TorchLssl):
    def inside(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        p = super().inside(inputs)
        rows = len(p["u"])
        return p | {"D": on_the_way_back(p["D"], lambda g: g / rows)} if "D" in p else p


class _StepInBfloat16(TorchLssl):
    """Of 32 states and more the gradient of Δ is rounded to bfloat16."""

    def inside(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        p = super().inside(inputs)
        if p["A"].shape[-1] < 32:
            return p
        return p | {"delta": on_the_way_back(p["delta"], lambda g: g.bfloat16().to(g.dtype))}


class _HoldOfManyThroughInput(TorchLssl):
    """Of more than 16 states, the gradient of Δ through the zero-order hold's Ā is lost."""

    def discrete(self, p: Mapping[str, Tensor], rule: str) -> tuple[Tensor, Tensor]:
        A_bar, B_bar = super().discrete(p, rule)
        if rule == "zoh" and p["A"].shape[-1] > 16:
            A_bar, _ = super().discrete({**p, "delta": p["delta"].detach()}, rule)
        return A_bar, B_bar


class _DerivativeOfPyTorch(TorchLssl):
    """PyTorch's exponential halves matrix and cotangent until both are small."""

    def exponential(self, X: Tensor) -> Tensor:
        import torch

        found: Tensor = torch.linalg.matrix_exp(X)
        return found


class _BetweenChunks(TorchLssl):
    """Of 64 channels and more, the gradient of Ā leaves out the steps at which chunks of 128 begin."""

    def taken(self, A_bar: Tensor, t: int) -> Tensor:
        return A_bar.detach() if len(A_bar) >= 64 and t > 0 and t % 128 == 0 else A_bar


class _WithoutConjugate(TorchS5):
    def mixed(self, C: Tensor, h: Tensor) -> Tensor:
        return super().mixed(on_the_way_back(C, lambda g: g.conj()), h)


class _LastStateDropped(TorchS5):
    def returned(self, y: Tensor, last: Tensor, like: Tensor, wanted: bool) -> Any:
        return super().returned(y, last.detach(), like, wanted)


class _HoldIsConstant(TorchS5):
    def modes(self, A: Tensor, delta: Tensor, rule: str) -> tuple[Tensor, Tensor]:
        a, hold = super().modes(A, delta, rule)
        return a, super().modes(A.detach(), delta, rule)[1] if rule == "zoh" else hold


class _OldestTapForgotten(TorchH3):
    def taps(self, shift: Tensor) -> Tensor:
        import torch

        return torch.cat([shift[:, :-1], shift[:, -1:].detach()], dim=-1)


class _KeysInBfloat16(TorchH3):
    def shifted(self, p: Mapping[str, Tensor]) -> Tensor:
        return on_the_way_back(super().shifted(p), lambda g: g.bfloat16().to(g.dtype))


class _ChannelsShare(TorchH3):
    """Of 64 channels and more, the gradient of Δ leaves out what one would have on average."""

    def inside(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        p = super().inside(inputs)
        d = p["q"].shape[1]
        return p | {"delta": on_the_way_back(p["delta"], lambda g: g * (1 - 1 / d))} if d >= 64 else p


def _mutant(name: str, summary: str, rejected_by: str, kernel: Kernel, **more: Any) -> Mutant:
    return Mutant(name, None, summary, rejected_by, kernel, **more)


LAYER_GRADIENTS: Final = (
    _mutant(
        "lssl-step-through-decay-alone", "dΔ leaves out what comes through B̄.", "gradient/typical",
        _StepThroughDecayAlone(),
    ),
    _mutant(
        "lssl-feedthrough-averaged", "dD is the mean over the batch where it is the sum.", "gradient/typical",
        _FeedthroughAveraged(),
    ),
    _mutant(
        "lssl-step-gradient-in-bfloat16", "Of 32 states and more dΔ is rounded to bfloat16.",
        "gradient/layer-of-one-sign", _StepInBfloat16(), only=("float32",),
    ),
    _mutant(
        "lssl-hold-of-many-through-input", "Of more than 16 states, dΔ leaves out what comes by exp(ΔA).",
        "gradient/layer-zoh-of-one-sign", _HoldOfManyThroughInput(), only=("float32",),
    ),
    _mutant(
        "lssl-exponential-halved-for-cotangent",
        "Backwards the matrix is halved until a large cotangent is small too, and loses as many bits.",
        "gradient/scaled-zoh", _DerivativeOfPyTorch(), only=("float32",),
    ),
    _mutant(
        "lssl-decay-between-chunks",
        "Of 64 channels and more, dA and dΔ leave out what comes through Ā between chunks of 128.",
        "gradient/layer-long-of-one-sign", _BetweenChunks(), only=("float32",),
    ),
    _mutant(
        "s5-gradient-not-conjugated", "dC comes without its conjugate.", "gradient/complex",
        _WithoutConjugate(),
    ),
    _mutant(
        "s5-last-state-dropped", "The cotangent of the last state is dropped.", "gradient/typical",
        _LastStateDropped(),
    ),
    _mutant(
        "s5-hold-is-constant", "dA leaves out what comes through expm1(Δλ)/λ.", "gradient/typical",
        _HoldIsConstant(),
    ),
    _mutant(
        "h3-oldest-tap-forgotten", "The shift system's last tap has no gradient.", "gradient/typical",
        _OldestTapForgotten(),
    ),
    _mutant(
        "h3-keys-gradient-in-bfloat16", "The gradient of the shifted keys is rounded to bfloat16.",
        "gradient/typical", _KeysInBfloat16(), only=("float32",),
    ),
    _mutant(
        "h3-channels-share-lost", "Of 64 channels and more, dΔ leaves out the share of one.",
        "gradient/layer-heads-of-one-sign", _ChannelsShare(), only=("float32",),
    ),
)  # fmt: skip
"""Defects of the layers' gradients."""
