"""Honest linear layers, LSSL, S5 and H3, from the time-invariant rooms; forward only."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, ClassVar, Final

import numpy as np

from ssm_backends.dtypes import compute_dtype, dtype_name
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution import Convolution
from ssm_conformance.mutants.kernels.discretize import Bilinear, ZeroOrderHold
from ssm_conformance.mutants.kernels.kernel import DTYPES, Kernel
from ssm_conformance.mutants.kernels.systems import ConvolutionKernel, Recurrence

ALPHA: Final = {"forward_euler": 0.0, "bilinear": 0.5, "backward_euler": 1.0}
EULER: Final = ("forward_euler", "backward_euler")


class Layer(Kernel):
    """What the layers share: arrays into the compute type, modes to their steps."""

    def inside(self, primary: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Every array that is given, in the compute type."""
        names = [dtype_name(inputs[name]) for name in (primary, "A")]
        compute = compute_dtype(names)
        return {name: self.load(x, compute) for name, x in inputs.items() if x is not None}

    def modes(self, p: Mapping[str, Array], delta: Array, rule: str) -> tuple[Array, Array]:
        """ā and b̄/B of each mode, in the shape of A."""
        A = p["A"]
        if rule != "zoh":
            divisor = 1 - ALPHA[rule] * delta * A
            return (1 + (1 - ALPHA[rule]) * delta * A) / divisor, delta / divisor
        one = np.ones((*A.shape, 1, 1), A.dtype)
        steps = np.broadcast_to(delta, A.shape)
        a, hold = ZeroOrderHold()(A=A[..., None], B=one, delta=steps, diagonal=True)
        return a[..., 0], hold[..., 0, 0]

    def recurrence(self) -> Recurrence:
        """What runs the discrete system."""
        return Recurrence()

    def lags(self) -> ConvolutionKernel:
        """What makes the kernel of the discrete system."""
        return ConvolutionKernel()


class Lssl(Layer):
    """A full system for each channel, its m outputs side by side."""

    op: ClassVar[str] = "lssl"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "features": ("mixed_dtypes", "initial_state", "zoh", *EULER),
        "deterministic": True,
    }

    def step(self, p: Mapping[str, Array]) -> Array:
        """Δ of each channel."""
        return p["delta"]

    def discrete(self, p: Mapping[str, Array], rule: str) -> tuple[Array, Array]:
        """Ā and B̄ of each channel."""
        A, B, delta = p["A"], p["B"][..., None], self.step(p)
        if rule == "zoh":
            return ZeroOrderHold()(A=A, B=B, delta=delta)
        return Bilinear()(A=A, B=B, delta=delta, alpha=ALPHA[rule])

    def outputs(self, y: Array) -> Array:
        """(b, d, m, l), as it is returned."""
        return y

    def __call__(
        self, *, u: Any, discretization: str = "bilinear", return_last_state: bool = False, **inputs: Any
    ) -> Any:
        """The operator."""
        p = self.inside("u", {"u": u, **inputs})
        A_bar, B_bar = self.discrete(p, discretization)
        more: dict[str, Any] = {"D": p["D"][..., None]} if "D" in p else {}
        more |= {"initial_state": p["initial_state"]} if "initial_state" in p else {}
        y, last = self.recurrence()(
            A_bar=A_bar, B_bar=B_bar, C=p["C"], u=p["u"][:, :, None], **more, return_last_state=True
        )
        y = self.store(self.outputs(y), dtype_name(u))
        return (y, last) if return_last_state else y


class S5(Layer):
    """One diagonal system for all channels, a step for each mode."""

    op: ClassVar[str] = "s5"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "features": ("complex", "mixed_dtypes", "initial_state", "bilinear", *EULER),
        "deterministic": True,
    }

    def step(self, p: Mapping[str, Array]) -> Array:
        """Δ of each mode."""
        return p["delta"]

    def feedthrough(self, p: Mapping[str, Array]) -> Array:
        """D u, (b, h, l)."""
        return p["D"][:, None] * p["u"] if "D" in p else np.zeros_like(p["u"])

    def __call__(
        self, *, u: Any, discretization: str = "zoh", return_last_state: bool = False, **inputs: Any
    ) -> Any:
        """The operator."""
        p = self.inside("u", {"u": u, **inputs})
        a, hold = self.modes(p, self.step(p), discretization)
        start: dict[str, Any] = {"initial_state": p["initial_state"]} if "initial_state" in p else {}
        y, last = self.recurrence()(
            A_bar=a, B_bar=hold[:, None] * p["B"], C=p["C"], u=p["u"], **start,
            return_last_state=True, diagonal=True,
        )  # fmt: skip
        y = self.store(y + self.feedthrough(p), dtype_name(u))
        return (y, last) if return_last_state else y


class H3(Layer):
    """A shift system on the keys, a diagonal system on keys times values, queries as the gate."""

    op: ClassVar[str] = "h3"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "features": ("complex", "mixed_dtypes", "bilinear", *EULER),
        "deterministic": True,
    }

    def keys(self, p: Mapping[str, Array]) -> Array:
        """k' = shift(k) + D_k k."""
        return np.asarray(Convolution()(u=p["k"], K=p["shift"]) + p["shift_D"][:, None] * p["k"])

    def in_heads(self, x: Array, heads: int) -> Array:
        """(b, d, l) as (b, h, w, l)."""
        b, d, l = x.shape
        return x.reshape(b, heads, d // heads, l)

    def passed(self, p: Mapping[str, Array], products: Array) -> Array:
        """D k'_i v_j."""
        return p["D"][:, None, None, None] * products if "D" in p else np.zeros_like(products)

    def __call__(self, *, q: Any, discretization: str = "zoh", **inputs: Any) -> Any:
        """The operator."""
        p = self.inside("q", {"q": q, **inputs})
        b, d, l = p["q"].shape
        heads = len(p["delta"])
        keys, values = self.in_heads(self.keys(p), heads), self.in_heads(p["v"], heads)
        products = keys[:, :, :, None] * values[:, :, None]
        a, hold = self.modes(p, p["delta"][:, None], discretization)
        kernel = self.lags()(
            A_bar=a, B_bar=(hold * p["B"])[..., None], C=p["C"][:, None], length=l, diagonal=True
        )[:, 0, 0]
        across = np.ascontiguousarray(np.moveaxis(products, 1, -2))
        flat = across.reshape(prod(across.shape[:3]), heads, l)
        run = np.moveaxis(Convolution()(u=flat, K=kernel).reshape(across.shape), -2, 1)
        y = (self.in_heads(p["q"], heads)[:, :, :, None] * (run + self.passed(p, products))).sum(2)
        y = y.reshape(b, d, l)
        if "out_proj" in p:
            y = np.einsum("od,bdl->bol", p["out_proj"], y)
        return self.store(y, dtype_name(q))
