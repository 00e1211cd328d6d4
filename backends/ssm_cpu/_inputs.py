"""The inputs of one scan, their sizes, and how the call is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ssm_backends.dtypes import dtype_name, is_complex, real_of
from ssm_backends.lazy import lazy
from ssm_cpu import _plan
from ssm_cpu._call import STEPS
from ssm_cpu._library import Library
from ssm_cpu._values import LANES

_ORDER: Final = (
    "u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state", "seq_idx", "cu_seqlens",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The arrays of a valid call.

    Attributes
    ----------
    library
        Whose arrays they are.
    u, delta, z : (b, d, l)
    A : (d, n)
    B, C : (d, n), (b, n, l) or (b, g, n, l)
    D, delta_bias : (d)
    initial_state : (r, d, n)
    seq_idx : (b, l)
    cu_seqlens : (r + 1)
    softplus, zoh
        The flags of the operator.
    """

    library: Library
    u: Any
    delta: Any
    A: Any
    B: Any
    C: Any
    D: Any = None
    z: Any = None
    delta_bias: Any = None
    softplus: bool = False
    initial_state: Any = None
    seq_idx: Any = None
    cu_seqlens: Any = None
    zoh: bool = False

    @classmethod
    def of(cls, library: Library, arrays: tuple[Any, ...], *, softplus: bool, zoh: bool) -> Inputs:
        """From the arrays in the operator's order, those that are not given being None."""
        return cls(library=library, softplus=softplus, zoh=zoh, **dict(zip(_ORDER, arrays, strict=True)))

    @lazy
    def sizes(self) -> tuple[int, int, int, int]:
        """b, d, l, n."""
        b, d, l = self.u.shape
        return b, d, l, self.A.shape[1]

    @lazy
    def state_dtype(self) -> str:
        """Of the states: A's dtype, which the rules make the compute type."""
        return dtype_name(self.A)

    @lazy
    def real_dtype(self) -> str:
        """The compute type."""
        return real_of(self.state_dtype)

    @lazy
    def parts(self) -> int:
        """2 if the states are complex, else 1."""
        return 2 if is_complex(self.state_dtype) else 1

    @lazy
    def width(self) -> int:
        """Bytes of a real number of the compute type."""
        return 8 if self.real_dtype == "float64" else 4

    @lazy
    def constant(self) -> tuple[bool, bool]:
        """Whether B and C are constant in time."""
        return self.B.ndim == 2, self.C.ndim == 2

    @lazy
    def groups(self) -> tuple[int, int]:
        """Groups of B and C; 1 where they have none."""
        of_B, of_C = (x.shape[1] if x.ndim == 4 else 1 for x in (self.B, self.C))
        return of_B, of_C

    @lazy
    def row_count(self) -> int:
        """Rows of states: the batch, or the packed sequences."""
        return self.sizes[0] if self.cu_seqlens is None else len(self.cu_seqlens) - 1

    @lazy
    def rows(self) -> _plan.Table:
        """The table of rows in time."""
        b, _, l, _ = self.sizes
        if self.cu_seqlens is None:
            return _plan.batch_rows(b, l)
        return _plan.packed_rows(tuple(self.cu_seqlens.tolist()), l)

    @lazy
    def cut(self) -> tuple[int, tuple[int, int], int]:
        """Channels, groups, and channels in a chunk."""
        d = self.sizes[1]
        return d, self.groups, _plan.channels_in_chunk(self.row_count, d)

    @lazy
    def chunks(self) -> _plan.Table:
        """The table of chunks of channels."""
        return _plan.chunk_table(*self.cut)

    @lazy
    def blocks(self) -> tuple[int, int]:
        """Blocks of sixteen channels in all chunks, and in the largest."""
        return _plan.blocks_of(*self.cut)

    @lazy
    def together(self) -> int:
        """Rows that one task takes."""
        b, _, l, _ = self.sizes
        return _plan.rows_together(len(self.rows), b * l, len(self.chunks))

    @lazy
    def parts_of_rows(self) -> int:
        """Tasks of one chunk."""
        return -(-len(self.rows) // self.together)

    @lazy
    def saved_shape(self) -> tuple[int, ...]:
        """Shape of what the forward pass saves, in real numbers: (slots, lanes).

        A trace must know channels and groups; rows and time it may leave open.
        """
        b, d, l, n = self.sizes
        groups = int(self.groups[0]), int(self.groups[1])
        packed = self.cu_seqlens is not None
        slots = l // STEPS + self.row_count if packed else b * _plan.slots_of(l)
        return slots, _plan.blocks_in_all(int(d), groups) * n * self.parts * LANES
