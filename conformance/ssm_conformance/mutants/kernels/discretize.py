"""The honest discretisations, dense and by modes, with their gradients.

With M = ΔA and G the cotangent of an output, gradients go back through M and ΔB: for the zero-order hold by
the derivative of the exponential in a direction, the corner of exp([[Mᴴ, G], [0, Mᴴ]]); for the bilinear
rule with W = (I − αM)⁻ᴴ G. For complex x the gradient is ∂L/∂Re x + i ∂L/∂Im x.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ssm_backends.dtypes import compute_dtype, dtype_name
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.functions import Functions
from ssm_conformance.mutants.kernels.kernel import WIDE, Kernel

System = tuple[Array, Array, Array]
"""A (*s, n, n) or (*s, n), B (*s, n, m), Δ (*s), all with the same *s, in the compute type."""


def summed_to(x: Array, shape: tuple[int, ...]) -> Array:
    """Undo a broadcast: the sum over what was repeated."""
    x = x.sum(tuple(range(x.ndim - len(shape))))
    return np.asarray(x.sum(tuple(i for i, size in enumerate(shape) if size != x.shape[i]), keepdims=True))


def adjoint(x: Array) -> Array:
    """xᴴ of the last two dimensions."""
    return x.conj().swapaxes(-1, -2)


class Discretisation(Kernel, Functions):
    """What both rules share; ``discretize`` and ``pull_back`` are theirs."""

    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": WIDE,
        "gradients": "all",
        "features": ("dense", "diagonal", "complex"),
        "deterministic": True,
    }

    @abstractmethod
    def discretize(self, system: System, diagonal: bool, alpha: float) -> tuple[Array, Array]:
        """Ā and B̄."""

    @abstractmethod
    def pull_back(self, system: System, G: tuple[Array, Array], diagonal: bool, alpha: float) -> System:
        """Gradients of A, B and Δ from those of Ā and B̄."""

    def system(self, A: Any, B: Any, delta: Any, diagonal: bool) -> System:
        """The three with all of *s."""
        compute = compute_dtype([dtype_name(A)])
        own = 1 if diagonal else 2
        matrix, inputs, step = (self.load(x, compute) for x in (A, B, delta))
        s = np.broadcast_shapes(matrix.shape[:-own], inputs.shape[:-2], step.shape)
        return (
            np.broadcast_to(matrix, s + matrix.shape[-own:]),
            np.broadcast_to(inputs.astype(matrix.dtype), s + inputs.shape[-2:]),
            np.broadcast_to(step, s),
        )

    def __call__(
        self, *, A: Any, B: Any, delta: Any, alpha: float = 0.5, diagonal: bool = False
    ) -> tuple[Any, Any]:
        """The operator: (A_bar, B_bar)."""
        with np.errstate(all="ignore"):
            A_bar, B_bar = self.discretize(self.system(A, B, delta, diagonal), diagonal, alpha)
        return self.store(A_bar, dtype_name(A)), self.store(B_bar, dtype_name(A))

    def vjp(
        self,
        cotangents: Mapping[str, Any],
        wrt: tuple[str, ...],
        saved: None,
        *,
        alpha: float = 0.5,
        diagonal: bool = False,
        **inputs: Any,
    ) -> dict[str, Any]:
        """Gradients, as the contract's ``vjp``."""
        system = self.system(**inputs, diagonal=diagonal)
        compute = compute_dtype([dtype_name(inputs["A"])])
        G = tuple(
            self.cotangent(cotangents, name, like, compute)
            for name, like in zip(("A_bar", "B_bar"), system[:2], strict=True)
        )
        with np.errstate(all="ignore"):
            found = self.pull_back(system, (G[0], G[1]), diagonal, alpha)
        total = dict(zip(("A", "B", "delta"), found, strict=True))
        return {
            name: self.store(summed_to(total[name], inputs[name].shape), dtype_name(inputs[name]))
            for name in wrt
        }

    def through_products(self, system: System, G_M: Array, G_N: Array, diagonal: bool) -> System:
        """Gradients of A, B and Δ from those of M = ΔA and N = ΔB."""
        A, B, delta = system
        step = delta[..., None] if diagonal else delta[..., None, None]
        own = (-1,) if diagonal else (-2, -1)
        slope = (A.conj() * G_M).real.sum(own) + (B.conj() * G_N).real.sum((-2, -1))
        return step * G_M, delta[..., None, None] * G_N, slope


class ZeroOrderHold(Discretisation):
    """Ā = exp(ΔA), B̄ = ∫₀^Δ exp(sA) ds B: the top of exp([[ΔA, ΔB], [0, 0]]) (Van Loan 1978)."""

    op: ClassVar[str] = "discretize_zoh"

    def exponential(self, matrix: Array) -> Array:
        """exp of square matrices (*s, k, k)."""
        from scipy.linalg import expm

        return np.asarray(expm(matrix)) if matrix.size else matrix

    def block(self, system: System) -> Array:
        """[[ΔA, ΔB], [0, 0]], (*s, n + m, n + m)."""
        A, B, delta = system
        top = delta[..., None, None] * np.concatenate([A, B], axis=-1)
        return np.concatenate([top, np.zeros((*B.shape[:-2], B.shape[-1], top.shape[-1]), A.dtype)], axis=-2)

    def discretize(self, system: System, diagonal: bool, alpha: float) -> tuple[Array, Array]:
        """See :class:`Discretisation`."""
        A, B, delta = system
        if diagonal:
            step = delta[..., None]
            return self.exp(step * A), self.exact_hold(step, A)[..., None] * B
        top, n = self.exponential(self.block(system))[..., : A.shape[-1], :], A.shape[-1]
        return top[..., :n], top[..., n:]

    def pull_back(self, system: System, G: tuple[Array, Array], diagonal: bool, alpha: float) -> System:
        """See :class:`Discretisation`."""
        if diagonal:
            return self.pull_back_modes(system, G)
        M, n = self.block(system), system[0].shape[-1]
        G_M = np.zeros_like(M)
        G_M[..., :n, :n], G_M[..., :n, n:] = G
        found = self.derivative(adjoint(M), G_M)
        return self.through_products(system, found[..., :n, :n], found[..., :n, n:], diagonal)

    def derivative(self, M: Array, direction: Array) -> Array:
        """The derivative of exp at M in a direction: the corner of exp([[M, E], [0, M]]), E scaled to 1."""
        size = np.abs(direction).max((-2, -1), keepdims=True, initial=0)
        scaled = direction / np.where(size > 0, size, 1)
        twice = np.block([[M, scaled], [np.zeros_like(M), M]])
        k = M.shape[-1]
        return np.asarray(size * self.exponential(twice)[..., :k, k:])

    def pull_back_modes(self, system: System, G: tuple[Array, Array]) -> System:
        """Ā = exp(Δλ), B̄ = φB, φ = expm1(Δλ)/λ: dφ/dλ = Δ²ψ(Δλ), dφ/dΔ = exp(Δλ)."""
        A, B, delta = system
        step, a = delta[..., None], self.exp(delta[..., None] * A)
        hold = self.exact_hold(step, A)
        through_hold = (G[1] * B.conj()).sum(-1)
        dA = G[0] * (step * a).conj() + through_hold * (step * step * self.psi(step * A)).conj()
        slope = (G[0] * (A * a).conj() + through_hold * a.conj()).real.sum(-1)
        return dA, G[1] * hold.conj()[..., None], slope


class Bilinear(Discretisation):
    """Ā = (I − αΔA)⁻¹(I + (1−α)ΔA), B̄ = (I − αΔA)⁻¹ΔB."""

    op: ClassVar[str] = "discretize_bilinear"

    def implicit(self, alpha: float) -> float:
        """α, the share of the step that is implicit."""
        return alpha

    def left(self, system: System, diagonal: bool, alpha: float) -> Array:
        """I − αΔA, or 1 − αΔλ."""
        A, _, delta = system
        if diagonal:
            return np.asarray(1 - alpha * (delta[..., None] * A))
        return np.asarray(np.eye(A.shape[-1], dtype=A.dtype) - alpha * (delta[..., None, None] * A))

    def solve(self, left: Array, right: Array, diagonal: bool) -> Array:
        """left⁻¹ right, (*s, n, k)."""
        return right / left[..., None] if diagonal else np.asarray(np.linalg.solve(left, right))

    def explicit(self, system: System, diagonal: bool, alpha: float) -> Array:
        """I + (1−α)ΔA, or its modes as a column."""
        A, _, delta = system
        if diagonal:
            return np.asarray(1 + (1 - alpha) * (delta[..., None] * A))[..., None]
        return np.asarray(np.eye(A.shape[-1], dtype=A.dtype) + (1 - alpha) * (delta[..., None, None] * A))

    def discretize(self, system: System, diagonal: bool, alpha: float) -> tuple[Array, Array]:
        """See :class:`Discretisation`."""
        _, B, delta = system
        left = self.left(system, diagonal, self.implicit(alpha))
        A_bar = self.solve(left, self.explicit(system, diagonal, alpha), diagonal)
        B_bar = self.solve(left, delta[..., None, None] * B, diagonal)
        return (A_bar[..., 0] if diagonal else A_bar), B_bar

    def pull_back(self, system: System, G: tuple[Array, Array], diagonal: bool, alpha: float) -> System:
        """dM = (1−α)W_A + α(W_A Āᴴ + W_B B̄ᴴ), dN = W_B."""
        A_bar, B_bar = self.discretize(system, diagonal, alpha)
        left = self.left(system, diagonal, alpha)
        if diagonal:
            W_A, W_B = G[0] / left.conj(), G[1] / left.conj()[..., None]
            G_M = (1 - alpha) * W_A + alpha * (W_A * A_bar.conj() + (W_B * B_bar.conj()).sum(-1))
        else:
            W_A, W_B = (self.solve(adjoint(left), x, diagonal) for x in G)
            G_M = (1 - alpha) * W_A + alpha * (W_A @ adjoint(A_bar) + W_B @ adjoint(B_bar))
        return self.through_products(system, self.through_implicit(G_M, W_A), W_B, diagonal)

    def through_implicit(self, G_M: Array, W_A: Array) -> Array:
        """The gradient of M: all of it, not only what enters the explicit part, ``W_A``."""
        return G_M
