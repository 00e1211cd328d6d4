"""A selective scan in chunks by products of matrices, C B first: what it may overflow, lose and cancel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, Bounded

torch = pytest.importorskip("torch")

Arrays = dict[str, Any]
BY_MATRICES = Arithmetic(evaluation="matmul_chunk", chunk=2)
CHUNK = Arithmetic(evaluation="chunk", chunk=2)


def products_first(inputs: Arrays, cotangent: Any) -> Arrays:
    """One row in chunks of 2, from no state: Σ_n C_t B_s w first, a mask of zeros, then Δu; and gradients."""
    x = {name: torch.tensor(value, requires_grad=True) for name, value in inputs.items()}
    u, step, B, C = (x[name][0].T for name in ("u", "delta", "B", "C"))
    h, y = torch.zeros_like(x["A"]), []
    for start in range(0, len(u), 2):
        now = slice(start, start + 2)
        p = (step[now, :, None] * x["A"]).cumsum(0)
        mask = torch.tril(torch.ones(len(p), len(p)))[:, :, None]
        w = torch.exp(torch.where(mask[..., None] > 0, p[:, None] - p[None], 0.0))
        scores = torch.einsum("tsn,tsdn->tsd", C[now, None] * B[None, now], w) * mask
        driven = step[now] * u[now]
        y.append(torch.einsum("tsd,sd->td", scores, driven) + (torch.exp(p) * h * C[now, None]).sum(-1))
        h = torch.exp(p[-1]) * h + torch.einsum("sdn,sd,sn->dn", w[-1], driven, B[now])
    out = torch.cat(y).T[None]
    found = torch.autograd.grad(out, list(x.values()), torch.tensor(cotangent))
    return {"y": out.detach().numpy()} | {f"d {name}": g.numpy() for name, g in zip(x, found, strict=True)}


def allowed(inputs: Arrays, cotangent: Any, arithmetic: Arithmetic) -> dict[str, Bounded]:
    y = ssm_spec.selective_scan_bounds(arithmetic=arithmetic, **inputs)["y"]
    gradients = ssm_spec.selective_scan_vjp_bounds({"y": cotangent}, arithmetic=arithmetic, **inputs)
    return {"y": y} | {f"d {name}": bounded for name, bounded in gradients.items()}


def rejected(found: Arrays, bounds: dict[str, Bounded]) -> set[str]:
    """The results of which some judged element is outside its bound; NaN is."""
    wrong = set()
    for name, bounded in bounds.items():
        with np.errstate(all="ignore"):
            error = np.abs(found[name] - bounded.value)
        if not (error <= bounded.bound + bounded.own)[bounded.judged].all():
            wrong.add(name)
    return wrong


REACHED: dict[str, tuple[Arrays, set[str]]] = {
    "C B of C B u": ({"B": 1e20, "C": 1e20, "u": 1e-30}, {"y"}),
    "C B of a later source, times the zero of a mask": ({"B": (1, 1e20), "C": (1e20, 1), "u": 1e-30}, {"y"}),
}


@pytest.mark.parametrize("name", REACHED)
def test_what_products_first_may_overflow_is_excused_to_products_of_matrices_alone(name: str) -> None:
    large, wanted = REACHED[name]
    one = np.ones((1, 1, 2), np.float32)
    inputs = {key: np.float32(large.get(key, 1)) * one for key in ("u", "delta", "B", "C")}
    inputs["A"] = -one[0, :, :1]
    cotangent = np.float32(large.get("y", 1)) * one
    found = products_first(inputs, cotangent)
    assert rejected(found, allowed(inputs, cotangent, BY_MATRICES)) == set()
    assert wanted <= rejected(found, allowed(inputs, cotangent, CHUNK))


def test_honest_products_stay_within_their_bound() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)

        def real(*shape: int, rng: np.random.Generator = rng) -> Any:
            signs = np.sign(rng.standard_normal(shape))
            return (signs * 10.0 ** rng.uniform(-3, 2, shape)).astype(np.float32)

        inputs = {"u": real(1, 3, 7), "delta": np.abs(real(1, 3, 7)), "A": -np.abs(real(3, 4))}
        inputs |= {"B": real(1, 4, 7), "C": real(1, 4, 7)}
        cotangent = real(1, 3, 7)
        found = products_first(inputs, cotangent)
        assert rejected(found, allowed(inputs, cotangent, BY_MATRICES)) == set()
