"""Systems side by side: the leading dimensions *s, their broadcasting, and gradients brought back from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ssm_spec._errors import DTypeError, ShapeError
from ssm_spec._roundoff import UNIT_ROUNDOFF, Bounded
from ssm_spec._validate import Array, Float, as_array

OWN_UNIT = UNIT_ROUNDOFF["float64"]


class Systems:
    """The trailing sizes (n, m, p) and the system dimensions *s of one call, bound one argument at a time."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self._sizes: dict[str, tuple[int, str]] = {}

    def __getitem__(self, letter: str) -> int:
        return self._sizes[letter][0]

    def bind(self, name: str, array: Array, letters: str) -> None:
        """Hold the trailing sizes to `letters`, and broadcast the leading ones into *s.

        Raises
        ------
        ShapeError
            If a size differs from the one bound before, is zero, or *s does not broadcast.
        """
        wanted = letters.split()
        rule = f"`{name}` must have shape ({', '.join(['*s', *wanted])})"
        if array.ndim < len(wanted):
            raise ShapeError(f"{rule}; got {array.shape}")
        leading = array.shape[: array.ndim - len(wanted)]
        for letter, size in zip(wanted, array.shape[len(leading) :], strict=True):
            known, origin = self._sizes.setdefault(letter, (size, name))
            if known != size:
                raise ShapeError(f"{rule} with {letter} = {known}, from `{origin}`; got {array.shape}")
            if size < 1:
                raise ShapeError(f"{rule} with {letter} >= 1; got {array.shape}")
        try:
            self.shape = np.broadcast_shapes(self.shape, leading)
        except ValueError:
            raise ShapeError(
                f"{rule} with *s broadcasting against {self.shape}, from the arguments before; "
                f"got {array.shape}"
            ) from None

    def spread(self, array: Array, trailing: int) -> Array:
        """Return the array with all of *s in front of its `trailing` dimensions, one system after another."""
        tail = array.shape[array.ndim - trailing :]
        return np.broadcast_to(array, self.shape + tail).reshape(-1, *tail)


def as_matrix_like(name: str, value: object, complex_: bool) -> Array:
    """Read B or C: real numbers are promoted beside a complex A, complex ones refused beside a real A."""
    array = as_array(name, value)
    if complex_:
        return array.astype(np.complex128, copy=False)
    if array.dtype.kind == "c":
        raise DTypeError(f"`{name}` must be real where the state matrix is real; got {array.dtype}")
    return array


@dataclass(frozen=True)
class Parts:
    """What one formula gives, element by element, before anything is summed over broadcast dimensions.

    `value`, and bounds on its error for the arithmetic asked about (`bound`) and for this
    package (`own`); `judged` as in `Bounded`. `rounded` is that part of the bound which a sum of terms loses,
    if each is one.
    """

    value: Array
    bound: Float
    own: Float
    judged: Array
    rounded: Float | float = 0.0

    def where_judged(self) -> Parts:
        """Return the same with bounds that overflowed marked as not judged."""
        bound = np.where(np.isnan(self.bound), np.inf, self.bound)
        return Parts(self.value, bound, self.own, self.judged & np.isfinite(bound) & np.isfinite(self.value))

    def within(self, largest: float) -> Parts:
        """Return the same, not judged where a value or its bound leaves the range."""
        with np.errstate(invalid="ignore", over="ignore"):
            inside = np.abs(self.value) + self.bound < largest
        return replace(self, judged=self.judged & inside)

    def reshape(self, shape: tuple[int, ...]) -> Parts:
        """Return the same, every array in another shape."""
        judged, rounded = (np.broadcast_to(a, self.value.shape) for a in (self.judged, self.rounded))
        return Parts(*(a.reshape(shape) for a in (self.value, self.bound, self.own, judged, rounded)))

    def real_part(self) -> Parts:
        """Return the part that belongs to a real input."""
        return replace(self, value=self.value.real)

    def summed_to(self, shape: tuple[int, ...], u: float, largest: float = float("inf")) -> Parts:
        """Return the gradient of an input that was broadcast from `shape`.

        A sum of k terms in any order adds (k - 1) u Σ|terms| (Higham 2002, (4.4)). Where each is a sum and
        all are taken as one, its terms meet k times as many: what `rounded` says, k − 1 times more. The terms
        count before they cancel: Σ(|terms| + errors) has to stay below `largest`.
        """
        value = np.asarray(self.value)
        lead = tuple(range(value.ndim - len(shape)))
        kept = tuple(
            i + len(lead) for i, size in enumerate(shape) if size == 1 and value.shape[i + len(lead)] != 1
        )
        axes = lead + kept
        if not axes:
            return self
        count = max(int(np.prod([value.shape[i] for i in axes])) - 1, 0)
        size = np.sum(np.abs(value), axis=axes).reshape(shape)
        met = np.sum(np.broadcast_to(self.rounded, value.shape), axis=axes).reshape(shape)
        with np.errstate(invalid="ignore", over="ignore"):
            inside = size + np.sum(self.bound, axis=axes).reshape(shape) < largest
        return Parts(
            np.sum(value, axis=axes).reshape(shape),
            np.sum(self.bound, axis=axes).reshape(shape) + count * (u * size + met),
            np.sum(self.own, axis=axes).reshape(shape) + count * OWN_UNIT * size,
            np.all(np.broadcast_to(self.judged, value.shape), axis=axes).reshape(shape) & inside,
        )

    def bounded(self) -> Bounded:
        """Return the public form."""
        parts = self.where_judged()
        judged = np.asarray(np.broadcast_to(parts.judged, np.shape(parts.value)), dtype=bool)
        return Bounded(parts.value, np.asarray(parts.bound), np.asarray(parts.own), judged.copy())


def gradients(
    parts: Mapping[str, Parts],
    inputs: Mapping[str, object],
    wrt: tuple[str, ...],
    u: float,
    largest: float = float("inf"),
) -> dict[str, Bounded]:
    """Bring gradients in broadcast shape back to their inputs: shape, and real part for a real input.

    Not judged is what leaves the range before or after it is summed.
    """
    result = {}
    for name in wrt:
        given = np.asarray(inputs[name])
        part = parts[name] if given.dtype.kind == "c" else parts[name].real_part()
        result[name] = part.within(largest).summed_to(given.shape, u, largest).within(largest).bounded()
    return result


def in_blocks(
    work: Callable[..., tuple[Array, ...]], arrays: tuple[Array, ...], systems_at_once: int
) -> tuple[Array, ...]:
    """Apply `work` to a few systems at a time, so that temporaries stay in cache, and join the results."""
    count = arrays[0].shape[0]
    step = max(1, systems_at_once)
    starts = range(0, count, step) if count else (0,)
    blocks = [work(*(a[start : start + step] for a in arrays)) for start in starts]
    return tuple(np.concatenate(column) for column in zip(*blocks, strict=True))
