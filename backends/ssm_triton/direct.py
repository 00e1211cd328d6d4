"""Whether a call may go past PyTorch's dispatcher, which takes longer than a step of a decode loop."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from ssm_backends.transforms import is_bare


def is_direct(given: Iterable[Tensor | None]) -> bool:
    """Whether nothing is to see a call, and every array holds its numbers as they are.

    The dispatcher resolves what is only noted as conjugated or negated; a kernel reads what is there.
    """
    arrays = [x for x in given if x is not None]
    return is_bare(arrays) and not any(x.is_conj() or x.is_neg() for x in arrays)
