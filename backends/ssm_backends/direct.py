"""Whether a call may go past PyTorch's dispatcher, which takes longer than a step of a decode loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ssm_backends.transforms import is_bare, is_watched

if TYPE_CHECKING:
    from torch import Tensor


def is_direct(given: Sequence[Tensor | None]) -> bool:
    """Whether nothing is to see a call, and every array holds its numbers as they are.

    The dispatcher resolves what is only noted as conjugated, negated, or zero, and asks for shapes alone
    where there are no numbers; a kernel reads what is there.

    Parameters
    ----------
    given
        Its arrays; None where one is not given.
    """
    if not is_bare(given) or is_watched():
        return False
    for x in given:  # a generator takes longer than what it asks
        if x is not None and (x.is_conj() or x.is_neg() or x._is_zerotensor() or x.is_meta):
            return False
    return True
