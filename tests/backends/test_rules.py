"""What holds between the arguments of a call: the declared rules, and whose sizes follow whose."""

from __future__ import annotations

from typing import Any

import pytest

from ssm_backends import OPERATORS, Operator, ShapeError, validate
from ssm_backends.operators.duality import SSD, SSD_UPDATE
from ssm_backends.operators.hippo import HIPPO_FOUT
from ssm_backends.operators.layers import H3
from ssm_backends.operators.linear import SSM_RECURRENCE
from ssm_backends.operators.mamba3 import MAMBA3_SISO, MAMBA3_SISO_STEP
from ssm_backends.operators.selective import SELECTIVE_SCAN, SELECTIVE_STATE_UPDATE
from ssm_backends.operators.short_convolution import CAUSAL_CONV1D_UPDATE

from .calls import SIZES, Meta, call
from .refusals import refused

RULES: list[tuple[Operator, str, str, dict[str, Any]]] = [
    (SELECTIVE_SCAN, "B", "its number of groups g must divide d", {"B": Meta((2, 4, 3, 5))}),
    (SELECTIVE_SCAN, "C", "its number of groups g must divide d", {"C": Meta((2, 12, 3, 5))}),
    (SELECTIVE_STATE_UPDATE, "B", "its number of groups g must divide d", {"B": Meta((2, 4, 3))}),
    (SELECTIVE_STATE_UPDATE, "C", "its number of groups g must divide d", {"C": Meta((2, 5, 3))}),
    (
        SELECTIVE_SCAN,
        "cu_seqlens",
        "it cannot be given together with `seq_idx`",
        {"cu_seqlens": Meta((3,), "int32"), "seq_idx": Meta((2, 5), "int32")},
    ),
    (SELECTIVE_SCAN, "cu_seqlens", "it needs b = 1", {"cu_seqlens": Meta((3,), "int32")}),
    (SELECTIVE_SCAN, "initial_state", "its first dimension is b", {"initial_state": Meta((3, 6, 3))}),
    (SELECTIVE_STATE_UPDATE, "state", "its first dimension is b", {"state": Meta((3, 6, 3))}),
    (CAUSAL_CONV1D_UPDATE, "state", "its first dimension is b", {"state": Meta((3, 6, 7))}),
    (SSD_UPDATE, "state", "its first dimension is b", {"state": Meta((4, 3, 5, 3))}),
    (
        CAUSAL_CONV1D_UPDATE,
        "state",
        "it must hold k ≥ v inputs, where `weight` has v + 1 taps",
        {"state": Meta((2, 6, 2))},
    ),
    *(
        (operator, "B", "its number of groups g must divide h", {"B": Meta(shape), "C": Meta(shape)})
        for operator, shape in ((SSD, (2, 5, 2, 3)), (SSD_UPDATE, (2, 2, 3)))
    ),
    *(
        (operator, "q", "its number of groups g must divide h", {"q": Meta(shape), "k": Meta(shape)})
        for operator, shape in ((MAMBA3_SISO, (2, 5, 2, 3)), (MAMBA3_SISO_STEP, (2, 2, 3)))
    ),
    (MAMBA3_SISO, "angles", "2a must be at most n", {"angles": Meta((2, 5, 3, 2))}),
    (
        MAMBA3_SISO_STEP,
        "angles",
        "2a must be at most n",
        {"angles": Meta((2, 3, 2)), "angle_state": Meta((2, 3, 2))},
    ),
    (HIPPO_FOUT, "n", "it must be even: a cosine and a sine a frequency", {"n": 5}),
    (
        H3,
        "delta",
        "its size h must divide d",
        {"delta": Meta((4,)), **{name: Meta((4, 3)) for name in ("A", "B", "C")}},
    ),
]


@pytest.mark.parametrize(
    ("operator", "name", "text", "change"), RULES, ids=lambda x: getattr(x, "name", None)
)
def test_rules_between_arguments(operator: Operator, name: str, text: str, change: dict[str, Any]) -> None:
    message = refused(ShapeError, name, operator, call(operator) | change)
    assert text in message


def test_every_rule_is_tested() -> None:
    declared = {
        (o.name, r.argument, r.text) for o in OPERATORS.values() for r in o.rules if r.feature is None
    }
    assert declared == {(operator.name, name, text) for operator, name, text, _ in RULES}


@pytest.mark.parametrize(("k", "features"), [(3, set()), (4, {"long_state"}), (9, {"long_state"})])
def test_a_rule_that_a_backend_may_claim_to_serve_without_is_a_feature(k: int, features: set[str]) -> None:
    given = call(CAUSAL_CONV1D_UPDATE) | {"state": Meta((2, 6, k))}
    assert validate(CAUSAL_CONV1D_UPDATE, **given).features == features


def test_a_state_of_a_filter_of_one_tap_may_be_empty() -> None:
    given = call(CAUSAL_CONV1D_UPDATE) | {"state": Meta((2, 6, 0)), "weight": Meta((6, 1))}
    assert validate(CAUSAL_CONV1D_UPDATE, **given).features == set()


def test_a_state_that_is_too_short_is_told_with_the_shape_that_was_given() -> None:
    message = refused(
        ShapeError, "state", CAUSAL_CONV1D_UPDATE, call(CAUSAL_CONV1D_UPDATE) | {"state": Meta((2, 6, 2))}
    )
    assert message == (
        "`state`: it must hold k ≥ v inputs, where `weight` has v + 1 taps; "
        "got shape (2, 6, 2), dtype float64"
    )


def test_a_pool_has_its_own_number_of_slots() -> None:
    for operator in (SELECTIVE_STATE_UPDATE, CAUSAL_CONV1D_UPDATE):
        given = call(operator) | {"state": Meta((17, 6, 3)), "state_indices": Meta((2,), "int64")}
        assert validate(operator, **given).sizes["r"] == 17


def test_packed_sequences_have_their_own_states() -> None:
    given = call(SELECTIVE_SCAN, sizes=dict(SIZES) | {"b": 1})
    given |= {"cu_seqlens": Meta((5,), "int32"), "initial_state": Meta((4, 6, 3))}
    found = validate(SELECTIVE_SCAN, **given)
    assert found.sizes["r"] == 4
    assert {"cu_seqlens", "initial_state"} <= found.features
    message = refused(ShapeError, "cu_seqlens", SELECTIVE_SCAN, given | {"initial_state": Meta((5, 6, 3))})
    assert "r = 5 (from `initial_state`)" in message


def test_offsets_have_at_least_one_element() -> None:
    given = call(SELECTIVE_SCAN, sizes=dict(SIZES) | {"b": 1}) | {"cu_seqlens": Meta((0,), "int32")}
    message = refused(ShapeError, "cu_seqlens", SELECTIVE_SCAN, given)
    assert message == "`cu_seqlens` must have shape (r+1,) with r ≥ 0; got (0,)"


def test_system_dimensions_broadcast_and_the_input_has_them_all() -> None:
    given = {
        "A_bar": Meta((7, 1, 3, 3)),
        "B_bar": Meta((5, 3, 2)),
        "C": Meta((4, 3)),
        "u": Meta((2, 7, 5, 2, 11)),
    }
    assert validate(SSM_RECURRENCE, **given).system == (7, 5)
    message = refused(ShapeError, "u", SSM_RECURRENCE, given | {"u": Meta((2, 7, 1, 2, 11))})
    assert "(7, 5)" in message
    refused(ShapeError, "B_bar", SSM_RECURRENCE, given | {"B_bar": Meta((6, 5, 3, 2))})
