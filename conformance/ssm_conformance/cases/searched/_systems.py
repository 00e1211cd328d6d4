"""Calls of the time-invariant rooms and of the linear layers that a search draws."""

from __future__ import annotations

from typing import Any, Final

from ssm_conformance.cases._layers import (
    H3,
    LSSL,
    S4D,
    S4D_KERNEL,
    S5,
    h3_inputs,
    lssl_inputs,
    modal_inputs,
    s4d_inputs,
    s5_inputs,
)
from ssm_conformance.cases._linear import CONVOLUTION, KERNEL, RECURRENCE, diagonal_system, system_inputs
from ssm_conformance.cases.searched._space import (
    COUNTS,
    LENGTHS,
    NUMBERS,
    ROWS,
    SHORT,
    STATES,
    Chosen,
    Space,
    divided,
)
from ssm_conformance.draw import Draw

_U: Final = {"u": tuple(NUMBERS)}
_RULES: Final = ("zoh", "bilinear", "forward_euler", "backward_euler")
_MODAL: Final = {"rule": _RULES}
_FEW: Final = (1, 2, 3)
_MANY: Final = (0, *COUNTS[:4])
"""Systems side by side; 0 for one without that axis."""


def _system(chosen: Chosen) -> dict[str, Any]:
    sizes = {"n": chosen.n, "m": chosen.m, "p": chosen.p}
    if "diagonal" in chosen.words:
        return diagonal_system(*_channels(chosen), **sizes, complex_="complex" in chosen.words)
    return system_inputs(*_channels(chosen), **sizes)


def _channels(chosen: Chosen) -> tuple[int, ...]:
    return (chosen.s,) if chosen.s else ()


def _diagonal(chosen: Chosen) -> Chosen:
    """Complex modes are those of a diagonal system."""
    words = chosen.words
    return chosen.instead(words | {"diagonal"} if "complex" in words else words)


def _recurrence(chosen: Chosen) -> dict[str, Any]:
    s, words = _channels(chosen), chosen.words
    inputs = _system(chosen) | {"u": chosen.draw(chosen.b, *s, chosen.m, chosen.l)}
    if "D" in words:
        inputs["D"] = Draw((*s, chosen.p, chosen.m))
    if "initial" in words:
        inputs["initial_state"] = Draw((chosen.b, *s, chosen.n), complex="complex" in words)
    return inputs | {"return_last_state": "last" in words}


def _convolution(chosen: Chosen) -> dict[str, Any]:
    return {"u": chosen.draw(chosen.b, chosen.d, chosen.l), "K": Draw((chosen.d, chosen.k))}


def _euler_is_real(chosen: Chosen) -> Chosen:
    """By the forward Euler rule the usual complex modes grow."""
    return chosen.instead(chosen.words - {"complex"} if chosen.names["rule"] == "forward_euler" else None)


def _with_options(chosen: Chosen, inputs: dict[str, Any], default: str, *state: int) -> dict[str, Any]:
    """The rule, D, the initial state and the last one, as they were chosen."""
    words, rule = chosen.words, chosen.names["rule"]
    if rule != default:
        inputs["discretization"] = rule
    if "D" not in words:
        inputs.pop("D", None)
    if "initial" in words:
        inputs["initial_state"] = Draw(state, complex="complex" in words)
    if "last" in words:
        inputs["return_last_state"] = True
    return inputs


def _s4d_kernel(chosen: Chosen) -> dict[str, Any]:
    inputs = modal_inputs(chosen.d, chosen.n, "complex" in chosen.words, length=chosen.l)
    return _with_options(chosen, inputs, "zoh")


def _s4d(chosen: Chosen) -> dict[str, Any]:
    b, d, l, n = chosen.b, chosen.d, chosen.l, chosen.n
    inputs = s4d_inputs(b, d, l, n, "complex" in chosen.words, u=chosen.draw(b, d, l))
    return _with_options(chosen, inputs, "zoh", b, d, n)


def _lssl(chosen: Chosen) -> dict[str, Any]:
    b, d, l, n = chosen.b, chosen.d, chosen.l, chosen.n
    inputs = lssl_inputs(b, d, l, n, chosen.m) | {"u": chosen.draw(b, d, l)}
    return _with_options(chosen, inputs, "bilinear", b, d, n)


def _s5(chosen: Chosen) -> dict[str, Any]:
    b, h, l, p = chosen.b, chosen.h, chosen.l, chosen.p
    inputs = s5_inputs(b, h, l, p, "complex" in chosen.words) | {"u": chosen.draw(b, h, l)}
    return _with_options(chosen, inputs, "zoh", b, p)


def _h3(chosen: Chosen) -> dict[str, Any]:
    b, d, l, h, n = chosen.b, chosen.d, chosen.l, chosen.h, chosen.n
    inputs = h3_inputs(b, d, l, h, n, "complex" in chosen.words, chosen.s) | {"v": chosen.draw(b, d, l)}
    if "out_proj" in chosen.words:
        inputs["out_proj"] = Draw((3, d))
    inputs = _with_options(chosen, inputs, "zoh")
    return inputs | {"D": Draw((h,))} if "D" in chosen.words else inputs


SYSTEMS: Final = (
    Space(
        "ssm_recurrence",
        RECURRENCE,
        {"b": ROWS, "s": _MANY, "m": _FEW, "p": _FEW, "l": LENGTHS, "n": STATES},
        _recurrence,
        _U,
        ("D", "initial", "last", "diagonal", "complex"),
        _diagonal,
    ),
    Space(
        "ssm_kernel",
        KERNEL,
        {"s": _MANY, "m": _FEW, "p": _FEW, "l": LENGTHS, "n": STATES},
        lambda chosen: _system(chosen) | {"length": chosen.l},
        words=("diagonal", "complex"),
        settled=_diagonal,
    ),
    Space(
        "causal_convolution",
        CONVOLUTION,
        {"b": ROWS, "d": COUNTS, "l": LENGTHS, "k": LENGTHS[1:]},
        _convolution,
        _U,
    ),
    Space(
        "s4d_kernel",
        S4D_KERNEL,
        {"d": COUNTS, "l": LENGTHS, "n": STATES},
        _s4d_kernel,
        _MODAL,
        ("complex",),
        _euler_is_real,
    ),
    Space(
        "s4d",
        S4D,
        {"b": ROWS, "d": COUNTS, "l": LENGTHS, "n": STATES},
        _s4d,
        _U | _MODAL,
        ("D", "initial", "last", "complex"),
        _euler_is_real,
    ),
    Space(
        "lssl",
        LSSL,
        {"b": ROWS, "d": COUNTS[:5], "l": SHORT, "n": STATES[:4], "m": _FEW},
        _lssl,
        _U | {"rule": ("bilinear", "zoh", "forward_euler", "backward_euler")},
        ("D", "initial", "last"),
    ),
    Space(
        "s5",
        S5,
        {"b": ROWS, "h": COUNTS, "l": LENGTHS, "p": STATES},
        _s5,
        _U | _MODAL,
        ("D", "initial", "last", "complex"),
        _euler_is_real,
    ),
    Space(
        "h3",
        H3,
        {"b": ROWS, "d": COUNTS[:6], "l": LENGTHS[:10], "h": COUNTS[:6], "n": STATES[:4], "s": (1, 2, 4, 11)},
        _h3,
        _U | _MODAL,
        ("D", "out_proj", "complex"),
        lambda chosen: divided(_euler_is_real(chosen), "d", "h"),
    ),
)
