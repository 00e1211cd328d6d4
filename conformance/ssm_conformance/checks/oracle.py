"""What the oracle has said in this process: many questions are put to the same call, it is asked once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

import numpy as np

from ssm_spec import Bounded

ROOM: Final = 128 * 2**20
"""Bytes of answers that are kept; the longest unasked go first."""
Answer = Mapping[str, Bounded]

_said: OrderedDict[str, tuple[Answer, int]] = OrderedDict()


def once(question: tuple[Any, ...], arrays: Mapping[str, Any], ask: Callable[[], Answer]) -> Answer:
    """The oracle's answer, from memory if the same was asked before.

    Parameters
    ----------
    question
        What tells it apart besides its arrays; of values whose ``repr`` says all.
    arrays
        Name → array or plain value.
    ask
        Asks the oracle.

    Returns
    -------
    Its answer, whose arrays are read-only: others may hold them too.
    """
    key = _name_of(question, arrays)
    if key not in _said:
        answer = ask()
        size = sum(array.nbytes for array in _arrays_of(answer))
        for array in _arrays_of(answer):
            array.flags.writeable = False
        _said[key] = answer, size
        while sum(size for _, size in _said.values()) > ROOM and len(_said) > 1:
            _said.popitem(last=False)
    _said.move_to_end(key)
    return _said[key][0]


def _name_of(question: tuple[Any, ...], arrays: Mapping[str, Any]) -> str:
    name = hashlib.blake2b(repr(question).encode(), digest_size=16)
    for key, value in sorted(arrays.items()):
        if isinstance(value, np.ndarray):
            name.update(f"{key} {value.dtype} {value.shape} ".encode())
            name.update(np.ascontiguousarray(value).tobytes())
        else:
            name.update(f"{key} {value!r} ".encode())
    return name.hexdigest()


def _arrays_of(answer: Answer) -> list[np.ndarray]:
    parts = (getattr(item, field.name) for item in answer.values() for field in fields(item))
    return [part for part in parts if isinstance(part, np.ndarray)]
