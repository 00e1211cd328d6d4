"""The one line for every operator and every library: right results pass, each mistake is told by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_backends import OPERATORS, ArgumentError
from ssm_conformance import ConformanceError, assert_conforms
from tests.spec.sample_calls import Call, sample_calls

CALLS = sample_calls()
LONG = sample_calls(L=70)
RETURNS = {
    name: output.when for name, operator in OPERATORS.items() for output in operator.outputs if output.when
}
"""The flag of the operators whose call says which outputs it returns."""


def rounded(x: Any) -> Any:
    return np.asarray(x).astype(np.complex64 if np.iscomplexobj(x) else np.float32)


def answers(op: str, call: Call) -> dict[str, Any]:
    """Every output, rounded to single precision."""
    found = ssm_spec.REFERENCES[op].bounds(arithmetic=ssm_spec.ORACLE, **call)
    return {name: rounded(bounded.value) for name, bounded in found.items()}


@pytest.mark.parametrize("op", CALLS)
def test_every_operator_takes_arrays_tuples_mappings_and_gradients(op: str) -> None:
    call = CALLS[op]
    right = answers(op, call)
    assert_conforms(op, right, **call)
    flag = {RETURNS[op]: True} if op in RETURNS else {}
    assert_conforms(op, tuple(right.values()) if len(right) > 1 else right.popitem()[1], **call, **flag)
    first, value = next(iter(answers(op, call).items()))
    assert_conforms(op, {first: value}, **call)
    with pytest.raises(ConformanceError, match=rf"{op} does not conform\n  {first}\["):
        assert_conforms(op, {first: value + 1}, **call)
    reference = ssm_spec.REFERENCES[op]
    if reference.vjp is None:
        with pytest.raises(ArgumentError, match="`gradients` must be None"):
            assert_conforms(op, {first: value}, gradients={"n": value}, cotangents={}, **call)
        return
    cotangents = {name: np.ones_like(x) for name, x in answers(op, call).items()}
    slopes = {name: rounded(x) for name, x in reference.vjp(cotangents, **call).items()}
    assert_conforms(op, {first: value}, gradients=slopes, cotangents=cotangents, **call)
    name, slope = next(iter(slopes.items()))
    with pytest.raises(ConformanceError, match=f"gradient of {name}") as caught:
        assert_conforms(op, {first: value}, gradients={name: -slope}, cotangents=cotangents, **call)
    assert f"likely mistake: the gradient of {name} has the opposite sign" in str(caught.value)


def test_an_angle_is_judged_modulo_a_turn() -> None:
    call = CALLS["mamba3_siso"]
    found = ssm_spec.REFERENCES["mamba3_siso"].bounds(arithmetic=ssm_spec.ORACLE, **call)
    angle = found["angle_state"].value
    assert_conforms("mamba3_siso", {"angle_state": angle + 2 * np.pi}, **call)
    with pytest.raises(ConformanceError, match="angle_state"):
        assert_conforms("mamba3_siso", {"angle_state": angle + np.pi}, **call)


def test_torch_strided_and_with_gradients_pending() -> None:
    torch = pytest.importorskip("torch")
    call = CALLS["ssd"]
    right = answers("ssd", call)["y"]
    leaves = {
        name: torch.tensor(x, requires_grad=x.dtype.kind == "f") if isinstance(x, np.ndarray) else x
        for name, x in call.items()
    }
    strided = torch.tensor(np.repeat(right, 2, axis=-1), requires_grad=True)[..., ::2]
    assert_conforms("ssd", strided, **leaves)
    narrow = {
        name: x.detach().bfloat16() if name in ("x", "B", "C", "z") else x for name, x in leaves.items()
    }
    exact = {name: x.detach().double().numpy() if torch.is_tensor(x) and x.is_floating_point() else x
             for name, x in narrow.items()}  # fmt: skip
    exact["seq_idx"] = call["seq_idx"]
    y = torch.tensor(ssm_spec.ssd(**exact)).bfloat16()
    assert_conforms("ssd", y, **narrow)
    with pytest.raises(ConformanceError):
        assert_conforms("ssd", y * 1.02, **narrow)


def test_jax_bfloat16_too() -> None:
    jnp = pytest.importorskip("jax.numpy")
    call = CALLS["causal_conv1d"]
    arrays = {name: jnp.asarray(x) if isinstance(x, np.ndarray) else x for name, x in call.items()}
    assert_conforms("causal_conv1d", jnp.asarray(answers("causal_conv1d", call)["y"]), **arrays)
    narrow = arrays | {name: arrays[name].astype(jnp.bfloat16) for name in ("x", "weight", "bias")}
    exact = {name: np.asarray(x, dtype=np.float64) if name in ("x", "weight", "bias") else call[name]
             for name, x in narrow.items()}  # fmt: skip
    y = jnp.asarray(ssm_spec.causal_conv1d(**exact)).astype(jnp.bfloat16)
    assert_conforms("causal_conv1d", y, **narrow)
    with pytest.raises(ConformanceError):
        assert_conforms("causal_conv1d", y + 1, **narrow)


class OnlyDlpack:
    """An array that offers shape, dtype and the exchange protocol alone."""

    def __init__(self, array: Any) -> None:
        self._array, self.shape, self.dtype = array, array.shape, array.dtype

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


def test_anything_with_dlpack() -> None:
    call = CALLS["s4d"]
    wrapped = {name: OnlyDlpack(x) for name, x in call.items()}
    assert_conforms("s4d", OnlyDlpack(answers("s4d", call)["y"]), **wrapped)


def by(change: dict[str, Any]) -> Callable[[str, Call], Any]:
    """The first output of another call."""

    def wrong(op: str, call: Call) -> Any:
        changed = {name: x(call) if callable(x) else x for name, x in change.items()}
        return next(iter(answers(op, {k: v for k, v in (call | changed).items() if v is not None}).values()))

    return wrong


def moved(op: str, call: Call) -> Any:
    y = next(iter(answers(op, call).values()))
    axis = 1 if op in ("ssd", "mamba_block", "mamba3_siso") else -1
    late = np.roll(y, 1, axis=axis)
    np.moveaxis(late, axis, 0)[0] = 0
    return late


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def gated(op: str, call: Call) -> Any:
    return by({"z": None})(op, call) * sigmoid(call["z"])


def added_late(op: str, call: Call) -> Any:
    bare, whole = by({"z": None, "D": None})(op, call), by({"z": None})(op, call)
    return bare * call["z"] * sigmoid(call["z"]) + (whole - bare)


def tiled(name: str, axis: int, count: int) -> Callable[[Call], Any]:
    return lambda call: np.take(call[name], np.arange(count) % call[name].shape[axis], axis=axis)


def restarted(call: Call) -> Any:
    """Sequences as they are, and a new one every 32 steps too."""
    ids = call["seq_idx"]
    new = (np.diff(ids, axis=1, prepend=ids[:, :1]) != 0) | (np.arange(ids.shape[1]) % 32 == 0)
    return np.cumsum(new, axis=1)


SLIPS: dict[str, tuple[str, Callable[[str, Call], Any]]] = {
    "`D` is ignored": ("ssd", by({"D": None})),
    "`D` is ignored, in s4d": ("s4d", by({"D": None})),
    "`initial_state` is ignored": ("lssl", by({"initial_state": None})),
    "`bias` is ignored": ("causal_conv1d", by({"bias": None})),
    "`activation` is ignored": ("causal_conv1d", by({"activation": None})),
    "`z` is ignored": ("mamba3_siso", by({"z": None})),
    "softplus is not applied to dt": ("ssd", by({"dt_softplus": False})),
    "y is one step late": ("ssd", moved),
    "y is one step late, in h3": ("h3", moved),
    "is discretised by the rule 'bilinear'": ("s5", by({"discretization": "bilinear"})),
    "is discretised by the rule 'zoh'": ("selective_scan", by({"b_discretization": "zoh"})),
    "is discretised by the rule 1.0": ("discretize_bilinear", by({"alpha": 1.0})),
    "the other half of each conjugate pair": ("s5", by({"C": lambda call: call["C"] / 2})),
    "`C` is conjugated": ("s4d", by({"C": lambda call: call["C"].conj()})),
    "groups are repeated": ("mamba3_siso", by({"q": tiled("q", 2, 4), "k": tiled("k", 2, 4)})),
    "groups are repeated, in ssd": ("ssd", by({"B": tiled("B", 2, 4), "C": tiled("C", 2, 4)})),
    "not carried from one chunk of 32": ("ssd", by({"seq_idx": restarted})),
    "not carried from one chunk of 32, in a scan": ("selective_scan", by({"seq_idx": restarted})),
    "the gate is sigmoid": ("selective_scan", gated),
    "the term of `D` is added after the gate": ("ssd", added_late),
    "the sign of `A` is lost": ("impulse_response", by({"A": lambda call: -call["A"]})),
}


@pytest.mark.parametrize("mistake", SLIPS)
def test_the_likely_mistake_is_named(mistake: str) -> None:
    op, wrong = SLIPS[mistake]
    call = LONG[op]
    name = ssm_spec.REFERENCES[op].outputs[0]
    with pytest.raises(ConformanceError) as caught:
        assert_conforms(op, {name: wrong(op, call)}, **call)
    assert f"{mistake.split(', in')[0]}" in str(caught.value).splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"op": "nonsense", "actual": np.ones(2)}, "`op` must be one of"),
        (
            {"op": "s4d_lin", "actual": (np.ones(2),), "n": 4},
            r"`actual` must hold the outputs \(Lambda, B\); got 1",
        ),
        (
            {"op": "s4d_lin", "actual": {"Q": np.ones(2)}, "n": 4},
            "`actual` must name outputs of s4d_lin",
        ),
        ({"op": "s4d_lin", "actual": None, "n": 4}, "`actual` must hold arrays; got NoneType"),
    ],
)
def test_what_cannot_be_judged_is_said(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        assert_conforms(**arguments)


READ = ("actual", "gradients", "cotangents")


@pytest.mark.parametrize(
    ("kind", "place"),
    [("meta", "inputs"), *((kind, place) for kind in ("meta", "sparse") for place in READ)],
)
def test_an_array_whose_numbers_cannot_be_read_is_told_by_name(kind: str, place: str) -> None:
    torch = pytest.importorskip("torch")
    ones = torch.ones(1, 1, 4)
    unreadable = ones.to("meta") if kind == "meta" else ones.to_sparse()
    call = {
        "u": unreadable if place == "inputs" else ones,
        "K": unreadable[0] if place == "inputs" else torch.ones(1, 2),
    }
    gradients = {"u": unreadable if place == "gradients" else torch.tensor([[[2.0, 2.0, 2.0, 1.0]]])}
    cotangents = {"y": unreadable if place == "cotangents" else ones}
    actual = unreadable if place == "actual" else torch.tensor([[[1.0, 2.0, 2.0, 2.0]]])
    argument, which = (
        ("u", "") if place == "inputs" else (place, f" for {'u' if place == 'gradients' else 'y'}")
    )
    device = "meta" if kind == "meta" else "cpu"
    with pytest.raises(
        ArgumentError,
        match=f"`{argument}` must hold numbers that can be read; got Tensor on {device}{which}: ",
    ):
        assert_conforms("causal_convolution", actual, gradients=gradients, cotangents=cotangents, **call)
