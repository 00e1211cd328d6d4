"""The slots of a pool of states, where the host may read them: each exists, and none is named twice."""

from __future__ import annotations

from collections.abc import Sequence

from ssm_backends.errors import ArgumentError


def check_slots(state_indices: Sequence[int], slots: int) -> None:
    """Refuse rows whose states would be read or written elsewhere, or over each other.

    Parameters
    ----------
    state_indices
        Each row's slot; −1 for none.
    slots
        How many the pool has.

    Raises
    ------
    ArgumentError
        If one lies outside the pool, or two rows have one slot.
    """
    if state_indices and not (min(state_indices) >= -1 and max(state_indices) < slots):
        raise ArgumentError(
            f"`state_indices` must lie in -1..{slots - 1}, the slots of `state`; got {state_indices}"
        )
    named = [slot for slot in state_indices if slot >= 0]
    if len(set(named)) < len(named):
        raise ArgumentError(f"`state_indices` must name each slot at most once; got {state_indices}")
