"""Steps in one kernel, which have no gradient: it would be lost without a word in the state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ssm_backends.errors import NotSupportedError
from ssm_backends.transforms import in_forward_mode, may_be_differentiated


def refuse_gradients(op: str, names: Sequence[str], tensors: Sequence[Tensor | None]) -> None:
    """Refuse a call that may be differentiated.

    Parameters
    ----------
    op
        Name of the operator.
    names, tensors
        Its arrays; None where one is not given.

    Raises
    ------
    NotSupportedError
        If an input has a tangent of forward mode, or requires a gradient outside of ``torch.no_grad()``.
    """
    if not (torch.is_grad_enabled() or in_forward_mode()):
        return
    inputs = dict(zip(names, tensors, strict=True))
    if may_be_differentiated(op, inputs):
        named = [f"`{name}`" for name, x in inputs.items() if x is not None and x.requires_grad]
        raise NotSupportedError(
            f"{op} of this backend has no gradient, which may be asked of {', '.join(named) or 'an input'}; "
            "call it under torch.no_grad(), or ask for another backend"
        )
