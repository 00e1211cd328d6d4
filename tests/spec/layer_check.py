"""Holding a layer to balls: values and gradients within the oracle's own bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import ssm_spec
from ssm_spec import Arithmetic

from . import lti_exact as exact

F32, F64 = Arithmetic(), Arithmetic(compute="float64")


def numbers(rng: np.random.Generator, complex_: bool, *shape: int) -> Any:
    x = rng.standard_normal(shape)
    return x + 1j * rng.standard_normal(shape) if complex_ else x


def modes(rng: np.random.Generator, complex_: bool, *shape: int) -> Any:
    """Decaying modes, turning if complex."""
    decay = -rng.uniform(0.2, 2.0, shape)
    return decay + 1j * rng.uniform(-5.0, 5.0, shape) if complex_ else decay


def within_own(
    op: str, function: exact.Exact, arrays: Mapping[str, Any], options: Mapping[str, Any], bits: int = 400
) -> dict[str, float]:
    """Hold values and gradients of one call to the balls, within `own` alone; return the ratios."""
    reference, rng = ssm_spec.REFERENCES[op], np.random.default_rng(7)
    with exact.precision(bits):
        true = dict(function(**{name: exact.balls(value) for name, value in arrays.items()}))
    found = reference.bounds(arithmetic=F64, **arrays, **options)
    assert set(found) == set(reference.outputs)
    cotangents = {k: numbers(rng, np.iscomplexobj(b.value), *b.value.shape) for k, b in found.items()}
    slopes: dict[str, Any] = {}
    if reference.vjp is not None and reference.vjp_bounds is not None:
        values = reference.vjp(cotangents, **arrays, **options)
        slopes = reference.vjp_bounds(cotangents, arithmetic=F64, **arrays, **options)
        assert values.keys() == slopes.keys() == arrays.keys()
        for name, slope in slopes.items():
            np.testing.assert_array_equal(values[name], slope.value, err_msg=name)
            assert slope.value.shape == np.shape(arrays[name])
            assert np.iscomplexobj(slope.value) == np.iscomplexobj(arrays[name])
            true[f"d{name}"] = exact.gradient(function, arrays, cotangents, name)
    ratios = {}
    for name, bounded in {**found, **{f"d{k}": v for k, v in slopes.items()}}.items():
        assert bounded.value.shape == bounded.bound.shape == bounded.own.shape == bounded.judged.shape, name
        assert np.all(bounded.judged), name
        error = exact.distance(bounded.value, true[name])
        # 1e-200: where own is zero, the radius that a difference quotient at 1200 bits leaves.
        ratios[name] = float(np.max(error / (bounded.own + 1e-200), initial=0.0))
        assert ratios[name] <= 1.0, (name, ratios[name])
    return ratios


def worst(found: Mapping[str, Any], actual: Mapping[str, Any]) -> dict[str, float]:
    """Return err / (bound + own) for each array of an implementation."""
    result = {}
    for name, value in actual.items():
        bounded = found[name]
        error = np.abs(np.asarray(value).astype(bounded.value.dtype) - bounded.value)
        assert np.all(bounded.judged), name
        result[name] = float(np.max(error / (bounded.bound + bounded.own), initial=0.0))
    return result


def per_channel(
    one: Callable[..., dict[str, Any]], shared: tuple[str, ...], axes: Mapping[str, int]
) -> exact.Exact:
    """Run `one` for every channel; `axes` says where the channels are (default 0), and stack the outputs."""

    def every(**arrays: Any) -> dict[str, Any]:
        first = next(name for name in arrays if name not in shared)
        count = arrays[first].shape[axes.get(first, 0)]
        results = []
        for i in range(count):
            taken = {
                name: value if name in shared else np.take(value, i, axis=axes.get(name, 0))
                for name, value in arrays.items()
            }
            results.append(one(**taken))
        return {name: np.stack([r[name] for r in results], axis=axes.get(name, 0)) for name in results[0]}

    return every
