"""Honest linear time-invariant systems, discrete in time: recurrence and kernel, with their gradients.

With r the cotangent of y or K, and γ = 2 for the modes of a complex diagonal Ā, else 1, the adjoint state is
λ_k = γ Cᴴ r_k + Āᴴ λ_{k+1}. For complex x the gradient is ∂L/∂Re x + i ∂L/∂Im x.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ssm_backends.dtypes import COMPLEX_OF, compute_dtype, dtype_name
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.discretize import summed_to
from ssm_conformance.mutants.kernels.kernel import DTYPES, WIDE, Kernel

STRUCTURES = ("dense", "diagonal", "complex")


class System(Kernel):
    """What a recurrence and a kernel share: products with Ā, and sums over batch and time."""

    def pairs(self, A_bar: Array, diagonal: bool) -> int:
        """γ: 2 where each mode stands for a conjugate pair."""
        return 2 if diagonal and np.iscomplexobj(A_bar) else 1

    def times(self, matrix: Array, columns: Array) -> Array:
        """matrix (*s, p, n) times columns (…, *s, n, k)."""
        return np.asarray(matrix @ columns)

    def decay(self, A_bar: Array, columns: Array, diagonal: bool) -> Array:
        """Ā times columns (…, *s, n, k)."""
        return A_bar[..., None] * columns if diagonal else self.times(A_bar, columns)

    def decay_back(self, A_bar: Array, columns: Array, diagonal: bool) -> Array:
        """Āᴴ times columns."""
        return self.decay(A_bar.conj() if diagonal else A_bar.conj().swapaxes(-1, -2), columns, diagonal)

    def outer(self, left: Array, right: Array) -> Array:
        """left rightᴴ, (…, *s, n, k)."""
        return np.asarray(left @ right.conj().swapaxes(-1, -2))

    def slope_decay(self, after: Array, before: Array, diagonal: bool) -> Array:
        """What one step adds to the gradient of Ā, (…, *s, n, n) or (…, *s, n)."""
        return (after * before.conj()).sum(-1) if diagonal else self.outer(after, before)

    def real_part(self, y: Array, gamma: int) -> Array:
        """γ Re y for pairs of modes, y itself otherwise."""
        return gamma * y.real if gamma == 2 else y

    def given(self, total: Mapping[str, Array], inputs: Mapping[str, Any], wrt: tuple[str, ...]) -> Any:
        """Gradients with the shapes and dtypes of the inputs."""
        return {
            name: self.store(summed_to(total[name], inputs[name].shape), dtype_name(inputs[name]))
            for name in wrt
        }


class Recurrence(System):
    """h_k = Ā h_{k−1} + B̄ u_k, y_k = C h_k + D u_k; 2 Re(C h_k) for complex modes."""

    op: ClassVar[str] = "ssm_recurrence"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "gradients": "all",
        "features": (*STRUCTURES, "mixed_dtypes", "initial_state"),
        "deterministic": True,
    }

    def loaded(self, compute: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Every array of the call, in the compute type."""
        return {name: self.load(x, compute) for name, x in inputs.items() if x is not None}

    def begin(self, p: Mapping[str, Array]) -> Array:
        """The state before the first step, (b, *s, n, 1)."""
        b, *s = p["u"].shape[:-2]
        n = p["B_bar"].shape[-2]
        given = p.get("initial_state")
        return np.zeros((b, *s, n, 1), p["A_bar"].dtype) if given is None else given[..., None].copy()

    def input_at(self, p: Mapping[str, Array], k: int) -> Array:
        """u_k, (b, *s, m, 1)."""
        return p["u"][..., k, None]

    def advance(self, p: Mapping[str, Array], k: int, h: Array, diagonal: bool) -> Array:
        """h_k from h_{k−1}."""
        return self.decay(p["A_bar"], h, diagonal) + self.times(p["B_bar"], self.input_at(p, k))

    def output(self, p: Mapping[str, Array], k: int, before: Array, h: Array, gamma: int) -> Array:
        """y_k, (b, *s, p)."""
        y = self.real_part(self.times(p["C"], h), gamma)
        return (y + self.times(p["D"], self.input_at(p, k)) if "D" in p else y)[..., 0]

    def leave(self, p: Mapping[str, Array], h: Array) -> Array:
        """The last state as it is returned."""
        return h

    def run(self, p: Mapping[str, Array], diagonal: bool) -> tuple[Array, list[Array]]:
        """y, (b, *s, p, l), and every state, the initial one first."""
        gamma, l = self.pairs(p["A_bar"], diagonal), p["u"].shape[-1]
        kept = [self.begin(p)]
        dtype = p["A_bar"].real.dtype if diagonal else p["A_bar"].dtype
        y = np.zeros((*p["u"].shape[:-2], p["C"].shape[-2], l), dtype)
        for k in range(l):
            kept.append(self.advance(p, k, kept[-1], diagonal))
            y[..., k] = self.output(p, k, kept[-2], kept[-1], gamma)
        return y, kept

    def __call__(self, *, diagonal: bool = False, return_last_state: bool = False, **inputs: Any) -> Any:
        """The operator: y, or (y, last_state)."""
        compute, io = compute_dtype([dtype_name(x) for x in inputs.values()]), dtype_name(inputs["u"])
        with np.errstate(all="ignore"):
            p = self.loaded(compute, inputs)
            y, kept = self.run(p, diagonal)
        result = self.store(y, COMPLEX_OF[compute] if np.iscomplexobj(y) else io)
        last = self.store(self.leave(p, kept[-1])[..., 0], str(p["A_bar"].dtype))
        return (result, last) if return_last_state else result

    def vjp(
        self,
        cotangents: Mapping[str, Any],
        wrt: tuple[str, ...],
        saved: None,
        *,
        diagonal: bool = False,
        return_last_state: bool = False,
        **inputs: Any,
    ) -> Any:
        """Gradients, as the contract's ``vjp``."""
        compute = compute_dtype([dtype_name(x) for x in inputs.values()])
        with np.errstate(all="ignore"):
            p = self.loaded(compute, inputs)
            y, kept = self.run(p, diagonal)
            r = self.cotangent(cotangents, "y", y, compute)
            below = self.cotangent(cotangents, "last_state", kept[-1][..., 0], compute)[..., None]
            total = self.pull_back(p, r, below, kept, diagonal)
        return self.given(total, inputs, wrt)

    def pull_back(
        self, p: Mapping[str, Array], r: Array, below: Array, kept: list[Array], diagonal: bool
    ) -> dict[str, Array]:
        """Every gradient, summed over the batch."""
        gamma = self.pairs(p["A_bar"], diagonal)
        total = {name: np.zeros_like(x) for name, x in p.items()}
        for k in reversed(range(p["u"].shape[-1])):
            r_k, u_k = r[..., k, None], self.input_at(p, k)
            state = below + gamma * (p["C"].conj().swapaxes(-1, -2) @ r_k)
            total["C"] = total["C"] + self.slope_output(gamma, r_k, kept[k + 1])
            total["B_bar"] = total["B_bar"] + self.over_batch(self.outer(state, u_k))
            step = self.slope_decay(state, self.before(kept, k), diagonal)
            total["A_bar"] = total["A_bar"] + self.over_batch(step)
            du = (p["B_bar"].conj().swapaxes(-1, -2) @ state).real
            if "D" in p:
                total["D"] = total["D"] + self.over_batch(self.outer(r_k, u_k).real)
                du = du + (p["D"].swapaxes(-1, -2) @ r_k).real
            total["u"][..., k] = du[..., 0]
            below = self.decay_back(p["A_bar"], state, diagonal)
        return total | {"initial_state": below[..., 0]}

    def slope_output(self, gamma: int, r: Array, h: Array) -> Array:
        """What one step adds to the gradient of C."""
        return gamma * self.over_batch(self.outer(r, h))

    def before(self, kept: list[Array], k: int) -> Array:
        """h_{k−1}, which the gradient of Ā reads."""
        return kept[k]

    def over_batch(self, terms: Array) -> Array:
        """Σ over the batch."""
        return np.asarray(terms.sum(0))


class ConvolutionKernel(System):
    """K_j = C Āʲ B̄; 2 Re(C Āʲ B̄) for complex modes."""

    op: ClassVar[str] = "ssm_kernel"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": WIDE,
        "gradients": "all",
        "features": STRUCTURES,
        "deterministic": True,
    }

    def powers(self, A_bar: Array, B_bar: Array, length: int, diagonal: bool) -> list[Array]:
        """Āʲ B̄ for j < length, each (*s, n, m)."""
        found = [B_bar]
        while len(found) < length:
            found.append(self.decay(A_bar, found[-1], diagonal))
        return found[:length]

    def widened(self, inputs: Mapping[str, Any], diagonal: bool) -> tuple[Array, Array, Array]:
        """Ā, B̄ and C with all of *s, in the compute type, as complex as Ā."""
        compute, own = compute_dtype([dtype_name(inputs["A_bar"])]), 1 if diagonal else 2
        A, B, C = (self.load(inputs[name], compute) for name in ("A_bar", "B_bar", "C"))
        s = np.broadcast_shapes(A.shape[:-own], B.shape[:-2], C.shape[:-2])
        B, C = (np.broadcast_to(x.astype(A.dtype), s + x.shape[-2:]) for x in (B, C))
        return np.broadcast_to(A, s + A.shape[-own:]), B, C

    def __call__(self, *, length: int, diagonal: bool = False, **inputs: Any) -> Any:
        """The operator."""
        with np.errstate(all="ignore"):
            A, B, C = self.widened(inputs, diagonal)
            gamma = self.pairs(A, diagonal)
            K = np.zeros((*C.shape[:-1], B.shape[-1], length), A.real.dtype if diagonal else A.dtype)
            for j, power in enumerate(self.powers(A, B, length, diagonal)):
                K[..., j] = self.real_part(self.times(C, power), gamma)
        name = dtype_name(inputs["A_bar"])
        return self.store(K, name if np.iscomplexobj(K) else K.dtype.name)

    def vjp(
        self,
        cotangents: Mapping[str, Any],
        wrt: tuple[str, ...],
        saved: None,
        *,
        length: int,
        diagonal: bool = False,
        **inputs: Any,
    ) -> Any:
        """Gradients, as the contract's ``vjp``."""
        with np.errstate(all="ignore"):
            A, B, C = self.widened(inputs, diagonal)
            gamma = self.pairs(A, diagonal)
            like = np.zeros((*C.shape[:-1], B.shape[-1], length), A.real.dtype if diagonal else A.dtype)
            r = self.cotangent(cotangents, "K", like, A.real.dtype.name)
            total = {"A_bar": np.zeros_like(A), "C": np.zeros_like(C)}
            below = np.zeros_like(B)
            powers = self.powers(A, B, length, diagonal)
            for j in reversed(range(length)):
                state = gamma * (C.conj().swapaxes(-1, -2) @ r[..., j]) + below
                total["C"] = total["C"] + gamma * self.outer(r[..., j], powers[j])
                if j:
                    step = self.slope_decay(state, powers[j - 1], diagonal)
                    total["A_bar"] = total["A_bar"] + self.kept_slope(step, j)
                    below = self.decay_back(A, state, diagonal)
                else:
                    below = state
        return self.given(total | {"B_bar": below}, inputs, wrt)

    def kept_slope(self, step: Array, j: int) -> Array:
        """What lag j adds to the gradient of Ā."""
        return step
