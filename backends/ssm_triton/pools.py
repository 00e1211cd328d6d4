"""The slots that a step names, looked at before it where that costs no wait."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_backends.slots import check_slots


def look_at_slots(state_indices: Tensor | None, pool: Tensor) -> None:
    """Refuse slots that are none, or are named twice, if they lie on a CPU; a trace has no numbers.

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
    if state_indices is None or state_indices.device.type != "cpu" or torch.compiler.is_compiling():
        return
    check_slots(state_indices.tolist(), pool.shape[0])
