"""What honest arithmetic may do to H3: each stage's own bound, on inputs that are wrong already.

Keys: the convolution's bound and two products. Products k'_i v_j: wrong by what the keys are. The diagonal
system: a layer with an inexact input; backwards with an inexact cotangent too. Gates and projection: sums of
products of inexact numbers (`_products`). q may meet C and D before their sums, and v B: what the layer loses
is taken without them, too (`_weighed`). A row of such errors is kept for the arithmetic asked about and for
this package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ssm_spec._calls import arguments_of
from ssm_spec._convolution import (
    causal_convolution_bounds,
    causal_convolution_vjp_bounds,
    convolve,
    correlate,
)
from ssm_spec._h3 import (
    Forward,
    Heads,
    forward,
    h3,
    pull_back_gate,
    pull_back_inputs,
    pull_back_keys,
    read_keywords,
    read_vjp,
)
from ssm_spec._h3_range import (
    cotangent_reach,
    gated_reach,
    gradients_reach,
    keys_cotangent_reach,
    projected_reach,
)
from ssm_spec._layer_bounds import Analysed, analysed, analysed_back, finish
from ssm_spec._layer_errors import Ways, Weighted
from ssm_spec._layer_views import named
from ssm_spec._products import Inexact, exactly, product_error, summed
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._selective_scan._local_errors import flushed
from ssm_spec._validate import Array, Float


class _Errors(NamedTuple):
    """Errors of the forward pass in one arithmetic, in the shapes of `Forward`."""

    keys: Float
    products: Float
    s: Float
    y: Float


class _Analyses(NamedTuple):
    """Both analyses, the layer's, and where y (b, d, l) is judged and the keys (b, 1, l) are."""

    errors: tuple[_Errors, _Errors]
    layer: Analysed
    u: Ways
    judged: Array
    keys: Array


@arguments_of(h3)
def h3_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """Return y with what honest arithmetic may do to each element: scans, chunks, or declared "fft"."""
    call = read_keywords(inputs)
    made = forward(call)
    errors, _, _, judged, _ = _forward_errors(call, made, arithmetic)
    if call.out_proj is None:
        return {"y": finish(made.y, errors[0].y, errors[1].y, judged, arithmetic)}
    with np.errstate(all="ignore"):
        y = np.einsum("od,bdl->bol", call.out_proj, made.y)
        W = exactly(call.out_proj)
        bound, own = (
            product_error("od,bdl->bol", W, Inexact(made.y, e.y), a)
            for e, a in zip(errors, (arithmetic, ORACLE), strict=True)
        )
        inside = projected_reach(call.out_proj, Inexact(made.y, errors[0].y)) < arithmetic.largest
    return {"y": finish(y, bound, own, np.all(judged, axis=1, keepdims=True) & inside, arithmetic)}


@arguments_of(h3)
def h3_vjp_bounds(
    cotangents: Mapping[str, Array | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """Return the gradients of `h3` with what honest arithmetic may do to each element."""
    call, names, r = read_vjp(cotangents, wrt, inputs)
    made = forward(call)
    errors, ahead, u, judged, keys_judged = _forward_errors(call, made, arithmetic)
    dy, ds = pull_back_gate(call, r)
    both = (arithmetic, ORACLE)
    with np.errstate(all="ignore"):
        gates = [_gate_errors(call, r, dy, a) for a in both]
        r_ways = _ways(call, _size(call, call.q, 0.0)[:, :, None], _size(call, dy, gates[0][0])[:, None])
    back = analysed_back(
        made.system,
        {"y": call.folded(ds)},
        arithmetic,
        inexact=(call.folded(errors[0].products), call.folded(errors[1].products)),
        inexact_cotangent=(call.folded(gates[0][1]), call.folded(gates[1][1])),
        weighted=Weighted(call.width, u, r_ways),
    )
    slopes = back.bounds
    of_input = slopes.pop("u")
    dx = call.unfolded(of_input.value)
    values = pull_back_inputs(call, made, r, dy, dx)
    through = causal_convolution_vjp_bounds(
        {"y": pull_back_keys(call, dx)}, arithmetic=arithmetic, u=call.k, K=call.shift
    )
    sides = []
    with np.errstate(all="ignore"):
        for i, (a, e_dx) in enumerate(zip(both, (of_input.bound, of_input.own), strict=True)):
            wrong_dx = Inexact(dx, call.unfolded(e_dx))
            wrong_dy = Inexact(dy, gates[i][0])
            lost = call.unfolded(ahead.lost[i]), call.unfolded(back.lost[i])
            wrong = wrong_dy, wrong_dx
            sides.append(_input_errors(call, made, errors[i], r, *wrong, lost, through, a, own=i == 1))
        wrong_dy, wrong_dx = Inexact(dy, gates[0][0]), Inexact(dx, call.unfolded(of_input.bound))
        keys, s, y = (Inexact(getattr(made, name), getattr(errors[0], name)) for name in ("keys", "s", "y"))
        way_of_s, way_of_dx = call.unfolded(ahead.reach), call.unfolded(back.reach)
        reach = gradients_reach(call, r, wrong_dy, wrong_dx, keys, s, y, way_of_s, way_of_dx)
        entered = np.all(cotangent_reach(call.out_proj, r) < arithmetic.largest)
        through_keys = np.all(keys_cotangent_reach(call, wrong_dx, way_of_dx) < arithmetic.largest)
    whole = entered & np.all(judged) & np.all(of_input.judged)
    inside = entered & np.all(keys_judged)
    found = {name: replace(slope, judged=slope.judged & inside) for name, slope in slopes.items()}
    for name in names:
        if name not in found:
            good = whole & (reach[name] < arithmetic.largest)
            if name in ("k", "shift", "shift_D"):
                good = good & through_keys
            found[name] = finish(values[name], sides[0][name], sides[1][name], good, arithmetic)
    return named(found, inputs, names)


def _forward_errors(call: Heads, made: Forward, arithmetic: Arithmetic) -> _Analyses:
    """Follow the forward pass.

    A key that has left the range is infinite, and so is all that the diagonal system makes of it later;
    transforms bring it to earlier times too.
    """
    convolved = causal_convolution_bounds(arithmetic=arithmetic, u=call.k, K=call.shift)["y"]
    met, first = _roundings_of_passing(call), []
    with np.errstate(all="ignore"):
        for a, e in ((arithmetic, convolved.bound), (ORACLE, convolved.own)):
            passing, k = np.abs(call.passing[:, None]), np.abs(call.k)
            e_keys = e + a.u * (met * passing * k + np.abs(made.keys) + e) + a.eta + flushed(a, passing, k)
            keys = Inexact(call.split(made.keys), call.split(e_keys))
            first.append((e_keys, product_error("bhil,bhjl->bijhl", keys, exactly(call.split(call.v)), a)))
        inexact = (call.folded(first[0][1]), call.folded(first[1][1]))
        sizes = _size(call, made.keys, first[0][0])[:, :, None], _size(call, call.v, 0.0)[:, None]
        u = _ways(call, *sizes)
        layer = analysed(made.system, arithmetic, inexact, weighted=Weighted(call.width, u))
        out = layer.bounds["y"]
        found: list[_Errors] = []
        bounds = zip((out.bound, out.own), layer.lost, strict=True)
        for (e_keys, e_products), a, (e, lost) in zip(first, (arithmetic, ORACLE), bounds, strict=True):
            s = Inexact(made.s, call.unfolded(e))
            e_y = product_error("bhil,bijhl->bhjl", exactly(call.split(call.q)), s, a)
            e_y = e_y + _weighed("bhil,bijhl->bhjl", call.split(call.q), call.unfolded(lost))
            found.append(_Errors(e_keys, e_products, call.unfolded(e), call.joined(e_y)))
        s = Inexact(made.s, found[0].s)
        inside = gated_reach(call, s, call.unfolded(layer.reach)) < arithmetic.largest
        reached = np.abs(made.keys) + first[0][0] < arithmetic.largest
    # y_j sums over i.
    judged = np.moveaxis(np.all(call.unfolded(out.judged), axis=1), 1, 2)
    keys = np.all(convolved.judged & reached, axis=1, keepdims=True)
    past = np.logical_and.accumulate(keys, axis=-1)
    if arithmetic.evaluation == "fft":
        past = np.broadcast_to(np.all(past, axis=-1, keepdims=True), past.shape)
    return _Analyses((found[0], found[1]), layer, u, call.joined(judged) & past & inside, keys)


def _roundings_of_passing(call: Heads) -> Float:
    """Return those of shift_D k, (l,): its product, sums with all taps up to its time, and one more."""
    taps = np.minimum(np.arange(1.0, call.k.shape[-1] + 1), call.shift.shape[-1])
    return taps + 2


def _size(call: Heads, x: Float, error: Float | float) -> Float:
    """Return |x| with its error, (b, d, l), as (b, w, h, l)."""
    return np.moveaxis(call.split(np.abs(x) + error), 1, 2)


def _ways(call: Heads, *sizes: Float) -> Ways:
    """Return those of products of two, of (b, i, 1, h, l) and (b, 1, j, h, l)."""
    factors, reach = prod(1.0 + x for x in sizes), prod(np.maximum(x, 1.0) for x in sizes)
    return Ways(call.folded(np.asarray(factors)), call.folded(np.asarray(reach)))


def _weighed(subscripts: str, weights: Float, lost: Float) -> Float:
    """Return Σ (1 + |w|) lost: where weights come before C, and w C is lost, all else may be large."""
    return summed(subscripts, 1.0 + np.abs(weights), lost)


def _gate_errors(call: Heads, r: Float, dy: Float, arithmetic: Arithmetic) -> tuple[Float, Float]:
    """Bound dy (b, d, l) and ds (b, i, j, h, l)."""
    e_dy = np.zeros(dy.shape)
    if call.out_proj is not None:
        e_dy = product_error("od,bol->bdl", exactly(call.out_proj), exactly(r), arithmetic)
    gated = Inexact(call.split(dy), call.split(e_dy))
    return e_dy, product_error("bhil,bhjl->bijhl", exactly(call.split(call.q)), gated, arithmetic)


def _input_errors(
    call: Heads,
    made: Forward,
    errors: _Errors,
    r: Float,
    dy: Inexact,
    dx: Inexact,
    lost: tuple[Float, Float],
    through: Mapping[str, Bounded],
    arithmetic: Arithmetic,
    own: bool,
) -> dict[str, Float]:
    """Bound the gradients of all but the diagonal system, in the shapes of `pull_back_inputs`.

    `lost` is what s and dx lose, before weights.
    """
    a, length = arithmetic, call.k.shape[-1]
    split_dy = Inexact(call.split(dy.value), call.split(dy.error))
    d_keys = pull_back_keys(call, dx.value)
    v = call.split(call.v)
    e_split = product_error("bijhl,bhjl->bhil", dx, exactly(v), a)
    e_keys = call.joined(e_split + _weighed("bhjl,bijhl->bhil", v, lost[1]))
    keys = Inexact(call.split(made.keys), call.split(errors.keys))
    e_u, e_K = ((through[name].own if own else through[name].bound) for name in ("u", "K"))
    moved = convolve(e_keys[..., ::-1], np.abs(call.shift))[..., ::-1]
    met, taps = _roundings_of_passing(call)[::-1], call.shift.shape[-1]
    passing = np.abs(call.passing[:, None])
    e_k = e_u + moved + passing * (e_keys + met * a.u * np.abs(d_keys))
    e_k = e_k + flushed(a, passing, np.abs(d_keys) + e_keys)
    size = convolve(np.abs(d_keys)[..., ::-1], np.abs(call.shift))[..., ::-1]
    e_shift = e_K + correlate(e_keys, np.abs(call.k), taps) * (1 + (length + 2) * a.u)
    wrong_keys = Inexact(d_keys, e_keys)
    e_q = product_error("bijhl,bhjl->bhil", Inexact(made.s, errors.s), split_dy, a)
    e_q = e_q + _weighed("bhjl,bijhl->bhil", np.abs(split_dy.value) + split_dy.error, lost[0])
    e_v = product_error("bijhl,bhil->bhjl", dx, keys, a)
    e_v = e_v + _weighed("bhil,bijhl->bhjl", np.abs(keys.value) + keys.error, lost[1])
    return {
        "q": call.joined(e_q),
        "k": e_k + a.u * (size + e_k) + a.eta,
        "v": call.joined(e_v),
        "shift": e_shift,
        "shift_D": product_error("bdl,bdl->d", wrong_keys, exactly(call.k), a),
        "out_proj": product_error("bol,bdl->od", exactly(r), Inexact(made.y, errors.y), a),
    }
