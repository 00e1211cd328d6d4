"""What the questions about PyTorch share: a call put to another function, and other numbers of one shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ssm_backends import outputs_of
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.subject import CheckFailed, Stored, Subject, backend_at_work
from ssm_conformance.draw import Draw

Function = Callable[..., Any]


def through(subject: Subject, around: Callable[[Function], Function]) -> Subject:
    """The subject with its function inside another one, and with autograd's gradient."""
    return replace(subject, op=replace(subject.op, fn=around(subject.op.fn), vjp=None, forward=None))


def has_autograd(subject: Subject) -> bool:
    """Whether a gradient is claimed and autograd passes through the function itself.

    An Op may have its gradient beside the function alone, in a ``vjp``.
    """
    if not subject.claims_gradients or subject.op.vjp is None:
        return subject.claims_gradients
    call = subject.into(subject.stored)
    for name in subject.wrt:
        call.inputs[name].requires_grad_()
    try:
        with backend_at_work():
            outputs = outputs_of(call, subject.op.fn(**call.inputs))
    except CheckFailed:  # it takes plain tensors alone, which the other questions give it
        return False
    return any(output.requires_grad for output in outputs.values())


def other_numbers(subject: Subject) -> Subject:
    """The same call with other numbers, cotangents too; packed sequences and slots in the opposite order.

    So are numbers that no draw changes, as the eigenvalues of a usual A.
    """
    length = subject.call.sizes.get("l", 0)
    dtypes, key = subject.case.dtypes(), (subject.case.op, subject.case.recipe.name)
    stored = {
        name: _turned(name, subject.stored[name], length)
        if subject.stored[name].index
        else subject.draw(draw, dtypes[name], *key, name, "again")
        for name, draw in subject.case.draws.items()
    }
    for name, item in stored.items():
        if np.array_equal(item.array, subject.stored[name].array):
            stored[name] = _turned(name, item, length)
    cotangents = {
        name: subject.draw(_alike(item), item.dtype, *key, "cotangent", name, "again")
        for name, item in subject.cotangents.items()
    }
    return replace(subject.put(stored, cotangents=cotangents), op=subject.op)


def _alike(item: Stored) -> Draw:
    """Normal numbers of one array's shape."""
    return Draw(item.array.shape, complex=np.iscomplexobj(item.array))


def _turned(name: str, item: Stored, length: int) -> Stored:
    """An index array from its end; offsets are counted from the end too."""
    turned = np.ascontiguousarray(np.flip(item.array, -1))
    return Stored(length - turned if name == "cu_seqlens" else turned, item.dtype)


def named(found: Finding, where: str) -> Finding:
    """A finding whose message says where it was made."""
    return replace(found, message=f"{where}: {found.message}") if found.message else found
