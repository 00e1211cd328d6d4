"""Gradients of groups that do not know each other: a NaN of one that reaches another is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ssm_backends import Backend
from ssm_conformance.cases import find_case
from ssm_conformance.checks import perform
from ssm_conformance.mutants import Mutant, backend
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.dual_step import DualStep
from ssm_conformance.mutants.kernels.duality import Dual, Limits

Gradients = Mapping[str, Any]
CASES = {
    "selective_scan": ("selective_scan/extreme/float32/confinement-gradients-groups", 4),
    "selective_state_update": ("selective_state_update/extreme/float32/confinement-gradients-fours-pool", 3),
}
"""Operator → a question about its gradients, and the dimensions of B there."""


def changed(op: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Backend:
    """An honest backend, but that the gradients of B and C with groups are changed."""
    honest = backend("sequential")
    (implementation,) = honest.implementations(op)
    backward = implementation.vjp
    assert backward is not None

    def vjp(*arguments: Any, **given: Any) -> Gradients:
        found = dict(backward(*arguments, **given))
        for name in {"B", "C"} & found.keys():
            assert found[name].ndim == CASES[op][1]
            assert found[name].shape[1] > 1, "groups"
            found[name] = change(found[name])
        return found

    return replace(honest, ops={op: replace(implementation, vjp=vjp)})


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of 0 · NaN, and it is meant
@pytest.mark.parametrize("op", CASES)
def test_a_group_s_nan_in_the_gradient_of_another_group_is_seen(op: str) -> None:
    case = find_case(CASES[op][0])
    assert perform(case, changed(op, lambda x: x)).status == "pass"
    found = perform(case, changed(op, lambda x: x + 0 * np.sum(x, 1, keepdims=True)))
    assert found.status == "fail"
    assert "nan in " in found.message


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NaN is what is asked about
@pytest.mark.parametrize("op", ["selective_scan", "selective_state_update"])
def test_a_nan_that_does_not_come_out_is_seen(op: str) -> None:
    case, honest = find_case(f"{op}/extreme/float32/confinement-typical"), backend("sequential")
    (implementation,) = honest.implementations(op)

    def hiding(**given: Any) -> Any:
        y, *states = implementation.fn(**given)
        return np.nan_to_num(y), *states

    assert perform(case, honest).status == "pass"
    found = perform(case, replace(honest, ops={op: replace(implementation, fn=hiding)}))
    assert found.status == "fail"
    assert "nan in " in found.message
    assert "is 0 where a NaN was expected" in found.message


ROWS = {
    "selective_scan": "initial",
    "selective_state_update": "pool",
    "causal_conv1d": "typical",
    "causal_conv1d_update": "pool",
    "ssd": "initial",
    "ssd_update": "typical",
    "mamba3_siso": "initial",
    "mamba3_siso_step": "typical",
}
"""Operator → a call that gives states."""
HONEST = {
    **dict.fromkeys(("selective_scan", "selective_state_update"), "sequential"),
    **dict.fromkeys(("causal_conv1d", "causal_conv1d_update"), "linear"),
    **dict.fromkeys(("ssd", "ssd_update"), "ssd-steps"),
    **dict.fromkeys(("mamba3_siso", "mamba3_siso_step"), "mamba3-steps"),
}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NaN is what is asked about
@pytest.mark.parametrize("op", ROWS)
def test_a_nan_that_does_not_come_out_of_a_state_is_seen(op: str) -> None:
    case = find_case(f"{op}/extreme/float32/confinement-{ROWS[op]}")
    honest = backend(HONEST[op])
    (implementation,) = honest.implementations(op)

    def hiding(**given: Any) -> Any:
        y, *states = implementation.fn(**given)
        return y, *map(np.nan_to_num, states)

    assert perform(case, honest).status == "pass"
    found = perform(case, replace(honest, ops={op: replace(implementation, fn=hiding)}))
    assert found.status == "fail"
    assert "state" in found.message


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of 0 · NaN, and it is meant
def test_a_group_s_nan_in_the_heads_of_another_group_is_seen() -> None:
    case, honest = find_case("ssd/extreme/float32/confinement-groups"), backend("ssd-steps")
    (implementation,) = honest.implementations("ssd")

    def leaking(**given: Any) -> Any:
        found = implementation.fn(**given)
        y, *states = found if isinstance(found, tuple) else (found,)
        y = y + 0 * given["B"].sum((2, 3), keepdims=True)
        return (y, *states) if states else y

    assert perform(case, honest).status == "pass"
    found = perform(case, replace(honest, ops={"ssd": replace(implementation, fn=leaking)}))
    assert found.status == "fail"
    assert "nan in " in found.message


class Clamped(Dual):
    """Δ is limited by a minimum and a maximum that take the operand that is a number."""

    def limited(self, free: Array, limits: Limits) -> Array:
        return np.fmin(np.fmax(free, limits[0]), limits[1])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NaN is what is asked about
@pytest.mark.parametrize("kernel", [Clamped(), DualStep(Clamped())], ids=["ssd", "ssd_update"])
def test_a_nan_may_be_lost_in_the_clamp_of_a_step_size(kernel: Clamped | DualStep) -> None:
    subject = Mutant("clamped", None, "Clamped.", "extreme/confinement-typical", kernel).backend()
    case = find_case(f"{kernel.op}/extreme/float32/confinement-typical")
    found = perform(case, subject)
    assert found.status == "pass", found.message
