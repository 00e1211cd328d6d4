"""What honest arithmetic may do to Mamba-3's outputs: the analysis of `_errors`, then the gate."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ssm_spec._calls import arguments_of
from ssm_spec._functions import sigmoid
from ssm_spec._gate_errors import silu_error
from ssm_spec._mamba3._errors import States, follow_states, forward_errors, turned_analyses
from ssm_spec._mamba3._inputs import Siso, read
from ssm_spec._mamba3._siso import Path, follow, last_v, mamba3_siso, run
from ssm_spec._mamba3._turns import Turns, frames, reduction_error, rotation_error, state_moved
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._selective_scan._local_errors import flushed, reached
from ssm_spec._selective_scan._value import gate
from ssm_spec._validate import Float


@dataclass(frozen=True, eq=False)
class Errors:
    """The errors of y (l, b, h, p), θ, S, k̃; and the largest number that feeds y, and S."""

    y: Float
    theta: Float
    S: Float
    k: Float
    y_peak: Float
    S_peak: Float


@arguments_of(mamba3_siso)
def mamba3_siso_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to "y" and the four states.

    The bound of "angle_state" is on the distance modulo 2π.

    Parameters
    ----------
    arithmetic
        The facts about the implementation.
    inputs
        The arguments of `mamba3_siso`; `return_final_states` changes nothing.

    Returns
    -------
    For each output its value, bound, the oracle's own bound, and where it is judged.
    """
    siso = read(**inputs)
    with np.errstate(all="ignore"):
        path = follow(siso)
        y, S = run(siso, path)
        states = follow_states(siso, path)
        found = [_errors(siso, path, states, order) for order, own in turned_analyses(arithmetic) if not own]
        mine = _errors(siso, path, states, ORACLE)

        def bounded(value: Float, name: str, peak: str | None = None) -> Bounded:
            bound = np.max([getattr(one, name) for one in found], axis=0)
            judged = np.abs(value) + bound < arithmetic.largest
            if peak is not None:
                judged &= np.max([getattr(one, peak) for one in found], axis=0) < arithmetic.largest
            return Bounded(value, bound, getattr(mine, name), judged)

        v = last_v(siso)
        exact = Bounded(v, np.full_like(v, arithmetic.eta), np.zeros_like(v), np.isfinite(v))
        return {
            "y": bounded(y, "y", "y_peak").map(lambda part: part.swapaxes(0, 1)),
            "angle_state": bounded(path.last(path.theta, siso.angle_state), "theta"),
            "ssm_state": bounded(S, "S", "S_peak"),
            "k_state": bounded(path.last(path.k, siso.k_state), "k"),
            "v_state": exact,
        }


def _errors(siso: Siso, path: Path, states: States, arithmetic: Arithmetic) -> Errors:
    """Follow one order of evaluation: the smaller error of both frames."""
    both = [_seen(siso, path, states, turns, arithmetic) for turns in frames(siso, path.theta, arithmetic)]
    return Errors(*(np.fmin(*(getattr(one, part.name) for one in both)) for part in fields(Errors)))


def _seen(siso: Siso, path: Path, states: States, turns: Turns, arithmetic: Arithmetic) -> Errors:
    """From one frame; what is returned has left it."""
    found = forward_errors(siso, path, states, turns, arithmetic)
    error, y, l = found.y_error, np.abs(found.y), len(found.y)
    y_peak = found.y_reach
    if siso.z is not None:
        size, e_gate = np.abs(gate(siso.z)), silu_error(siso.z, np.zeros_like(siso.z), arithmetic)
        error = size * error + (e_gate + arithmetic.u * (size + e_gate)) * (y + error)
        error += flushed(arithmetic, np.abs(siso.z), sigmoid(siso.z), y + found.y_error)
        y_peak = np.maximum(y_peak, reached(arithmetic, y + found.y_error, np.abs(siso.z)))
    if not l:
        theta = reduction_error(np.abs(siso.angle_state), arithmetic)
        S, k = (np.full_like(x, arithmetic.eta) for x in (siso.ssm_state, siso.k_state))
        return Errors(error, theta, S, k, y_peak, np.abs(siso.ssm_state))
    turned = state_moved(np.abs(states.after[-1:]) + found.S.error[-1:], turns.drift[-1:])
    return Errors(
        error,
        turns.theta[-1],
        (found.S.error[-1] + turned[0]).transpose(2, 3, 0, 1),
        rotation_error(siso.k[-1:], turns.theta[-1:], arithmetic)[0],
        y_peak,
        found.S.peak[-1].transpose(2, 3, 0, 1),
    )
