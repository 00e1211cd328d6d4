"""The honest selective scan that every known-bad one is made from: a defect overrides one of its methods.

It goes one step of time after the other and keeps one state. Names are those of the equations::

    p_t = Δ_t A,  a_t = exp p_t,  h_t = a_t h_{t−1} + hold_t B_t u_t,
    v_t = γ Re Σ_n C_t h_t + D u_t,  y_t = v_t silu(z_t)

with γ = 2 if A is complex, else 1, and hold = Δ ("euler") or expm1(p)/A ("zoh").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from ssm_backends.dtypes import COMPLEX_OF, compute_dtype, dtype_name
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.functions import Functions
from ssm_conformance.mutants.kernels.kernel import DTYPES, Kernel

SELECTIVE: Final = ("complex", "mixed_dtypes", "grouped", "zoh")
"""Features that the scan and the step share."""
State = tuple[int, Array, Array]
"""t, a_t h_{t−1} (zero after a reset) and h_t, the arrays (b, d, n)."""


@dataclass(frozen=True)
class Problem:
    """One call, loaded: every array in the compute type.

    Attributes
    ----------
    u, x, s : (b, d, l)
        Input; step size before and after softplus.
    A : (d, n)
    B, C : (d, n), (b, n, l) or (b, g, n, l)
    initial : (r, d, n)
    reset : (b, l) bool
        Where a sequence begins after t = 0.
    offsets
        The bounds of the sequences, (r + 1); None unless ``cu_seqlens`` was given.
    D : (d), or None
    z : (b, d, l), or None
    softplus, zoh
        Whether Δ = softplus(x), and whether B is held exactly.
    io, compute, kept
        Names of the dtype of y, of the type computed in, and of the type of the states.
    """

    u: Array
    x: Array
    s: Array
    A: Array
    B: Array
    C: Array
    initial: Array
    reset: Array
    offsets: Array | None
    D: Array | None
    z: Array | None
    softplus: bool
    zoh: bool
    io: str
    compute: str
    kept: str

    @property
    def gamma(self) -> int:
        """2 if A is complex: each mode stands for a conjugate pair."""
        return 2 if np.iscomplexobj(self.A) else 1

    def spans(self) -> Iterator[tuple[range, slice]]:
        """The times scanned in one go, and the rows of state that they belong to."""
        if self.offsets is None:
            yield range(self.u.shape[2]), slice(None)
        else:
            for row, (start, stop) in enumerate(zip(self.offsets[:-1], self.offsets[1:], strict=True)):
                yield range(int(start), int(stop)), slice(row, row + 1)

    def step_at(self, t: int) -> Array:
        """Δ_t, (b, d, 1)."""
        return self.s[:, :, t, None]


class Scan(Kernel, Functions):
    """The forward pass."""

    op: ClassVar[str] = "selective_scan"
    claims: ClassVar[Mapping[str, Any]] = {
        "dtypes": DTYPES,
        "gradients": "all",
        "features": (*SELECTIVE, "constant", "initial_state", "seq_idx", "cu_seqlens"),
        "memory": {"forward": "fused", "backward": "materialised"},
        "deterministic": True,
    }
    """Its arithmetic is undeclared: the widest bound judges it."""

    def precision(self, compute: str) -> str:
        """The type that it computes in."""
        return compute

    def step_size(self, x: Array, softplus: bool) -> Array:
        """Δ from delta + delta_bias, (b, d, l)."""
        return self.softplus(x) if softplus else x

    def biased(self, delta: Any, bias: Array | None, compute: str) -> Array:
        """delta + delta_bias, (b, d, l)."""
        x = self.load(delta, compute)
        return x if bias is None else x + bias[:, None]

    def matrix(self, A: Array) -> Array:
        """A as it is used, (d, n)."""
        return A

    def groups(self, d: int, g: int) -> Array:
        """The group that each of the d channels reads."""
        return np.arange(d) // (d // g)

    def at(self, matrix: Array, t: int, d: int) -> Array:
        """B or C at one time, as each of the d channels reads it, (b or 1, d or 1, n)."""
        if matrix.ndim == 2:
            return matrix[None]
        if matrix.ndim == 3:
            return matrix[:, None, :, t]
        return self.expand(matrix[..., t], d)

    def expand(self, matrix: Array, d: int) -> Array:
        """Groups (b, g, n) as channels (b, d, n)."""
        return matrix[:, self.groups(d, matrix.shape[1])]

    def input_matrix(self, p: Problem, t: int) -> Array:
        """B_t, (b or 1, d or 1, n)."""
        return self.at(p.B, t, p.A.shape[0])

    def output_matrix(self, p: Problem, t: int) -> Array:
        """C_t, (b or 1, d or 1, n)."""
        return self.at(p.C, t, p.A.shape[0])

    def resets(self, seq_idx: Array) -> Array:
        """Where the index differs from the one before, (b, l)."""
        changed = np.zeros(seq_idx.shape, dtype=bool)
        changed[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
        return changed

    def prepare(
        self,
        u: Any,
        delta: Any,
        A: Any,
        B: Any,
        C: Any,
        D: Any = None,
        z: Any = None,
        delta_bias: Any = None,
        delta_softplus: bool = False,
        initial_state: Any = None,
        seq_idx: Any = None,
        cu_seqlens: Any = None,
        b_discretization: str = "euler",
    ) -> Problem:
        """Everything that does not depend on the state. Arguments as in the operator."""
        widest = compute_dtype([dtype_name(u), dtype_name(A)])
        compute = self.precision(widest)
        loaded_u, modes = self.load(u, compute), self.matrix(self.load(A, compute))
        b, _, l = loaded_u.shape
        x = self.biased(delta, None if delta_bias is None else self.load(delta_bias, compute), compute)
        rows = b if cu_seqlens is None else len(cu_seqlens) - 1
        return Problem(
            u=loaded_u,
            x=x,
            s=self.step_size(x, delta_softplus),
            A=modes,
            B=self.load(B, compute),
            C=self.load(C, compute),
            initial=np.zeros((rows, *modes.shape), modes.dtype)
            if initial_state is None
            else self.load(initial_state, compute),
            reset=np.zeros((b, l), dtype=bool) if seq_idx is None else self.resets(np.asarray(seq_idx)),
            offsets=None if cu_seqlens is None else np.asarray(cu_seqlens),
            D=None if D is None else self.load(D, compute),
            z=None if z is None else self.load(z, compute),
            softplus=delta_softplus,
            zoh=b_discretization == "zoh",
            io=dtype_name(u),
            compute=compute,
            kept=COMPLEX_OF[widest] if np.iscomplexobj(modes) else widest,
        )

    def decay(self, p: Problem, t: int) -> Array:
        """a_t = exp(Δ_t A), (b, d, n)."""
        return self.exp(p.step_at(t) * p.A)

    def hold(self, p: Problem, t: int) -> Array:
        """What B_t u_t is multiplied by, (b, d, n or 1)."""
        return self.exact_hold(p.step_at(t), p.A) if p.zoh else p.step_at(t)

    def forget(self, decayed: Array, reset: Array) -> Array:
        """Zero in the rows, (b), that begin a new sequence: selected, so that a NaN stays behind."""
        return np.where(reset[:, None, None], 0, decayed)

    def begin(self, p: Problem, times: range, rows: slice) -> Array:
        """The state before the first of these times, (b or 1, d, n)."""
        return p.initial[rows]

    def advance(self, p: Problem, t: int, h: Array) -> tuple[Array, Array]:
        """a_t h_{t−1} and h_t."""
        decayed = self.forget(self.decay(p, t) * h, p.reset[:, t])
        return decayed, decayed + self.hold(p, t) * p.u[:, :, t, None] * self.input_matrix(p, t)

    def states(self, p: Problem, times: range, h: Array) -> Iterator[State]:
        """The states at these times, from the one before them."""
        for t in times:
            decayed, h = self.advance(p, t, h)
            yield t, decayed, h

    def contract(self, C: Array, h: Array) -> Array:
        """Re Σ_n C h, (b, d)."""
        return np.asarray((C * h).real.sum(-1))

    def output(self, p: Problem, t: int, h: Array) -> Array:
        """γ Re Σ_n C_t h_t, (b, d)."""
        return p.gamma * self.contract(self.output_matrix(p, t), h)

    def finish(self, p: Problem, v: Array) -> Array:
        """Feedthrough, then gate, (b, d, l)."""
        return self.gate(p, self.feed(p, v))

    def feed(self, p: Problem, v: Array) -> Array:
        """v + D u."""
        return v if p.D is None else v + p.D[:, None] * p.u

    def gate(self, p: Problem, v: Array) -> Array:
        """v silu(z)."""
        return v if p.z is None else v * (p.z * self.sigmoid(p.z))

    def leave(self, p: Problem, times: range, h: Array) -> Array:
        """The last state of these times, as it is returned."""
        return h

    def scan(self, p: Problem) -> tuple[Array, Array]:
        """The output before feedthrough and gate, (b, d, l), and the last states, (r, d, n)."""
        v, last = np.zeros_like(p.u), np.zeros_like(p.initial)
        for times, rows in p.spans():
            last_h = before = self.begin(p, times, rows)
            for t, _, h in self.states(p, times, before):
                v[:, :, t] = self.output(p, t, h)
                last_h = h
            last[rows] = self.leave(p, times, last_h)
        return v, last

    def __call__(self, *, return_last_state: bool = False, **inputs: Any) -> Any:
        """The operator ``selective_scan``: y, or (y, last_state)."""
        with np.errstate(all="ignore"):  # infinities and NaN are values here, by the rules of IEEE
            p = self.prepare(**inputs)
            v, last = self.scan(p)
            y = self.store(self.finish(p, v), p.io)
        return (y, self.store(last, p.kept)) if return_last_state else y
