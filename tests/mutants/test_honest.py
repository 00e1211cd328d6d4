"""No false failure: implementations without a defect pass, whatever their order and format."""

from __future__ import annotations

import numpy as np
import pytest

from ssm_backends import OPERATORS, claims_as_data
from ssm_backends.operators import PYTORCH_FEATURES
from ssm_conformance.checks import perform
from ssm_conformance.mutants import HONEST
from ssm_conformance.mutants.kernels.orders import Balanced, KoggeStone, Node, compose
from ssm_conformance.planning import plan
from ssm_conformance.selftest import pairs, row

IN_TURN = [pair for pair in pairs(fast=True) if pair.name in HONEST]
"""Each in one dtype; the command ``ssm-spec selftest`` asks every dtype."""
TREES = ("kogge-stone", "balanced-tree", "chunked")


@pytest.mark.parametrize(("name", "dtype"), IN_TURN, ids=lambda value: value)
def test_an_honest_implementation_passes(name: str, dtype: str) -> None:
    found = row(name, dtype, None)
    assert found.outcome == "passed", found.rejections
    assert found.errors == ()
    assert found.ratio is not None
    assert 0 <= found.ratio < 1


@pytest.mark.parametrize("name", TREES)
def test_another_order_passes_where_there_is_more_than_one_chunk(name: str) -> None:
    subject = HONEST[name].backend()
    planned = plan(claims_as_data(subject), level="quick", ops=("selective_scan",), dtypes=("float32",))
    long = ("long", "long-moderate-decay", "forget-and-recover")
    cases = [
        item.case
        for item in planned
        if item.case.recipe.name in long and item.case.method in ("value", "gradient")
    ]
    assert len(cases) == 6
    verdicts = [perform(case, subject) for case in cases]
    assert {v.id: v.message for v in verdicts if v.status != "pass"} == {}


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 8, 13])
@pytest.mark.parametrize("kernel", [KoggeStone(), Balanced()], ids=["kogge-stone", "balanced"])
def test_a_tree_gives_every_prefix(kernel: KoggeStone | Balanced, length: int) -> None:
    rng = np.random.default_rng(0)
    nodes = [Node(rng.normal(size=2), rng.normal(size=2), rng.random(2) < 0.2) for _ in range(length)]
    expected = nodes[:1]
    for node in nodes[1:]:
        expected.append(compose(expected[-1], node))
    found = kernel.prefixes(nodes)
    assert len(found) == length
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.x, other.x, rtol=1e-12)  # thirteen products in another order
        np.testing.assert_array_equal(one.begins, other.begins)


def test_the_orders_and_formats_differ_in_bits() -> None:
    from ssm_conformance.cases import find_case
    from ssm_conformance.checks.subject import Subject

    case = find_case("selective_scan/gradient/float32/typical")

    def bits(name: str) -> dict[str, bytes]:
        subject = HONEST[name].backend()
        (op,) = subject.implementations(case.op)
        found = Subject(case, subject, op, subject.adapters[0])
        outputs = found.forward(found.call) | found.gradients(found.call)
        return {key: item.array.tobytes() for key, item in outputs.items()}

    sequential = bits("sequential")
    alike = {"sequential", "saved-gate", "chunked", "flush-to-zero", "saving"}  # in these inputs
    in_numpy = {name for name in HONEST if not name.startswith("pytorch")}
    others = {name for name in in_numpy - alike if HONEST[name].backend().implementations(case.op)}
    assert {"kogge-stone", "balanced-tree", "exp2", "float64-inside"} <= others
    assert [name for name in sorted(others) if bits(name) == sequential] == []


FORWARD_ALONE = {"hippo_legs_compress", "s4d_kernel", "s4_kernel", "s4d", "lssl", "s5", "h3"}


def test_together_they_claim_every_operator_and_feature() -> None:
    claims = [
        HONEST[name].backend() for name in ("sequential", "linear", "layers", "ssd-steps", "mamba3-steps")
    ]
    lacking = {}
    for name, operator in OPERATORS.items():
        (op,) = next(c.implementations(name) for c in claims if name in c.ops)
        lacking[name] = set(operator.features) - set(op.features) - set(PYTORCH_FEATURES)
        assert not operator.differentiable or op.gradients == "all" or name in FORWARD_ALONE
    assert {name: features for name, features in lacking.items() if features} == {
        "discretize_zoh": {"mixed_dtypes"},
        "discretize_bilinear": {"mixed_dtypes"},
        "ssm_kernel": {"mixed_dtypes"},
    }
