"""What a drop-in is given, judged by the drop-in's own names: tensors and their shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ssm_backends._shapes import Sizes, pretty, rank_matches
from ssm_backends.errors import ArgumentError, DeviceError, DTypeError, NotSupportedError, ShapeError
from ssm_backends.tracing import refuse_numpys

if TYPE_CHECKING:
    from torch import Tensor

_FLAGS: Final = (bool, np.bool_)
_INTEGERS: Final = (int, np.integer)
_NUMBERS: Final = (float, int, np.floating, np.integer)
"""Of Python and NumPy; a union of types PyTorch 2.8 does not trace."""


def only_tensors(required: Mapping[str, Any], optional: Mapping[str, Any]) -> None:
    """Refuse an argument that is not a dense PyTorch tensor; an optional one may be None.

    Raises
    ------
    DTypeError
        Naming the first one and its type.
    """
    from torch import Tensor, strided

    for name, x in {**required, **optional}.items():
        if not isinstance(x, Tensor) and (x is not None or name in required):
            kind = "None" if x is None else f"{type(x).__module__}.{type(x).__name__}"
            raise DTypeError(f"`{name}` must be a PyTorch tensor; got {kind}")
        if x is not None and (x.layout is not strided or x.is_nested):
            kind = "a nested tensor" if x.is_nested else f"layout {x.layout}"
            raise DTypeError(f"`{name}` must be a dense tensor; got {kind}")


def only_pythons(**plain: Any) -> None:
    """While a graph is traced, refuse a scalar of NumPy's before any work, which Python then does.

    PyTorch 2.8 makes no tensor of a flag of NumPy 2, and so cannot guard a graph of what was done before.

    Raises
    ------
    DTypeError
        Naming the first one.
    """
    import torch

    if torch.compiler.is_compiling():
        for name, x in plain.items():
            refuse_numpys(name, x)


def check_flag(name: str, x: Any) -> None:
    """Refuse what is neither True nor False, of Python's or NumPy's.

    Raises
    ------
    DTypeError
        Naming it.
    """
    if not isinstance(x, _FLAGS):
        raise DTypeError(f"`{name}` must be True or False; got {x!r}")


def check_count(name: str, x: Any) -> None:
    """Refuse what is not a positive int, of Python's or NumPy's.

    Raises
    ------
    ArgumentError
        Naming it.
    """
    if isinstance(x, bool) or not isinstance(x, _INTEGERS) or x < 1:
        raise ArgumentError(f"`{name}` must be a positive int; got {x!r}")


def check_number(name: str, x: Any) -> None:
    """Refuse what is not a real number, of Python's or NumPy's.

    Raises
    ------
    DTypeError
        Naming it.
    """
    if isinstance(x, bool) or not isinstance(x, _NUMBERS):
        raise DTypeError(f"`{name}` must be a number; got {x!r}")


def check_state_dtype(x: Any) -> None:
    """Refuse a `state_dtype` that is neither None nor a real floating dtype of PyTorch's.

    Raises
    ------
    DTypeError
        Naming it.
    """
    import torch

    if x is not None and not (isinstance(x, torch.dtype) and x.is_floating_point):
        raise DTypeError(f"`state_dtype` must be None or a real floating dtype of PyTorch; got {x!r}")


def shapes_of(given: Mapping[str, Any]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Name and shape of every tensor that is given."""
    return tuple((name, tuple(x.shape)) for name, x in given.items() if x is not None)


def widened(name: str, x: Tensor | None, A: Tensor) -> Tensor | None:
    """`D` or a bias in the real dtype of A, or None where there is none.

    Raises
    ------
    DTypeError
        If it is not real and floating: an imaginary part would be lost.
    """
    if x is None:
        return None
    if not x.is_floating_point():
        raise DTypeError(f"`{name}` must have a real floating dtype; got {x.dtype}")
    dtype = A.real.dtype if A.is_complex() else A.dtype  # Dynamo does not trace torch.dtype.to_real
    return x if x.dtype == dtype else x.to(dtype)


def wide_as(x: Tensor, A: Tensor) -> Tensor:
    """A in float64 or complex128 where x is float64, which loses nothing; else A as it is."""
    import torch

    return A.to(torch.promote_types(A.dtype, x.dtype)) if x.dtype == torch.float64 else A


def computed(x: Tensor) -> Tensor:
    """What is 16 bits wide in float32, the type that it is computed in; else as it is, valid or not."""
    import torch

    if x.dtype not in (torch.float16, torch.bfloat16):
        return x
    return x.to(torch.promote_types(x.dtype, torch.float32))


def paired(x: Tensor) -> Tensor:
    """Real and imaginary parts side by side, (…, 2n), as complex numbers (…, n), at least complex64.

    A view would ask for even strides and an even place in memory, which a slice need not have.
    """
    import torch

    wide = x if x.dtype == torch.float64 else x.float()
    return torch.complex(wide[..., ::2], wide[..., 1::2])


def of_dtype(x: Tensor, **states: Tensor | None) -> None:
    """Refuse states that are not in the dtype, or not on the device, of the inputs that they hold.

    Raises
    ------
    DTypeError, DeviceError
        Naming the first one, the rule, and what it has.
    """
    for name, state in states.items():
        if state is not None and state.dtype != x.dtype:
            raise DTypeError(f"`{name}` must have the dtype of `x`, {x.dtype}; got {state.dtype}")
        if state is not None and state.device != x.device:
            raise DeviceError(f"`{name}` must be on the device of `x`, {x.device}; got {state.device}")


def sized(found: tuple[tuple[str, tuple[int, ...]], ...], shapes: str) -> Mapping[str, int]:
    """The size of each letter, from shapes that agree; remembered, since a step has no time to look again.

    Parameters
    ----------
    found
        As :func:`shapes_of` gives them.
    shapes
        "state: r d n, B: b n | b g n": each one's shape in letters, in the order in which they are read;
        those that are not there are let be.

    Raises
    ------
    ShapeError
        Naming the first one that has another shape, the sizes it should have, and those it has.
    """
    import torch

    # A graph is traced once, and PyTorch warns of a memory that it looks through.
    if torch.compiler.is_compiling():
        return _sized(found, shapes)
    try:
        return _remembered(found, shapes)
    except TypeError:  # a trace leaves sizes open, which have no hash
        return _sized(found, shapes)


def _sized(found: tuple[tuple[str, tuple[int, ...]], ...], shapes: str) -> Mapping[str, int]:
    sizes, given = Sizes(minimum=dict.fromkeys("gnw", 1)), dict(found)  # groups, states, a filter
    for entry in shapes.split(", "):
        name, _, allowed = entry.partition(": ")
        if name in given:
            forms = allowed.split(" | ")
            fitting = [form for form in forms if rank_matches(form, len(given[name]))]
            if not fitting:
                listed = " or ".join(map(pretty, forms))
                raise ShapeError(f"`{name}` must have shape {listed}; got {given[name]}")
            sizes.match(name, fitting[0], given[name])
    return sizes.bound


_remembered: Final = lru_cache(maxsize=4096)(_sized)


def under_names(names: Mapping[str, str], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function of the front door; what it refuses is told in the drop-in's names.

    Parameters
    ----------
    names
        The front door's name of an argument → the drop-in's.
    function, args, kwargs
        What is called.
    """
    import torch

    try:
        return function(*args, **kwargs)
    except (ShapeError, DTypeError, DeviceError, ArgumentError, NotSupportedError) as error:
        # PyTorch 2.8 traces neither str(error), nor re.sub with a function, nor "raise … from".
        said = str(error.args[0]) if error.args else ""
        told = "`".join(names.get(part, part) for part in said.split("`"))
        if torch.compiler.is_compiling():
            raise type(error)(told)  # noqa: B904 # as above
        raise type(error)(told) from error
