"""What the usual tests of kernels would have said: np.allclose, with their tolerances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from ssm_backends import Backend
from ssm_conformance.case import Case
from ssm_conformance.checks.subject import CheckFailed, Stored, Subject
from ssm_spec import Bounded

CUSTOMARY: Final = {
    "float64": (6e-4, 2e-3),
    "float32": (6e-4, 2e-3),
    "bfloat16": (3e-2, 5e-2),
    "float16": (3e-3, 5e-3),
}
"""Dtype → rtol and atol of mamba's tests/ops/test_selective_scan.py, which later suites took over. It has no
float64: that of float32 stands in."""


def allclose_accepts(subject: Backend, cases: Sequence[Case]) -> bool:
    """Whether np.allclose accepts the outputs and gradients for the inputs of these cases.

    Parameters
    ----------
    subject
        The backend, with one implementation an operator.
    cases
        Whose inputs are taken; what they ask is not.
    """
    return all(_close(subject, replace(case, check="value", method="value", variant="")) for case in cases)


def _close(subject: Backend, case: Case) -> bool:
    def close(actual: Mapping[str, Stored], exact: Mapping[str, Bounded]) -> bool:
        rtol, atol = CUSTOMARY[case.dtype]
        return all(np.allclose(actual[name].exact, exact[name].value, rtol, atol) for name in exact)

    (op,) = subject.implementations(case.op)
    found = Subject(case, subject, op, subject.adapters[0])
    try:
        accepted = close(found.forward(found.call), found.exact)
        if accepted and found.wrt:
            return close(found.gradients(found.call), found.exact_gradients(found.arithmetic()))
    except CheckFailed:
        return False
    return accepted
