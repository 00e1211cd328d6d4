"""Calls through claims: who serves, what is left out, and what a refusal says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ssm_backends import (
    ArgumentError,
    Backend,
    ContractError,
    NotSupportedError,
    NumpyArrays,
    Op,
    ShapeError,
    TorchArrays,
    call,
    outputs_of,
    refusal,
    run_forward,
    run_vjp,
    select,
    validate,
)

from .calls import Meta

SCAN: dict[str, Any] = {
    "u": np.ones((1, 2, 3)),
    "delta": np.ones((1, 2, 3)),
    "A": -np.ones((2, 5)),
    "B": np.ones((1, 5, 3)),
    "C": np.ones((1, 5, 3)),
}


def recorder(name: str, log: list[tuple[str, set[str]]]) -> Any:
    def fn(**inputs: Any) -> str:
        log.append((name, set(inputs)))
        return name

    return fn


def backend(*ops: Op) -> Backend:
    return Backend(name="acme", version="0", arrays=NumpyArrays(), ops={"selective_scan": ops})


@pytest.mark.parametrize("given", [None, "numpy", 3])
def test_a_backend_is_one(given: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^`backend` must be a Backend, as `load` gives it; got "):
        call(given, "hippo_legs", 3)


@pytest.mark.parametrize("name", [["hippo_legs"], {}, None])
def test_an_operator_is_named_by_a_word(name: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^`op` must be one of discretize_zoh, .*; got "):
        validate(name, n=3)


def test_an_argument_at_its_default_is_left_out() -> None:
    log: list[tuple[str, set[str]]] = []
    acme = backend(Op(recorder("only", log), dtypes=("float64",)))
    call(acme, "selective_scan", **SCAN, D=None, delta_softplus=False, b_discretization="euler")
    call(acme, "selective_scan", *SCAN.values(), np.ones(2), delta_softplus=True)
    assert log == [("only", set(SCAN)), ("only", {*SCAN, "D", "delta_softplus"})]


def test_the_first_op_whose_claims_accept_the_call_serves_it() -> None:
    log: list[tuple[str, set[str]]] = []
    acme = backend(
        Op(recorder("narrow", log), dtypes=("float64",), limits={"n": 4}),
        Op(recorder("wide", log), dtypes=("float64",)),
        Op(recorder("zoh", log), dtypes=("float64",), features=("zoh",)),
    )
    small = SCAN | {"A": SCAN["A"][:, :4], "B": SCAN["B"][:, :4], "C": SCAN["C"][:, :4]}
    call(acme, "selective_scan", **small)
    call(acme, "selective_scan", **SCAN)
    call(acme, "selective_scan", **SCAN, b_discretization="zoh")
    assert [name for name, _ in log] == ["narrow", "wide", "zoh"]


@pytest.mark.parametrize(
    ("claims", "change", "reason"),
    [
        ({"dtypes": ("float32", "bfloat16")}, {}, "dtype float64 is not among float32, bfloat16"),
        (
            {"dtypes": ("float32",), "features": ("mixed_dtypes",)},
            {name: Meta(SCAN[name].shape, "float32") for name in ("u", "delta", "B", "C")},
            "it is computed in float64, which is not among float32",
        ),
        ({"limits": {"n": 4}}, {}, "n = 5 is above the limit 4"),
        ({"limits": {"l": 2, "n": 5}}, {}, "l = 3 is above the limit 2"),
        ({}, {"b_discretization": "zoh"}, "features not claimed: zoh"),
        ({}, {"seq_idx": Meta((1, 3), "int32")}, "features not claimed: seq_idx"),
        ({}, {"cu_seqlens": Meta((2,), "int32")}, "features not claimed: cu_seqlens"),
        ({}, {"A": Meta((2, 5), "complex128")}, "features not claimed: complex"),
        (
            {"features": ("grouped",)},
            {"B": Meta((1, 2, 5, 3)), "C": Meta((2, 5)), "initial_state": Meta((1, 2, 5))},
            "features not claimed: constant, initial_state",
        ),
    ],
)
def test_a_refusal_says_why(claims: dict[str, Any], change: dict[str, Any], reason: str) -> None:
    op = Op(**({"fn": recorder("never", []), "dtypes": ("float64",)} | claims))
    valid = validate("selective_scan", **SCAN | change)
    assert refusal(op, valid) == reason
    with pytest.raises(
        NotSupportedError, match="backend 'acme' does not support this call of selective_scan"
    ):
        select(backend(op), valid)


def test_a_refusal_lists_every_op_s_reason() -> None:
    acme = backend(
        Op(recorder("a", []), dtypes=("float32",)),
        Op(recorder("b", []), dtypes=("float64",), limits={"d": 1}),
    )
    with pytest.raises(NotSupportedError, match=r"not among float32; d = 2 is above the limit 1$"):
        call(acme, "selective_scan", **SCAN)


def test_an_operator_without_an_op_is_not_supported() -> None:
    acme = backend(Op(recorder("a", []), dtypes=("float32",)))
    with pytest.raises(NotSupportedError, match="this call of hippo_legs: hippo_legs is not claimed"):
        call(acme, "hippo_legs", 3)
    with pytest.raises(NotSupportedError, match="this call of hippo_legs: it awaits a better compiler"):
        call(replace(acme, withheld={"hippo_legs": "it awaits a better compiler"}), "hippo_legs", 3)


def test_a_call_that_is_not_valid_is_refused_as_such_before_claims() -> None:
    acme = backend(Op(recorder("never", []), dtypes=("float32",)))
    with pytest.raises(ShapeError, match=r"^`A` must have shape"):
        call(acme, "selective_scan", **SCAN | {"A": np.ones((3, 5))})


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((3, "float32"), {}, "hippo_legs takes 1 positional arguments; got 2"),
        ((3,), {"n": 3}, "`n` of hippo_legs was given twice"),
    ],
)
def test_arguments_bind_as_in_the_signature(args: tuple[Any, ...], kwargs: Any, message: str) -> None:
    acme = Backend(
        name="acme", version="0", arrays=NumpyArrays(), ops={"hippo_legs": Op(max, dtypes=("float64",))}
    )
    with pytest.raises(TypeError, match=message):
        call(acme, "hippo_legs", *args, **kwargs)


def test_outputs_have_the_operator_s_names() -> None:
    plain, both = (
        validate("selective_scan", **SCAN),
        validate("selective_scan", **SCAN, return_last_state=True),
    )
    assert outputs_of(plain, 1) == {"y": 1}
    assert outputs_of(both, (1, 2)) == {"y": 1, "last_state": 2}
    for asked, given, message in (
        (plain, (1, 2), r"1 output \(y\); got a tuple of 2"),
        (both, None, r"2 outputs \(y, last_state\); got one NoneType"),
        (both, (x for x in (1, 2)), r"2 outputs \(y, last_state\); got one generator"),
        (both, [1, 2, 3], r"2 outputs \(y, last_state\); got a list of 3"),
    ):
        with pytest.raises(ContractError, match=f"^selective_scan must return {message}$"):
            outputs_of(asked, given)
    with pytest.raises(ContractError, match="selective_scan must return `y` itself; got a tuple of it"):
        outputs_of(plain, (1,))


def test_a_gradient_of_its_own_gets_every_cotangent_and_what_forward_saved() -> None:
    seen: list[Any] = []

    def vjp(cotangents: Any, wrt: Any, saved: Any, **inputs: Any) -> dict[str, float]:
        seen.append((dict(cotangents), wrt, saved, set(inputs)))
        return dict.fromkeys(wrt, 0.0)

    valid = validate("selective_scan", **SCAN)
    for forward, saved in ((None, None), (lambda **inputs: ("y", "states"), "states")):
        op = Op(recorder("fn", []), dtypes=("float64",), gradients="all", vjp=vjp, forward=forward)
        assert run_vjp(op, NumpyArrays(), valid, {"y": 1.0}, ("u", "A")) == {"u": 0.0, "A": 0.0}
        assert seen.pop() == ({"y": 1.0, "last_state": None}, ("u", "A"), saved, set(SCAN))


def test_a_gradient_of_other_names_breaks_the_contract() -> None:
    op = Op(max, dtypes=("float64",), vjp=lambda cotangents, wrt, saved, **inputs: {"u": 0.0, "D": 0.0})
    rule = "^`vjp` of selective_scan must return the gradients of `wrt` alone and wholly: "
    valid = validate("selective_scan", **SCAN)
    with pytest.raises(ContractError, match=f"{rule}one of `D` came, which was not asked for$"):
        run_vjp(op, NumpyArrays(), valid, {}, ("u",))
    with pytest.raises(ContractError, match=f"{rule}none came for `A`, `B`; one of `D` came, "):
        run_vjp(op, NumpyArrays(), valid, {}, ("B", "u", "A"))


def test_a_gradient_that_is_no_mapping_and_a_forward_that_saves_nothing_break_the_contract() -> None:
    valid = validate("selective_scan", **SCAN)
    silent = Op(max, dtypes=("float64",), vjp=lambda *given, **inputs: None)
    with pytest.raises(ContractError, match="must return a mapping by argument; got NoneType"):
        run_vjp(silent, NumpyArrays(), valid, {}, ("u",))
    alone = Op(max, dtypes=("float64",), vjp=max, forward=lambda **inputs: 1.0)
    with pytest.raises(ContractError, match=r"`forward` .* must return \(outputs, saved\); got float"):
        run_vjp(alone, NumpyArrays(), valid, {}, ("u",))


def test_a_library_without_autograd_needs_a_gradient_of_its_own() -> None:
    op = Op(max, dtypes=("float64",), gradients="all")
    with pytest.raises(NotSupportedError, match="give the Op a `vjp`"):
        run_vjp(op, NumpyArrays(), validate("selective_scan", **SCAN), {}, ("u",))


def test_a_library_differentiates_in_what_is_asked_and_the_rest_is_fixed() -> None:
    op = Op(lambda u, delta, **_: u * delta**2, dtypes=("float64",), gradients="all")
    tensors = {name: torch.from_numpy(2 * x) for name, x in SCAN.items()}
    valid = validate("selective_scan", **tensors)
    found = run_vjp(op, TorchArrays(), valid, {"y": torch.full((1, 2, 3), 5.0)}, ("delta",))
    assert {name: x.unique().tolist() for name, x in found.items()} == {"delta": [40.0]}


def test_an_op_that_saves_nothing_has_no_forward_to_run() -> None:
    with pytest.raises(ContractError, match="the Op of selective_scan has no `forward`"):
        run_forward(Op(max, dtypes=("float64",)), validate("selective_scan", **SCAN))
