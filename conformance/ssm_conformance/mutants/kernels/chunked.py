"""An honest scan in chunks of 256 steps: each from zero, plus what the state before the chunk decays to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.scan import Problem, State


class Chunked(Honest):
    """h_t = local_t + P_t h_carried, P_t the product of the decays since the chunk began.

    Attributes
    ----------
    chunk
        Steps in a chunk.
    """

    chunk: ClassVar[int] = 256

    def states(self, p: Problem, times: range, h: Array) -> Iterator[State]:
        """The states at these times, from the one before them."""
        products: list[Array] = []
        for start in range(times.start, times.stop, self.chunk):
            carried, local = h, np.zeros_like(h)
            product = np.ones_like(h)
            for t in range(start, min(start + self.chunk, times.stop)):
                reset = p.reset[:, t]
                carried, product = self.forget(carried, reset), self.forget(product * self.decay(p, t), reset)
                _, local = self.advance(p, t, local)
                before, h = h, local + product * carried
                yield t, self.forget(self.decay(p, t) * before, reset), h
            products.append(product)
            h = self.pass_on(local, products, carried)

    def pass_on(self, local: Array, products: list[Array], carried: Array) -> Array:
        """The state that enters the next chunk; ``products`` has one entry a chunk so far."""
        return np.asarray(local + products[-1] * carried)
