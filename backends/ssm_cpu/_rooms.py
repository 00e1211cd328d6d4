"""The scratch memory of one thread: its rooms, and where each begins."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from ssm_cpu._call import STEPS
from ssm_cpu._modes import record_bytes
from ssm_cpu._values import LANES

(
    MODES, STATE, HEAD, CONST_B, CONST_C, ROWS_B, ROWS_C, CORNER, TILE_U, TILE_X, TILE_G, TILE_V, TILE_Z,
    TILE_RAW, TILE_Q, TILE_R, TILE_S, TILE_E, DECAYS, STATES, HOLDS, CARRY, SUM_A, SUM_B, SUM_C, SUM_HEAD,
) = range(26)  # fmt: skip
"""MODES to TILE_Z serve both passes; the rest the backward pass alone."""
_FORWARD: Final = 13


@lru_cache(maxsize=64)
def rooms(
    n: int, blocks: int, parts: int, width: int, *, constant: tuple[bool, bool], backward: bool
) -> tuple[int, ...]:
    """Offsets in bytes of the rooms, and at the end the size of all.

    Parameters
    ----------
    n
        States.
    blocks
        Most blocks of 16 channels in a chunk.
    parts
        2 for complex states, else 1.
    width
        Bytes of a real number of the compute type.
    constant
        Whether B and C are constant in time.
    backward
        Whether the backward pass's rooms are wanted.
    """
    vector = LANES * width
    states = blocks * n * parts * vector
    rows = n * STEPS * parts * width
    tile = STEPS * vector
    sizes = [
        blocks * n * record_bytes(parts == 2, vector),
        states,
        blocks * 2 * vector,
        *(states if fixed else 0 for fixed in constant),
        *(0 if fixed else rows for fixed in constant),
        max(LANES, 2 * parts) * vector,
        *(tile,) * 5,
    ]
    assert len(sizes) == _FORWARD
    if backward:
        sums = (states if fixed else n * STEPS * parts * vector for fixed in constant)
        sizes += [*(tile,) * 5, tile * parts, tile * parts + parts * vector, tile * parts, states, states]
        sizes += [*sums, blocks * 2 * vector]
    offsets = [0]
    for size in sizes:
        offsets.append(offsets[-1] + -(-size // 64) * 64)
    return tuple(offsets)
