"""Mistakes that kernels make, made on purpose with the oracle: what the outputs would then be."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import ssm_spec

Array = NDArray[Any]
Outputs = dict[str, Array]
Inputs = Mapping[str, Any]

CHUNKS: Final = (16, 32, 64, 128, 256)
RULES: Final[Mapping[str, tuple[Any, ...]]] = {
    "b_discretization": ("euler", "zoh"),
    "discretization": ("zoh", "bilinear", "forward_euler", "backward_euler"),
    "method": ("exact", "bilinear"),
    "alpha": (0.0, 0.5, 1.0),
}
GROUPED: Final[Mapping[str, tuple[tuple[str, ...], int, str]]] = {
    "selective_scan": (("B", "C"), 1, "A"),
    "selective_state_update": (("B", "C"), 1, "A"),
    "ssd": (("B", "C"), 2, "A"),
    "ssd_update": (("B", "C"), 1, "A"),
    "mamba3_siso": (("q", "k"), 2, "q_bias"),
    "mamba3_siso_step": (("q", "k"), 1, "q_bias"),
}
"""Operator → its grouped arguments, their axis of groups, an argument whose first size they divide."""
PAIRS: Final = (("B", "C"), ("q", "k"))
"""Arguments of one shape that are taken for each other."""
TIME_SECOND: Final = ("ssd", "mamba_block", "mamba3_siso")
"""Operators whose outputs are (b, l, ...); elsewhere time comes last."""


LOST_SIGN: Final = "the sign of `A` is lost"
HALF: Final = "the other half of each conjugate pair is not counted"
CONJUGATED: Final = "`C` is conjugated"
BACK: Final[Mapping[str, tuple[str, Callable[[Array], Array]]]] = {
    LOST_SIGN: ("A", np.negative),
    HALF: ("C", lambda g: g / 2),
    CONJUGATED: ("C", np.conj),
}
"""A mistake that changes an input → that input, and the same change on the way back to its gradient."""


def changed_inputs(op: str, inputs: Inputs) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each mistake that amounts to another call, in words, with that call."""
    given = dict(inputs)
    parameters = inspect.signature(ssm_spec.REFERENCES[op].value).parameters
    for name, parameter in parameters.items():
        if parameter.default is None and given.get(name) is not None:
            yield f"`{name}` is ignored", {k: v for k, v in given.items() if k != name}
        if name.endswith("softplus") and given.get(name):
            yield f"softplus is not applied to {name.removesuffix('_softplus')}", given | {name: False}
        for rule in RULES.get(name, ()):
            if rule != given.get(name, parameter.default):
                what = "B" if name == "b_discretization" else "the system"
                yield f"{what} is discretised by the rule {rule!r}", given | {name: rule}
    if "dt_limit" in given:
        yield "`dt_limit` is ignored", {k: v for k, v in given.items() if k != "dt_limit"}
    if "A" in given and op != "discretize_zoh":
        yield LOST_SIGN, given | {"A": -given["A"]}
    yield from _conjugates(given)
    yield from _groups(op, given)
    if "seq_idx" in parameters and given.get("cu_seqlens") is None:
        yield from _unjoined(op, given)


def changed_array(right: Mapping[str, Array]) -> Iterator[tuple[str, Outputs]]:
    """Each mistake that spoils one array as a whole, in words, with the arrays that it gives."""
    for name, value in right.items():
        for mistake, change in _ON_ANY.items():
            yield f"{name} {mistake}", dict(right) | {name: change(value)}


def changed_outputs(op: str, inputs: Inputs, right: Mapping[str, Array]) -> Iterator[tuple[str, Outputs]]:
    """Each mistake that is made on an output, in words, with the outputs that it gives."""
    yield from changed_array(right)
    first, value = next(iter(right.items()))
    for mistake, change in _in_time(1 if op in TIME_SECOND else -1).items():
        yield f"{first} {mistake}", dict(right) | {first: change(value)}
    if inputs.get("z") is not None and first == "y":
        yield from _gates(op, inputs, dict(right))


def swapped(inputs: Inputs) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """Two inputs in each other's place: in words, with that call, and with which name stands for which."""
    for one, other in PAIRS:
        if one in inputs and other in inputs and np.ndim(inputs[one]) == np.ndim(inputs[other]):
            call = dict(inputs) | {one: inputs[other], other: inputs[one]}
            yield f"`{one}` and `{other}` are swapped", call, {one: other, other: one}


def values(op: str, names: tuple[str, ...], call: Inputs) -> Outputs:
    """Every output of a call, by name, whatever it was asked to return."""
    flags = ("return_last_state", "return_final_states", "return_states")
    parameters = inspect.signature(ssm_spec.REFERENCES[op].value).parameters
    every = {name: True for name in flags if name in parameters}
    result = ssm_spec.REFERENCES[op].value(**dict(call) | every)
    found = result if isinstance(result, tuple) else (result,)
    return {k: v for k, v in zip(ssm_spec.REFERENCES[op].outputs, found, strict=True) if k in names}


def _conjugates(given: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if "C" not in given or not np.iscomplexobj(given.get("A", given["C"])):
        return
    C = np.asarray(given["C"])
    yield HALF, given | {"C": C / 2}
    yield CONJUGATED, given | {"C": np.conj(C)}


def _groups(op: str, given: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Head i read from group i mod g, as ``repeat`` expands, instead of i // (h/g)."""
    if op not in GROUPED:
        return
    names, axis, like = GROUPED[op]
    count, rank = given[like].shape[0], 3 if op in ("ssd_update", "mamba3_siso_step") else 4
    rank -= op == "selective_state_update"
    tiled = {
        name: np.take(given[name], np.arange(count) % given[name].shape[axis], axis=axis)
        for name in names
        if given[name].ndim == rank
    }
    if tiled:
        yield "groups are repeated, not interleaved: channel i uses group i mod g", given | tiled


def _unjoined(op: str, given: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Chunks that each start from nothing."""
    stream = given["u" if "u" in given else "x" if "x" in given else "v"]
    batch, length = stream.shape[0], stream.shape[1 if op in TIME_SECOND else -1]
    ids = given.get("seq_idx")
    known = np.zeros((batch, length), dtype=np.int64) if ids is None else np.asarray(ids)
    new = np.diff(known, axis=1, prepend=known[:, :1]) != 0
    for chunk in CHUNKS:
        if chunk < length:
            starts = new | (np.arange(length) % chunk == 0)
            change = given | {"seq_idx": np.cumsum(starts, axis=1)}
            yield f"the state is not carried from one chunk of {chunk} to the next", change


def _gates(op: str, inputs: Inputs, right: Outputs) -> Iterator[tuple[str, Outputs]]:
    names = tuple(right)
    open_ = {k: v for k, v in inputs.items() if k != "z"}
    v, z = values(op, names, open_)["y"], np.asarray(inputs["z"])
    with np.errstate(over="ignore"):
        sigmoid = 1 / (1 + np.exp(-z))
    yield "the gate is sigmoid(z), not silu(z)", right | {"y": v * sigmoid}
    yield "the gate is z, not silu(z)", right | {"y": v * z}
    if inputs.get("D") is not None:
        bare = values(op, names, {k: x for k, x in open_.items() if k != "D"})["y"]
        yield "the term of `D` is added after the gate", right | {"y": bare * sigmoid * z + (v - bare)}


def _in_time(axis: int) -> dict[str, Callable[[Array], Array]]:
    def late(x: Array) -> Array:
        moved = np.roll(x, 1, axis=axis)
        np.moveaxis(moved, axis, 0)[:1] = 0
        return moved

    def early(x: Array) -> Array:
        moved = np.roll(x, -1, axis=axis)
        np.moveaxis(moved, axis, 0)[-1:] = 0
        return moved

    def reversed_(x: Array) -> Array:
        return np.flip(x, axis=axis)

    return {"is one step late": late, "is one step early": early, "is reversed in time": reversed_}


_ON_ANY: Final[Mapping[str, Callable[[Array], Array]]] = {
    "is half of what it should be": lambda x: x / 2,
    "is twice what it should be": lambda x: 2 * x,
    "has the opposite sign": np.negative,
    "is conjugated": np.conj,
    "is all zero": np.zeros_like,
}
