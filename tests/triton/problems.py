"""Inputs of the scan, as torch tensors, and the oracle's verdict on what came out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ssm_spec import Arithmetic, selective_scan_bounds, selective_scan_vjp_bounds

WIDE = {torch.float64: "float64", torch.float32: "float32"}


def problem(
    device: str,
    dtype: torch.dtype = torch.float32,
    *,
    b: int = 2,
    d: int = 6,
    l: int = 7,
    n: int = 3,
    groups: tuple[int | None, int | None] = (None, None),
    complex_: bool = False,
    plain: bool = False,
    rows: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Arguments of the scan; groups: None for (b, n, l), 0 for constant (d, n), g for (b, g, n, l)."""
    generator = torch.Generator().manual_seed(seed)
    state = dtype.to_complex() if complex_ else dtype

    def draw(*shape: int, kind: torch.dtype = dtype) -> torch.Tensor:
        wide = torch.complex128 if kind.is_complex else torch.float64
        return torch.randn(shape, dtype=wide, generator=generator).to(kind).to(device)

    def matrix(g: int | None) -> torch.Tensor:
        shape = {None: (b, n, l), 0: (d, n)}.get(g, (b, g or 1, n, l))
        return draw(*shape, kind=state)

    A = -draw(d, n).abs() * 2
    call = {"u": draw(b, d, l), "delta": draw(b, d, l) * 0.5, "B": matrix(groups[0]), "C": matrix(groups[1])}
    call["A"] = torch.complex(A, 3 * draw(d, n)) if complex_ else A
    if not plain:
        call |= {"D": draw(d), "z": draw(b, d, l), "delta_bias": draw(d), "delta_softplus": True}
        call["initial_state"] = draw(b if rows is None else rows, d, n, kind=state)
    return call


def arrays(call: dict[str, Any]) -> dict[str, Any]:
    """The same arguments as NumPy arrays."""
    return {k: v.detach().cpu().numpy() if torch.is_tensor(v) else v for k, v in call.items()}


def worst(name: str, actual: torch.Tensor, bounded: Any) -> float:
    """The largest err / (bound + own) of one output, where it is judged."""
    error = np.abs(actual.detach().cpu().numpy().astype(bounded.value.dtype) - bounded.value)
    ratio = np.where(bounded.judged, error / (bounded.bound + bounded.own), 0.0)
    assert error.shape == bounded.value.shape, name
    return float(ratio.max(initial=0.0))


def verdict(scan: Any, call: dict[str, Any], last: bool = True) -> dict[str, float]:
    """Run a scan and its gradient on one problem: output or input name -> its largest ratio."""
    leaves = {
        k: v.requires_grad_() if torch.is_tensor(v) and v.is_floating_point() | v.is_complex() else v
        for k, v in call.items()
    }
    y, state = scan(**leaves, return_last_state=True)
    cotangents = {"y": torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).reshape(y.shape)}
    if last:
        cotangents["last_state"] = torch.ones_like(state) * 0.5
    names = [k for k, v in leaves.items() if torch.is_tensor(v) and v.requires_grad]
    outputs = [{"y": y, "last_state": state}[k] for k in cotangents]
    gradients = torch.autograd.grad(outputs, [leaves[k] for k in names], list(cotangents.values()))
    exact = arrays(call) | {"return_last_state": True}
    arithmetic = Arithmetic(
        compute=WIDE[call["u"].dtype], evaluation="scan", decayed_state="direct", softplus="log1p"
    )
    bounds = selective_scan_bounds(arithmetic=arithmetic, **exact)
    ratios = {"y": worst("y", y, bounds["y"]), "last_state": worst("last_state", state, bounds["last_state"])}
    dual = selective_scan_vjp_bounds(arrays(cotangents), names, arithmetic=arithmetic, **exact)
    return ratios | {f"d{k}": worst(k, g, dual[k]) for k, g in zip(names, gradients, strict=True)}
