"""Each question is failed by a backend that is wrong in just that, and passed by a right one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ssm_backends import Backend, NumpyArrays, load
from ssm_conformance.cases import find_case
from ssm_conformance.checks import perform
from ssm_conformance.checks.accuracy import worst_ratio
from ssm_conformance.judge import measure
from ssm_conformance.verdict import Verdict
from ssm_numpy import selective_scan, selective_scan_vjp

from . import wrong

SCAN = "selective_scan/{}/float32/{}"
DEFECTS = [
    ("robustness", "transposed-typical", wrong.backend(wrong.as_if_contiguous), "times the bound"),
    ("robustness", "far-u-small", wrong.backend(wrong.short_offsets), "`u` reaching past 2³¹"),
    ("robustness", "poisoned-typical", wrong.backend(wrong.before_it_is_written), "NaN in fresh memory"),
    ("robustness", "guarded-typical", wrong.backend(wrong.neighbour_written), "`u` was written"),
    ("robustness", "guarded-plain", wrong.backend(wrong.neighbour_read), "with NaN before and after"),
    (
        "robustness",
        "inputs-unchanged-typical",
        wrong.backend(vjp=wrong.cotangent_written),
        "as a cotangent changed `y`",
    ),
    (
        "robustness",
        "gradient-broadcast-last-groups",
        wrong.backend(vjp=wrong.expanded_cotangent),
        "times the bound",
    ),
    (
        "property",
        "packing-gradients-packed",
        wrong.backend(vjp=wrong.gradients(wrong.leaks_back)),
        "in the last sequence: gradient of u",
    ),
    (
        "property",
        "packing-gradients-offsets",
        wrong.backend(vjp=wrong.gradients(wrong.leaks_back)),
        "in the last sequence: gradient of u",
    ),
    (
        "property",
        "separate-gradients-packed",
        wrong.backend(vjp=wrong.gradients(wrong.unsummed)),
        "of its sequences alone: A",
    ),
    (
        "property",
        "separate-packed",
        wrong.backend(wrong.outputs(wrong.of_batch)),
        "against the sequence at [0, 9) of row 0 alone",
    ),
    ("property", "batch-alone-typical", wrong.backend(wrong.outputs(wrong.of_batch)), "row 0 alone"),
    ("property", "padding-typical", wrong.backend(wrong.outputs(wrong.by_position)), "not zero"),
    ("property", "linear-typical", wrong.backend(wrong.outputs(wrong.quadratic)), "the sum of two inputs"),
    ("property", "invariant-zoh", wrong.backend(wrong.unchecked_value), "against the recurrence"),
    ("property", "split-typical", wrong.backend(wrong.resumed), "split at 34"),
    ("determinism", "forward-typical", wrong.backend(wrong.race()), "in call 3 of 4"),
    (
        "error",
        "unclaimed-b_discretization-zoh",
        wrong.backend(wrong.unchecked_value, features=("complex", "grouped", "constant")),
        "`b_discretization` = 'zoh': in the signature of `fn`",
    ),
]


def verdict(check: str, name: str, subject: Backend) -> Verdict:
    return perform(find_case(SCAN.format(check, name)), subject)


@pytest.mark.parametrize(
    ("check", "name", "subject", "message"), DEFECTS, ids=[f"{d[0]}-{d[1]}" for d in DEFECTS]
)
def test_the_defect_fails_the_question(check: str, name: str, subject: Backend, message: str) -> None:
    found = verdict(check, name, subject)
    assert found.status == "fail", found
    assert message in found.message


@pytest.mark.parametrize(("check", "name"), sorted({(d[0], d[1]) for d in DEFECTS if d[0] != "error"}))
def test_a_right_scan_passes_it(check: str, name: str) -> None:
    found = verdict(check, name, wrong.backend())
    assert found.status == "pass", found.message


def test_an_unclaimed_call_that_is_served_fails() -> None:
    subject = wrong.backend(features=("complex",))
    assert verdict("error", "unclaimed-feature-zoh", subject).status == "pass"
    assert verdict("error", "unclaimed-feature-complex", subject).status == "not_claimed"
    sixteen_bits = find_case("selective_scan/error/bfloat16/unclaimed-dtype")
    assert perform(sixteen_bits, subject).status == "not_claimed"


def test_another_process_is_compared_bit_by_bit() -> None:
    case = find_case(SCAN.format("determinism", "processes-typical"))
    subject = wrong.backend()
    asked: list[str] = []

    def elsewhere(case_id: str, library: str) -> dict[str, str]:
        asked.append(f"{case_id} in {library}")
        return {"`y`": "other bits"}

    found = perform(case, subject, elsewhere)
    assert found.status == "fail"
    assert "`y`" in found.message
    assert "another process" in found.message
    assert asked == [f"{case.id} in numpy"]
    assert perform(case, subject).status == "not_claimed"


class Elsewhere(NumpyArrays):
    """Arrays of another library."""

    name = "elsewhere"


def elsewhere(
    fn: Callable[..., Any] = selective_scan, vjp: Any = selective_scan_vjp, **claims: Any
) -> Backend:
    """A backend of such arrays."""
    return replace(wrong.backend(fn), arrays=Elsewhere(), ops={"selective_scan": wrong.op(fn, vjp, **claims)})


@pytest.mark.parametrize(
    "name", ["inputs-unchanged-typical", "poisoned-typical", "guarded-typical", "far-u-small"]
)
def test_a_gradient_that_cannot_be_taken_leaves_its_claim_unverified(name: str) -> None:
    found = verdict("robustness", name, elsewhere(vjp=None))
    assert found.status == "unavailable", found
    assert found.message == (
        "the outputs pass; the gradients were not looked at: "
        "elsewhere arrays have no differentiation, and the Op has no `vjp`"
    )
    assert verdict("robustness", name, elsewhere(vjp=None, gradients=())).status == "pass"


def test_outputs_are_judged_where_a_gradient_cannot_be_taken() -> None:
    subject = elsewhere(wrong.before_it_is_written, vjp=None)
    assert verdict("robustness", "poisoned-typical", subject).status == "fail"
    assert verdict("gradient", "typical", elsewhere(vjp=None)).status == "unavailable"


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda y, _: 1.0, "`y` must be an array; got float"),
        (lambda y, _: memoryview(y), "`y` must be an array; got memoryview"),
        (lambda y, _: torch.from_numpy(y), r"`y`: `x` must be a NumPy array; got torch\.Tensor"),
    ],
)
def test_a_result_that_is_no_array_of_the_library_is_told_by_name(change: Any, got: str) -> None:
    found = verdict("value", "typical", wrong.backend(wrong.outputs(change)))
    assert found.status == "fail"
    assert re.match(got, found.message), found.message


def test_a_gradient_of_another_dtype_or_shape_is_told_by_name() -> None:
    """A wider one would be within every bound."""
    for change, said in (
        (lambda u: u.astype("float64"), "dtype float32 in a call of float32; got float64"),
        (lambda u: u[None], "shape (2, 6, 37); got (1, 2, 6, 37)"),
    ):
        subject = wrong.backend(vjp=wrong.gradients(lambda g, *_, to=change: g.update(u=to(g["u"]))))
        found = verdict("gradient", "typical", subject)
        assert found.status == "fail"
        assert found.message.startswith(f"the gradient of `u` must have {said}")


def test_the_worst_ratio_of_several_is_none_where_one_is_none() -> None:
    numbers = (measure(np.array([x]), np.ones(1), np.ones(1, bool), np.ones(1), np.ones(1)) for x in (2, 3))
    two, three = numbers
    none = replace(two, ratio=math.nan)
    assert worst_ratio({"y": two, "z": three}) == 3
    assert math.isnan(worst_ratio({"y": two, "z": none}))
    assert math.isnan(worst_ratio({"y": none, "z": two}))
    assert worst_ratio({}) == 0


def test_arrays_without_strides_are_not_asked_how_they_lie() -> None:
    arrays = Elsewhere()
    arrays.strides = False
    subject = replace(wrong.backend(), arrays=arrays)
    found = verdict("robustness", "transposed-typical", subject)
    assert (found.status, found.message) == ("unavailable", "elsewhere arrays have no strides")
    assert verdict("value", "typical", subject).status == "pass"


def test_questions_about_pytorch_are_put_to_its_tensors_alone() -> None:
    found = verdict("robustness", "modes-typical", wrong.backend())
    assert (found.status, found.message) == ("not_claimed", "numpy arrays are not torch's")


def test_a_gradient_that_is_no_array_is_told_by_name() -> None:
    found = verdict("gradient", "typical", wrong.backend(vjp=wrong.gradients(lambda g, *_: g.update(u=None))))
    assert found.message == "the gradient of `u` must be an array; got NoneType"


def wide(found: dict[str, Any], *_: Any) -> None:
    found.update({name: x.astype("float64") for name, x in found.items()})


def one_row(found: dict[str, Any], *_: Any) -> None:
    found.update({name: x[0] for name, x in found.items()})


@pytest.mark.parametrize(
    ("check", "name", "subject", "said"),
    [
        ("property", "batch-alone-typical", wrong.outputs(lambda y, _: y.astype("float64")), "`y` must have"),
        (
            "property",
            "causality-typical",
            wrong.outputs(lambda y, _: y.swapaxes(1, 2)),
            "`y` must have shape",
        ),
        (
            "memory",
            "forward-growth",
            lambda **_: None,
            "must return 2 outputs (y, last_state); got one NoneType",
        ),
    ],
)
def test_a_misshapen_output_is_the_backend_s_failure(check: str, name: str, subject: Any, said: str) -> None:
    found = verdict(check, name, wrong.backend(subject))
    assert found.status == "fail", found.message
    assert said in found.message.splitlines()[0]


@pytest.mark.parametrize(
    ("check", "name", "change"),
    [
        ("property", "anticausality-typical", wide),
        ("extreme", "confinement-gradients-typical", one_row),
    ],
)
def test_a_misshapen_gradient_is_the_backend_s_failure(check: str, name: str, change: Any) -> None:
    found = verdict(check, name, wrong.backend(vjp=wrong.gradients(change), deterministic=False))
    assert found.status == "fail", found.message
    assert found.message.startswith("the gradient of `u` must have ")


def test_the_likely_mistake_of_a_gradient_is_named() -> None:
    def halved(found: dict[str, Any], *_: Any) -> None:
        if "D" in found:
            found["D"] = found["D"] / 2

    found = verdict("gradient", "typical", wrong.backend(vjp=wrong.gradients(halved)))
    assert found.message.endswith("; likely mistake: the gradient of D is half of what it should be")


def test_a_function_that_autograd_does_not_pass_through_is_told() -> None:
    torch_backend = load("torch", "cpu")
    scan = torch_backend.implementations("selective_scan")[0]
    cut = replace(scan, fn=torch.no_grad()(scan.fn))
    found = verdict("gradient", "typical", replace(torch_backend, ops={"selective_scan": cut}))
    assert found.status == "fail"
    assert "; likely mistake: autograd does not pass through the function" in found.message


def test_a_backward_pass_that_raises_is_told_with_what_it_was_asked() -> None:
    def of_y(cotangents: Any, wrt: Any, saved: Any, **inputs: Any) -> Any:
        return selective_scan_vjp({**cotangents, "y": cotangents["y"] * 1}, wrt, saved, **inputs)

    found = verdict("gradient", "apart-typical", wrong.backend(vjp=of_y))
    assert found.status == "fail"
    assert found.message.startswith("the cotangent of `last_state` alone: raised TypeError: ")


def of_two_libraries(fn: Callable[..., Any]) -> Backend:
    return replace(wrong.backend(fn), arrays=(NumpyArrays(), Elsewhere()))


def test_a_message_names_the_library_where_there_are_several() -> None:
    found = verdict("value", "typical", of_two_libraries(wrong.outputs(wrong.quadratic)))
    assert found.status == "fail"
    first, second = found.message.splitlines()
    assert first.startswith("with numpy arrays: y[")
    assert second.startswith("with elsewhere arrays: y[")
    passed = verdict("value", "typical", of_two_libraries(selective_scan))
    assert (passed.status, passed.message) == ("pass", "")
    assert passed.details["libraries"] == {"numpy": "pass", "elsewhere": "pass"}


def test_with_several_libraries_a_failure_outweighs_what_could_not_be_judged() -> None:
    class Unreadable(NumpyArrays):
        name = "unreadable"

        def to_numpy(self, array: Any) -> Any:
            raise ZeroDivisionError("a slip of the suite")

    backend = replace(wrong.backend(wrong.outputs(wrong.quadratic)), arrays=(Unreadable(), NumpyArrays()))
    found = verdict("value", "typical", backend)
    assert found.details["libraries"] == {"unreadable": "error", "numpy": "fail"}
    assert found.status == "fail"
    assert found.message.startswith("with numpy arrays: y[")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.nan, r"y\[0, 0, 0\] is NaN where a finite value was expected, .* ± .* \(1 of 444 elements"),
        (-np.inf, r"y\[0, 0, 0\] is -inf where a finite value was expected, "),
    ],
)
def test_what_is_not_finite_is_told_as_such(value: float, said: str) -> None:
    def change(y: np.ndarray, _: dict[str, Any]) -> np.ndarray:
        y = y.copy()
        y.reshape(-1)[:1] = value
        return y

    found = verdict("value", "typical", wrong.backend(wrong.outputs(change)))
    assert re.match(said, found.message), found.message
    assert "times the bound" not in found.message


class Forward(NumpyArrays):
    """Arrays of a library without negative strides."""

    name = "forward"
    reverses = False


def test_negative_strides_are_asked_where_a_library_has_them() -> None:
    backend = wrong.backend()
    alone = verdict("robustness", "reversed-typical", replace(backend, arrays=Forward()))
    assert (alone.status, alone.message) == ("not_claimed", "forward arrays have no negative strides")
    both = verdict("robustness", "reversed-typical", replace(backend, arrays=(Forward(), NumpyArrays())))
    assert (both.status, "libraries" in both.details) == ("pass", False)


def test_negative_strides_are_told_from_positive_ones() -> None:
    def unsigned(**inputs: Any) -> Any:
        u = inputs["u"]
        return selective_scan(**inputs | {"u": u[:, ::-1] if u.strides[1] < 0 else u})

    assert verdict("robustness", "reversed-typical", wrong.backend(unsigned)).status == "fail"
    assert verdict("robustness", "strided-typical", wrong.backend(unsigned)).status == "pass"
