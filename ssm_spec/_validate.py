"""Reading arguments before any work: exact conversion, shapes by symbol, and messages that name the rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_spec._errors import DomainError, DTypeError, ShapeError

Array = NDArray[Any]
Float = NDArray[np.float64]

_LONGEST = 2**44
"""Float64 numbers in the 2**47 bytes that a process can address; NumPy itself says when memory is short."""


def as_array(name: str, value: object) -> Array:
    """Return a float64 or complex128 array of exactly the numbers given, any shape.

    Raises
    ------
    DTypeError
        If `value` holds integers, bools, objects, or numbers wider than float64.
    """
    array = _read(name, value)
    if (array.dtype.kind == "f" and array.dtype.itemsize <= 8) or array.dtype.name == "bfloat16":
        return array.astype(np.float64, copy=False)
    if array.dtype.kind == "c" and array.dtype.itemsize <= 16:
        return array.astype(np.complex128, copy=False)
    raise DTypeError(f"`{name}` must hold floating-point numbers of at most 64 bits; got {array.dtype}")


def as_real_array(name: str, value: object) -> Float:
    """Return a float64 array of exactly the numbers given; complex numbers are refused too."""
    array = as_array(name, value)
    if array.dtype.kind == "c":
        raise DTypeError(f"`{name}` must be real; got {np.asarray(value).dtype}")
    return array


def refuse_half(name: str, value: object) -> None:
    """Refuse a state matrix in 16 bits: rounding it there moves the modes (SEMANTICS: A is not streamed)."""
    given = _read(name, value).dtype
    if given.name in ("float16", "bfloat16"):
        raise DTypeError(f"`{name}` must have at least single precision; got {given}")


def as_choice(name: str, value: object, choices: Iterable[str]) -> str:
    """Return one of the words that an argument may be."""
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise DomainError(f"`{name}` must be one of {choices}; got {value!r:.80}")
    return value


def as_size(name: str, value: object, least: int = 0) -> int:
    """Return a length, or another number of elements.

    Raises
    ------
    DTypeError
        If `value` is no integer.
    DomainError
        If it is less than `least`, or no array could be so long.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise DTypeError(f"`{name}` must be an integer; got {value!r:.80}")
    if value < least:
        raise DomainError(f"`{name}` must be >= {least}; got {value}")
    if value > _LONGEST:
        raise DomainError(f"`{name}` must be <= {_LONGEST}, beyond which nothing can be stored; got {value}")
    return int(value)


def as_index_array(name: str, value: object) -> NDArray[np.int64]:
    """Return an int64 array; anything but integers is refused."""
    array = _read(name, value)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"`{name}` must hold integers; got {array.dtype}")
    return array.astype(np.int64, copy=False)


def _read(name: str, value: object) -> Array:
    if isinstance(value, np.ndarray) and hasattr(value, "mask"):  # the numbers behind a mask are nobody's
        raise DTypeError(f"`{name}` must be an array without a mask; got {type(value).__name__}")
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists; tensors that NumPy cannot hold
        raise DTypeError(
            f"`{name}` must be an array of numbers; got {type(value).__name__}: {error}"
        ) from None


class Dimensions:
    """The letters of shapes, and the sizes that arguments have given them so far.

    `match("u", u, "b d l")` binds b, d and l; `match("A", A, "d n")` then holds A's
    first size to d and binds n. A numeral stands for itself; a letter in `free` may
    differ from argument to argument.
    """

    def __init__(self) -> None:
        self._sizes: dict[str, tuple[int, str]] = {}

    def __getitem__(self, letter: str) -> int:
        return self._sizes[letter][0]

    def bind(self, letter: str, size: int, origin: str) -> None:
        """Fix the size of a letter; `origin` is the argument that errors will cite."""
        self._sizes[letter] = (size, origin)

    def match(self, name: str, array: Array, *patterns: str, free: str = "") -> None:
        """Hold the array's shape to the one pattern of its rank, and bind the pattern's new letters.

        Raises
        ------
        ShapeError
            If no pattern has that rank, or a size differs from the one bound before.
        """
        for pattern in patterns:
            letters = pattern.split()
            if len(letters) == array.ndim:
                self._match_sizes(name, array.shape, letters, free.split())
                return
        shapes = " or ".join(_tuple(pattern.split()) for pattern in patterns)
        raise ShapeError(f"`{name}` must have shape {shapes}; got {array.shape}")

    def _match_sizes(self, name: str, shape: tuple[int, ...], letters: list[str], free: list[str]) -> None:
        new: dict[str, tuple[int, str]] = {}
        for letter, size in zip(letters, shape, strict=True):
            if letter in free:
                continue
            known = (int(letter), "") if letter.isdigit() else self._sizes.get(letter, new.get(letter))
            if known is None:
                new[letter] = (size, name)
            elif known[0] != size:
                raise ShapeError(f"`{name}` must have shape {self._explain(letters)}; got {shape}")
        self._sizes.update(new)

    def _explain(self, letters: list[str]) -> str:
        known = [
            f"{letter} = {size}, from `{origin}`"
            for letter, (size, origin) in self._sizes.items()
            if letter in letters
        ]
        return f"{_tuple(letters)} with {'; '.join(known)}" if known else _tuple(letters)


def at_least_one(name: str, letter: str, size: int) -> None:
    """Refuse an empty dimension where the operator has no meaning without it (n, g, k)."""
    if size < 1:
        raise ShapeError(f"`{name}` must have {letter} >= 1; got {letter} = {size}")


def as_cotangent(
    cotangents: Mapping[str, object], output: str, shape: tuple[int, ...], *, complex_: bool = False
) -> Array | None:
    """Return the cotangent of one output, or None where it is missing or None (both mean zero)."""
    value = cotangents.get(output)
    if value is None:
        return None
    name = f"cotangents[{output!r}]"
    array: Array = as_array(name, value) if complex_ else as_real_array(name, value)
    if array.shape != shape:
        raise ShapeError(f"`{name}` must have shape {shape}, that of the output; got {array.shape}")
    return array.astype(np.complex128, copy=False) if complex_ else array


def check_cotangent_names(cotangents: Mapping[str, object], outputs: Iterable[str]) -> None:
    """Refuse a cotangent for an output that the operator does not have."""
    if not isinstance(cotangents, Mapping):
        given = type(cotangents).__name__
        raise DTypeError(f"`cotangents` must be a mapping from outputs to arrays; got {given}")
    outputs = tuple(outputs)
    for name in cotangents:
        if name not in outputs:
            raise DomainError(f"`cotangents` must be named after the outputs {outputs}; got {name!r}")


def differentiated(
    wrt: Iterable[str] | None, inputs: Mapping[str, object], differentiable: Iterable[str]
) -> tuple[str, ...]:
    """Return the inputs to differentiate: those of `wrt`, or every differentiable one that was given."""
    given = tuple(name for name in differentiable if inputs.get(name) is not None)
    if wrt is None:
        return given
    if not isinstance(wrt, Iterable):
        raise DTypeError(f"`wrt` must be names of inputs; got {type(wrt).__name__}")
    names = (wrt,) if isinstance(wrt, str) else tuple(wrt)
    for name in names:
        if name not in given:
            raise DomainError(f"`wrt` must name differentiable inputs that were given, {given}; got {name!r}")
    return names


def _tuple(letters: list[str]) -> str:
    return f"({', '.join(letters)}{',' if len(letters) == 1 else ''})"
