"""Tensors whose memory holds the conjugate, or the negative, of what they mean: PyTorch notes it as a bit."""

from __future__ import annotations

from typing import Any

from ssm_backends import validate
from ssm_conformance.checks.accuracy import judge_backward, judge_outputs
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.pytorch import named
from ssm_conformance.checks.subject import Subject


def lazily(subject: Subject) -> Finding:
    """The values again, and the gradients, with arrays and cotangents behind such a bit."""
    call = subject.into(subject.stored)
    behind = {
        name: x if subject.stored[name].index else _behind_a_bit(x)
        for name, x in call.inputs.items()
        if name in subject.stored
    }
    call = validate(subject.case.operator, **behind, **subject.case.plain)
    found = judge_outputs(subject, subject.forward(call))
    if found.passed and subject.takes_gradients:
        cotangents = {name: _behind_a_bit(x) for name, x in subject.into_cotangents().items()}
        found = judge_backward(subject, call, cotangents)
    return named(found, "with arrays that are views of their conjugates and negatives")


def _behind_a_bit(x: Any) -> Any:
    """The same numbers: those of the memory conjugated, or negated, as ``conj`` and ``imag`` leave them."""
    import torch

    if x.is_complex():
        return x.conj().resolve_conj().conj()
    if x.dtype is torch.bfloat16:  # there are no complex numbers of it
        return x
    return torch.complex(torch.zeros_like(x), -x).conj().imag
