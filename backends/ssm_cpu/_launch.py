"""From arrays to kernels: the table of a call, its scratch memory, and its threads."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_backends import NotSupportedError
from ssm_backends.dtypes import dtype_name, is_complex, real_of
from ssm_cpu import _call, _plan
from ssm_cpu._backward import backward
from ssm_cpu._forward import forward
from ssm_cpu._inputs import Inputs
from ssm_cpu._jit import Kernel, compiled, converts_halves
from ssm_cpu._library import TORCH, Library
from ssm_cpu._reduce import JOB_WORDS, LENGTH, SLICES, reduce
from ssm_cpu._rooms import rooms
from ssm_cpu._step import CHUNK, step, step_rooms
from ssm_cpu._threads import get_num_threads, share
from ssm_cpu._transfer import COMPLEX64, FLOAT16
from ssm_cpu._values import LANES

_LINE: Final = 64
"""Bytes of a cache line: where vectors begin with one, no load touches two."""
_PIECE: Final = 8192
"""Sums in one piece of work."""
_WORTH_A_HELPER: Final = 500_000
"""States and steps of work for which it pays to wake a helper of our own (measured)."""
_WORTH_A_THREAD: Final = 100_000
"""The same for one of PyTorch's threads."""
_WORTH_A_TEAM: Final = 250_000
"""States and steps of work on tensors for which it pays to wait for all of PyTorch's threads, some of which
may find their processors busy."""


class Table:
    """The integers of one call, as `_call` names them."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._words = [0] * (_call.ROOMS + _call.MOST_ROOMS)

    def arrays(self, given: Mapping[int, Any]) -> None:
        """Enter arrays: index → array, or None where it is not given."""
        for index, x in given.items():
            if x is not None:
                words = self._library.words(x)
                if words[1] == FLOAT16 and not converts_halves():
                    raise NotSupportedError("float16 needs a processor that converts it (F16C on x86)")
                self._words[index * _call.WORDS : index * _call.WORDS + len(words)] = words

    def numbers(self, given: Mapping[int, int]) -> None:
        """Enter numbers: index → number."""
        for index, value in given.items():
            self._words[index] = value

    def run(self, kernel: Kernel, offsets: Sequence[int], work: int) -> None:
        """Let threads work on the tasks.

        Parameters
        ----------
        kernel
            ``kernel(table)``.
        offsets
            Of the rooms of a thread's scratch memory, and its size.
        work
            States times steps in the call.
        """
        self._words[_call.ROOMS : _call.ROOMS + len(offsets)] = offsets
        # By tasks and not by work, so that memory does not grow with the length.
        most = max(1, min(get_num_threads(), self._words[_call.TASKS]))
        at_once = self._library is TORCH and work >= _WORTH_A_TEAM
        threads = max(1, min(most, work // (_WORTH_A_THREAD if at_once else _WORTH_A_HELPER)))
        scratch = self._library.empty((most * offsets[-1] + _LINE,), "uint8")
        begin = -(-self._library.words(scratch)[0] // _LINE) * _LINE
        self.numbers({_call.PLACES: threads, _call.SCRATCH: begin, _call.SCRATCH_SIZE: offsets[-1]})
        table = array("q", self._words)
        share(kernel, table.buffer_info()[0], threads, at_once=at_once)


def table_of(x: Inputs) -> Table:
    """The table with the inputs of a scan."""
    table = Table(x.library)
    grouped = [m[:, None] if m.ndim == 3 else m for m in (x.B, x.C)]
    table.arrays(
        {
            _call.U: x.u,
            _call.DELTA: x.delta,
            _call.A: x.A,
            _call.B: grouped[0],
            _call.C: grouped[1],
            _call.D: x.D,
            _call.Z: x.z,
            _call.BIAS: x.delta_bias,
            _call.INITIAL: x.initial_state,
            _call.SEQ_IDX: x.seq_idx,
        }
    )
    table.numbers(
        {
            _call.TASKS: x.parts_of_rows * len(x.chunks),
            _call.ROWS: len(x.rows),
            _call.TOGETHER: x.together,
            _call.PARTS: x.parts_of_rows,
            _call.N: x.sizes[3],
            _call.BLOCKS: x.blocks[0],
            _call.SOFTPLUS: x.softplus,
            _call.ZOH: x.zoh,
            _call.B_CONSTANT: x.constant[0],
            _call.C_CONSTANT: x.constant[1],
            _call.ROW_TABLE: _plan.address(x.rows),
            _call.CHUNK_TABLE: _plan.address(x.chunks),
        }
    )
    return table


def run_forward(x: Inputs, *, last: bool, save: bool) -> tuple[Any, Any, Any]:
    """The scan.

    Parameters
    ----------
    x
        Its inputs.
    last
        Whether the last state is wanted.
    save
        Whether states are to be saved for the backward pass.

    Returns
    -------
    y : (b, d, l), dtype of u
    last state : (r, d, n) or None
    saved : what :func:`run_backward` takes, or None
    """
    b, d, l, n = x.sizes
    y = x.library.empty_like(x.u)
    state = x.library.empty((len(x.rows), d, n), x.state_dtype) if last else None
    saved = x.library.empty(x.saved_shape, x.real_dtype) if save else None
    table = table_of(x)
    table.arrays({_call.Y: y, _call.LAST: state})
    if saved is not None:
        table.numbers({_call.SAVED: x.library.words(saved)[0]})
    offsets = rooms(n, x.blocks[1], x.parts, x.width, constant=x.constant, backward=False)
    table.run(compiled(forward, x.state_dtype), offsets, b * d * l * n)
    return y, state, saved


def run_backward(x: Inputs, saved: Any, dy: Any, dlast: Any) -> dict[str, Any]:
    """The gradients of a scan.

    Parameters
    ----------
    x
        Its inputs.
    saved
        What :func:`run_forward` saved.
    dy, dlast
        Cotangents of y and of the last state; None for zero.

    Returns
    -------
    Name of an input → its gradient, of its shape and dtype, for all that were given.
    """
    b, d, l, n = x.sizes
    rows, chunks = x.parts_of_rows, len(x.chunks)
    empty, empty_like = x.library.empty, x.library.empty_like
    streams = {
        name: empty_like(getattr(x, name)) for name in ("u", "delta", "z") if getattr(x, name) is not None
    }
    initial = None if x.initial_state is None else empty(tuple(x.initial_state.shape), x.state_dtype)
    sums = {
        "A": empty((rows, d, n), x.state_dtype),
        **{
            name: empty((rows, d, n) if constant else (chunks, b, n, l), x.state_dtype)
            for name, constant in zip("BC", x.constant, strict=True)
        },
        "D": empty((rows, d), x.real_dtype),
        "delta_bias": empty((rows, d), x.real_dtype),
    }
    table = table_of(x)
    table.arrays(
        {
            _call.Y: dy,
            _call.LAST: dlast,
            _call.DU: streams["u"],
            _call.DDELTA: streams["delta"],
            _call.DZ: streams.get("z"),
            _call.DA: sums["A"],
            _call.DB: sums["B"],
            _call.DC: sums["C"],
            _call.DD: sums["D"],
            _call.DBIAS: sums["delta_bias"],
            _call.DINITIAL: initial,
        }
    )
    table.numbers({_call.SAVED: x.library.words(saved)[0]})
    offsets = rooms(n, x.blocks[1], x.parts, x.width, constant=x.constant, backward=True)
    table.run(compiled(backward, x.state_dtype), offsets, 2 * b * d * l * n)
    gradients = streams | add_slices(x, sums)
    return gradients if initial is None else gradients | {"initial_state": initial}


def add_slices(x: Inputs, sums: Mapping[str, Any]) -> dict[str, Any]:
    """The gradients of what several tasks share, from each task's own sum."""
    gradients, jobs = {}, []
    for name, slices in sums.items():
        given = getattr(x, name)
        if given is not None:
            gradients[name] = x.library.empty(tuple(given.shape), dtype_name(given))
            jobs.append(_jobs(x, name, slices, gradients[name]))
    work = np.concatenate(jobs) if jobs else np.empty((0, JOB_WORDS), dtype=np.int64)
    table = Table(x.library)
    table.numbers({_call.TASKS: len(work), _call.CHUNK_TABLE: _plan.address(work)})
    total = int((work[:, SLICES] * work[:, LENGTH]).sum())
    table.run(compiled(reduce, x.real_dtype), [0, LANES * x.width], total)
    return gradients


def _jobs(x: Inputs, name: str, slices: Any, target: Any) -> NDArray[np.int64]:
    """How one gradient is added up, in pieces that threads may share."""
    source, _, *between = x.library.words(slices)
    place, code, *_ = x.library.words(target)
    doubled = x.parts == 2 and code >= COMPLEX64  # a complex sum is two real ones
    parts, part = (2, code - 2) if doubled else (1, code)
    size = target.itemsize // parts
    step = x.width if doubled or name in ("D", "delta_bias") else x.width * x.parts
    if slices.ndim < 4:
        whole = [(source, x.parts_of_rows, between[0], place, int(np.prod(target.shape)) * parts)]
    else:
        b, _, l, n = x.sizes
        group = _call.GROUP_B if name == "B" else _call.GROUP_C
        groups = target.shape[1] if target.ndim == 4 else 1
        ends = np.searchsorted(x.chunks[:, group], np.arange(groups + 1))
        whole = [
            (
                source + int(ends[g]) * between[0] + i * between[1],
                int(ends[g + 1] - ends[g]),
                between[0],
                place + (i * groups + g) * n * l * parts * size,
                n * l * parts,
            )
            for i in range(b)
            for g in range(groups)
        ]
    return np.array(
        [
            (begin + i * step, step, count, apart, to + i * size, part, min(_PIECE, length - i))
            for begin, count, apart, to, length in whole
            for i in range(0, length, _PIECE)
        ],
        dtype=np.int64,
    ).reshape(-1, JOB_WORDS)


def run_step(library: Library, arrays: tuple[Any, ...], *, softplus: bool, zoh: bool) -> Any:
    """One step from a state to the next, which may be the same array.

    Parameters
    ----------
    library
        Whose arrays they are.
    arrays
        Of a valid call: state, new state, u, delta, A, B, C, D, z, delta_bias, state_indices.
    softplus, zoh
        The flags of the operator.

    Returns
    -------
    y : (b, d), dtype of u
    """
    state, new, u, delta, A, B, C, D, z, delta_bias, slots = arrays
    y = library.empty_like(u)
    (b, d), n, dtype = u.shape, A.shape[1], dtype_name(A)
    grouped = [m[:, None] if m.ndim == 2 else m for m in (B, C)]
    table = Table(library)
    table.arrays(
        {
            _call.U: u,
            _call.DELTA: delta,
            _call.Z: z,
            _call.A: A,
            _call.B: grouped[0],
            _call.C: grouped[1],
            _call.D: D,
            _call.BIAS: delta_bias,
            _call.INITIAL: state,
            _call.LAST: new,
            _call.SEQ_IDX: slots,
            _call.Y: y,
        }
    )
    table.numbers(
        {
            _call.TASKS: b * -(-d // CHUNK),
            _call.N: n,
            _call.CHANNELS: d,
            _call.SOFTPLUS: softplus,
            _call.ZOH: zoh,
            _call.SHARE_B: d // grouped[0].shape[1],
            _call.SHARE_C: d // grouped[1].shape[1],
        }
    )
    offsets = step_rooms(n, 2 if is_complex(dtype) else 1, 8 if real_of(dtype) == "float64" else 4)
    table.run(compiled(step, dtype), offsets, b * d * n)
    return y
