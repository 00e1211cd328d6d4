"""What the tests about PyTorch share: a function as a backend of one operator, and one question to it."""

from __future__ import annotations

from typing import Any

from ssm_backends import Backend, Op, TorchArrays
from ssm_conformance.cases import find_case
from ssm_conformance.checks import perform
from ssm_conformance.verdict import Verdict


def scanning(fn: Any, arrays: TorchArrays | None = None, **claims: Any) -> Backend:
    """A backend of one scan in float32 with gradients."""
    op = Op(fn, **{"dtypes": ("float32",), "gradients": "all"} | claims)
    arrays = arrays or TorchArrays("cpu")
    return Backend(name="x", version="0", arrays=arrays, ops={"selective_scan": op})


def ask(subject: Backend, variant: str, check: str = "property") -> Verdict:
    """One question on the typical scan."""
    return perform(find_case(f"selective_scan/{check}/float32/{variant}-typical"), subject)
