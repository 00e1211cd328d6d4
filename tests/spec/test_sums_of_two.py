"""One addition more for each step or mode: real parts summed apart, and both sources of a Mamba-3 step.

The first term is 1, and every other 0.9 of a half of an ulp of it: a sum in order stays 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic

COUNT = 64
LOST = np.float32(0.9 * 2.0**-24)


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


def ratio_of_one(op: str, wanted: str, arithmetic: Arithmetic, inputs: dict[str, Any]) -> float:
    """The error of 1 over what is granted, at the last time and the last row."""
    found = ssm_spec.REFERENCES[op].bounds(arithmetic=arithmetic, **inputs)[wanted]
    assert found.judged.all()
    error = np.abs(1 - found.value) / (found.bound + found.own)
    return float(error[0, -1, 0, 0] if wanted == "y" else error.ravel()[-1])


def test_a_term_of_a_kernel_may_sum_both_parts_of_complex_products() -> None:
    """γ Re(C B̄): 1 of the first mode, and of each other mode two real terms that are lost."""
    C = np.full((1, COUNT), LOST * (1 - 1j) / 2, np.complex64)
    C[0, 0] = 0.5
    B = np.full((COUNT, 1), 1 + 1j, np.complex64)
    B[0] = 1
    inputs = {"A_bar": np.ones(COUNT, np.complex64), "B_bar": B, "C": C, "length": 1, "diagonal": True}
    assert 0.5 < ratio_of_one("ssm_kernel", "K", Arithmetic(), inputs) <= 1


def mamba3(first: float, D: float, q: float) -> dict[str, Any]:
    """Both sources of a step weigh a half; the last component of keys and queries does not turn."""
    k, queries, v = 0 * ones(1, COUNT, 1, 4), 0 * ones(1, COUNT, 1, 4), ones(1, COUNT, 1, 1)
    k[..., -1], queries[..., -1], v[:, 0] = 2, q, first
    trap = 0 * ones(1, 1, COUNT)
    call = {"q": queries, "k": k, "v": v, "dt": ones(1, 1, COUNT), "trap": trap, "D": D * ones(1)}
    call |= {"q_bias": 0 * ones(1, 4), "k_bias": 0 * ones(1, 4), "angles": 0 * ones(1, COUNT, 1, 1)}
    return call | {"adt": np.full((1, 1, COUNT), -1e-12, np.float32)}


@pytest.mark.parametrize("evaluation", ["chunk", "matmul_chunk"])
def test_what_passes_by_may_enter_before_both_sources_of_a_step(evaluation: Any) -> None:
    inputs = mamba3(1, 1, LOST)
    assert 0.5 < ratio_of_one("mamba3_siso", "y", Arithmetic(evaluation=evaluation, chunk=COUNT), inputs) <= 1


@pytest.mark.parametrize("evaluation", ["chunk", "matmul_chunk"])
def test_a_state_may_sum_both_sources_of_a_step(evaluation: Any) -> None:
    inputs = mamba3(1, 0, 1)
    inputs["v"] = LOST * ones(1, COUNT, 1, 1)
    # The first step's source counts once, as 1; the second step's, of weight 1, is LOST.
    inputs["v"][:, 0], inputs["v"][:, 1], inputs["trap"][..., :2] = 0.5, LOST / 2, 30
    arithmetic = Arithmetic(evaluation=evaluation, chunk=COUNT)
    assert 0.5 < ratio_of_one("mamba3_siso", "ssm_state", arithmetic, inputs) <= 1


@pytest.mark.parametrize("evaluation", ["any", "sequential", "scan", "chunk"])
@pytest.mark.parametrize("wanted", ["k", "v"])
def test_a_gradient_may_sum_both_sources_that_a_key_enters(wanted: str, evaluation: Any) -> None:
    """The first step's: 1 of its own source, and 127 terms of either that are lost."""
    inputs, g = mamba3(1, 0, 1), ones(1, 2, 1, 1)
    inputs = {name: x[..., :2] if name in ("adt", "dt", "trap") else x for name, x in inputs.items()}
    inputs = {name: x[:, :2] if name in ("q", "k", "v", "angles") else x for name, x in inputs.items()}
    one_and_lost = np.full((1, 2, 1, COUNT), 2 * LOST, np.float32)
    one_and_lost[:, 0] = 0
    one_and_lost[:, 0, :, -1] = 2
    if wanted == "k":
        inputs["k"], inputs["v"], g = inputs["k"] / 2, ones(1, 2, 1, COUNT), one_and_lost
    else:
        inputs |= {"q": one_and_lost, "k": ones(1, 2, 1, COUNT)}
        inputs |= {name: 0 * ones(1, COUNT) for name in ("q_bias", "k_bias")}
    vjp = ssm_spec.mamba3_siso_vjp_bounds
    found = vjp({"y": g}, [wanted], arithmetic=Arithmetic(evaluation=evaluation), **inputs)[wanted]
    assert found.judged.all()
    error = np.abs(1 - found.value) / (found.bound + found.own)
    assert 0.5 < error[0, 0, 0, -1] <= 1


@pytest.mark.parametrize("evaluation", ["sequential", "scan"])
def test_a_decays_gradient_may_sum_what_it_has_of_the_state_and_of_a_source(evaluation: Any) -> None:
    """Of the state 1 and 127 terms that are lost, of the early source 128."""
    keys = ones(1, 1, 1, 2)
    inputs = {
        "q": keys,
        "k": 0 * keys,
        "v": ones(1, 1, 1, COUNT),
        "dt": ones(1, 1, 1),
        "trap": 0 * ones(1, 1, 1),
    }
    inputs |= {"q_bias": 0 * ones(1, 2), "k_bias": 0 * ones(1, 2), "angles": 0 * ones(1, 1, 1, 1)}
    inputs |= {"adt": np.full((1, 1, 1), -1e-12, np.float32), "angle_state": 0 * ones(1, 1, 1)}
    inputs |= {"k_state": 2 * LOST * keys[0], "v_state": inputs["v"][0]}
    inputs["ssm_state"] = np.full((1, 1, COUNT, 2), LOST)
    inputs["ssm_state"][0, 0, 0, 0] = 1
    arithmetic = Arithmetic(evaluation=evaluation, decayed_state="direct")
    vjp = ssm_spec.mamba3_siso_vjp_bounds
    found = vjp({"y": inputs["v"]}, ["adt"], arithmetic=arithmetic, **inputs)["adt"]
    assert found.judged.all()
    assert 0.5 < (np.abs(1 - found.value) / (found.bound + found.own)).item() <= 1


@pytest.mark.parametrize("evaluation", ["any", "sequential", "scan", "chunk"])
def test_a_steps_gradient_may_sum_both_sources(evaluation: Any) -> None:
    """Half of 1 and of 191 terms that are lost, of which the late source has 63 and the early one 128."""
    keys, v = ones(1, 1, 1, 2), np.full((1, 1, 1, COUNT), 2 * LOST)
    v[..., 0] = 2
    inputs = {
        "q": keys / 2,
        "k": keys * np.float32([1, 0]),
        "v": v,
        "dt": ones(1, 1, 1),
        "trap": 0 * ones(1, 1, 1),
    }
    inputs |= {"q_bias": 0 * ones(1, 2), "k_bias": 0 * ones(1, 2), "angles": 0 * ones(1, 1, 1, 1)}
    inputs |= {"adt": np.full((1, 1, 1), -1e-12, np.float32), "angle_state": 0 * ones(1, 1, 1)}
    inputs |= {
        "k_state": 4 * LOST * keys[0],
        "v_state": ones(1, 1, COUNT),
        "ssm_state": 0 * ones(1, 1, COUNT, 2),
    }
    vjp = ssm_spec.mamba3_siso_vjp_bounds
    cotangents = {"y": ones(1, 1, 1, COUNT)}
    found = vjp(cotangents, ["dt"], arithmetic=Arithmetic(evaluation=evaluation), **inputs)["dt"]
    assert found.judged.all()
    assert 0.5 < (np.abs(0.5 - found.value) / (found.bound + found.own)).item() <= 1
