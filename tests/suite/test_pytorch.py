"""What is asked of PyTorch tensors alone: honest functions pass, and nobody else is asked."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.autograd.function import once_differentiable  # noqa: E402  torch is optional

import ssm_numpy  # noqa: E402  torch is optional
from ssm_backends import OPERATORS, Backend, NotSupportedError, Op, TorchArrays  # noqa: E402  torch is optional
from ssm_conformance.case import Case  # noqa: E402
from ssm_conformance.cases import catalogue, find_case  # noqa: E402
from ssm_conformance.checks import PYTORCH, perform  # noqa: E402
from ssm_conformance.checks.pytorch import other_numbers  # noqa: E402
from ssm_conformance.checks.subject import Subject  # noqa: E402
from ssm_conformance.checks.twice import HALVINGS, STEP, direction  # noqa: E402
from ssm_conformance.mutants import HONEST, MUTANTS  # noqa: E402
from ssm_conformance.mutants.kernels.pytorch import TorchScan  # noqa: E402
from ssm_conformance.verdict import Verdict  # noqa: E402

from . import replay, wrong  # noqa: E402

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
    passed = 7 if compiles else 6
    assert Counter(v.status for v in verdicts) == {"pass": passed, "not_claimed": 9 - passed}
    compiled = next(v for v in verdicts if v.id.endswith("float32/compiled-typical"))
    if compiles:
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


def test_a_function_that_takes_plain_tensors_alone_may_have_its_gradient_beside_it() -> None:
    def plain(**inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        inputs = {name: x.numpy() if torch.is_tensor(x) else x for name, x in inputs.items()}
        return tuple(torch.from_numpy(x) for x in ssm_numpy.selective_scan(**inputs))

    def vjp(cotangents: dict, wrt: tuple[str, ...], saved: None, **inputs: torch.Tensor) -> dict:
        raise AssertionError("it is not asked")

    op = Op(plain, vjp=vjp, dtypes=("float32",), gradients="all", features=("autocast",))
    subject = Backend(name="x", version="0", arrays=TorchArrays("cpu"), ops={"selective_scan": op})
    found = ask(subject, "autocast")
    assert found.status == "pass", found.message
    for variant in ("again", "second"):
        assert ask(subject, variant, "gradient").status == "not_claimed"


def after_one_pass(raises: Exception | None) -> Backend:
    """A scan of which a part is differentiable once: by PyTorch's decorator, or in its own words."""
    scan = HONEST["pytorch"].kernels[0]

    def backward(ctx, g):
        if raises is not None and torch.is_grad_enabled():
            raise raises
        return g.clone()

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            return u.clone()

    Once.backward = staticmethod(once_differentiable(backward) if raises is None else backward)
    op = Op(lambda u, **rest: scan(u=Once.apply(u), **rest), dtypes=("float32",), gradients="all")
    return Backend(name="x", version="0", arrays=TorchArrays("cpu"), ops={scan.op: op})


@pytest.mark.parametrize(
    ("raises", "said"),
    [
        (None, "RuntimeError: trying to differentiate twice a function that was marked with"),
        (RuntimeError("there is no second derivative"), "RuntimeError: there is no second derivative"),
        (NotSupportedError("`second`: not claimed"), "NotSupportedError: `second`: not claimed"),
    ],
)
def test_one_that_cannot_be_differentiated_twice_says_so(raises: Exception | None, said: str) -> None:
    subject = after_one_pass(raises)
    assert ask(subject, "again", "gradient").status == "pass"
    found = ask(subject, "second", "gradient")
    assert found.status == "pass", found.message
    assert found.details["raised"].startswith(said)


def test_a_backward_pass_may_refuse_to_keep_its_graph() -> None:
    """As a compiled one does, which writes its results over what it saved."""

    class Donates(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            return u.clone()

        @staticmethod
        def backward(ctx, g):
            if torch._C._autograd._get_current_graph_task_keep_graph():
                raise RuntimeError("what is saved is written over")
            return g.clone()

    op = Op(lambda u, **rest: TorchScan()(u=Donates.apply(u), **rest), dtypes=("float32",), gradients="all")
    subject = Backend(name="x", version="0", arrays=TorchArrays("cpu"), ops={"selective_scan": op})
    assert perform(find_case("selective_scan/gradient/float32/typical"), subject).status == "pass"
    for variant in ("again", "second"):
        found = ask(subject, variant, "gradient")
        assert found.status == "pass", found.message
        assert found.details["raised"] == "RuntimeError: what is saved is written over"


@pytest.mark.parametrize(
    "raises", [torch.OutOfMemoryError("out of memory"), KeyError("C")], ids=lambda error: type(error).__name__
)
def test_what_fails_in_the_second_pass_is_no_refusal(raises: Exception) -> None:
    found = ask(after_one_pass(raises), "second", "gradient")
    assert found.status == "fail"
    assert f"raised {type(raises).__name__}" in found.message


def test_what_autograd_does_not_see_is_no_refusal() -> None:
    """A gradient is claimed, and nothing that is returned has one: the suite says so, not the kernel."""
    scan = HONEST["pytorch"].kernels[0]

    def detached(**inputs: torch.Tensor) -> torch.Tensor:
        return tuple(output.detach() for output in scan(**inputs))

    op = Op(detached, dtypes=("float32",), gradients="all")
    subject = Backend(name="x", version="0", arrays=TorchArrays("cpu"), ops={scan.op: op})
    for variant in ("again", "second"):
        found = ask(subject, variant, "gradient")
        assert found.status == "fail"
        assert "nothing that was returned depends on an input" in found.message


SECOND = [
    case
    for case in catalogue("full")
    if case.method == "second_derivative" and case.dtype == "float64" and OPERATORS[case.op].differentiable
]


@pytest.mark.parametrize("case", SECOND, ids=lambda case: case.id)
def test_the_points_of_a_difference_quotient_are_exact(case: Case) -> None:
    """A state that is handed on has no rounding error at all: nor may what is expected of its change."""
    arrays = TorchArrays("cpu")
    op = Op(
        lambda **inputs: None, dtypes=(case.dtype,), gradients="all", features=tuple(case.operator.features)
    )
    subject = Subject(case, Backend(name="x", version="0", arrays=arrays, ops={case.op: op}), op, arrays)
    for name in subject.wrt:
        x, v = subject.stored[name].exact, direction(subject, name).exact
        assert (np.abs(v) <= np.abs(x)).all()
        assert v.any()
        for distance in (STEP, -STEP, STEP / 2**HALVINGS, -STEP / 2**HALVINGS):
            np.testing.assert_array_equal((x + distance * v) - x, distance * v)


@torch.library.custom_op("ssm_tests::turned", mutates_args=())
def turned(x: torch.Tensor) -> torch.Tensor:
    """Its fake kernel is wrong for matrices."""
    return x.clone()


@turned.register_fake
def _(x):
    return torch.empty_like(x) if x.ndim == 3 else x.new_empty(x.shape[::-1])


@torch.library.custom_op("ssm_tests::doubled", mutates_args=())
def doubled(x: torch.Tensor, write: bool) -> torch.Tensor:
    """Its schema does not say what a flag makes it do."""
    return (x.mul_(2) if write else x).clone()


@doubled.register_fake
def _(x, write):
    return torch.empty_like(x)


turned.register_autograd(lambda ctx, g: g.clone())
doubled.register_autograd(lambda ctx, g: (g.clone(), None))


def kinds(*used: Any) -> Callable[..., tuple[torch.Tensor, ...]]:
    """A scan whose output, and then A, go through the operators."""

    def fn(**inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, *rest = TorchScan()(**inputs)
        used[0](y)
        used[-1](inputs["A"].clone())
        return (y, *rest)

    return fn


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (kinds(turned), "the operator ssm_tests::turned fails opcheck's test_faketensor"),
        (
            kinds(lambda x: doubled(x, False), lambda x: doubled(x, True)),
            "the operator ssm_tests::doubled fails opcheck's test_schema",
        ),
    ],
)
def test_an_operator_is_checked_with_every_kind_of_arguments(fn: Any, message: str) -> None:
    op = Op(fn, dtypes=("float32",), gradients="all", features=("compile",))
    found = ask(
        Backend(name="x", version="0", arrays=TorchArrays("cpu"), ops={"selective_scan": op}), "compiled"
    )
    assert found.status == "fail"
    assert found.message.startswith(message)


def test_a_label_for_the_profiler_is_no_operator_of_its_own() -> None:
    def labelled(**inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.profiler.record_function("scan"):
            return TorchScan()(**inputs)

    op = Op(labelled, dtypes=("float32",), gradients="all", features=("compile",))
    found = ask(
        Backend(name="x", version="0", arrays=TorchArrays("cpu"), ops={"selective_scan": op}), "compiled"
    )
    assert found.status == "pass", found.message


def captured_on_a_cpu(monkeypatch: pytest.MonkeyPatch, kernel: TorchScan, **claims: Any) -> Verdict:
    """The question about captured calls, with a graph that is recorded in Python."""
    monkeypatch.setattr(sys.modules["ssm_conformance.checks.captured"], "_capture", replay.capture)
    arrays = TorchArrays("cpu")
    arrays.device = "cuda:0"
    usual = {"dtypes": ("float32",), "gradients": "all", "features": ("cuda_graph",)}
    op = Op(kernel, **usual | claims)
    return ask(Backend(name="x", version="0", arrays=arrays, ops={kernel.op: op}), "captured")


def test_an_honest_function_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    found = captured_on_a_cpu(monkeypatch, TorchScan(), deterministic=True)
    assert found.status == "pass", found.message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("modes-kept-by-address", "replayed on other numbers: "),
        ("cotangent-kept-by-address", "gradients replayed on other numbers: "),
        ("cleared-for-the-next-call", "replayed on other numbers: replay 2 of one graph: "),
    ],
)
def test_a_graph_shows_what_no_call_does(monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    kernel, claims = MUTANTS[name].kernel, MUTANTS[name].claims
    op = Op(kernel, **{"dtypes": ("float32",), "gradients": "all"} | dict(claims))
    plain = Backend(name="x", version="0", arrays=TorchArrays("cpu"), ops={kernel.op: op})
    for check in ("value", "gradient"):
        case = find_case(f"selective_scan/{check}/float32/typical")
        assert perform(case, plain).status in ("pass", "not_claimed")
    found = captured_on_a_cpu(monkeypatch, kernel, **claims)
    assert found.status == "fail"
    assert found.message.startswith(message)


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
    other = other_numbers(subject)
    before = [*subject.stored.items(), *subject.cotangents.items()]
    after = [*other.stored.items(), *other.cotangents.items()]
    assert [name for name, _ in before] == [name for name, _ in after]
    pairs = zip(before, after, strict=True)
    assert [name for (name, one), (_, two) in pairs if np.array_equal(one.array, two.array)] == []


def test_the_mutants_load_without_torch() -> None:
    program = "import sys; sys.modules['torch'] = None; import ssm_conformance.mutants"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
