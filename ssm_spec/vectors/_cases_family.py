"""The golden cases of the Mamba family around the scan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ssm_spec.vectors._case import Array, Case, posed
from ssm_spec.vectors._dice import Dice


def family_cases() -> Iterator[Case]:
    """Every case, in order."""
    yield from _convolutions()
    yield from _ssd()
    yield from _blocks()
    yield from _mamba3()


def _resets(dice: Dice, b: int, l: int) -> Array:
    return np.cumsum(dice.integers(b, l, below=4) == 0, axis=1)


def _convolutions() -> Iterator[Case]:
    op = "causal_conv1d"
    for l, w in ((9, 4), (0, 3), (1, 1), (2, 5)):
        dice = Dice(f"{op} {l} {w}")
        arrays = {"x": dice.real(2, 3, l), "weight": dice.real(3, w)}
        yield posed(op, f"l{l}-w{w}", "conv1d-1 conv1d-4 conv1d-5", dice, arrays)
    for activation in (None, "silu"):
        kind = activation or "linear"
        more = {"activation": activation} if activation else {}
        for l in (2, 13):
            dice = Dice(f"{op} {kind} {l}")
            arrays = {"x": dice.real(2, 2, l), "weight": dice.real(2, 4), "bias": dice.real(2)}
            arrays |= {"initial_state": dice.real(2, 2, 3), "seq_idx": _resets(dice, 2, l)}
            yield posed(op, f"{kind}-whole-{l}", "conv1d-1 conv1d-2 conv1d-3", dice, arrays, **more)
    op = "causal_conv1d_update"
    for w, more in ((1, {}), (4, {}), (4, {"activation": "silu"})):
        dice = Dice(f"{op} {w} {more}")
        arrays = {"x": dice.real(2, 3), "state": dice.real(2, 3, w - 1), "weight": dice.real(3, w)}
        if more:
            arrays["bias"] = dice.real(3)
        name = f"w{w}-silu" if more else f"w{w}"
        yield posed(op, name, "conv1d-step-1 conv1d-5", dice, arrays, **more)
    for w, k, slots in ((4, 6, None), (1, 2, None), (4, 4, np.array([5, -1, 0, 3]))):
        dice, pooled = Dice(f"{op} {w} of {k}"), slots is not None
        arrays = {"x": dice.real(4, 3), "state": dice.real(6 if pooled else 4, 3, k)}
        arrays |= {"weight": dice.real(3, w), "bias": dice.real(3)}
        clause = "conv1d-step-2 conv1d-step-3" if pooled else "conv1d-step-2"
        arrays |= {"state_indices": slots} if slots is not None else {}
        name = f"w{w}-of-{k}-pool" if pooled else f"w{w}-of-{k}"
        yield posed(op, name, clause, dice, arrays, activation="silu")


def _heads(
    dice: Dice, lead: tuple[int, ...], h: int, p: int, n: int, g: int, *, signed: bool
) -> dict[str, Any]:
    """What SSD and its step share."""
    return {
        "x": dice.real(*lead, h, p),
        "dt": dice.real(*lead, h) if signed else dice.positive(*lead, h, low=-5, high=0),
        "A": dice.modes(h, complex_=False),
        "B": dice.real(*lead, g, n),
        "C": dice.real(*lead, g, n),
    }


def _ssd() -> Iterator[Case]:
    op = "ssd"
    dice = Dice(f"{op} plain")
    yield posed(op, "plain", "ssd-7", dice, _heads(dice, (2, 7), 2, 3, 2, 1, signed=False))
    dice = Dice(f"{op} one")
    yield posed(op, "one", "ssd-7", dice, _heads(dice, (1, 1), 1, 1, 1, 1, signed=False))
    dice = Dice(f"{op} no time")
    arrays = _heads(dice, (2, 0), 2, 2, 3, 1, signed=False) | {"initial_states": dice.real(2, 2, 2, 3)}
    yield posed(op, "no-time", "ssd-5", dice, arrays)
    dice = Dice(f"{op} groups")
    arrays = _heads(dice, (2, 5), 6, 2, 2, 3, signed=False) | {"D": dice.real(6), "z": dice.real(2, 5, 6, 2)}
    yield posed(op, "groups", "ssd-3 ssd-4 ssd-6", dice, arrays)
    dice = Dice(f"{op} limits")
    arrays = _heads(dice, (2, 11), 2, 2, 2, 1, signed=True)
    arrays |= {"dt_bias": dice.real(2), "D": dice.real(2, 2)}
    more: dict[str, Any] = {"dt_softplus": True, "dt_limit": (0.125, 1.0)}
    yield posed(op, "limits", "ssd-1 ssd-2 ssd-4", dice, arrays, **more)
    dice = Dice(f"{op} at a limit")
    arrays = _heads(dice, (1, 4), 1, 1, 2, 1, signed=False)
    arrays["dt"] = np.array([0.125, 1.0, 0.0625, 2.0]).reshape(1, 4, 1)
    yield posed(op, "at-a-limit", "ssd-2", dice, arrays, dt_limit=(0.125, 1.0))
    dice = Dice(f"{op} resets")
    arrays = _heads(dice, (2, 13), 2, 2, 2, 2, signed=True)
    arrays |= {"initial_states": dice.real(2, 2, 2, 2), "seq_idx": _resets(dice, 2, 13)}
    yield posed(op, "resets", "ssd-5", dice, arrays, dt_softplus=True)
    dice = Dice(f"{op} long")
    yield posed(op, "long", "ssd-7", dice, _heads(dice, (1, 257), 1, 2, 2, 1, signed=True), dt_softplus=True)
    op = "ssd_update"
    dice = Dice(f"{op} plain")
    arrays = _heads(dice, (2,), 2, 3, 2, 1, signed=False) | {"state": dice.real(2, 2, 3, 2)}
    yield posed(op, "plain", "ssd-step-1", dice, arrays)
    dice = Dice(f"{op} whole")
    arrays = _heads(dice, (2,), 4, 2, 3, 2, signed=True) | {"state": dice.real(2, 4, 2, 3)}
    arrays |= {"D": dice.real(4, 2), "z": dice.real(2, 4, 2, high=3), "dt_bias": dice.real(4)}
    yield posed(op, "whole", "ssd-step-1 ssd-1 ssd-3 ssd-4 ssd-6", dice, arrays, **more)
    dice = Dice(f"{op} pool")
    arrays = _heads(dice, (4,), 2, 3, 2, 1, signed=False) | {"state": dice.real(6, 2, 3, 2)}
    arrays["state_indices"] = np.array([5, -1, 0, 3])
    yield posed(op, "pool", "ssd-step-1 ssd-step-2", dice, arrays)


def _block(dice: Dice) -> dict[str, Any]:
    """The parameters of a block: e = 3, d = 4, r = 2, n = 2, w = 3."""
    return {
        "in_proj": dice.real(8, 3),
        "conv1d_weight": dice.real(4, 3),
        "conv1d_bias": dice.real(4),
        "x_proj": dice.real(6, 4),
        "dt_proj_weight": dice.real(4, 2),
        "dt_proj_bias": dice.real(4),
        "A_log": dice.real(4, 2),
        "D": dice.real(4),
        "out_proj": dice.real(3, 4),
    }


def _states(dice: Dice) -> dict[str, Any]:
    return {"conv_state": dice.real(2, 4, 2), "ssm_state": dice.real(2, 4, 2)}


def _blocks() -> Iterator[Case]:
    op = "mamba_block"
    for l, going_on in ((0, True), (1, False), (11, False), (11, True)):
        name = f"l{l}-going-on" if going_on else f"l{l}"
        dice = Dice(f"{op} {name}")
        arrays = _block(dice) | {"x": dice.real(2, l, 3)} | (_states(dice) if going_on else {})
        clause = "block-1 block-2 block-3 block-4" + (" block-5" if going_on else "")
        yield posed(op, name, clause, dice, arrays)
    dice = Dice(f"{op} no bias")
    arrays = _block(dice) | {"x": dice.real(1, 5, 3)}
    del arrays["conv1d_bias"]
    yield posed(op, "no-bias", "block-3", dice, arrays, conv1d_bias=None)
    op = "mamba_step"
    for b in (1, 2):
        dice = Dice(f"{op} {b}")
        states = {name: state[:b] for name, state in _states(dice).items()}
        yield posed(op, f"b{b}", "block-step-1", dice, _block(dice) | states | {"x": dice.real(b, 3)})


def _mamba3_streams(dice: Dice, lead: tuple[int, ...], g: int, a: int) -> dict[str, Any]:
    """h = 2, p = 3, n = 4; adt, dt and trap have time last."""
    last = (lead[0], 2, *lead[1:])
    dt = dice.positive(*last, low=-4, high=0)
    return {
        "q": dice.real(*lead, g, 4),
        "k": dice.real(*lead, g, 4),
        "v": dice.real(*lead, 2, 3),
        "adt": -dice.positive(*last, low=-4, high=1),
        "dt": dt,
        "trap": dice.real(*last),
        "q_bias": dice.real(2, 4),
        "k_bias": dice.real(2, 4),
        "angles": dice.real(*lead, 2, a),
    }


def _mamba3_states(dice: Dice, b: int, a: int) -> dict[str, Any]:
    return {
        "angle_state": dice.real(b, 2, a),
        "ssm_state": dice.real(b, 2, 3, 4),
        "k_state": dice.real(b, 2, 4),
        "v_state": dice.real(b, 2, 3),
    }


def _mamba3() -> Iterator[Case]:
    op = "mamba3_siso"
    for l, g, a in ((0, 1, 2), (1, 1, 1), (9, 2, 2)):
        dice = Dice(f"{op} {l} {g} {a}")
        arrays = _mamba3_streams(dice, (2, l), g, a)
        arrays |= _mamba3_states(dice, 2, a) if l == 0 else {}
        yield posed(op, f"l{l}-g{g}-a{a}", "mamba3-1 mamba3-2 mamba3-3 mamba3-4", dice, arrays)
    dice = Dice(f"{op} whole")
    arrays = _mamba3_streams(dice, (2, 13), 1, 1) | _mamba3_states(dice, 2, 1)
    arrays |= {"D": dice.real(2), "z": dice.real(2, 13, 2, 3), "seq_idx": _resets(dice, 2, 13)}
    yield posed(op, "whole", "mamba3-2 mamba3-4 mamba3-5 mamba3-6", dice, arrays)
    dice = Dice(f"{op} long")
    yield posed(op, "long", "mamba3-1 mamba3-4", dice, _mamba3_streams(dice, (1, 257), 1, 2))
    op = "mamba3_siso_step"
    for whole in (False, True):
        dice = Dice(f"{op} {whole}")
        arrays = _mamba3_streams(dice, (2,), 2 if whole else 1, 2) | _mamba3_states(dice, 2, 2)
        if whole:
            arrays |= {"D": dice.real(2), "z": dice.real(2, 2, 3)}
        yield posed(op, "whole" if whole else "plain", "mamba3-step-1", dice, arrays)
