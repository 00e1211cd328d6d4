"""causal-conv1d's functions: its signatures, its states, and results within the derived bound."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import ssm_backends
from ssm_backends import (
    ArgumentError,
    DeviceError,
    DTypeError,
    FallbackWarning,
    NotSupportedError,
    ShapeError,
    mamba_ssm,
    use,
)
from ssm_backends.front import calling
from ssm_conformance import assert_conforms

from .mamba_calls import randn

SIGNATURES = {
    "causal_conv1d_fn": (
        "x weight bias seq_idx initial_states return_final_states final_states_out activation"
    ),
    "causal_conv1d_update": "x conv_state weight bias activation cache_seqlens conv_state_indices",
}
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
B, D, L, W = 3, 5, 9, 4


@pytest.fixture(autouse=True)
def plain() -> Any:
    with use("torch"):
        yield


def inputs_of(dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    return {
        "x": randn(B, D, L, dtype=dtype),
        "weight": randn(D, W, seed=1, dtype=dtype),
        "bias": randn(D, seed=2, dtype=dtype),
        "activation": "silu",
    }


def step_of(dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """One step of three rows whose states, of one input more than is read, are slots of a pool."""
    return inputs_of(dtype) | {
        "x": randn(B, D, seed=3, dtype=dtype),
        "conv_state": randn(7, D, W, seed=4, dtype=dtype),
        "conv_state_indices": torch.tensor([6, -1, 2], dtype=torch.int32),
    }


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_those_of_causal_conv1d(name: str) -> None:
    assert " ".join(inspect.signature(getattr(mamba_ssm, name)).parameters) == SIGNATURES[name]
    assert name in mamba_ssm.__all__


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("packed", [False, True])
def test_the_convolution_is_within_its_bound(dtype: torch.dtype, packed: bool) -> None:
    given = inputs_of(dtype)
    state = randn(B, D, W - 1, seed=5, dtype=dtype)
    seq_idx = torch.tensor([[0] * 4 + [1] * 5, [0] * 8 + [3], [2] * 9], dtype=torch.int32) if packed else None
    leaves = {name: x.clone().requires_grad_() for name, x in given.items() if name != "activation"}
    leaf = state.clone().requires_grad_()
    y, last = mamba_ssm.causal_conv1d_fn(
        **leaves, seq_idx=seq_idx, initial_states=leaf, return_final_states=True, activation="silu"
    )
    assert y.dtype == last.dtype == dtype
    r, r_last = randn(*y.shape, seed=8, dtype=dtype), randn(*last.shape, seed=9, dtype=dtype)
    found = torch.autograd.grad((y, last), list(leaves.values()), (r, r_last))
    compute = torch.promote_types(dtype, torch.float32)
    assert_conforms(
        "causal_conv1d",
        (y.detach(), last.detach().to(compute)),
        gradients=dict(zip(leaves, found, strict=True)),
        cotangents={"y": r, "last_state": r_last.to(compute)},
        **given,
        initial_state=state.to(compute),
        return_last_state=True,
        **({"seq_idx": seq_idx} if packed else {}),
    )


def test_steps_that_fill_up_are_zero_and_give_no_gradient() -> None:
    given = inputs_of()
    x = given.pop("x").requires_grad_()
    packed = torch.tensor([[0] * 4 + [1] * 3 + [-1] * 2, [2] * 9, [3] * 8 + [-1]], dtype=torch.int32)
    y = mamba_ssm.causal_conv1d_fn(x, **given, seq_idx=packed)
    filled = (packed < 0).unsqueeze(1).expand_as(y)
    assert torch.equal(y[~filled], ssm_backends.causal_conv1d(x, **given, seq_idx=packed)[~filled])
    assert not y[filled].any()
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert not dx[filled].any()


@pytest.mark.parametrize("length", [1, 2, L])
def test_final_states_are_the_last_inputs_and_are_written_where_they_are_wanted(length: int) -> None:
    given = inputs_of(torch.bfloat16)
    x = given.pop("x")[..., :length].mT.contiguous().mT  # channel-last
    state, room = randn(B, D, W - 1, seed=5, dtype=torch.bfloat16), torch.full((B, W - 1, D), float("nan"))
    out = room.bfloat16().mT
    y, last = mamba_ssm.causal_conv1d_fn(
        x, **given, initial_states=state, return_final_states=True, final_states_out=out
    )
    assert last is out
    assert torch.equal(out, torch.cat([state, x], -1)[..., length:])
    assert torch.equal(y, mamba_ssm.causal_conv1d_fn(x.contiguous(), **given, initial_states=state))


def test_room_for_states_serves_every_step_of_a_training() -> None:
    given, state = inputs_of(), randn(B, D, W - 1, seed=5)
    x, out = given.pop("x").requires_grad_(), torch.full((B, D, W - 1), float("nan"))
    wanted = None
    for _ in range(2):
        y, last = mamba_ssm.causal_conv1d_fn(
            x, **given, initial_states=state, return_final_states=True, final_states_out=out
        )
        assert not out.requires_grad
        assert torch.equal(out, last)
        out.fill_(float("nan"))  # which the gradient does not read
        (dx,) = torch.autograd.grad(y.sum() + (last * last).sum(), x)
        wanted = dx if wanted is None else wanted
        assert torch.equal(dx, wanted)
        assert dx.isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kept", [W - 1, W, L + W])
@pytest.mark.parametrize("ring", [False, True])
def test_steps_go_on_where_the_convolution_ended(dtype: torch.dtype, kept: int, ring: bool) -> None:
    given = inputs_of(dtype)
    x = given.pop("x")
    whole = mamba_ssm.causal_conv1d_fn(x, **given)
    state, found, begun = torch.zeros(B, D, kept, dtype=dtype), [], 0
    for steps in (1, 3, 1, 4):  # of which the last may be more than are kept
        part = x[..., begun : begun + steps]
        times = torch.full((B,), begun, dtype=torch.int32) if ring else None
        part = part[..., 0] if steps == 1 else part
        y = mamba_ssm.causal_conv1d_update(part, state, **given, cache_seqlens=times)
        assert y.shape == part.shape
        found.append(y.reshape(B, D, steps))
        begun += steps
    assert_conforms("causal_conv1d", torch.cat(found, -1), x=x, **given)
    assert_conforms("causal_conv1d", whole, x=x, **given)
    past = torch.cat([torch.zeros(B, D, kept, dtype=dtype), x], -1)[..., L:]
    times = torch.arange(L - kept, L) % kept
    assert torch.equal(state[..., times] if ring else state, past)


def test_rows_of_a_ring_may_be_of_any_age() -> None:
    given = inputs_of()
    x, ages = given.pop("x"), torch.tensor([8, 3, 0])
    ring = torch.zeros(B, D, W + 1)
    for row, age in enumerate(ages.tolist()):
        for t in range(age):
            ring[row, :, t % (W + 1)] = x[row, :, t]
    now = torch.stack([x[row, :, age] for row, age in enumerate(ages.tolist())])
    y = mamba_ssm.causal_conv1d_update(now, ring, **given, cache_seqlens=ages)
    for row, age in enumerate(ages.tolist()):
        state = torch.nn.functional.pad(x, (W - 1, 0))[row : row + 1, :, age : age + W - 1]
        found = {"y": y[row : row + 1]}
        assert_conforms("causal_conv1d_update", found, **given, x=now[row : row + 1], state=state)
        assert torch.equal(ring[row, :, age % (W + 1)], now[row])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ring", [False, True])
def test_a_step_writes_the_slots_of_its_rows_and_no_other(dtype: torch.dtype, ring: bool) -> None:
    given = step_of(dtype)
    times = torch.tensor([5, 1, 2]) if ring else None
    before, slots = given["conv_state"].clone(), given["conv_state_indices"].long()
    given["x"][1] = float("nan")  # of a skipped row
    y = mamba_ssm.causal_conv1d_update(**given, cache_seqlens=times)
    assert torch.equal(y[1], torch.zeros_like(y[1]))
    assert torch.equal(given["conv_state"][[0, 1, 3, 4, 5]], before[[0, 1, 3, 4, 5]])
    served = torch.tensor([0, 2])
    alone = before[slots[served]]
    rows = given | {"conv_state_indices": None, "x": given["x"][served], "conv_state": alone}
    wanted = mamba_ssm.causal_conv1d_update(**rows, cache_seqlens=times[served] if ring else None)
    assert torch.equal(y[served], wanted)
    assert torch.equal(given["conv_state"][slots[served]], alone)
    assert not torch.equal(alone, before[slots[served]])


@pytest.mark.parametrize("sizes", ["fake", "symbolic"])
def test_a_step_is_recorded_without_a_look_at_its_slots(sizes: str) -> None:
    """Nor is what an open size is remembered by: it has no hash."""
    given = step_of()
    activation, names = given.pop("activation"), list(given)

    def stepped(*tensors: Tensor) -> Tensor:
        rows = dict(zip(names, tensors, strict=True))
        return mamba_ssm.causal_conv1d_update(**rows, activation=activation)

    found, expected = ([x.clone() for x in given.values()] for _ in range(2))
    others = given | {"conv_state_indices": torch.arange(B)}
    recorded = make_fx(stepped, tracing_mode=sizes)(*others.values())
    assert torch.equal(recorded(*found), stepped(*expected))
    assert all(map(torch.equal, found, expected))


def test_where_every_row_is_skipped_nothing_is_written() -> None:
    given = step_of() | {"conv_state_indices": torch.full((B,), -1)}
    before = given["conv_state"].clone()
    assert not mamba_ssm.causal_conv1d_update(**given).any()
    assert torch.equal(given["conv_state"], before)


@pytest.mark.parametrize("ring", [False, True])
@pytest.mark.parametrize(("rows", "slots"), [(0, 7), (0, 0), (3, 0)])
def test_no_rows_and_no_slots_are_a_call_too(rows: int, slots: int, ring: bool) -> None:
    given = step_of() | ({"cache_seqlens": torch.zeros(rows).int()} if ring else {})
    given |= {"x": given["x"][:rows], "conv_state": given["conv_state"][:slots]}
    given["conv_state_indices"] = torch.full((rows,), -1)
    assert torch.equal(mamba_ssm.causal_conv1d_update(**given), torch.zeros(rows, D))


@pytest.mark.parametrize(
    ("name", "given", "error"),
    [("activation", "relu", ArgumentError), ("weight", randn(D, W).double(), DTypeError)],
)
@pytest.mark.parametrize(("rows", "slots"), [(0, 7), (0, 0), (3, 0)])
def test_what_no_row_can_be_served_with_is_refused(
    rows: int, slots: int, name: str, given: Any, error: type[Exception]
) -> None:
    inputs = step_of() | {"conv_state_indices": torch.full((rows,), -1), name: given}
    inputs |= {"x": inputs["x"][:rows], "conv_state": inputs["conv_state"][:slots]}
    with pytest.raises(error, match=f"^`{name}` must "):
        mamba_ssm.causal_conv1d_update(**inputs)


@pytest.mark.parametrize(
    ("name", "given", "error", "message"),
    [
        ("x", None, DTypeError, "`x` must be a PyTorch tensor; got None"),
        ("x", randn(B, D), ShapeError, r"`x` must have shape \(b, d, l\); got \(3, 5\)"),
        ("weight", randn(D, 1, W), ShapeError, r"`weight` must have shape \(d, v\+1\)"),
        ("weight", randn(D, W).double(), DTypeError, "`weight` must have dtype float32"),
        ("bias", randn(D + 1), ShapeError, r"`bias` must have shape \(d,\) with d = 5"),
        ("seq_idx", torch.zeros(B, L), DTypeError, "`seq_idx` must have dtype int32"),
        ("initial_states", randn(B, D, W), ShapeError, r"`initial_states` must have shape \(b, d, v\)"),
        ("initial_states", randn(B, D, W - 1).half(), DTypeError, "`initial_states` must have the dtype of"),
        ("final_states_out", randn(B, D, W), ShapeError, r"`final_states_out` must have shape \(b, d, v\)"),
        ("final_states_out", randn(B, D, 3).half(), DTypeError, "`final_states_out` must have the dtype of"),
        ("final_states_out", randn(B, D, 3).to("meta"), DeviceError, "`final_states_out` must be on the"),
        ("final_states_out", randn(B, D, 1).expand(B, D, 3), ArgumentError, "`final_states_out` must have"),
        (
            "final_states_out",
            randn(B, D, 3).requires_grad_(),
            ArgumentError,
            "`final_states_out` must not",
        ),
        ("return_final_states", "yes", DTypeError, "`return_final_states` must be True or False"),
        ("activation", "gelu", ArgumentError, "`activation` must be"),
    ],
)
def test_bad_use_of_the_convolution_is_told_in_its_own_names(
    name: str, given: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}"):
        mamba_ssm.causal_conv1d_fn(**inputs_of() | {"return_final_states": True, name: given})


def test_room_for_states_that_are_not_wanted_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"^`final_states_out` must be given with return_final_st"):
        mamba_ssm.causal_conv1d_fn(**inputs_of(), final_states_out=randn(B, D, W - 1))


@pytest.mark.parametrize(
    ("name", "given", "error", "message"),
    [
        ("x", randn(B), ShapeError, r"`x` must have shape \(b, d\) or \(b, d, l\); got \(3,\)"),
        ("x", randn(B, D).half(), DTypeError, "`conv_state` must have the dtype of `x`, torch.float16"),
        ("conv_state", randn(7, D, 2), ShapeError, "`conv_state` must keep at least 3 inputs, for 4 taps"),
        ("conv_state", randn(7, 1, W).expand(7, D, W), ArgumentError, "`conv_state` must have a place in"),
        ("weight", randn(D, W, 1), ShapeError, r"`weight` must have shape \(d, w\)"),
        ("bias", 1.0, DTypeError, "`bias` must be a PyTorch tensor; got builtins.float"),
        ("activation", "relu", ArgumentError, "`activation` must be"),
        ("cache_seqlens", torch.ones(B), DTypeError, "`cache_seqlens` must have dtype int32 or int64; got"),
        ("cache_seqlens", torch.ones(2).int(), ShapeError, r"`cache_seqlens` must have shape \(b,\) with"),
        ("conv_state_indices", torch.tensor([7, 0, 1]), ArgumentError, "`conv_state_indices` must lie in"),
        ("conv_state_indices", torch.tensor([1, 0, 1]), ArgumentError, "`conv_state_indices` must name each"),
        ("conv_state_indices", torch.ones(B), DTypeError, "`conv_state_indices` must have dtype int32 or"),
        ("conv_state_indices", None, ShapeError, r"`conv_state` must have shape \(b, d, k\) with b = 3"),
        (
            "conv_state_indices", torch.ones(B).int().to("meta"), DeviceError,
            "`conv_state_indices` must be on the device of `x`, cpu; got meta",
        ),
    ],
)  # fmt: skip
def test_bad_use_of_the_step_is_told_in_its_own_names(
    name: str, given: Any, error: type[Exception], message: str
) -> None:
    inputs = step_of()
    before = inputs["conv_state"].clone()
    with pytest.raises(error, match=f"^{message}"):
        mamba_ssm.causal_conv1d_update(**inputs | {name: given})
    assert torch.equal(inputs["conv_state"], before)


def test_a_ring_has_a_place_for_the_input_itself() -> None:
    with pytest.raises(ShapeError, match=r"^`conv_state` must keep at least 1 inputs, for 1 taps in a ring"):
        mamba_ssm.causal_conv1d_update(
            randn(B, D), randn(B, D, 0), randn(D, 1), cache_seqlens=torch.zeros(B).int()
        )
    y = mamba_ssm.causal_conv1d_update(randn(B, D), randn(B, D, 0), torch.ones(D, 1))
    assert torch.equal(y, randn(B, D))
    ring = randn(B, D, 1, seed=1)
    before, x = ring[..., 0].clone(), randn(B, D)
    y = mamba_ssm.causal_conv1d_update(x, ring, torch.ones(D, 2), cache_seqlens=torch.arange(B).int())
    torch.testing.assert_close(y, before + x)
    assert torch.equal(ring[..., 0], x)


def test_a_line_of_one_step_is_a_step() -> None:
    given, other = step_of(), step_of()
    y = mamba_ssm.causal_conv1d_update(**given)
    line = mamba_ssm.causal_conv1d_update(**other | {"x": other["x"][..., None]})
    assert torch.equal(line, y[..., None])
    assert torch.equal(given["conv_state"], other["conv_state"])


@pytest.mark.parametrize("more", [{"cache_seqlens": torch.zeros(B).int()}, {"x": randn(B, D, 2)}])
@pytest.mark.parametrize("slot", [7, -2, 6])
def test_slots_of_a_ring_and_of_several_steps_are_looked_at_too(more: dict[str, Any], slot: int) -> None:
    given = step_of() | {"conv_state_indices": torch.tensor([6, -1, slot])}
    before = given["conv_state"].clone()
    with pytest.raises(ArgumentError, match=r"^`conv_state_indices` must "):
        mamba_ssm.causal_conv1d_update(**given | more)
    assert torch.equal(given["conv_state"], before)


def test_a_step_that_is_to_have_a_gradient_says_how_to_ask_for_none() -> None:
    inputs = step_of()
    inputs["weight"].requires_grad_()
    message = r"no gradient in `weight` \(none is asked for under torch\.no_grad\(\)\)$"
    with pytest.raises(NotSupportedError, match=message):
        mamba_ssm.causal_conv1d_update(**inputs)
    with torch.no_grad():
        mamba_ssm.causal_conv1d_update(**inputs)


@pytest.mark.parametrize("name", SIGNATURES)
@pytest.mark.parametrize("more", [False, True])
def test_a_drop_in_is_one_graph(name: str, more: bool) -> None:
    given = inputs_of() if name == "causal_conv1d_fn" else step_of()
    if more:
        states = {"initial_states": randn(B, D, 3), "return_final_states": True}
        given |= states if name == "causal_conv1d_fn" else {"cache_seqlens": torch.tensor([5, 1, 2])}
    torch._dynamo.reset()
    calling._TRACED.__dict__.clear()
    again = {key: x.clone() if isinstance(x, torch.Tensor) else x for key, x in given.items()}
    function = getattr(mamba_ssm, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        found = torch.compile(function, fullgraph=True, backend="eager")(**given)
    wanted = function(**again)
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)
    if name == "causal_conv1d_update":
        assert torch.equal(given["conv_state"], again["conv_state"])


def test_the_functions_of_the_front_door_keep_their_names() -> None:
    """`ssm_backends.causal_conv1d` is an operator, not a package that shadows it."""
    assert callable(ssm_backends.causal_conv1d)
    assert callable(ssm_backends.causal_conv1d_update)
