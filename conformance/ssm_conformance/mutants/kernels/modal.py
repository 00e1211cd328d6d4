"""Honest S4D and the kernels of S4D and S4, from the time-invariant rooms; forward only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ssm_backends.dtypes import dtype_name
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.discretize import Bilinear
from ssm_conformance.mutants.kernels.kernel import DTYPES, WIDE
from ssm_conformance.mutants.kernels.layers import EULER, Layer
from ssm_conformance.mutants.kernels.systems import ConvolutionKernel


class S4dKernel(Layer):
    """K_j = γ Re Σ_n C_n b̄_n ā_nʲ."""

    op: ClassVar[str] = "s4d_kernel"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": WIDE,
        "features": ("complex", "mixed_dtypes", "bilinear", *EULER),
        "deterministic": True,
    }

    def output(self, p: Mapping[str, Array]) -> Array:
        """C of each channel, (d, 1, n)."""
        return p["C"][:, None]

    def __call__(self, *, length: int, discretization: str = "zoh", **inputs: Any) -> Any:
        """The operator."""
        p = self.inside("A", inputs)
        a, hold = self.modes(p, p["delta"][:, None], discretization)
        K = self.lags()(
            A_bar=a, B_bar=(hold * p["B"])[..., None], C=self.output(p), length=length, diagonal=True
        )
        return self.store(K[:, 0, 0], dtype_name(inputs["delta"]))


class S4d(Layer):
    """One diagonal system for each channel, step by step."""

    op: ClassVar[str] = "s4d"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "features": ("complex", "mixed_dtypes", "initial_state", "bilinear", *EULER),
        "deterministic": True,
    }

    def start(self, p: Mapping[str, Array]) -> dict[str, Any]:
        """The initial state, if there is one."""
        return {"initial_state": p["initial_state"]} if "initial_state" in p else {}

    def feedthrough(self, p: Mapping[str, Array]) -> Array:
        """D u, (b, d, l)."""
        return p["D"][:, None] * p["u"] if "D" in p else np.zeros_like(p["u"])

    def __call__(
        self, *, u: Any, discretization: str = "zoh", return_last_state: bool = False, **inputs: Any
    ) -> Any:
        """The operator."""
        p = self.inside("u", {"u": u, **inputs})
        a, hold = self.modes(p, p["delta"][:, None], discretization)
        y, last = self.recurrence()(
            A_bar=a, B_bar=(hold * p["B"])[..., None], C=p["C"][:, None], u=p["u"][:, :, None],
            **self.start(p), return_last_state=True, diagonal=True,
        )  # fmt: skip
        y = self.store(y[:, :, 0] + self.feedthrough(p), dtype_name(u))
        return (y, last) if return_last_state else y


class S4Kernel(Layer):
    """K_j = C Āʲ B̄, A = diag(Λ) − P Q*, from the full matrix."""

    op: ClassVar[str] = "s4_kernel"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": WIDE,
        "features": ("complex", "mixed_dtypes"),
        "deterministic": True,
    }

    def mirrored(self, x: Array, name: str) -> Array:
        """Both halves of a paired array."""
        return np.concatenate([x, x.conj()], axis=-1)

    def low_rank(self, P: Array, Q: Array) -> Array:
        """P Q*, (d, n, n)."""
        return np.asarray(P[..., None] * Q.conj()[:, None])

    def discrete(self, step: Array, p: Mapping[str, Array]) -> tuple[Array, Array]:
        """Ā and B̄ of each channel, (d, n, n) and (d, n, 1)."""
        normal = p["Lambda"][..., None] * np.eye(p["Lambda"].shape[-1])
        A = (normal - self.low_rank(p["P"], p["Q"])).astype(p["Lambda"].dtype)
        return Bilinear()(A=A, B=p["B"][..., None], delta=step)

    def kernel(self, step: Array, p: Mapping[str, Array], length: int) -> Array:
        """K (d, l), complex, of all n states."""
        A_bar, B_bar = self.discrete(step, p)
        K = ConvolutionKernel()(A_bar=A_bar, B_bar=B_bar, C=p["C"][:, None], length=length)
        return np.asarray(K[:, 0, 0])

    def __call__(self, *, length: int, paired: bool = False, **inputs: Any) -> Any:
        """The operator."""
        step = self.load(inputs["delta"], dtype_name(inputs["delta"]))
        kind = np.result_type(step.dtype, np.complex64)
        p = {name: np.asarray(x).astype(kind) for name, x in inputs.items() if name != "delta"}
        p = {name: self.mirrored(x, name) for name, x in p.items()} if paired else p
        K = self.kernel(step, p, length)
        return K.real if paired else K
