"""What honest arithmetic may do to Mamba-3's gradients: the analysis, then the sums over heads and rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ssm_spec._calls import arguments_of
from ssm_spec._mamba3._adjoint import DIFFERENTIABLE, adjoint_of, gradients, read_cotangents
from ssm_spec._mamba3._adjoint_errors import Analysis
from ssm_spec._mamba3._errors import follow_states, turned_analyses
from ssm_spec._mamba3._inputs import STATES, Siso, read
from ssm_spec._mamba3._near import Near
from ssm_spec._mamba3._siso import follow, mamba3_siso
from ssm_spec._mamba3._turns import frames
from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec._selective_scan._bounds import Worst
from ssm_spec._validate import Float, differentiated


@arguments_of(mamba3_siso)
def mamba3_siso_vjp_bounds(
    cotangents: Mapping[str, ArrayLike | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to the gradients of `mamba3_siso_vjp`.

    An element is judged where nothing of its row and head leaves the range.

    Parameters
    ----------
    cotangents, wrt, inputs
        As for `mamba3_siso_vjp`.
    arithmetic
        The facts about the implementation, as for `mamba3_siso_bounds`.

    Returns
    -------
    For each gradient its value, bound, the oracle's own bound, and where it is judged.
    """
    siso, names = read(**inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    given = read_cotangents(siso, cotangents)
    with np.errstate(all="ignore"):
        values = gradients(siso, given)
        worst = {name: Worst.of(*values[name].shape) for name in names}
        path = follow(siso)
        states, back = follow_states(siso, path), adjoint_of(siso, path, given)
        for order, own in turned_analyses(arithmetic):
            both = [
                Analysis(siso, path, states, back, given, turns, order).gradients()
                for turns in frames(siso, path.theta, order)
            ]
            for name in names:
                made_of = _MADE_OF.get(name, name)
                error, peak = _in_shape(siso, name, _smaller(*(found[made_of] for found in both)))
                worst[name].raise_to(..., error, peak, own=own)
        return {name: _bounded(values[name], worst[name], arithmetic) for name in names}


_MADE_OF = {"q_bias": "q", "k_bias": "k"}


def _smaller(one: Near, other: Near) -> Near:
    """The smaller errors of two analyses of the same numbers."""
    return replace(one, error=np.fmin(one.error, other.error), peak=np.fmin(one.peak, other.peak))


def _bounded(value: Float, worst: Worst, arithmetic: Arithmetic) -> Bounded:
    return Bounded(value, worst.bound, worst.own, worst.judged(value, arithmetic.largest))


def _in_shape(siso: Siso, name: str, found: Near) -> tuple[Float, Float]:
    """The error in the shape of the input, heads of a group, rows and times summed; and the range used."""
    if name in STATES:  # (x, b, h) or (p, n, b, h)
        error = np.moveaxis(found.error, (-2, -1), (0, 1))
        return error, found.peak.reshape(*found.peak.shape, *(1,) * (error.ndim - 2))
    if name in ("adt", "dt", "trap"):  # (l, b, h)
        return found.error.transpose(1, 2, 0), found.peak[..., None]
    if name in ("v", "z", "angles"):  # (l, x, b, h)
        return found.error.transpose(2, 0, 3, 1), found.peak[:, None, :, None]
    if name == "D":
        error, size = _summed(found, (0, 1, 2), found.value.shape[:3])
        return error, np.maximum(found.peak.max(0, initial=0.0), size)
    l, n, b, h = found.value.shape
    if name in _MADE_OF:
        error, size = _summed(found, (0, 2), (l, b))
        return error.T, np.maximum(found.peak.max(0, initial=0.0)[:, None], size.T)
    wide = (l, n, b, siso.groups, h // siso.groups)
    error, size = _summed(found, 4, wide[4:], wide)
    peak = found.peak.reshape(wide[2:]).max(-1, initial=0.0)[:, None, :, None]
    return error.transpose(2, 0, 3, 1), np.maximum(peak, size.transpose(2, 0, 3, 1))


def _summed(
    found: Near, axes: int | tuple[int, ...], counts: tuple[int, ...], shape: tuple[int, ...] | None = None
) -> tuple[Float, Float]:
    """Σ e + (k − 1)u Σ(|x| + e) + kη for a sum of k terms in any order, and Σ(|x| + e)."""
    error = found.error if shape is None else found.error.reshape(shape)
    size = np.abs(found.value).reshape(error.shape) + error
    k, total = int(np.prod(counts)), size.sum(axes)
    rounding = max(k - 1, 0) * found.arithmetic.u * total + k * found.arithmetic.eta
    return error.sum(axes) + rounding, total
