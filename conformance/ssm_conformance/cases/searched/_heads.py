"""Calls of SSD, of Mamba-3, of the short convolution, and of their steps that a search draws."""

from __future__ import annotations

from typing import Any, Final

from ssm_conformance.cases import _dual_step, _duality, _mamba3, _short_convolution
from ssm_conformance.cases._selective import fixed
from ssm_conformance.cases.searched._selective import DELTAS, resets
from ssm_conformance.cases.searched._space import (
    COUNTS,
    LENGTHS,
    NUMBERS,
    ROWS,
    STATES,
    Chosen,
    Space,
    divided,
)
from ssm_conformance.draw import Draw

_WIDTHS: Final = (1, 2, 3, 5)
_U: Final = {"u": tuple(NUMBERS)}
_DUAL: Final = ("D", "wide-D", "z", "softplus", "bias", "limits")
_DUAL_NAMES: Final = _U | {"delta": tuple(DELTAS)}


def _pieces(chosen: Chosen) -> dict[str, bool]:
    """The options that the builders know."""
    words = chosen.words
    return {"gate": "z" in words, "feedthrough": "D" in words, "softplus": "softplus" in words}


def _dual(chosen: Chosen, inputs: dict[str, Any], dt: tuple[int, ...]) -> dict[str, Any]:
    """The options of SSD and of its step."""
    words, h = chosen.words, chosen.h
    if "softplus" in words:
        inputs["dt"] = Draw(dt, **DELTAS[chosen.names["delta"]])
    inputs.pop("dt_bias", None)
    if "bias" in words:
        inputs["dt_bias"] = Draw((h,), "uniform", parameters={"low": -0.2, "high": 0.2})
    if "wide-D" in words:
        inputs["D"] = Draw((h, chosen.p))
    if "limits" in words:
        inputs["dt_limit"] = (0.02, 0.6)
    return inputs


def _ssd(chosen: Chosen) -> dict[str, Any]:
    b, l, h, p, n = chosen.b, chosen.l, chosen.h, chosen.p, chosen.n
    inputs = _duality.ssd_inputs(b, l, h, p, n, g=chosen.g, **_pieces(chosen)) | {
        "x": chosen.draw(b, l, h, p),
        "return_final_states": "last" in chosen.words,
    }
    if "initial" in chosen.words:
        inputs["initial_states"] = Draw((b, h, p, n))
    if "seq_idx" in chosen.words:
        inputs["seq_idx"] = resets(chosen)
    return _dual(chosen, inputs, (b, l, h))


def _ssd_update(chosen: Chosen) -> dict[str, Any]:
    b, h, p, n = chosen.b, chosen.h, chosen.p, chosen.n
    inputs = _dual_step.update_inputs(b, h, p, n, g=chosen.g, **_pieces(chosen))
    if "pool" in chosen.words:
        inputs |= _held(chosen, (h, p, n))
    return _dual(chosen, inputs | {"x": chosen.draw(b, h, p)}, (b, h))


def _conv1d(chosen: Chosen) -> dict[str, Any]:
    b, d, l, w = chosen.b, chosen.d, chosen.l, chosen.w
    initial = "initial" in chosen.words
    inputs = _short_convolution.conv_inputs(b, d, l, w, initial=initial, x=chosen.draw(b, d, l))
    inputs["return_last_state"] = "last" in chosen.words
    if "seq_idx" in chosen.words:
        inputs["seq_idx"] = resets(chosen)
    return _filtered(chosen, inputs)


def _conv1d_update(chosen: Chosen) -> dict[str, Any]:
    b, d, w = chosen.b, chosen.d, chosen.w
    longer = {"k": w + 2} if "longer" in chosen.words else {}
    inputs = _short_convolution.step_inputs(b, d, w, x=chosen.draw(b, d), **longer)
    if "pool" in chosen.words:
        inputs |= _held(chosen, inputs["state"].shape[1:])
    return _filtered(chosen, inputs)


def _held(chosen: Chosen, shape: tuple[int, ...]) -> dict[str, Any]:
    """States of a shape in a pool: the first of several rows is skipped, and so are the first slots."""
    places = [-1, *range(chosen.b + 1, 2, -1)] if chosen.b > 1 else [2]
    indices = fixed(places[: chosen.b], (chosen.b,), dtype="int32")
    return {"state": Draw((chosen.b + 2, *shape)), "state_indices": indices}


def _filtered(chosen: Chosen, inputs: dict[str, Any]) -> dict[str, Any]:
    """Without the bias and the activation, unless they were chosen."""
    left_out = {name for word, name in _FILTER.items() if word not in chosen.words}
    return {name: value for name, value in inputs.items() if name not in left_out}


_FILTER: Final = {"bias": "bias", "silu": "activation"}


def _turning(chosen: Chosen) -> Chosen:
    """At most one angle a pair of numbers of the state."""
    chosen = divided(chosen, "h", "g")
    return chosen.instead(a=min(chosen.a, chosen.n // 2))


def _siso(chosen: Chosen) -> dict[str, Any]:
    b, l, h, p, n = chosen.b, chosen.l, chosen.h, chosen.p, chosen.n
    words = chosen.words
    inputs = _mamba3.siso_inputs(b, l, h, p, n, a=chosen.a, g=chosen.g, initial="initial" in words)
    inputs |= {"v": chosen.draw(b, l, h, p), "return_final_states": "last" in words}
    if "seq_idx" in words:
        inputs["seq_idx"] = resets(chosen)
    return _gated(chosen, inputs)


def _siso_step(chosen: Chosen) -> dict[str, Any]:
    b, h, p, n = chosen.b, chosen.h, chosen.p, chosen.n
    inputs = _mamba3.step_inputs(b, h, p, n, a=chosen.a, g=chosen.g)
    return _gated(chosen, inputs | {"v": chosen.draw(b, h, p)})


def _gated(chosen: Chosen, inputs: dict[str, Any]) -> dict[str, Any]:
    """Without D and z, unless they were chosen."""
    left_out = {"D", "z"} - chosen.words
    return {name: value for name, value in inputs.items() if name not in left_out}


def _heads(*, steps: bool, states: tuple[int, ...] = STATES) -> dict[str, tuple[int, ...]]:
    """Sizes of an operator with heads."""
    time = {} if steps else {"l": LENGTHS}
    return {"b": ROWS, **time, "h": COUNTS[:6], "p": _WIDTHS, "n": states, "g": COUNTS[:6]}


_PACKED: Final = ("initial", "seq_idx", "last")
HEADS: Final = (
    Space(
        "ssd",
        _duality.VALUE,
        _heads(steps=False),
        _ssd,
        _DUAL_NAMES,
        (*_DUAL, *_PACKED),
        lambda chosen: divided(chosen, "h", "g"),
    ),
    Space(
        "ssd_update",
        _dual_step.STEP,
        _heads(steps=True),
        _ssd_update,
        _DUAL_NAMES,
        (*_DUAL, "pool"),
        lambda chosen: divided(chosen, "h", "g"),
    ),
    Space(
        "mamba3_siso",
        _mamba3.VALUE,
        _heads(steps=False) | {"a": (0, 1, 2, 8)},
        _siso,
        _U,
        ("D", "z", *_PACKED),
        _turning,
    ),
    Space(
        "mamba3_siso_step",
        _mamba3.STEP,
        _heads(steps=True) | {"a": (0, 1, 2, 8)},
        _siso_step,
        _U,
        ("D", "z"),
        _turning,
    ),
    Space(
        "causal_conv1d",
        _short_convolution.OUTPUT,
        {"b": ROWS, "d": COUNTS, "l": LENGTHS, "w": (1, 2, 3, 4, 5, 31)},
        _conv1d,
        _U,
        ("bias", "silu", *_PACKED),
    ),
    Space(
        "causal_conv1d_update",
        _short_convolution.STEP_OUTPUT,
        {"b": ROWS, "d": COUNTS, "w": (1, 2, 3, 4, 5, 31)},
        _conv1d_update,
        _U,
        ("bias", "silu", "longer", "pool"),
    ),
)
