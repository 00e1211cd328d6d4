"""The selective scan and its gradient in balls of 300 bits, naively: no code or formula of the oracle's.

The gradient is mechanical: a tape of scalar operations, walked backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flint
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Ball = flint.acb


class Node:
    """One scalar on the tape: its value, and for each parent the factor by which gradients flow back.

    For a complex-analytic w(x), ∂L/∂Re x + i ∂L/∂Im x gains conj(w'(x)) times that of w.
    """

    tape: list[Node] = []  # noqa: RUF012 — one tape, emptied by each run

    def __init__(self, value: Ball, *parents: tuple[Node, Ball], real: bool | None = None) -> None:
        self.value, self.parents, self.gradient = value, parents, Ball(0)
        self.is_real: bool = all(parent.is_real for parent, _ in parents) if real is None else real
        Node.tape.append(self)

    def __add__(self, other: Node) -> Node:
        return Node(self.value + other.value, (self, Ball(1)), (other, Ball(1)))

    def __mul__(self, other: Node) -> Node:
        return Node(self.value * other.value, (self, other.value), (other, self.value))

    def scaled(self, factor: int) -> Node:
        return Node(self.value * factor, (self, Ball(factor)))

    def exp(self) -> Node:
        e = self.value.exp()
        return Node(e, (self, e))

    def softplus(self) -> Node:
        e = (-self.value).exp()
        return Node((1 + self.value.exp()).log(), (self, 1 / (1 + e)))

    def silu(self) -> Node:
        s = 1 / (1 + (-self.value).exp())
        return Node(self.value * s, (self, s + self.value * s * (1 - s)))

    def real(self) -> Node:
        return Node(Ball(self.value.real), (self, Ball(1)), real=True)

    def held(self, rate: Node) -> Node:
        """expm1(Δ·rate)/rate by its power series: right at rate = 0 too."""
        p, step = self.value * rate.value, self.value
        if abs(complex(p)) > 1:
            e = p.exp()
            by_rate = (p * e - (e - 1)) / rate.value**2
            return Node((e - 1) / rate.value, (self, e), (rate, by_rate))
        value, by_rate, power = Ball(0), Ball(0), Ball(1)
        factorial = flint.fmpz(1)
        for k in range(80):  # Σ p^k/(k+1)!, Σ (k+1) p^k/(k+2)!
            factorial *= k + 1
            value += power / factorial
            by_rate += power * (k + 1) / (factorial * (k + 2))
            power *= p
        return Node(step * value, (self, p.exp()), (rate, step * step * by_rate))


def ball(x: complex) -> Ball:
    """Exactly the number."""
    return Ball(float(np.real(x)), float(np.imag(x)))


Leaves = dict[str, Any]


def evaluate(inputs: Mapping[str, Any]) -> tuple[Leaves, Array, Array]:
    """The inputs as leaves, y as (b, d, l) and the last state as (b, d, n), all arrays of nodes."""
    Node.tape.clear()

    def leaves(array: Array) -> Array:
        real = not np.iscomplexobj(array)
        nodes: Array = np.frompyfunc(lambda x: Node(ball(x), real=real), 1, 1)(array)
        return nodes

    names = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")
    x: Leaves = {name: leaves(inputs[name]) for name in names if inputs.get(name) is not None}
    b, d, l = inputs["u"].shape
    n, gamma = inputs["A"].shape[1], 2 if np.iscomplexobj(inputs["A"]) else 1
    seq = inputs.get("seq_idx")

    def at(name: str, i: int, c: int, k: int, t: int) -> Node:
        M = x[name]
        place = (c, k) if M.ndim == 2 else (i, k, t)
        node: Node = M[place] if M.ndim < 4 else M[i, c // (d // M.shape[1]), k, t]
        return node

    y, last = np.empty((b, d, l), object), np.empty((b, d, n), object)
    for i, c in np.ndindex(b, d):
        h: list[Node | None] = [
            x["initial_state"][i, c, k] if "initial_state" in x else None for k in range(n)
        ]
        for t in range(l):
            if seq is not None and t > 0 and seq[i, t] != seq[i, t - 1]:
                h = [None] * n
            step = x["delta"][i, c, t]
            if "delta_bias" in x:
                step = step + x["delta_bias"][c]
            if inputs.get("delta_softplus"):
                step = step.softplus()
            total = None
            for k in range(n):
                rate = x["A"][c, k]
                weight = step.held(rate) if inputs.get("b_discretization") == "zoh" else step
                drive = weight * at("B", i, c, k, t) * x["u"][i, c, t]
                before = h[k]
                h[k] = now = drive if before is None else (step * rate).exp() * before + drive
                read = (at("C", i, c, k, t) * now).real().scaled(gamma)
                total = read if total is None else total + read
            assert total is not None
            if "D" in x:
                total = total + x["D"][c] * x["u"][i, c, t]
            y[i, c, t] = total * x["z"][i, c, t].silu() if "z" in x else total
        last[i, c] = h
    return x, y, last


def differentiate(leaves: Leaves, outputs: list[tuple[Array, Array]]) -> dict[str, Array]:
    """Gradients of Re⟨cotangents, outputs⟩, arrays of balls."""
    for nodes, cotangent in outputs:
        for node, value in zip(nodes.flat, cotangent.flat, strict=True):
            node.gradient += ball(value)
    for node in reversed(Node.tape):
        if node.is_real:
            node.gradient = Ball(node.gradient.real)
        for parent, factor in node.parents:
            parent.gradient += _conjugate(factor) * node.gradient
    gradient = np.frompyfunc(lambda node: node.gradient, 1, 1)
    return {name: gradient(array) for name, array in leaves.items()}


def distance(found: Array, exact: Array, *, real: bool) -> Array:
    """|found − exact| by element, an upper bound."""
    part: Callable[[Ball], Ball] = (lambda z: Ball(z.real)) if real else (lambda z: z)
    away = np.frompyfunc(lambda x, z: float(abs(ball(x) - part(z)).upper()), 2, 1)
    upper: Array = away(found, exact)
    return upper.astype(np.float64)


def values(nodes: Array) -> Array:
    """The balls of an array of nodes."""
    balls: Array = np.frompyfunc(lambda node: node.value, 1, 1)(nodes)
    return balls


def _conjugate(z: Ball) -> Ball:
    return Ball(z.real, -z.imag)
