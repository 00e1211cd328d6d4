"""What a plugin may claim, what is refused, and claims as data."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from ssm_backends import (
    OPERATORS,
    Backend,
    ContractError,
    NumpyArrays,
    Op,
    TorchArrays,
    claims_as_data,
    claims_from_data,
)


def nothing(**inputs: Any) -> None:
    raise AssertionError("claims are checked without calling anything")


def backend(**claims: Any) -> Backend:
    given: dict[str, Any] = {"fn": nothing, "dtypes": ("float32",), "vjp": nothing} | claims
    op = Op(**given)
    return Backend(name="acme", version="0.3", arrays=NumpyArrays(), ops={"selective_scan": op})


BAD: list[tuple[str, dict[str, Any]]] = [
    ("fn", {"fn": None}),
    ("dtypes", {"dtypes": ()}),
    ("dtypes", {"dtypes": "float32"}),
    ("dtypes", {"dtypes": ("float32", "half")}),
    ("dtypes", {"dtypes": ("complex64",)}),
    ("dtypes", {"dtypes": None}),
    ("grad_dtypes", {"grad_dtypes": ("float64",)}),
    ("grad_dtypes", {"grad_dtypes": "float32"}),
    ("gradients", {"gradients": ("u", "seq_idx")}),
    ("gradients", {"gradients": "u"}),
    ("gradients", {"gradients": True}),
    ("cotangents", {"cotangents": ("y", "state")}),
    ("features", {"features": ("groups",)}),
    ("features", {"features": "grouped"}),
    ("limits", {"limits": {"h": 64}}),
    ("limits", {"limits": {"n": "many"}}),
    ("limits", {"limits": {"n": 0}}),
    ("limits", {"limits": ("n",)}),
    ("memory", {"memory": "small"}),
    ("memory", {"memory": {"forward": "fused"}}),
    ("memory", {"memory": {"forward": "fused", "backward": "none"}}),
    ("deterministic", {"deterministic": "yes"}),
    ("deterministic", {"deterministic": {"forward": True, "back": False}}),
    ("forward", {"forward": nothing, "vjp": None}),
    ("forward", {"forward": "saves", "vjp": nothing}),
    ("vjp", {"vjp": True}),
    ("deterministic", {"deterministic": 1}),
    ("deterministic", {"deterministic": {"forward": 1, "backward": True}}),
    ("arithmetic", {"arithmetic": ("fft",)}),
    ("arithmetic", {"arithmetic": {"evaluation": "right_fold"}}),
    ("arithmetic", {"arithmetic": {"evaluation": "chunk"}}),
    ("arithmetic", {"arithmetic": {"evaluation": "scan", "chunk": 64}}),
    ("arithmetic", {"arithmetic": {"chunk": 64}}),
    ("arithmetic", {"arithmetic": {"evaluation": "chunk", "chunk": 64, "float32": {"evaluation": "scan"}}}),
    ("arithmetic", {"arithmetic": {"rtol": 1e-3}}),
    ("arithmetic", {"arithmetic": {"evaluation": "fast"}}),
    ("arithmetic", {"arithmetic": {"chunk": 2048}}),
    ("arithmetic", {"arithmetic": {"chunk": 0}}),
    ("arithmetic", {"arithmetic": {"chunk": True}}),
    ("arithmetic", {"arithmetic": {"fold_depth": 1.5}}),
    ("arithmetic", {"arithmetic": {"float32": {"softplus": "cut"}}}),
    ("arithmetic", {"arithmetic": {"float8": {"softplus": "naive"}}}),
]


@pytest.mark.parametrize(("name", "claims"), BAD, ids=lambda part: str(part) if isinstance(part, str) else "")
def test_a_false_word_is_refused_and_named(name: str, claims: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match=rf"^`{name}`.*(got|knows)"):
        backend(**claims)


def test_a_limit_is_on_a_size_that_is_bound() -> None:
    batched = {"ssm_recurrence": Op(nothing, dtypes=("float32",), limits={"*s": 4})}
    with pytest.raises(ContractError, match=r"^`limits` of ssm_recurrence may name .*; got '\*s'"):
        Backend(name="acme", version="0", arrays=NumpyArrays(), ops=batched)


def test_a_false_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(ContractError, match=r"^`cotangents` of selective_scan may name y, last_state; got"):
        backend(cotangents=("state",))
    given = {"hippo_legs": Op(nothing, dtypes=("float32",), gradients=("n",), vjp=nothing)}
    with pytest.raises(ContractError, match=r"^`gradients` of hippo_legs may name nothing; got 'n'"):
        Backend(name="acme", version="0", arrays=NumpyArrays(), ops=given)


GOOD: list[dict[str, Any]] = [
    {},
    {"grad_dtypes": (), "gradients": "all"},
    {"gradients": ("u", "A"), "cotangents": ("y",), "vjp": nothing, "forward": nothing},
    {"limits": {"n": 256, "l": 2**31}},
    {"limits": MappingProxyType({"n": 256})},
    {"memory": {"forward": "fused", "backward": "materialised"}},
    {"deterministic": {"forward": True, "backward": False}},
    {"arithmetic": {"evaluation": "chunk", "chunk": 64, "float32": {"operands": "tf32"}}},
    {"features": tuple(OPERATORS["selective_scan"].features)},
]


@pytest.mark.parametrize("claims", GOOD, ids=lambda claims: " ".join(claims) or "nothing")
def test_a_claim_within_the_vocabulary_is_taken(claims: dict[str, Any]) -> None:
    assert len(backend(**claims).implementations("selective_scan")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contract": 2}, r"`contract` must be 1, .*; got 2"),
        ({"name": ""}, r"`name` must be a non-empty string; got ''"),
        ({"name": None}, r"`name` must be a non-empty string; got None"),
        ({"name": "../out"}, r"`name` must consist of ASCII letters, .*; got '../out'"),
        ({"name": "my scan"}, r"`name` must consist of ASCII letters, .*; got 'my scan'"),
        ({"name": "-n"}, r"`name` must consist of ASCII letters, .*; got '-n'"),
        ({"name": "all"}, r"`name` must .* not be 'all'; got 'all'"),
        ({"version": None}, r"`version` must be a string; got None"),
        ({"devices": "cpu"}, r"`devices` must be a tuple of one or more kinds of device; got 'cpu'"),
        ({"devices": ()}, r"`devices` must be a tuple of one or more kinds of device; got \(\)"),
        ({"arrays": ()}, r"`arrays` must hold at least one adapter; got \(\)"),
        ({"arrays": object()}, r"`arrays` must have `autograd`, `device`, `from_numpy`, .*; got <object"),
        (
            {"arrays": NumpyArrays},
            r"`arrays` must be an adapter, NumpyArrays\(…\), not its class; got <class",
        ),
        ({"ops": [nothing]}, r"`ops` must map names of operators to Ops; got \["),
        ({"ops": {"scan": Op(nothing, dtypes=("float32",))}}, r"`ops` may name .*; got 'scan'"),
        ({"withheld": ["ssd"]}, r"`withheld` must map names of operators to reasons; got \['ssd'\]"),
        ({"withheld": {"scan": "why"}}, r"`withheld` may name .*; got 'scan'"),
        ({"withheld": {"ssd": ""}}, r"`withheld\['ssd'\]` must say why, in a non-empty string; got ''"),
        (
            {"withheld": {"selective_scan": "why"}},
            r"`withheld` may not name what is in `ops`; got 'selective_scan' in both",
        ),
        (
            {"ops": {"selective_scan": nothing}},
            r"`ops\['selective_scan'\]` must be an Op or a tuple of Ops; got function",
        ),
    ],
)
def test_a_backend_that_breaks_the_contract_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        replace(backend(), **change)


def test_what_is_claimed_by_default_is_the_least() -> None:
    op, operator = backend().implementations("selective_scan")[0], OPERATORS["selective_scan"]
    assert op.differentiable(operator) == ()
    assert op.takes_cotangents(operator) == ("y", "last_state")
    assert op.memory_class("forward") == op.memory_class("backward") == "materialised"
    assert not op.is_deterministic("forward")
    assert backend().implementations("hippo_legs") == ()


def test_gradients_that_nothing_takes_are_no_claim() -> None:
    with pytest.raises(ContractError, match=r"^`gradients` of selective_scan must be \(\) where .* no `vjp`"):
        backend(gradients=("u",), vjp=None)
    assert backend(vjp=None).implementations("selective_scan")


def test_names_stand_in_the_operator_s_order() -> None:
    operator = OPERATORS["selective_scan"]
    op = backend(gradients=("A", "u"), cotangents=("last_state", "y")).implementations("selective_scan")[0]
    assert op.differentiable(operator) == ("u", "A")
    assert op.takes_cotangents(operator) == ("y", "last_state")
    (of_y,) = backend(cotangents=("y",)).implementations("selective_scan")
    assert of_y.takes_cotangents(operator) == ("y",)
    everything = backend(gradients="all").implementations("selective_scan")[0]
    assert everything.differentiable(operator) == operator.differentiable


def test_a_pass_has_the_claim_of_both_or_its_own() -> None:
    (both,) = backend(deterministic=True, memory="fused").implementations("selective_scan")
    assert both.is_deterministic("forward") is both.is_deterministic("backward") is True
    assert both.memory_class("forward") == both.memory_class("backward") == "fused"
    by_pass = {"deterministic": {"forward": False, "backward": True},
               "memory": {"forward": "fused", "backward": "materialised"}}  # fmt: skip
    (each,) = backend(**by_pass).implementations("selective_scan")
    assert (each.is_deterministic("forward"), each.is_deterministic("backward")) == (False, True)
    assert (each.memory_class("forward"), each.memory_class("backward")) == ("fused", "materialised")


@pytest.mark.parametrize("claims", GOOD, ids=lambda claims: " ".join(claims) or "nothing")
def test_claims_survive_json(claims: dict[str, Any]) -> None:
    whole = backend(**claims)
    data = json.loads(json.dumps(claims_as_data(whole)))
    (read,) = claims_from_data(data)["selective_scan"]
    assert claims_as_data(replace(whole, ops={"selective_scan": read})) == data
    assert (data["name"], data["version"], data["contract"], data["arrays"]) == ("acme", "0.3", 1, ["numpy"])
    with pytest.raises(RuntimeError, match="plugin's own process"):
        read.fn()


def test_a_backend_may_take_arrays_of_several_libraries() -> None:
    both = replace(backend(), arrays=(NumpyArrays(), TorchArrays()))
    assert [adapter.name for adapter in both.adapters] == ["numpy", "torch"]
