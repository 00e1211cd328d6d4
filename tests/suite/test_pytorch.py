"""What is asked of PyTorch tensors alone: honest functions pass, and nobody else is asked."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ssm_backends import OPERATORS, Backend, Op, TorchArrays  # noqa: E402  torch is optional
from ssm_conformance.case import Case  # noqa: E402
from ssm_conformance.cases import catalogue, find_case  # noqa: E402
from ssm_conformance.checks import PYTORCH, perform  # noqa: E402
from ssm_conformance.checks.pytorch import other_numbers  # noqa: E402
from ssm_conformance.checks.subject import Subject  # noqa: E402
from ssm_conformance.mutants import HONEST  # noqa: E402
from ssm_conformance.verdict import Verdict  # noqa: E402

from . import wrong  # noqa: E402

CASES = [
    case
    for case in catalogue("full")
    if case.op == "selective_scan" and case.method in PYTORCH and case.recipe.name == "typical"
    if case.dtype in ("float32", "float64")
]


@pytest.mark.parametrize("name", ["pytorch", "pytorch-operator"])
def test_an_honest_function_passes(name: str) -> None:
    subject = HONEST[name].backend()
    verdicts = [perform(case, subject) for case in CASES]
    assert {v.id: v.message for v in verdicts if v.status not in ("pass", "not_claimed")} == {}
    assert Counter(v.status for v in verdicts) == {"pass": 8, "not_claimed": 2}
    compiled = next(v for v in verdicts if v.id.endswith("float32/compiled-typical"))
    assert compiled.details["graphs"] > 1, "with a gradient, and at another length, it is another graph"


def ask(subject: Backend, variant: str, check: str = "property") -> Verdict:
    return perform(find_case(f"selective_scan/{check}/float32/{variant}-typical"), subject)


def test_other_libraries_leave_a_claim_unverified() -> None:
    subject = wrong.backend(features=(*wrong.FEATURES, "compile", "autocast", "cuda_graph"))
    for variant in ("compiled", "autocast", "captured"):
        found = ask(subject, variant)
        assert found.status == "unavailable"
        assert found.message == "numpy arrays are not torch's"
    for variant in ("again", "second"):
        assert ask(subject, variant, "gradient").status == "not_claimed"


def test_what_is_not_claimed_is_not_asked() -> None:
    assert ask(HONEST["pytorch"].backend(), "captured").status == "not_claimed"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: the claim is judged")
def test_a_graph_needs_a_gpu() -> None:
    scan = HONEST["pytorch"].kernels[0]
    op = Op(scan, dtypes=("float32",), features=("cuda_graph",))
    found = ask(Backend(name="x", version="0", arrays=TorchArrays("cpu"), ops={scan.op: op}), "captured")
    assert found.status == "unavailable"
    assert "need a GPU" in found.message


def test_a_gradient_beside_the_function_is_not_autograds() -> None:
    scan = HONEST["pytorch"].kernels[0]

    def without_a_graph(**inputs: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return scan(**inputs)

    def vjp(cotangents: dict, wrt: tuple[str, ...], saved: None, **inputs: torch.Tensor) -> dict:
        raise AssertionError("it is not asked")

    op = Op(without_a_graph, vjp=vjp, dtypes=("float32",), gradients="all", features=("autocast",))
    subject = Backend(name="x", version="0", arrays=TorchArrays("cpu"), ops={scan.op: op})
    assert ask(subject, "autocast").status == "pass"
    found = ask(subject, "again", "gradient")
    assert found.status == "not_claimed"
    assert "`vjp`" in found.message


def test_one_that_cannot_be_differentiated_twice_says_so() -> None:
    scan = HONEST["pytorch"].kernels[0]

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            return u.clone()

        @staticmethod
        def backward(ctx, g):
            if torch.is_grad_enabled():
                raise RuntimeError("there is no second derivative")
            return g

    op = Op(lambda u, **rest: scan(u=Once.apply(u), **rest), dtypes=("float32",), gradients="all")
    subject = Backend(name="x", version="0", arrays=TorchArrays("cpu"), ops={scan.op: op})
    assert ask(subject, "again", "gradient").status == "pass"
    found = ask(subject, "second", "gradient")
    assert found.status == "pass", found.message
    assert found.details["raised"] == "RuntimeError: there is no second derivative"


@pytest.mark.parametrize(
    "case",
    [case for case in catalogue("full") if case.method == "captured" and case.dtype == "float32"],
    ids=lambda case: case.id,
)
def test_a_replay_is_asked_on_other_numbers_in_every_array(case: Case) -> None:
    """A kernel that keeps one array of the first call is right wherever that array is the same."""
    arrays = TorchArrays("cpu")
    op = Op(lambda **inputs: None, dtypes=(case.dtype,), features=tuple(OPERATORS[case.op].features))
    subject = Subject(case, Backend(name="x", version="0", arrays=arrays, ops={case.op: op}), op, arrays)
    other = other_numbers(subject).stored
    same = {name for name, item in subject.stored.items() if np.array_equal(item.array, other[name].array)}
    assert same == set()


def test_the_mutants_load_without_torch() -> None:
    program = "import sys; sys.modules['torch'] = None; import ssm_conformance.mutants"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
