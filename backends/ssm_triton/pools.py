"""The slots that a step names, looked at before it where that costs no wait."""

from __future__ import annotations

from torch import Tensor

from ssm_backends.slots import check_slots
from ssm_backends.transforms import is_bare


def look_at_slots(state_indices: Tensor | None, pool: Tensor) -> None:
    """Refuse slots that are none, or are named twice, if they lie on a CPU; a trace may have no numbers.

    Parameters
    ----------
    state_indices
        (b,), or None: each row's slot, −1 for none.
    pool
        The states, (slots, …).

    Raises
    ------
    ArgumentError
        Naming the slots.
    """
    if state_indices is not None and state_indices.device.type == "cpu" and is_bare((state_indices,)):
        check_slots(state_indices.tolist(), pool.shape[0])
