"""D u is one more term of a sum, and may be the first: before those over states and the times of a chunk.

In each system here D u is 1, and every other term 0.9 of a half of an ulp of it: a sum that begins with D u
stays 1, however many terms come.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, Bounded

Arrays = dict[str, Any]
COUNT = 64
"""Steps, and terms of a sum: of a whole chunk."""
LOST = np.float32(0.9 * 2.0**-24)


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


def kept(*shape: int) -> Any:
    """Decays, or their logarithm: the past is kept whole."""
    return np.full(shape, -1e-12, np.float32)


def begun_with_what_passes_by(terms: int) -> Any:
    """1 + LOST + LOST + …, one term after the other."""
    return np.cumsum(np.concatenate((ones(1), np.full(terms, LOST))), dtype=np.float32)[-1]


def bounds(op: str, wanted: str, arithmetic: Arithmetic, inputs: Arrays, cotangent: Any) -> Bounded:
    """Of an output, or of a gradient for the cotangent of y or for several by name."""
    reference = ssm_spec.REFERENCES[op]
    if wanted in reference.outputs:
        return reference.bounds(arithmetic=arithmetic, **inputs)[wanted]
    assert reference.vjp_bounds is not None
    cotangents = cotangent if isinstance(cotangent, dict) else {"y": cotangent}
    return reference.vjp_bounds(cotangents, [wanted], arithmetic=arithmetic, **inputs)[wanted]


def ratio(
    op: str, wanted: str, arithmetic: Arithmetic, inputs: Arrays, cotangent: Any, terms: int = COUNT
) -> float:
    bounded = bounds(op, wanted, arithmetic, inputs, cotangent)
    assert bounded.judged.all()
    error = np.abs(begun_with_what_passes_by(terms) - bounded.value)
    return float(np.max(error / (bounded.bound + bounded.own)))


STREAM = ones(1, 1, COUNT)
MODE = {"B": ones(1, 1), "C": LOST * ones(1, 1), "D": ones(1), "delta": ones(1)}
RECURRENCE = {"A_bar": ones(1), "B_bar": ones(1, 1), "C": LOST * ones(1, 1), "D": ones(1, 1), "u": STREAM}
CALLS: dict[str, tuple[str, Arrays, Any, tuple[str, ...], str]] = {
    "modes": ("ssm_recurrence", RECURRENCE | {"diagonal": True}, STREAM, ("y", "u"), "chunk"),
    "a full Ā": ("ssm_recurrence", RECURRENCE | {"A_bar": ones(1, 1)}, STREAM, ("y", "u"), "chunk"),
    "s5": ("s5", MODE | {"A": kept(1), "u": STREAM}, STREAM, ("y", "u"), "chunk"),
    "s4d": ("s4d", MODE | {"A": kept(1, 1), "u": STREAM}, STREAM, ("y", "u"), "any"),
    "lssl": (
        "lssl",
        MODE | {"A": kept(1, 1, 1), "C": LOST * ones(1, 1, 1), "D": ones(1, 1), "u": STREAM},
        ones(1, 1, 1, COUNT),
        ("y", "u"),
        "matmul_chunk",
    ),
    "h3": (
        "h3",
        MODE
        | {
            "A": kept(1, 1),
            "q": STREAM,
            "k": STREAM,
            "v": STREAM,
            "shift": 0 * ones(1, 1),
            "shift_D": ones(1),
        },
        STREAM,
        ("y", "v", "k"),
        "chunk",
    ),
    "selective scan": (
        "selective_scan",
        {"u": STREAM, "delta": STREAM, "A": kept(1, 1), "B": STREAM, "C": LOST * STREAM, "D": ones(1)},
        STREAM,
        ("y", "u"),
        "matmul_chunk",
    ),
    "ssd": (
        "ssd",
        {"x": ones(1, COUNT, 1, 1), "dt": ones(1, COUNT, 1), "A": kept(1), "D": ones(1)}
        | {"B": ones(1, COUNT, 1, 1), "C": LOST * ones(1, COUNT, 1, 1)},
        ones(1, COUNT, 1, 1),
        ("y", "x"),
        "chunk",
    ),
    "mamba3": (
        "mamba3_siso",
        {"q": LOST * ones(1, COUNT, 1, 2), "k": ones(1, COUNT, 1, 2) / 2, "v": ones(1, COUNT, 1, 1)}
        | {"adt": kept(1, 1, COUNT), "dt": ones(1, 1, COUNT), "trap": 30 * ones(1, 1, COUNT), "D": ones(1)}
        | {"q_bias": 0 * ones(1, 2), "k_bias": 0 * ones(1, 2), "angles": 0 * ones(1, COUNT, 1, 1)},
        ones(1, COUNT, 1, 1),
        ("y", "v"),
        "chunk",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_passes_by_may_enter_before_the_times_of_a_chunk(name: str) -> None:
    op, inputs, cotangent, results, evaluation = CALLS[name]
    in_chunks, scan = (Arithmetic(evaluation=e, chunk=COUNT) for e in (evaluation, "scan"))  # type: ignore[arg-type] # one of its words
    for wanted in results:
        assert ratio(op, wanted, in_chunks, inputs, cotangent) <= 1, wanted
        assert ratio(op, wanted, scan, inputs, cotangent) > 1, wanted


@pytest.mark.parametrize("name", ["modes", "s5", "selective scan", "ssd", "mamba3"])
def test_what_passes_by_meets_the_times_of_a_chunk_that_there_are(name: str) -> None:
    op, inputs, cotangent, results, evaluation = CALLS[name]
    in_chunks = Arithmetic(evaluation=evaluation, chunk=COUNT)  # type: ignore[arg-type] # one of its words
    for wanted in results:
        bound = bounds(op, wanted, in_chunks, inputs, cotangent).bound.ravel()
        forward = bound if wanted == "y" else bound[::-1]
        assert forward[0] < 10 * LOST
        assert forward[-1] > COUNT * LOST


def test_a_full_matrix_that_declares_nothing_has_no_such_sum() -> None:
    op, inputs, cotangent, results, _ = CALLS["lssl"]
    for wanted in results:
        assert ratio(op, wanted, Arithmetic(), inputs, cotangent) > 1


def test_chunks_of_a_selective_scan_that_form_states_have_no_such_sum() -> None:
    op, inputs, cotangent, results, _ = CALLS["selective scan"]
    for wanted in results:
        assert ratio(op, wanted, Arithmetic(evaluation="chunk", chunk=COUNT), inputs, cotangent) > 1


OVER_STATES: dict[str, tuple[str, Arrays, str]] = {
    "recurrence": (
        "ssm_recurrence",
        {"A_bar": ones(COUNT), "B_bar": ones(COUNT, 1), "C": LOST * ones(1, COUNT), "D": ones(1, 1)}
        | {"u": ones(1, 1, 1), "diagonal": True},
        "y",
    ),
    "layer": (
        "s5",
        {"delta": ones(COUNT), "A": kept(COUNT), "B": ones(COUNT, 1), "C": LOST * ones(1, COUNT)}
        | {"D": ones(1), "u": ones(1, 1, 1)},
        "y",
    ),
    "gradient of a layer": (
        "s5",
        {"delta": ones(COUNT), "A": kept(COUNT), "B": LOST * ones(COUNT, 1), "C": ones(1, COUNT)}
        | {"D": ones(1), "u": ones(1, 1, 1)},
        "u",
    ),
    "step response": (
        "step_response",
        {"A": kept(COUNT), "B": ones(COUNT, 1), "C": LOST * ones(1, COUNT), "D": ones(1, 1), "times": ones(1)}
        | {"diagonal": True},
        "g",
    ),
    "shift of h3": (
        "h3",
        {"A": -100 * ones(1, 1), "B": 100 * ones(1, 1), "C": ones(1, 1), "delta": ones(1)}
        | {"q": STREAM, "k": STREAM, "v": STREAM, "shift": LOST * ones(1, COUNT), "shift_D": ones(1)},
        "y",
    ),
    "mamba3": (
        "mamba3_siso",
        {"q": LOST * ones(1, 1, 1, COUNT), "k": ones(1, 1, 1, COUNT), "v": ones(1, 1, 1, 1), "D": ones(1)}
        | {"adt": kept(1, 1, 1), "dt": ones(1, 1, 1), "trap": 30 * ones(1, 1, 1)}
        | {"q_bias": 0 * ones(1, COUNT), "k_bias": 0 * ones(1, COUNT), "angles": 0 * ones(1, 1, 1, 1)},
        "y",
    ),
}


@pytest.mark.parametrize("name", OVER_STATES)
def test_what_passes_by_may_enter_before_the_states_or_taps(name: str) -> None:
    op, inputs, wanted = OVER_STATES[name]
    assert 0.5 < ratio(op, wanted, Arithmetic(evaluation="sequential"), inputs, ones(1, 1, 1)) <= 1


def turned(*shape: int) -> Any:
    """1 + i; its product with 1 − i is 1 + 1."""
    return np.full(shape, 1 + 1j, np.complex64)


def turned_back(*shape: int) -> Any:
    """So that γ Re(C h), of h = 1 + i, is two terms that are lost."""
    return np.full(shape, LOST * (1 - 1j) / 2, np.complex64)


BY_PARTS: dict[str, tuple[str, Arrays, tuple[str, ...]]] = {
    "recurrence": (
        "ssm_recurrence",
        {"A_bar": turned(COUNT), "B_bar": turned(COUNT, 1), "C": turned_back(1, COUNT), "D": ones(1, 1)}
        | {"u": ones(1, 1, 1), "diagonal": True},
        ("y", "u"),
    ),
    "layer": (
        "s5",
        {"delta": ones(COUNT), "A": kept(COUNT) + 0j, "B": turned(COUNT, 1), "C": turned_back(1, COUNT)}
        | {"D": ones(1), "u": ones(1, 1, 1)},
        ("y", "u"),
    ),
    "selective scan": (
        "selective_scan",
        {"u": ones(1, 1, 1), "delta": ones(1, 1, 1), "A": kept(1, COUNT) + 0j, "D": ones(1)}
        | {"B": turned(1, COUNT, 1), "C": turned_back(1, COUNT, 1)},
        ("y", "u"),
    ),
    "step response": (
        "step_response",
        {"A": kept(COUNT) + 0j, "B": turned(COUNT, 1), "C": turned_back(1, COUNT), "D": ones(1, 1)}
        | {"times": ones(1), "diagonal": True},
        ("g",),
    ),
}


@pytest.mark.parametrize("name", BY_PARTS)
def test_what_passes_by_may_enter_before_both_parts_of_complex_products(name: str) -> None:
    op, inputs, results = BY_PARTS[name]
    for wanted in results:
        assert 0.5 < ratio(op, wanted, Arithmetic(), inputs, ones(1, 1, 1), 2 * COUNT) <= 1, wanted


def test_what_passes_by_may_enter_before_what_transforms_give_and_the_initial_state() -> None:
    """By transforms one term an input, and one a state of what was there at first."""
    B, C = ones(COUNT, COUNT) / COUNT, LOST * ones(COUNT, COUNT)
    inputs = {"delta": ones(COUNT), "A": kept(COUNT), "B": B, "C": C, "D": ones(COUNT)}
    inputs |= {"u": ones(1, COUNT, 1), "initial_state": ones(1, COUNT)}
    found = ratio("s5", "y", Arithmetic(evaluation="fft"), inputs, None, 2 * COUNT)
    assert 0.5 < found <= 1


@pytest.mark.parametrize("op", ["ssm_recurrence", "continuous_response"])
def test_a_state_may_be_read_before_the_terms_of_a_matrix_that_passes_by(op: str) -> None:
    """Here C h, or Bᵀ λ, is 1, of what is given at either end, and D u or Dᵀ r are terms that are lost."""
    ahead = {"B": 0 * ones(1, COUNT), "C": ones(1, 1), "D": LOST * ones(1, COUNT), "u": ones(1, COUNT, 1)}
    back = {"B": ones(1, 1), "C": 0 * ones(COUNT, 1), "D": LOST * ones(COUNT, 1), "u": ones(1, 1, 1)}
    cotangents = {"y": ones(1, COUNT, 1), "last_state": ones(1, 1)}
    for wanted, inputs in (("y", ahead | {"initial_state": ones(1, 1)}), ("u", back)):
        modes = {"A": kept(1), "delta": 1.0}
        if op == "ssm_recurrence":
            modes = {"A_bar": ones(1), "B_bar": inputs.pop("B")}
        call = modes | inputs | {"diagonal": True}
        assert 0.5 < ratio(op, wanted, Arithmetic(), call, cotangents) <= 1, wanted
