"""Numbers for cases: each array is drawn from its own fixed stream, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_conformance import real

SEED: Final = 1
"""Version of the drawn numbers: a change makes other cases, under the same ids."""


@dataclass(frozen=True)
class Draw:
    """One array of a case, as data.

    Attributes
    ----------
    shape
        Its shape.
    kind
        How it is drawn: a name in ``KINDS``.
    complex
        Whether it is complex.
    dtype
        Of an index array, or of a floating one that is to have another dtype than its role gives it.
    parameters
        Of the kind.
    """

    shape: tuple[int, ...]
    kind: str = "normal"
    complex: bool = False
    dtype: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def index(self) -> bool:
        """Whether it holds integers."""
        return self.dtype is not None and self.dtype.startswith("int")

    def positive(self) -> Draw:
        """The same array of positive numbers of about one size."""
        return replace(self, kind="log_uniform", parameters={"low": 0.25, "high": 2.0})

    def values(self, *key: str) -> NDArray[Any]:
        """Draw it: float64, complex128, or the index dtype.

        Parameters
        ----------
        *key
            Names the stream: operator, recipe, argument.
        """
        digest = hashlib.sha256("/".join([str(SEED), *key]).encode()).digest()
        rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
        drawn = KINDS[self.kind](rng, self.shape, **self.parameters)
        if self.index:
            return np.asarray(drawn.astype(self.dtype))
        if self.complex and not np.iscomplexobj(drawn):
            drawn = drawn + 1j * KINDS[self.kind](rng, self.shape, **self.parameters)
        return np.asarray(drawn, dtype=np.complex128 if self.complex else np.float64)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> NDArray[Any]:
    return np.asarray(scale * rng.standard_normal(shape))


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> NDArray[Any]:
    return rng.uniform(low, high, shape)


def _log_uniform(
    rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float, sign: float = 1.0
) -> NDArray[Any]:
    return np.asarray(sign * np.exp(rng.uniform(np.log(low), np.log(high), shape)))


def _inverse_softplus(
    rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float
) -> NDArray[Any]:
    """What softplus takes to a log-uniform step, as Mamba initialises the bias of delta."""
    step = _log_uniform(rng, shape, low, high)
    return np.asarray(step + np.log(-np.expm1(-step)))


def _choice(rng: np.random.Generator, shape: tuple[int, ...], values: tuple[Any, ...]) -> NDArray[Any]:
    return rng.choice(np.asarray(values), shape)


def _fixed(rng: np.random.Generator, shape: tuple[int, ...], values: Any) -> NDArray[Any]:
    return np.broadcast_to(np.asarray(values), shape)


def _s4d_real(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """A_n = −(n + 1), Mamba's initialisation."""
    return np.broadcast_to(-np.arange(1.0, shape[-1] + 1.0), shape)


def _s4d_lin(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """A_n = −½ + iπn."""
    return np.broadcast_to(-0.5 + 1j * np.pi * np.arange(shape[-1]), shape)


def _stable_matrix(rng: np.random.Generator, shape: tuple[int, ...], radius: float) -> NDArray[Any]:
    """A full matrix of the given spectral norm."""
    matrix = rng.standard_normal(shape)
    return np.asarray(radius * matrix / np.linalg.norm(matrix, 2, axis=(-2, -1), keepdims=True))


def _legs(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """HiPPO-LegS, lower triangular."""
    n = np.arange(shape[-1])
    root = np.sqrt(2.0 * n + 1.0)
    matrix = -np.tril(np.outer(root, root), -1) - np.diag(n + 1.0)
    return np.broadcast_to(matrix, shape)


def _legs_modes(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """Λ of LegS, one of each pair, to ten decimals: whatever eigensolver a machine has, the same numbers."""
    from ssm_spec import hippo_legs_nplr

    return np.broadcast_to(np.round(hippo_legs_nplr(2 * shape[-1])[0][: shape[-1]], 10), shape)


def _legs_low_rank(rng: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> NDArray[Any]:
    """P of LegS in the basis of its modes, likewise; B is √2 times that."""
    from ssm_spec import hippo_legs_nplr

    return np.broadcast_to(np.round(scale * hippo_legs_nplr(2 * shape[-1])[1][: shape[-1]], 10), shape)


KINDS: Final[Mapping[str, Callable[..., NDArray[Any]]]] = {
    "normal": _normal,
    "uniform": _uniform,
    "log_uniform": _log_uniform,
    "inverse_softplus": _inverse_softplus,
    "choice": _choice,
    "fixed": _fixed,
    "s4d_real": _s4d_real,
    "s4d_lin": _s4d_lin,
    "stable_matrix": _stable_matrix,
    "legs": _legs,
    "legs_modes": _legs_modes,
    "legs_low_rank": _legs_low_rank,
    "text": real.text,
    "signal": real.signal,
    "tokens": real.tokens,
    "lines": real.lines,
}
