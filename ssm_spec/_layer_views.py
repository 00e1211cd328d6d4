"""Between a layer's arguments, as its paper shapes them, and those of the linear system inside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ssm_spec._layer import reshaped
from ssm_spec._roundoff import Bounded
from ssm_spec._validate import Array, as_cotangent, check_cotangent_names


def cotangents_as(
    cotangents: Mapping[str, Array | None],
    shapes: Mapping[str, tuple[int, ...]],
    inside: Mapping[str, tuple[int, ...]],
    complex_: Iterable[str],
) -> dict[str, Array | None]:
    """Check the cotangents of a layer's outputs against `shapes`, and give them those of `inside`."""
    check_cotangent_names(cotangents, shapes)
    result: dict[str, Array | None] = {}
    for name, shape in shapes.items():
        given = as_cotangent(cotangents, name, shape, complex_=name in tuple(complex_))
        result[name] = None if given is None else given.reshape(inside.get(name, shape))
    return result


def given_back(gradient: Array, given: object) -> Array:
    """Return a gradient in the shape of its input, and its real part for a real input."""
    like = np.asarray(given)
    return np.asarray(gradient if like.dtype.kind == "c" else gradient.real).reshape(like.shape)


def named(
    found: Mapping[str, Bounded], inputs: Mapping[str, object], names: Iterable[str]
) -> dict[str, Bounded]:
    """Return bounded gradients as `given_back` returns plain ones."""
    result = {}
    for name in names:
        like, one = np.asarray(inputs[name]), found[name]
        value = one.value if like.dtype.kind == "c" else one.value.real
        result[name] = reshaped(Bounded(value, one.bound, one.own, one.judged), like.shape)
    return result
