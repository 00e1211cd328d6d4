"""A selective scan and its gradients in float32 NumPy, whose products are taken in a given order.

The letters are those of the derivation; arrays are (l, b, d, n) or (l, b, d). Real, without softplus, B and C
for every channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Product = Callable[..., Array]


def left(*factors: Array) -> Array:
    """((f₁ f₂) f₃) …"""
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product


def right(*factors: Array) -> Array:
    """… (fₖ₋₁ fₖ)"""
    return left(*reversed(factors))


def ends(*factors: Array) -> Array:
    """(f₁ fₖ) f₂ …"""
    return left(factors[0], factors[-1], *factors[1:-1])


def largest_first(*factors: Array) -> Array:
    """By the largest element of each."""
    return left(*sorted(factors, key=lambda factor: -float(np.max(np.abs(factor)))))


def hold_slope(step: Array, A: Array, p: Array, a: Array, phi: Array) -> Array:
    """Δ²ψ(p) = (Δa − φ)/A."""
    return np.asarray((step * a - phi) / A)


class Scan:
    """One evaluation, in the dtype of its inputs."""

    def __init__(
        self,
        inputs: Mapping[str, Any],
        cotangents: Mapping[str, Any],
        product: Product,
        slope: Callable[..., Array] = hold_slope,
    ) -> None:
        self.product, self.slope = product, slope
        self.zoh = inputs["b_discretization"] == "zoh"
        u, step, z, r = (np.moveaxis(x, -1, 0) for x in (*_streams(inputs), cotangents["y"]))
        self.u, self.step, self.A = u[..., None], step[..., None], inputs["A"]
        self.z, self.r, self.D, self.last = z, r, inputs["D"], cotangents["last_state"]
        self.B, self.C = (np.moveaxis(inputs[name], -1, 0)[:, :, None] for name in "BC")
        self.first = inputs["initial_state"]
        with np.errstate(all="ignore"):
            self.sigma = 1 / (1 + np.exp(-self.z))
            self.p = self.step * self.A
            self.a = np.exp(self.p)
            self.phi = np.expm1(self.p) / self.A if self.zoh else self.step
            self.h = self._states()
            seen = product(self.C, self.h).sum(-1)
            self.v = seen + product(self.D, self.u[..., 0])
            self.q = product(self.r, self.z, self.sigma)
            self.adjoint = self._adjoint()

    def _states(self) -> Array:
        h, states = self.first, []
        for a, source in zip(self.a, self.product(self.phi, self.u, self.B), strict=True):
            h = a * h + source
            states.append(h)
        return np.stack(states)

    def _adjoint(self) -> Array:
        carried, found = self.last, []
        for a, c in zip(self.a[::-1], self.product(self.q[..., None], self.C)[::-1], strict=True):
            found.append(c + carried)
            carried = a * found[-1]
        return np.stack(found[::-1])

    def outputs(self) -> dict[str, Array]:
        """y, (b, d, l), and the last state, (b, d, n)."""
        with np.errstate(all="ignore"):
            y = self.product(self.v, self.z, self.sigma)
        return {"y": np.moveaxis(y, 0, -1), "last_state": self.h[-1]}

    def gradients(self) -> dict[str, Array]:
        """Under each input's name its gradient."""
        product, adjoint, q = self.product, self.adjoint, self.q[..., None]
        before = np.concatenate([self.first[None], self.h[:-1]])
        decayed = adjoint, self.a, before
        held = (self.u, self.B, adjoint, self.a) if self.zoh else (self.u, self.B, adjoint)
        with np.errstate(all="ignore"):
            dA = product(self.step, *decayed)
            if self.zoh:
                slope = self.slope(self.step, self.A, self.p, self.a, self.phi)
                dA = dA + product(self.u, self.B, adjoint, slope)
            du = product(self.phi, self.B, adjoint).sum(-1) + product(self.D, self.q)
            d_step = (product(*held) + product(self.A, *decayed)).sum(-1)
            dz = product(self.r, self.v, self.sigma, 1 + self.z * (1 - self.sigma))
            return {
                "u": np.moveaxis(du, 0, -1),
                "delta": np.moveaxis(d_step, 0, -1),
                "z": np.moveaxis(dz, 0, -1),
                "A": dA.sum((0, 1)),
                "B": np.moveaxis(product(self.phi, self.u, adjoint).sum(2), 0, -1),
                "C": np.moveaxis(product(q, self.h).sum(2), 0, -1),
                "D": product(self.q, self.u[..., 0]).sum((0, 1)),
                "initial_state": product(self.a[0], adjoint[0]),
            }


def _streams(inputs: Mapping[str, Any]) -> tuple[Array, Array, Array]:
    return inputs["u"], inputs["delta"], inputs["z"]
