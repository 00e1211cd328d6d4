"""One call as a table of integers: what the kernels read. An array is eight of them.

A kernel so has one argument for everything, and one compiled form for each type of state, whatever
the arrays' dtypes, strides and number.
"""

from __future__ import annotations

from typing import Final

from ssm_cpu._emit import Function
from ssm_cpu._values import Bit, Int

STEPS: Final = 64
"""Steps of time in a tile; one state in as many is saved for the backward pass."""

WORDS: Final = 8
ADDRESS, CODE, STRIDE = 0, 1, 2
"""Words of an array: its address, the code of its dtype (0: not given), then its strides in bytes."""

# The arrays of a scan, forward and backward, and of a step.
(
    U, DELTA, Z, A, B, C, D, BIAS, INITIAL, SEQ_IDX, Y, LAST,
    DU, DDELTA, DZ, DA, DB, DC, DD, DBIAS, DINITIAL,
) = range(21)  # fmt: skip
_ARRAYS = 21

# The numbers of a call, after its arrays.
(
    COUNTER, TASKS, ROWS, TOGETHER, PARTS, N, BLOCKS, SOFTPLUS, ZOH, B_CONSTANT, C_CONSTANT, ROW_TABLE,
    CHUNK_TABLE, SAVED, CHANNELS, SHARE_B, SHARE_C, ARRIVED, PLACES, SCRATCH, SCRATCH_SIZE,
    ROOMS,
) = range(_ARRAYS * WORDS, _ARRAYS * WORDS + 22)  # fmt: skip
"""A task has TOGETHER rows, one of PARTS parts of them all. SHARE_B and SHARE_C: channels in a group.
ARRIVED: threads that have begun. The first PLACES of them work, each with SCRATCH_SIZE bytes from SCRATCH on.
ROOMS: offsets of a thread's rooms follow."""

MOST_ROOMS: Final = 32

# A row of the two tables.
BATCH, START, STOP, SLOT, ROW_WORDS = 0, 1, 2, 3, 4
FIRST, COUNT, GROUP_B, GROUP_C, BLOCK, CHUNK_WORDS = 0, 1, 2, 3, 4, 5


class Call:
    """The table of a call, and the scratch memory of a thread, as a kernel under construction sees them.

    Parameters
    ----------
    f
        The function under construction.
    table, scratch
        Where they lie.
    """

    def __init__(self, f: Function, table: Int, scratch: Int) -> None:
        self.f = f
        self.table = table
        self.scratch = scratch

    def number(self, index: int) -> Int:
        """A number of the call."""
        return self.f.word(self.table, 8 * index)

    def flag(self, index: int) -> Bit:
        """A number of the call that is 0 or not."""
        return self.number(index).differs(0)

    def code(self, array: int) -> Int:
        """The code of an array's dtype."""
        return self.number(array * WORDS + CODE)

    def given(self, array: int) -> Bit:
        """Whether an array is given."""
        return self.code(array).differs(0)

    def stride(self, array: int, dimension: int) -> Int:
        """Bytes from one element to the next along a dimension."""
        return self.number(array * WORDS + STRIDE + dimension)

    def at(self, array: int, *index: Int | int) -> Int:
        """The address of an element; indices that are left out are 0."""
        address = self.number(array * WORDS + ADDRESS)
        for dimension, i in enumerate(index):
            address = address + self.stride(array, dimension) * i
        return address

    def room(self, index: int) -> Int:
        """The address of a room of the scratch memory."""
        return self.scratch + self.number(ROOMS + index)
