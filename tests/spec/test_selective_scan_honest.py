"""No honest implementation leaves the bound, and known-bad ones do: on tame data and on wild."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic

from .scan_data import VARIANTS, draw, draw_cotangents

torch = pytest.importorskip("torch")
from . import scan_kernels as kernels
from .scan_kernels import Kernel, execute

ANY = Arithmetic()
SCAN = Arithmetic(evaluation="scan")


@contextmanager
def flushing() -> Iterator[None]:
    """Subnormal results and operands are zero on this thread."""
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush subnormals")
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def chunk(q: int) -> Arithmetic:
    return Arithmetic(evaluation="chunk", chunk=q)


HONEST: dict[str, tuple[Kernel, Arithmetic]] = {
    "sequential": (Kernel(), Arithmetic(evaluation="sequential")),
    "sequential as scan": (Kernel(), SCAN),
    "fused multiply-add": (Kernel(kernels.fused_multiply_add), Arithmetic(evaluation="sequential")),
    "exp2 prescaled": (Kernel(kernels.exp2_prescaled), SCAN),
    "exp off by 2.5 ulp": (Kernel(kernels.exp_off_by_2_5_ulp), SCAN),
    "Kogge-Stone": (Kernel(kernels.kogge_stone), SCAN),
    "right fold": (Kernel(kernels.right_fold), Arithmetic(evaluation="right_fold", fold_depth=37)),
    "subtractive": (Kernel(kernels.subtractive), SCAN),
    "flush to zero": (Kernel(around=flushing), SCAN),
    "Kogge-Stone, flush to zero": (Kernel(kernels.kogge_stone, around=flushing), SCAN),
    "chunk of 8": (Kernel(kernels.chunked(8)), chunk(8)),
    "chunk of 16": (Kernel(kernels.chunked(16)), chunk(16)),
    "undeclared chunk of 256": (Kernel(kernels.chunked(256)), ANY),
}
REAL_ONLY = {"exp2 prescaled", "fused multiply-add"}


def bounds(
    inputs: dict[str, Any], cotangents: dict[str, Any], arithmetic: Arithmetic
) -> dict[str, ssm_spec.Bounded]:
    outputs = ssm_spec.selective_scan_bounds(arithmetic=arithmetic, **inputs)
    gradients = ssm_spec.selective_scan_vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)
    return {f"out:{name}": bounded for name, bounded in outputs.items()} | gradients


def ratios(found: kernels.Result, allowed: dict[str, ssm_spec.Bounded]) -> dict[str, float]:
    """The worst err / (bound + own) of each output and gradient; NaN counts as infinite."""
    worst = {}
    for name, bounded in allowed.items():
        with np.errstate(all="ignore"):
            error = np.abs(found[name].astype(bounded.value.dtype) - bounded.value)
            ratio = np.where(error == 0, 0.0, error / (bounded.bound + bounded.own))
        ratio = np.where(np.isnan(ratio), np.inf, ratio)[bounded.judged]
        worst[name] = float(ratio.max(initial=0.0))
    return worst


def cases(l: int, *, wild: bool) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for seed, (name, variant) in enumerate(VARIANTS.items()):
        inputs = draw(seed, 2, 6, l, 3, wild=wild, **variant)
        yield name, inputs, draw_cotangents(seed, inputs)


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("name", HONEST)
def test_honest_arithmetic_stays_within_its_bound(name: str, wild: bool) -> None:
    kernel, arithmetic = HONEST[name]
    for variant, inputs, cotangents in cases(37, wild=wild):
        if name in REAL_ONLY and "complex" in variant:
            continue
        found = ratios(execute(kernel, inputs, cotangents), bounds(inputs, cotangents, arithmetic))
        assert all(ratio <= 1 for ratio in found.values()), (variant, found)


def test_a_chunk_is_not_a_scan() -> None:
    """The class matters: decays from differences of sums leave the bound of products of decays."""
    inputs = draw(0, 2, 6, 67, 3)
    inputs["delta_bias"] = inputs["delta_bias"] + 4
    cotangents = draw_cotangents(0, inputs)
    found = execute(Kernel(kernels.chunked(64)), inputs, cotangents)
    assert max(ratios(found, bounds(inputs, cotangents, SCAN)).values()) > 1
    used = ratios(found, bounds(inputs, cotangents, chunk(64)))
    assert all(ratio <= 1 for ratio in used.values()), used


def _bfloat16(x: Any) -> Any:
    return x.bfloat16().to(x.dtype)


def _tf32(x: Any) -> Any:
    bits = x.detach().view(torch.int32)
    return x + (((bits + 0x1000) & -0x2000).view(torch.float32) - x).detach()


def _state_in_bfloat16(s: Any, A: Any, keep: Any, drive: Any, h: Any) -> Any:
    a = torch.exp(s[..., None] * A) * keep
    states = []
    for t in range(len(drive)):
        h = _bfloat16(a[t] * h + drive[t])
        states.append(h)
    return torch.stack(states)


def _swapped(inputs: dict[str, Any]) -> dict[str, Any]:
    other = {"euler": "zoh", "zoh": "euler"}
    return {**inputs, "b_discretization": other[inputs["b_discretization"]]}


def _without(name: str, **change: Any) -> Any:
    return lambda inputs: {key: value for key, value in inputs.items() if key != name} | change


def _lost_group(inputs: dict[str, Any]) -> dict[str, Any]:
    B = inputs["B"]
    return {**inputs, "B": torch.cat([B[:, :1], B[:, 1:].detach()], dim=1)}


WRONG: dict[str, tuple[str, Kernel]] = {
    "state in bfloat16": ("plain", Kernel(_state_in_bfloat16)),
    "A in bfloat16": ("plain", Kernel(change=lambda x: {**x, "A": _bfloat16(x["A"])})),
    "products in tf32": ("plain", Kernel(read=_tf32)),
    "the zero-order hold instead of Euler": ("plain", Kernel(change=_swapped)),
    "Euler instead of the zero-order hold": ("zoh", Kernel(change=_swapped)),
    "resets ignored": ("resets", Kernel(change=_without("seq_idx"))),
    "initial state dropped": ("plain", Kernel(change=_without("initial_state"))),
    "dB lacks a group": ("groups", Kernel(change=_lost_group)),
    "the adjoint lacks the conjugate": ("complex", Kernel(kernels.no_conjugate)),
    "exp off by 1e-4": (
        "plain",
        Kernel(lambda *x: kernels.sequential(*x, exp=lambda p: torch.exp(p) * (1 + 1e-4))),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_known_bad_kernels_leave_the_widest_bound(name: str) -> None:
    variant, kernel = WRONG[name]
    inputs = draw(5, 2, 6, 37, 3, **VARIANTS[variant])
    cotangents = draw_cotangents(5, inputs)
    allowed = bounds(inputs, cotangents, ANY)
    assert max(ratios(execute(kernel, inputs, cotangents), allowed).values()) > 1
    honest = Kernel() if "conjugate" not in name else Kernel(kernels.subtractive)
    used = ratios(execute(honest, inputs, cotangents), allowed)
    assert all(ratio <= 1 for ratio in used.values()), used


def test_a_softplus_cut_at_20_is_wrong_in_float64_and_invisible_in_float32() -> None:
    inputs = draw(5, 2, 6, 5, 3, dtype="float64", resets=0.0)
    inputs["A"] = inputs["A"] * 1e-3
    inputs["delta"] = inputs["delta"] + 22.0
    cut = Kernel(softplus=lambda x: torch.where(x > 20, x, torch.logaddexp(x, torch.zeros_like(x))))
    exact = replace(cut, softplus=lambda x: x.clamp(min=0) + torch.log1p(torch.exp(-x.abs())))
    cotangents = draw_cotangents(5, inputs)
    double = bounds(inputs, cotangents, replace(ANY, compute="float64"))
    used = ratios(execute(exact, inputs, cotangents), double)
    assert all(ratio <= 1 for ratio in used.values()), used
    assert max(ratios(execute(cut, inputs, cotangents), double).values()) > 1
    narrow = {
        name: value.astype(np.float32) if isinstance(value, np.ndarray) else value
        for name, value in inputs.items()
    }
    weights = {name: value.astype(np.float32) for name, value in cotangents.items()}
    single = bounds(narrow, weights, ANY)
    used = ratios(execute(cut, narrow, weights), single)
    assert all(ratio <= 1 for ratio in used.values()), used
