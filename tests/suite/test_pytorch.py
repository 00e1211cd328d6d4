"""What is asked of PyTorch tensors alone: honest functions pass, and nobody else is asked."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

torch = pytest.importorskip("torch")


import ssm_numpy
from ssm_backends import Backend, Op, TorchArrays
from ssm_conformance.cases import catalogue, find_case
from ssm_conformance.checks import PYTORCH, perform
from ssm_conformance.mutants import HONEST

from . import wrong
from .asking import ask, scanning

CASES = [
    case
    for case in catalogue("full")
    if case.op == "selective_scan" and case.method in PYTORCH and case.recipe.name == "typical"
    if case.dtype in ("float32", "float64") and (case.method, case.dtype) != ("compiled", "float64")
]
"""Tracing takes most of the time, and is the same in either dtype."""


@pytest.mark.parametrize(
    ("name", "compiles"),
    [("pytorch", True), ("pytorch-operator", True), ("pytorch-by-hand", True), ("pytorch-once", False)],
)
def test_an_honest_function_passes(name: str, compiles: bool) -> None:
    subject = HONEST[name].backend()
    verdicts = [perform(case, subject) for case in CASES]
    assert {v.id: v.message for v in verdicts if v.status not in ("pass", "not_claimed")} == {}
    passed = 10 if compiles else 9
    assert Counter(v.status for v in verdicts) == {"pass": passed, "not_claimed": 12 - passed}
    compiled = next(v for v in verdicts if v.id.endswith("float32/compiled-typical"))
    if compiles:
        assert compiled.details["graphs"] == 8, (
            "with a gradient, at another length, of one row, of open sizes"
        )


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

    subject = scanning(without_a_graph, vjp=vjp, features=("autocast",))
    assert ask(subject, "autocast").status == "pass"
    found = ask(subject, "again", "gradient")
    assert found.status == "not_claimed"
    assert "`vjp`" in found.message


def test_a_function_that_takes_plain_tensors_alone_may_have_its_gradient_beside_it() -> None:
    def plain(**inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        inputs = {name: x.numpy() if torch.is_tensor(x) else x for name, x in inputs.items()}
        return tuple(torch.from_numpy(x) for x in ssm_numpy.selective_scan(**inputs))

    def vjp(cotangents: dict, wrt: tuple[str, ...], saved: None, **inputs: torch.Tensor) -> dict:
        raise AssertionError("it is not asked")

    subject = scanning(plain, vjp=vjp, features=("autocast",))
    found = ask(subject, "autocast")
    assert found.status == "pass", found.message
    for variant in ("again", "second"):
        assert ask(subject, variant, "gradient").status == "not_claimed"


def test_the_mutants_load_without_torch() -> None:
    program = "import sys; sys.modules['torch'] = None; import ssm_conformance.mutants"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y.to("meta"), "`y`: `x` must live on 'cpu'; got device 'meta'"),
        (lambda y: y.to_sparse(), "`y`: `x` must be a plain dense tensor; got layout torch.sparse_coo"),
    ],
    ids=["elsewhere", "sparse"],
)
def test_a_result_that_is_no_plain_tensor_of_the_device_fails(change, message) -> None:
    def convolution(u, K):
        return change(torch.zeros_like(u))

    subject = Backend(
        name="wrong",
        version="0",
        arrays=TorchArrays(),
        ops={"causal_convolution": Op(convolution, dtypes=("float32",))},
    )
    verdict = perform(find_case("causal_convolution/value/float32/typical"), subject)
    assert verdict.status == "fail"
    assert message in verdict.message
