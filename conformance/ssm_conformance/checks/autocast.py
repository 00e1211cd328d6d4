"""A call under ``torch.autocast`` means what it means without: nothing inside is cast down."""

from __future__ import annotations

from functools import partial
from typing import Any

from ssm_backends.dtypes import HALF
from ssm_conformance.checks.accuracy import judge_gradients, judge_outputs
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.pytorch import Function, has_autograd, named, through
from ssm_conformance.checks.subject import Subject


def autocast(subject: Subject) -> Finding:
    """Dtypes and values of the call under both half dtypes; gradients, whose backward pass is outside.

    An Op with a ``vjp`` is asked for values alone: PyTorch does not run its backward pass under the
    autocast of the forward one, as the caller of a ``vjp`` does not either.
    """
    found, gradients = Finding(), has_autograd(subject)
    for half in HALF:
        inside = through(subject, partial(_under, subject.arrays.device, half))
        found = judge_outputs(inside, inside.forward(inside.call))
        if found.passed and gradients:
            found = judge_gradients(inside, inside.gradients(inside.call))
        if not found.passed:
            return named(found, f"under torch.autocast to {half}")
    return found


def _under(device: str, half: str, fn: Function) -> Function:
    """The function under autocast."""
    import torch

    def run(**inputs: Any) -> Any:
        with torch.autocast(device.partition(":")[0], dtype=getattr(torch, half)):
            return fn(**inputs)

    return run
