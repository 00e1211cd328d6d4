"""Calls of the scan, of its step and of systems as tensors, and what the suite says to their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ssm_conformance import assert_conforms
from ssm_torch import selective_scan


def draw_call(
    b: int,
    d: int,
    l: int,
    n: int,
    *,
    kind: torch.dtype = torch.float32,
    groups: tuple[int, int] | None = None,
    resets: bool = False,
    offsets: tuple[int, ...] | None = None,
) -> dict[str, Any]:
    """A call with every optional input; A is complex if `kind` is."""
    rng = torch.Generator().manual_seed(b * d * l + n)
    real = kind.to_real()

    def normal(*shape: int, dtype: torch.dtype = real) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=dtype)

    rows = b if offsets is None else len(offsets) - 1
    shapes = [(b, n, l)] * 2 if groups is None else [(b, g, n, l) for g in groups]
    A = -torch.rand((d, n), generator=rng, dtype=real) - 0.1
    call = {
        "u": normal(b, d, l),
        "delta": 0.5 * normal(b, d, l),
        "A": torch.complex(A, normal(d, n)) if kind.is_complex else A,
        "B": normal(*shapes[0], dtype=kind),
        "C": normal(*shapes[1], dtype=kind),
        "D": normal(d),
        "z": normal(b, d, l),
        "delta_bias": normal(d) - 2,
        "delta_softplus": True,
        "initial_state": normal(rows, d, n, dtype=kind),
        "return_last_state": True,
    }
    if resets:
        call["seq_idx"] = (torch.rand((b, l), generator=rng) < 0.2).cumsum(1).int()
    if offsets is not None:
        call["cu_seqlens"] = torch.tensor(offsets, dtype=torch.int32)
    return call


def run(call: dict[str, Any], scan: Callable[..., Any] = selective_scan) -> tuple[Any, Any, Any]:
    """Outputs, their cotangents, and the gradient of every input, by name."""
    floating = {name: x for name, x in call.items() if torch.is_tensor(x) and x.dtype.is_floating_point}
    floating |= {name: x for name, x in call.items() if torch.is_tensor(x) and x.is_complex()}
    leaves = {name: x.detach().clone().requires_grad_() for name, x in floating.items()}
    outputs = dict(zip(("y", "last_state"), scan(**(call | leaves)), strict=True))
    cotangents = {
        name: torch.cos(torch.arange(x.numel())).reshape(x.shape).to(x.dtype) for name, x in outputs.items()
    }
    found = torch.autograd.grad(list(outputs.values()), list(leaves.values()), list(cotangents.values()))
    return outputs, cotangents, dict(zip(leaves, found, strict=True))


def judged(call: dict[str, Any], scan: Callable[..., Any] = selective_scan) -> None:
    """Hold one call, with its gradients, to the oracle."""
    outputs, cotangents, gradients = run(call, scan)
    arithmetic = {"evaluation": "scan", "decayed_state": "direct"}
    assert_conforms(
        "selective_scan", outputs, gradients=gradients, cotangents=cotangents, arithmetic=arithmetic, **call
    )


def same_bits(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


def system(s: tuple[int, ...], n: int, diagonal: bool, kind: torch.dtype) -> dict[str, Any]:
    torch.manual_seed(n)
    A = torch.randn(*s, n, dtype=kind) if diagonal else torch.randn(*s, n, n, dtype=kind)
    B = torch.randn(*s, n, 2, dtype=kind)
    return {"A": A, "B": B, "delta": torch.rand(s), "diagonal": diagonal}


def step(slots: Sequence[int], pool: int, kind: torch.dtype = torch.float32, **more: Any) -> dict[str, Any]:
    """One step of the rows that have these slots, in a pool of so many."""
    b, d, n = len(slots), 6, 4
    scan = draw_call(b, d, 1, n, kind=kind, groups=(2, 3))
    del scan["initial_state"], scan["return_last_state"]
    now = {name: scan[name][..., 0] for name in ("u", "delta", "z", "B", "C")}
    return {
        **scan,
        **now,
        "state": torch.randn(pool, d, n, dtype=kind),
        "state_indices": torch.tensor(slots),
        **more,
    }
