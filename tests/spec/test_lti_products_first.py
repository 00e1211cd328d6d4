"""Products C a^j B that are formed before there is a state: honest, of modes by chunks alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, Bounded

torch = pytest.importorskip("torch")
from . import lti_forms as forms

Arrays = dict[str, Any]
ONE: Arrays = {"A_bar": 1.0, "B_bar": 1.0, "C": 1.0, "u": (0.0, 0.0), "D": 0.0, "initial_state": 0.0}
NONE: Arrays = {"y": (0.0, 0.0), "last_state": 0.0}
"""One mode, one input, one output, two steps."""
SHAPES = {"A_bar": (1,), "u": (1, 1, 2), "y": (1, 1, 2)}


def shaped(values: Arrays) -> Arrays:
    return {name: np.float32(x).reshape(SHAPES.get(name, (1, 1))) for name, x in values.items()}


def allowed(
    wanted: str, inputs: Arrays, cotangents: Arrays, arithmetic: Arithmetic, *, diagonal: bool = True
) -> Bounded:
    reference, given = ssm_spec.REFERENCES["ssm_recurrence"], inputs | {"diagonal": diagonal}
    if wanted in NONE:
        return reference.bounds(arithmetic=arithmetic, **given)[wanted]
    assert reference.vjp_bounds is not None
    return reference.vjp_bounds(cotangents, [wanted[1:]], arithmetic=arithmetic, **given)[wanted[1:]]


def found(form: Any, wanted: str, inputs: Arrays, cotangents: Arrays) -> Any:
    leaves = {name: torch.tensor(x, requires_grad=True) for name, x in inputs.items()}
    outputs = form(**leaves)
    if wanted in outputs:
        return outputs[wanted].detach().numpy()
    given = [torch.tensor(cotangents[name]) for name in outputs]
    (slope,) = torch.autograd.grad(
        list(outputs.values()), [leaves[wanted[1:]]], given, materialize_grads=True
    )
    return slope.numpy()


CHUNKED = partial(forms.products_first, Q=2)
LOST: dict[str, tuple[str, Arrays, Arrays]] = {
    "C B of C a B u": ("y", {"C": 1e-25, "B_bar": 1e-25, "u": (1e30, 0)}, {}),
    "a B of a B u": ("last_state", {"A_bar": 1e-25, "B_bar": 1e-25, "u": (1e30, 0)}, {}),
    "C B of C a B r": ("du", {"C": 1e-25, "B_bar": 1e-25}, {"y": (0, 1e30)}),
    "r u of B r u": ("dC", {"B_bar": 1e30, "u": (1e-25, 0)}, {"y": (1e-25, 0)}),
    "r u of C r u": ("dB_bar", {"C": 1e30, "u": (1e-25, 0)}, {"y": (1e-25, 0)}),
    "r u of C B r u": ("dA_bar", {"C": 1e15, "B_bar": 1e15, "u": (1e-25, 0)}, {"y": (0, 1e-25)}),
    "C a of C a r": ("dinitial_state", {"C": 1e-25, "A_bar": 1e-25}, {"y": (1e30, 0)}),
}


@pytest.mark.parametrize("name", LOST)
def test_what_products_first_lose_is_granted_to_chunks_alone(name: str) -> None:
    wanted, large, given = LOST[name]
    inputs, cotangents = shaped(ONE | large), shaped(NONE | given)
    actual, exact = (found(form, wanted, inputs, cotangents) for form in (CHUNKED, forms.recurrence))
    for arithmetic in forms.IN_CHUNKS.values():
        bounded = allowed(wanted, inputs, cotangents, arithmetic)
        assert np.all(bounded.judged)
        assert np.all(np.abs(actual - bounded.value) <= bounded.bound + bounded.own), arithmetic
    narrow = allowed(wanted, inputs, cotangents, forms.SCAN)
    error, other = np.abs(actual - narrow.value), np.abs(exact - narrow.value)
    assert np.any(error > narrow.bound + narrow.own)
    assert np.all(other <= narrow.bound + narrow.own)


REACHED: dict[str, tuple[str, Arrays, Arrays]] = {
    "C B of C B u": ("y", {"C": 1e25, "B_bar": 1e25, "u": (1e-30, 0)}, {}),
    "C B of C B r": ("du", {"C": 1e25, "B_bar": 1e25}, {"y": (0, 1e-30)}),
    "r u of B r u": ("dC", {"B_bar": 1e-30, "u": (1e25, 0)}, {"y": (1e25, 0)}),
    "r u of C r u": ("dB_bar", {"C": 1e-30, "u": (1e25, 0)}, {"y": (1e25, 0)}),
}


@pytest.mark.parametrize("name", REACHED)
def test_products_first_may_overflow_in_chunks_alone(name: str) -> None:
    wanted, large, given = REACHED[name]
    inputs, cotangents = shaped(ONE | large), shaped(NONE | given)
    overflows = ~np.isfinite(found(CHUNKED, wanted, inputs, cotangents))
    assert overflows.any()
    assert np.isfinite(found(forms.recurrence, wanted, inputs, cotangents)).all()
    for arithmetic in forms.IN_CHUNKS.values():
        assert not np.any(allowed(wanted, inputs, cotangents, arithmetic).judged & overflows), arithmetic
    in_order = Arithmetic(evaluation="sequential")
    assert np.all(allowed(wanted, inputs, cotangents, in_order).judged)


def test_a_mask_of_zeros_is_a_product_of_matrices() -> None:
    """B u = 10⁴⁰ of the second step, times zero, makes a NaN of the first; "chunk" selects."""
    inputs = shaped(ONE | {"B_bar": 1e20, "u": (1, 1e20)})
    y = found(partial(forms.chunked, Q=2), "y", inputs, {})
    assert np.isnan(y[..., 0]).all()
    for name, arithmetic in forms.IN_CHUNKS.items():
        first = allowed("y", inputs, {}, arithmetic).judged[..., 0]
        assert first.all() == (name != "matmul_chunk")


def test_times_and_inputs_summed_at_once_are_a_product_of_matrices() -> None:
    """4096 equal terms, one after the other: 64 steps of 64 inputs. In time order they follow A h."""
    one, steps = np.float32(1), 64
    inputs = {
        "A_bar": np.ones(1, np.float32),
        "B_bar": np.ones((1, steps), np.float32),
        "C": np.ones((1, 1), np.float32),
        "u": np.full((1, steps, steps), one / 3),
    }
    y = np.cumsum(np.full(steps * steps, one / 3), dtype=np.float32)[steps - 1 :: steps].reshape(1, 1, steps)
    for evaluation, within in (("matmul_chunk", True), ("chunk", False), ("scan", True)):
        arithmetic = Arithmetic(evaluation=evaluation, chunk=steps)
        bounded = allowed("y", inputs, {}, arithmetic)
        assert np.all(np.abs(y - bounded.value) <= bounded.bound + bounded.own) == within, evaluation


FULL = {name: arithmetic for name, arithmetic in forms.IN_CHUNKS.items() if name != "any"} | {
    "scan": forms.SCAN
}
IN_FULL_CHUNKS = partial(forms.full_products_first, Q=2)
LARGE_AND_SMALL: dict[str, tuple[str, Arrays, Arrays]] = {
    "A A of A A h": ("last_state", {"A_bar": 1e-25, "initial_state": 1e30}, {}),
    "C A of C A A h": ("y", {"C": 1e-20, "A_bar": 1e-20, "initial_state": 1e30}, {}),
    "A B of A B u": ("last_state", {"A_bar": 1e-25, "B_bar": 1e-25, "u": (1e30, 0)}, {}),
    "C B of C B u": ("y", {"C": 1e-25, "B_bar": 1e-25, "u": (1e30, 0)}, {}),
    "C B of C B r": ("du", {"C": 1e-25, "B_bar": 1e-25}, {"y": (0, 1e30)}),
    "r u of C r u": ("dB_bar", {"C": 1e30, "u": (1e-25, 0)}, {"y": (1e-25, 0)}),
    "r u of B r u": ("dC", {"B_bar": 1e30, "u": (1e-25, 0)}, {"y": (1e-25, 0)}),
    "r u of C B r u": ("dA_bar", {"C": 1e15, "B_bar": 1e15, "u": (1e-25, 0)}, {"y": (0, 1e-25)}),
    "A A of A A r": ("dinitial_state", {"A_bar": 1e-25}, {"last_state": 1e30}),
    "C B of C B u, upwards": ("y", {"C": 1e25, "B_bar": 1e25, "u": (1e-30, 0)}, {}),
    "A A of A A h, upwards": ("last_state", {"A_bar": 1e25, "initial_state": 1e-30}, {}),
    "r u of B r u, upwards": ("dC", {"B_bar": 1e-30, "u": (1e25, 0)}, {"y": (1e25, 0)}),
    "r u of C r u, upwards": ("dB_bar", {"C": 1e-30, "u": (1e25, 0)}, {"y": (1e25, 0)}),
}
"""For a full Ā, a 1 × 1 matrix."""


@pytest.mark.parametrize("name", LARGE_AND_SMALL)
def test_products_of_a_full_matrix_may_leave_the_range_where_no_state_does(name: str) -> None:
    wanted, large, given = LARGE_AND_SMALL[name]
    inputs, cotangents = shaped(ONE | large), shaped(NONE | given)
    inputs["A_bar"] = inputs["A_bar"].reshape(1, 1)
    actual, exact = (found(form, wanted, inputs, cotangents) for form in (IN_FULL_CHUNKS, forms.recurrence))
    declared = forms.SCAN if "A A" in name else FULL["chunk"], FULL["chunk"], FULL["matmul_chunk"]
    for arithmetic in declared:
        bounded = allowed(wanted, inputs, cotangents, arithmetic, diagonal=False)
        with np.errstate(invalid="ignore"):
            within = np.abs(actual - bounded.value) <= bounded.bound + bounded.own
        assert np.all(within[bounded.judged]), arithmetic
        assert np.all(bounded.judged) != name.endswith("upwards")
    in_time = allowed(wanted, inputs, cotangents, Arithmetic(evaluation="sequential"), diagonal=False)
    with np.errstate(invalid="ignore"):
        error, other = np.abs(actual - in_time.value), np.abs(exact - in_time.value)
    assert not np.all((error <= in_time.bound + in_time.own)[in_time.judged])
    assert np.all((other <= in_time.bound + in_time.own)[in_time.judged])


RANGES = ((-1, 1), (-30, 0), (-12, 12), (-25, -20), (10, 15))
"""Exponents of ten."""


def test_a_full_matrix_in_chunks_stays_within_its_bound() -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)

        def real(*shape: int, rng: np.random.Generator = rng) -> Any:
            x = np.sign(rng.standard_normal(shape)) * 10.0 ** rng.uniform(*rng.choice(RANGES), shape)
            return x.astype(np.float32)

        inputs = {"A_bar": real(3, 3), "B_bar": real(3, 2), "C": real(2, 3), "u": real(1, 2, 5)}
        inputs |= {"D": real(2, 2), "initial_state": real(1, 3)}
        cotangents = {"y": real(1, 2, 5), "last_state": real(1, 3)}
        for arithmetic in (FULL["chunk"], FULL["matmul_chunk"]):
            for wanted in (*cotangents, *(f"d{name}" for name in inputs)):
                bounded = allowed(wanted, inputs, cotangents, arithmetic, diagonal=False)
                actual = found(IN_FULL_CHUNKS, wanted, inputs, cotangents)
                with np.errstate(invalid="ignore"):
                    within = np.abs(actual - bounded.value) <= bounded.bound + bounded.own
                assert np.all(within[bounded.judged]), (seed, wanted)
