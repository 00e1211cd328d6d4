"""The honest gradient: the states once more, then the adjoint recurrence backwards in time.

With r the cotangent of y, q that of v, and γ = 2 if A is complex, else 1::

    c_t = γ q_t conj(C_t),  λ_{l−1} = c_{l−1} + r_last,  λ_t = c_t + conj(a_{t+1}) λ_{t+1}

and λ does not cross a reset. For complex x the gradient is ∂L/∂Re x + i ∂L/∂Im x.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ssm_backends.dtypes import dtype_name
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.scan import Problem, Scan


class Honest(Scan):
    """Forward and backward. Of the states none is saved: they are computed again."""

    def vjp(
        self,
        cotangents: Mapping[str, Any],
        wrt: tuple[str, ...],
        saved: Problem | None,
        *,
        return_last_state: bool = False,
        **inputs: Any,
    ) -> dict[str, Any]:
        """Gradients of the operator ``selective_scan``, as the contract's ``vjp``."""
        with np.errstate(all="ignore"):  # as in the forward pass
            p = self.prepare(**inputs) if saved is None else saved
            r = self.cotangent(cotangents, "y", p.u, p.compute)
            last = self.cotangent(cotangents, "last_state", p.initial, p.compute)
            total = self.through_gate(p, r, last)
            return {name: self.store(total[name], dtype_name(inputs[name])) for name in wrt}

    def through_gate(self, p: Problem, r: Array, last: Array) -> dict[str, Array]:
        """Every gradient, by name."""
        q = self.gate(p, r)
        total, v = self.adjoint(p, q, last)
        if p.D is not None:
            total["u"] = total["u"] + p.D[:, None] * q
            total["D"] = self.over_rows(q * p.u, "D")
        if p.z is not None:
            total["z"] = r * self.saved(p, self.feed(p, v)) * self.gate_slope(p.z)
        total["delta"] = total.pop("s") * self.step_slope(p)
        total["delta_bias"] = self.over_rows(total["delta"], "delta_bias")
        return total

    def saved(self, p: Problem, v: Array) -> Array:
        """The output before the gate, as the gradient of z reads it."""
        return v

    def gate_slope(self, z: Array) -> Array:
        """silu'(z) = σ(z)(1 + z σ(−z))."""
        return np.asarray(self.sigmoid(z) * (1 + z * self.sigmoid(-z)))

    def step_slope(self, p: Problem) -> Array:
        """dΔ/ddelta = σ(x), or 1 without softplus, (b, d, l)."""
        return self.sigmoid(p.x) if p.softplus else np.ones_like(p.x)

    def over_rows(self, terms: Array, name: str) -> Array:
        """The gradient of D or delta_bias, by name: Σ over batch and time, (d)."""
        return np.asarray(terms.sum((0, 2)))

    def adjoint(self, p: Problem, q: Array, last: Array) -> tuple[dict[str, Array], Array]:
        """Gradients for the output before feedthrough and gate, and that output, (b, d, l)."""
        v = np.zeros_like(p.u)
        total = {"u": np.zeros_like(p.u), "s": np.zeros_like(p.u), "A": np.zeros_like(p.A)}
        total |= {"initial_state": np.zeros_like(p.initial)}
        wide = {name: np.zeros((*p.u.shape, p.A.shape[1]), p.A.dtype) for name in ("B", "C")}
        for times, rows in p.spans():
            kept = list(self.states(p, times, self.begin(p, times, rows)))
            below = reaching = first = last[rows]
            backwards = self.adjoints(p, q, times, below)
            for (t, decayed, h), found in zip(reversed(kept), backwards, strict=True):
                c, adjoint, below = found
                v[:, :, t] = self.output(p, t, h)
                wide["C"][:, :, t] = self.slope_output(p, t, q[:, :, t, None], h)
                wide["B"][:, :, t] = self.slope_input(p, t, c + reaching)
                self.through_step(p, t, adjoint, decayed, total)
                reaching, first = self.reaching_input(p, t, adjoint, below), adjoint
            total["initial_state"][rows] = self.slope_initial(below, first)
        total["B"] = self.shared(wide["B"], p.B.shape)
        total["C"] = self.shared(wide["C"], p.C.shape)
        return total, v

    def adjoints(
        self, p: Problem, q: Array, times: range, last: Array
    ) -> Iterator[tuple[Array, Array, Array]]:
        """c_t, λ_t and conj(a_t) λ_t, backwards in time, from the cotangent of the last state."""
        below = last
        for t in reversed(times):
            c = self.slope_state(p, q, t)
            adjoint = c + below
            below = self.carry_back(p, t, adjoint)
            yield c, adjoint, below

    def slope_state(self, p: Problem, q: Array, t: int) -> Array:
        """c_t = γ q_t conj(C_t), (b, d, n)."""
        return p.gamma * q[:, :, t, None] * self.output_matrix(p, t).conj()

    def slope_output(self, p: Problem, t: int, q: Array, h: Array) -> Array:
        """dC_t for each channel, γ q conj(h), (b, d, n)."""
        return p.gamma * q * h.conj()

    def reaching_input(self, p: Problem, t: int, adjoint: Array, below: Array) -> Array:
        """What of the later adjoint enters the gradient of B before t: ``below``, all of it."""
        return below

    def slope_input(self, p: Problem, t: int, adjoint: Array) -> Array:
        """dB_t for each channel, u λ conj(hold), (b, d, n)."""
        return p.u[:, :, t, None] * adjoint * self.hold(p, t).conj()

    def slope_initial(self, below: Array, first: Array) -> Array:
        """d(initial_state) = conj(a₀) λ₀, which has been carried ``below`` t = 0 from ``first`` = λ₀."""
        return below

    def carry_back(self, p: Problem, t: int, adjoint: Array) -> Array:
        """conj(a_t) λ_t, cut at a reset, (b, d, n)."""
        return self.forget(self.decay(p, t).conj() * adjoint, p.reset[:, t])

    def through_step(
        self, p: Problem, t: int, adjoint: Array, decayed: Array, total: dict[str, Array]
    ) -> None:
        """Add what λ_t gives to the gradients of u, Δ and A."""
        u, s, B = p.u[:, :, t, None], p.step_at(t), self.input_matrix(p, t)
        dp = adjoint * decayed.conj()
        total["A"] += self.slope_modes(p, s, dp, u * adjoint * B.conj()).sum(0)
        total["u"][:, :, t] = (adjoint * (self.hold(p, t) * B).conj()).real.sum(-1)
        slope = B * self.hold_slope(p, t)
        total["s"][:, :, t] = (dp * p.A.conj() + u * adjoint * slope.conj()).real.sum(-1)

    def slope_modes(self, p: Problem, s: Array, dp: Array, held: Array) -> Array:
        """dA of one step, (b, d, n): through exp(ΔA), and for "zoh" through the hold, Δ²ψ(ΔA)."""
        through_decay = s * dp
        return through_decay + held * (s * s * self.psi(s * p.A)).conj() if p.zoh else through_decay

    def hold_slope(self, p: Problem, t: int) -> Array:
        """d(hold)/dΔ: 1, or exp(ΔA) for "zoh"."""
        return self.decay(p, t) if p.zoh else np.ones_like(p.step_at(t))

    def shared(self, wide: Array, shape: tuple[int, ...]) -> Array:
        """The gradient of a B or C of this shape from that of each channel, (b, d, l, n)."""
        if len(shape) == 2:
            return self.add(wide, (0, 2))
        if len(shape) == 3:
            return np.moveaxis(self.add(wide, (1,)), 1, -1)
        return np.moveaxis(self.over_groups(wide, shape[1]), 2, -1)

    def over_groups(self, wide: Array, g: int) -> Array:
        """Σ over the channels of each group: (b, d, l, n) → (b, g, l, n)."""
        b, d, l, n = wide.shape
        return self.add(wide.reshape(b, g, d // g, l, n), (2,))

    def add(self, terms: Array, axes: tuple[int, ...]) -> Array:
        """Σ over these axes."""
        return np.asarray(terms.sum(axes))


class Saving(Honest):
    """The backward pass reads what the forward pass has loaded."""

    def forward(self, **inputs: Any) -> tuple[Any, Problem]:
        """The outputs, and the loaded call, as the contract's ``forward``."""
        loaded = {name: value for name, value in inputs.items() if name != "return_last_state"}
        with np.errstate(all="ignore"):  # as in the forward pass
            return self(**inputs), self.prepare(**loaded)
