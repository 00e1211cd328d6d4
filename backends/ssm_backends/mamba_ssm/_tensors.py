"""What is given in place of a tensor is refused by name."""

from __future__ import annotations

from typing import Any

from ssm_backends.errors import DTypeError


def only_tensors(**given: Any) -> None:
    """Refuse an argument that is neither a PyTorch tensor nor None.

    Raises
    ------
    DTypeError
        Naming the first one and its type.
    """
    from torch import Tensor

    for name, x in given.items():
        if x is not None and not isinstance(x, Tensor):
            raise DTypeError(
                f"`{name}` must be a PyTorch tensor; got {type(x).__module__}.{type(x).__name__}"
            )
