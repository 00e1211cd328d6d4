"""What honest arithmetic may do to a layer that is one linear system, and to its gradients.

The rule of discretisation leaves Ā and B̄ wrong; the recurrence carries that on (`_layer_errors`); the
gradients of Ā and B̄ then pass through the linear adjoint of the rule (`_layer_adjoint`), whose own
rounding adds to theirs. Declared "fft": a kernel, itself wrong, convolved by transforms (`_layer_fft`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ssm_spec import _recurrence as rec
from ssm_spec._layer import System, discretised_bounds, discretised_vjp_bounds, recurrence_arguments
from ssm_spec._layer_adjoint import majorant, step_error
from ssm_spec._layer_errors import (
    Weighted,
    Wrong,
    backward_errors,
    forward_errors,
    gradient_errors,
    in_time_order,
    largest,
    lost_before_weights,
    lost_before_weights_back,
    output_error,
)
from ssm_spec._layer_fft import gradients_by_fft, output_by_fft
from ssm_spec._recurrence_bounds import rounded_by_sums
from ssm_spec._recurrence_range import Sizes, forward_reach, output_reach, reach_of_gradients
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._validate import Array, Float


class Analysed(NamedTuple):
    """Bounds; of y, or of the gradient of u, what is lost before weights, there and here; and the reach."""

    bounds: dict[str, Bounded]
    lost: tuple[Float, Float]
    reach: Float


def layer_bounds(
    system: System, arithmetic: Arithmetic, coefficients: tuple[Bounded, Bounded] | None = None
) -> dict[str, Bounded]:
    """Return "y" (b, *s, p, l) and "last_state" (b, *s, n) with what honest arithmetic may do to each.

    `coefficients` are Ā and B̄, where more than the rule alone makes them wrong.
    """
    return analysed(system, arithmetic, coefficients=coefficients).bounds


def analysed(
    system: System,
    arithmetic: Arithmetic,
    inexact: tuple[Float, Float] | None = None,
    coefficients: tuple[Bounded, Bounded] | None = None,
    weighted: Weighted | None = None,
) -> Analysed:
    """Analyse y and the last state.

    `inexact` is how wrong u may be: for the arithmetic asked about, and here.
    """
    call = rec.read(**recurrence_arguments(system))
    states = rec.run(call)
    y = rec.output(call, states)
    A_bar, B_bar = coefficients or discretised_bounds(system, arithmetic)
    results, lost = [], []
    with np.errstate(all="ignore"):
        for a, own in ((arithmetic, False), (ORACLE, True)):
            wrong = _wrong(call, A_bar, B_bar, own, inexact, None)._replace(weighted=weighted)
            errors = forward_errors(call, states, wrong, a, own)
            e_y = largest([output_error(call, states, e, wrong, a) for e in errors])
            lost.append(largest([lost_before_weights(call, states, e, wrong, a) for e in errors]))
            if not own:
                sizes = _sizes(call, wrong)
                reach = forward_reach(call, sizes, states, errors, in_time_order(a))
                y_reach = output_reach(call, sizes, reach, a)
            if a.evaluation == "fft" and not own:
                by_fft, fft_reach = output_by_fft(call, wrong, a)
                e_y, y_reach = np.maximum(e_y, by_fft), np.maximum(y_reach, fft_reach)
            results.append((rec.shaped(call, e_y), rec.shaped(call, largest([e.error[-1] for e in errors]))))
        whole = _whole(A_bar, call) & _whole(B_bar, call)
        judged_last = whole & (reach.states[-1] < arithmetic.largest)
        judged_y = rec.shaped(call, whole[..., None] & (y_reach < arithmetic.largest))
    last = rec.shaped(call, states[-1])
    bounds = {
        "y": finish(y, results[0][0], results[1][0], judged_y, arithmetic),
        "last_state": finish(last, results[0][1], results[1][1], rec.shaped(call, judged_last), arithmetic),
    }
    return Analysed(bounds, (lost[0], lost[1]), y_reach)


def layer_vjp_bounds(
    system: System,
    cotangents: Mapping[str, Array | None],
    arithmetic: Arithmetic,
    coefficients: tuple[Bounded, Bounded] | None = None,
) -> dict[str, Bounded]:
    """Return every gradient, in the shapes of `System`, with what honest arithmetic may do to it.

    `coefficients` as for `layer_bounds`.
    """
    return analysed_back(system, cotangents, arithmetic, coefficients=coefficients).bounds


def analysed_back(
    system: System,
    cotangents: Mapping[str, Array | None],
    arithmetic: Arithmetic,
    inexact: tuple[Float, Float] | None = None,
    inexact_cotangent: tuple[Float, Float] | None = None,
    coefficients: tuple[Bounded, Bounded] | None = None,
    weighted: Weighted | None = None,
) -> Analysed:
    """Analyse the gradients. u and the cotangent of y may be wrong, there and here."""
    call, _, r, r_last = rec.read_vjp(cotangents, None, recurrence_arguments(system))
    states = rec.run(call)
    adjoints = rec.run_back(call, r, r_last)
    values = rec.pull_back(call, states, adjoints, r)
    A_bar, B_bar = coefficients or discretised_bounds(system, arithmetic)
    through = discretised_vjp_bounds(system, values["A_bar"], values["B_bar"], arithmetic)
    sides, lost_back = [], []
    with np.errstate(all="ignore"):
        for a, own in ((arithmetic, False), (ORACLE, True)):
            wrong = _wrong(call, A_bar, B_bar, own, inexact, inexact_cotangent)._replace(weighted=weighted)
            ahead = forward_errors(call, states, wrong, a, own)
            back = backward_errors(call, adjoints, r, wrong, a, own)
            lost_back.append(
                largest([lost_before_weights_back(call, adjoints, r, e, wrong, a) for e in back])
            )
            pairs = zip(ahead, back, strict=True)
            classes = [gradient_errors(call, states, adjoints, r, e, e_r, wrong, a) for e, e_r in pairs]
            if not own:
                sizes = _sizes(call, wrong, r)
                reach = reach_of_gradients(call, sizes, states, adjoints, ahead, back, in_time_order(a))
            errors = {name: largest([one[name] for one in classes]) for name in classes[0]}
            if a.evaluation == "fft" and not own:
                by_fft, fft_reach = gradients_by_fft(call, r, wrong, a)
                errors = {name: np.maximum(e, by_fft.get(name, 0.0)) for name, e in errors.items()}
                reach = {name: np.maximum(size, fft_reach.get(name, 0.0)) for name, size in reach.items()}
            shaped = {name: errors[name].reshape(values[name].shape) for name in values}
            E_A, E_B = shaped.pop("A_bar"), shaped.pop("B_bar")
            shaped.update(majorant(system, E_A, E_B))
            if not own and not system.diagonal:  # our own is narrow enough without
                shaped["delta"] = np.fmin(shaped["delta"], step_error(system, E_A, E_B, a))
            sides.append(shaped)
        good = {name: size < arithmetic.largest for name, size in reach.items()}
    whole = _whole(A_bar, call) & _whole(B_bar, call)
    for name, of_systems in {"C": whole[..., None], "u": whole[..., None], "initial_state": whole}.items():
        good[name] = good[name] & of_systems
    result = {}
    for name in system.arrays():
        rounded = through.get(name)
        if rounded is None:
            judged = np.asarray(good[name]).reshape(values[name].shape)
            bounds = (sides[0][name], sides[1][name])
            value = values[name]
        else:
            value = rounded.value
            judged = rounded.judged & np.all(good["A_bar"]) & np.all(good["B_bar"])
            bounds = (rounded.bound + sides[0][name], rounded.own + sides[1][name])
        result[name] = finish(value, *bounds, judged, arithmetic)
    return Analysed(result, (lost_back[0], lost_back[1]), reach["u"])


def sums_of_systems(
    system: System, cotangents: Mapping[str, Array | None], arithmetic: Arithmetic, shared: set[str]
) -> dict[str, Float]:
    """Return what the sums over rows and times round that gradients are, for arguments that systems share.

    Of Ā and B̄ they are taken before the rule is gone back through, if A and B are shared. Else each system
    has its own way back to Δ, and what is one sum over them is that of its terms of A and B.
    """
    call, _, r, r_last = rec.read_vjp(cotangents, None, recurrence_arguments(system))
    states = rec.run(call)
    adjoints = rec.run_back(call, r, r_last)
    with np.errstate(all="ignore"):
        wrong = _wrong(call, *discretised_bounds(system, arithmetic), False, None, None)
        ahead = forward_errors(call, states, wrong, arithmetic, own=False)
        back = backward_errors(call, adjoints, r, wrong, arithmetic, own=False)
        pairs = list(zip(ahead, back, strict=True))
        found = rounded_by_sums(call, adjoints, states, r, pairs, arithmetic.u)
        of_A, of_B = found.pop("A_bar").reshape(system.A.shape), found.pop("B_bar").reshape(system.B.shape)
        moved = majorant(system, of_A, of_B)
        if not shared >= {"A", "B"}:
            values, (n, m) = rec.pull_back(call, states, adjoints, r), system.B.shape[-2:]
            slopes = (
                np.abs(values[bar]).reshape(like.shape)
                for bar, like in (("A_bar", system.A), ("B_bar", system.B))
            )
            terms = (2 if np.iscomplexobj(call.A) else 1) * n * (m + (1 if system.diagonal else n))
            moved["delta"] = terms * arithmetic.u * majorant(system, *slopes)["delta"]
        return found | moved


def finish(value: Array, bound: Float, own: Float, judged: Array, arithmetic: Arithmetic) -> Bounded:
    """Return the public form; not judged where the value or its bound leaves the compute type's range."""
    bound = np.where(np.isnan(bound), np.inf, bound)
    with np.errstate(invalid="ignore", over="ignore"):
        inside = np.isfinite(value) & (np.abs(value) + bound < arithmetic.largest)
    return Bounded(value, bound, np.asarray(own), np.asarray(judged & inside))


def _wrong(
    call: rec.Recurrence,
    A_bar: Bounded,
    B_bar: Bounded,
    own: bool,
    inexact: tuple[Float, Float] | None,
    inexact_cotangent: tuple[Float, Float] | None,
) -> Wrong:
    """Collect the arguments' errors in flat shapes: those asked about, or our own."""
    E_A, E_B = (x.own if own else x.bound for x in (A_bar, B_bar))
    b, s, p, length = call.u.shape[0], call.u.shape[1], call.C.shape[-2], call.u.shape[-1]
    E_u = np.zeros(call.u.shape) if inexact is None else inexact[own].reshape(call.u.shape)
    shape_r = (b, s, p, length)
    E_r = np.zeros(shape_r) if inexact_cotangent is None else inexact_cotangent[own].reshape(shape_r)
    return Wrong(E_A.reshape(call.A.shape), E_B.reshape(call.B.shape), E_u, E_r)


def _sizes(call: rec.Recurrence, wrong: Wrong, r: Array | None = None) -> Sizes:
    """Collect the moduli with their errors."""
    exact = Sizes.of(call, r)
    wider = exact._replace(A=exact.A + wrong.A, B=exact.B + wrong.B, u=exact.u + wrong.u)
    wider = wider if r is None else wider._replace(r=exact.r + wrong.r)
    if wrong.weighted is not None:
        wider = wider._replace(u=np.maximum(wider.u, wrong.weighted.u.reach))
        if wrong.weighted.r is not None:
            wider = wider._replace(r=np.maximum(wider.r, wrong.weighted.r.reach))
    return wider


def _whole(coefficient: Bounded, call: rec.Recurrence) -> Array:
    """Return (s, 1): whether all of a system's coefficients are judged."""
    count, inside = call.A.shape[0], coefficient.judged
    return np.asarray(np.all(inside.reshape(count, inside.size // max(count, 1)), axis=-1)[:, None])
