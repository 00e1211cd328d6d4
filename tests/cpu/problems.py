"""Inputs of the scan as NumPy arrays, and the oracle's verdict on a scan of them and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ssm_conformance import assert_conforms
from ssm_cpu import _jit, selective_scan, selective_scan_forward, selective_scan_vjp

FACTS = {"evaluation": "sequential", "decayed_state": "direct", "softplus": "log1p"}


def without_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels as they are compiled for a processor without AVX-512, none of them kept."""
    has = _jit._has
    monkeypatch.setattr(_jit, "_has", lambda *features: "avx512f" not in features and has(*features))
    monkeypatch.setattr(_jit, "_kernels", {})
    monkeypatch.setenv(_jit.CACHE_VARIABLE, "")


def problem(
    dtype: str = "float32",
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
    rng = np.random.default_rng(seed)

    def real(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    def state(*shape: int) -> np.ndarray:
        return real(*shape) + 1j * real(*shape) if complex_ else real(*shape)

    def matrix(g: int | None) -> np.ndarray:
        return state(*{None: (b, n, l), 0: (d, n)}.get(g, (b, g or 1, n, l)))

    A = -2 * np.abs(real(d, n))
    call: dict[str, Any] = {"u": real(b, d, l), "delta": real(b, d, l) / 2, "A": A}
    call |= {"B": matrix(groups[0]), "C": matrix(groups[1])}
    if complex_:
        call["A"] = A + 3j * real(d, n)
    if not plain:
        call |= {"D": real(d), "z": real(b, d, l), "delta_bias": real(d), "delta_softplus": True}
        call["initial_state"] = state(b if rows is None else rows, d, n)
    return call


def judge(call: dict[str, Any]) -> None:
    """Hold y, the last state, and every gradient of a call to their bounds."""
    call = call | {"return_last_state": True}
    outputs, saved = selective_scan_forward(**call)
    assert all(np.array_equal(x, y) for x, y in zip(outputs, selective_scan(**call), strict=True))
    rng = np.random.default_rng(1)
    cotangents = {
        name: rng.standard_normal(x.shape).astype(x.dtype)
        for name, x in zip(("y", "last_state"), outputs, strict=True)
    }
    wrt = tuple(name for name, x in call.items() if isinstance(x, np.ndarray) and x.dtype.kind in "fc")
    gradients = selective_scan_vjp(cotangents, wrt, saved, **call)
    assert_conforms(
        "selective_scan", outputs, gradients=gradients, cotangents=cotangents, arithmetic=FACTS, **call
    )


def same(a: Any, b: Any) -> bool:
    """Whether two results are the same bits."""
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
