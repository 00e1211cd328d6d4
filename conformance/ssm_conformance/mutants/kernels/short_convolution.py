"""The honest short convolution, tap by tap, and its single step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ssm_backends.dtypes import compute_dtype, dtype_name
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.functions import Functions
from ssm_conformance.mutants.kernels.kernel import DTYPES, Kernel


class ShortConvolution(Functions, Kernel):
    """y_t = bias + Σ_j w_j x_{t−w+1+j}, then silu; the line is the initial state followed by x."""

    op: ClassVar[str] = "causal_conv1d"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "gradients": "all",
        "features": ("mixed_dtypes", "initial_state", "seq_idx"),
        "deterministic": True,
    }

    def read(self, line: Array, j: int, seen: Array) -> Array:
        """What tap j reads at each time, (b, d, l)."""
        return np.where(seen[j][:, None], line[..., j : j + seen.shape[2]], 0)

    def seen(self, seq_idx: Array | None, b: int, l: int, w: int) -> Array:
        """Whether tap j may read at time t, (w, b, l); at t = l, last, whether it is handed on."""
        start = np.full((b, l + 1), -w)
        if seq_idx is not None:
            for t in range(1, l):
                start[:, t] = np.where(self.begins(seq_idx, t), t, start[:, t - 1])
            start[:, l] = start[:, max(l - 1, 0)]
        times = np.arange(l + 1)
        return np.stack([times - (w - 1 - j) >= start for j in range(w)])

    def begins(self, seq_idx: Array, t: int) -> Array:
        """Whether a sequence begins at t, (b)."""
        return np.asarray(seq_idx[:, t] != seq_idx[:, t - 1])

    def before_activation(self, line: Array, weight: Array, bias: Array, seen: Array) -> Array:
        """p, (b, d, l)."""
        p: Array = np.zeros_like(line[..., : seen.shape[2]]) + bias[:, None]
        for j in range(weight.shape[1]):
            p += weight[:, j, None] * self.read(line, j, seen)
        return p

    def last_state(self, line: Array, l: int, seen: Array) -> Array:
        """The last w − 1 inputs of the last sequence."""
        return np.where(seen[:-1, :, -1].T[:, None], line[..., l:], 0)

    def over_rows(self, terms: Array) -> Array:
        """Σ over batch and time, (d)."""
        return np.asarray(terms.sum((0, 2)))

    def slope(self, p: Array) -> Array:
        """silu'(p)."""
        return np.asarray(self.sigmoid(p) * (1 + p * self.sigmoid(-p)))

    def _prepare(self, given: Mapping[str, Any]) -> tuple[str, Array, Array, Array, Array]:
        x, weight = given["x"], given["weight"]
        compute = compute_dtype([dtype_name(x)])
        u, taps = self.load(x, compute), self.load(weight, compute)
        (b, d, l), w = u.shape, taps.shape[1]
        past, bias, index = (given.get(name) for name in ("initial_state", "bias", "seq_idx"))
        before = np.zeros((b, d, w - 1), u.dtype) if past is None else self.load(past, compute)
        shift = np.zeros(d, u.dtype) if bias is None else self.load(bias, compute)
        seen = self.seen(None if index is None else np.asarray(index), b, l, w)
        return compute, np.concatenate([before, u], axis=-1), taps, shift, seen

    def __call__(self, *, return_last_state: bool = False, **given: Any) -> Any:
        """The operator."""
        compute, line, weight, bias, seen = self._prepare(given)
        l = line.shape[-1] - weight.shape[1] + 1
        with np.errstate(all="ignore"):
            p = self.before_activation(line, weight, bias, seen[..., :l])
            y = p * self.sigmoid(p) if given.get("activation") else p
        y = self.store(y, dtype_name(given["x"]))
        return (y, self.store(self.last_state(line, l, seen), compute)) if return_last_state else y

    def vjp(
        self,
        cotangents: Mapping[str, Any],
        wrt: tuple[str, ...],
        saved: None,
        *,
        return_last_state: bool = False,
        **given: Any,
    ) -> dict[str, Any]:
        """Gradients, as the contract's ``vjp``: dx_s = Σ_j w_j q_{s+w−1−j}, dw_j = Σ q_t x_{t−w+1+j}."""
        compute, line, weight, bias, seen = self._prepare(given)
        w = weight.shape[1]
        l = line.shape[-1] - w + 1
        now = seen[..., :l]
        with np.errstate(all="ignore"):
            q = self.cotangent(cotangents, "y", line[..., :l], compute)
            if given.get("activation"):
                q = q * self.slope(self.before_activation(line, weight, bias, now))
            total, taps = np.zeros_like(line), np.zeros_like(weight)
            for j in range(w):
                total[..., j : j + l] += np.where(now[j][:, None], weight[:, j, None] * q, 0)
                taps[:, j] = self.over_rows(q * self.read(line, j, now))
            handed_on = self.cotangent(cotangents, "last_state", line[..., l:], compute)
            total[..., l:] += np.where(seen[:-1, :, -1].T[:, None], handed_on, 0)
            found = {
                "x": total[..., w - 1 :],
                "initial_state": total[..., : w - 1],
                "weight": taps,
                "bias": self.over_rows(q),
            }
        return {name: self.store(found[name], dtype_name(given[name])) for name in wrt}
