"""An argument that is taken and not claimed: served right it passes, ignored it fails, for every operator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ssm_backends import Backend, load
from ssm_conformance.case import Case
from ssm_conformance.cases import catalogue
from ssm_conformance.checks import perform
from ssm_conformance.verdict import Verdict

pytest.importorskip("torch")

ASKED = [case for case in catalogue("smoke") if case.method == "unclaimed"]


def claims_less(case: Case, ignores: bool) -> Backend:
    """PyTorch's operator without the claim of that feature; the argument reaches it, or is dropped."""
    backend = load("torch", "cpu")
    argument = case.options["argument"]
    ops = []
    for op in backend.implementations(case.op):

        def fn(of: Any = op.fn, **inputs: Any) -> Any:
            if ignores:
                inputs.pop(argument, None)
            return of(**inputs)

        kept = tuple(feature for feature in op.features if feature != case.options["feature"])
        ops.append(replace(op, fn=fn, features=kept))
    return replace(backend, ops={case.op: tuple(ops)})


def ask(case: Case, *, ignores: bool) -> Verdict:
    return perform(case, claims_less(case, ignores))


@pytest.mark.parametrize("case", ASKED, ids=lambda case: case.id)
def test_served_right_it_passes(case: Case) -> None:
    found = ask(case, ignores=False)
    assert found.status == "pass", found.message


@pytest.mark.parametrize("case", ASKED, ids=lambda case: case.id)
def test_ignored_it_fails(case: Case) -> None:
    found = ask(case, ignores=True)
    assert found.status == "fail", found
    assert "in the signature of `fn`, not claimed, and accepted" in found.message
