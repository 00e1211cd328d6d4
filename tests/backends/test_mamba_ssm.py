"""mamba-ssm's functions: its conventions, and results within the derived bound."""

from __future__ import annotations

import re
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch

import ssm_backends
import ssm_spec
from ssm_backends import (
    ArgumentError,
    DTypeError,
    ShapeError,
    mamba_ssm,
    use,
)
from ssm_backends.mamba_ssm._heads import is_one_row
from ssm_conformance import assert_conforms

from .mamba_calls import inner_inputs, randn


@pytest.fixture(autouse=True)
def plain() -> Any:
    with use("torch"):
        yield


@pytest.mark.parametrize("function", [mamba_ssm.selective_scan_fn, mamba_ssm.selective_scan_ref])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_scan_is_within_its_bound(function: Any, dtype: torch.dtype) -> None:
    b, d, l, n, g = 2, 4, 19, 3, 2
    streams = {
        "u": randn(b, d, l, dtype=dtype),
        "delta": randn(b, d, l, seed=1, dtype=dtype),
        "B": randn(b, g, n, l, seed=2, dtype=dtype),
        "C": randn(b, n, l, seed=3, dtype=dtype),
        "z": randn(b, d, l, seed=4, dtype=dtype),
    }
    given = streams | {"A": -randn(d, n, seed=5).abs(), "D": randn(d, seed=6), "delta_bias": randn(d, seed=7)}
    leaves = {name: x.clone().requires_grad_() for name, x in given.items()}
    y, last = function(**leaves, delta_softplus=True, return_last_state=True)
    r, r_last = randn(*y.shape, seed=8, dtype=dtype), randn(*last.shape, seed=9)
    found = torch.autograd.grad((y, last), list(leaves.values()), (r, r_last))
    assert_conforms(
        "selective_scan",
        (y.detach(), last.detach()),
        gradients=dict(zip(leaves, found, strict=True)),
        cotangents={"y": r, "last_state": r_last},
        **given,
        delta_softplus=True,
        return_last_state=True,
    )


def test_complex_matrices_may_be_interleaved_reals() -> None:
    b, d, l, n = 2, 4, 7, 3
    u, delta = randn(b, d, l), randn(b, d, l, seed=1).abs()
    A = torch.complex(-randn(d, n, seed=2).abs(), randn(d, n, seed=3))
    B, C = (randn(b, 2, n, 2 * l, seed=seed).requires_grad_() for seed in (4, 5))
    y, last = mamba_ssm.selective_scan_fn(u, delta, A, B, C, return_last_state=True)
    assert last.dtype == torch.complex64
    as_complex = [torch.complex(x[..., ::2], x[..., 1::2]).detach().requires_grad_() for x in (B, C)]
    assert torch.equal(y, ssm_backends.selective_scan(u, delta, A, *as_complex))
    r = randn(b, d, l, seed=6)
    y.backward(r)
    ssm_backends.selective_scan(u, delta, A, *as_complex).backward(r)
    for interleaved, whole in zip((B, C), as_complex, strict=True):
        assert interleaved.grad is not None
        assert whole.grad is not None
        assert torch.equal(interleaved.grad, torch.view_as_real(whole.grad).flatten(-2))


def step_inputs(dtype: torch.dtype) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    b, h, p, n, g = 3, 4, 5, 6, 2
    inputs = {
        "x": randn(b, h, p, dtype=dtype),
        "dt": randn(b, h, 1, seed=1, dtype=dtype).expand(b, h, p),
        "A": (-randn(h, 1, 1, seed=2).abs()).expand(h, p, n),
        "B": randn(b, g, n, seed=3),
        "C": randn(b, g, n, seed=4),
        "D": randn(h, 1, seed=5).expand(h, p),
        "z": randn(b, h, p, seed=6, dtype=dtype),
        "dt_bias": randn(h, 1, seed=7).expand(h, p),
    }
    return inputs, randn(7, h, p, n, seed=8, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_step_with_heads_writes_the_state_and_no_other_slot(dtype: torch.dtype) -> None:
    inputs, pool = step_inputs(dtype)
    slots, before = torch.tensor([6, -1, 2], dtype=torch.int32), pool.clone()
    y = mamba_ssm.selective_state_update(pool, **inputs, dt_softplus=True, state_batch_indices=slots)
    assert y.dtype == dtype
    assert torch.equal(y[1], torch.zeros_like(y[1]))
    untouched = [0, 1, 3, 4, 5]
    assert torch.equal(pool[untouched], before[untouched])

    def flat(x: torch.Tensor, first: int) -> torch.Tensor:
        return x.flatten(first, first + 1)

    names = {"x": "u", "dt": "delta", "dt_bias": "delta_bias"}
    call = {
        names.get(k, k): x if k in "BC" else flat(x, int(k in ("x", "dt", "z"))) for k, x in inputs.items()
    }
    assert_conforms(
        "selective_state_update",
        (flat(y, 1), flat(pool, 1)),
        state=flat(before, 1),
        **call,
        delta_softplus=True,
        state_indices=slots,
    )


def test_rows_without_heads_and_the_reference() -> None:
    b, d, n = 3, 5, 4
    state, x, dt = randn(b, d, n), randn(b, d, seed=1), randn(b, d, seed=2)
    A, B, C = -randn(d, n, seed=3).abs(), randn(b, n, seed=4), randn(b, n, seed=5)
    other = state.clone()
    y = mamba_ssm.selective_state_update(state, x, dt, A, B, C, dt_softplus=True)
    assert torch.equal(y, mamba_ssm.selective_state_update_ref(other, x, dt, A, B, C, dt_softplus=True))
    assert torch.equal(state, other)


def test_heads_that_no_stride_joins_are_written_too() -> None:
    inputs, pool = step_inputs(torch.float32)
    pool = pool[:3]
    awkward = pool.transpose(1, 2).contiguous().transpose(1, 2)
    assert not awkward.is_contiguous()
    y = mamba_ssm.selective_state_update(pool, **inputs)
    assert torch.equal(mamba_ssm.selective_state_update(awkward, **inputs), y)
    assert torch.equal(awkward, pool)


@pytest.mark.parametrize(("h", "p"), [(1, 4), (4, 1), (1, 1), (2, 3)])
@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_a_state_may_lie_as_it_likes(h: int, p: int, order: tuple[int, ...]) -> None:
    """Of one head, or one channel a head, a stride says nothing."""
    b, n = 2, 3
    x, B, C = randn(b, h, p), randn(b, n, seed=1), randn(b, n, seed=2)
    dt, A = randn(b, h, p, seed=3), -randn(h, p, n, seed=4).exp()
    state = randn(b, h, p, n, seed=5)
    back = [order.index(dim) for dim in range(4)]
    laid = state.permute(order).clone(memory_format=torch.contiguous_format).permute(back)
    y = mamba_ssm.selective_state_update(state, x, dt, A, B, C, dt_softplus=True)
    assert torch.equal(mamba_ssm.selective_state_update(laid, x, dt, A, B, C, dt_softplus=True), y)
    assert torch.equal(laid, state)


@pytest.mark.parametrize("width", [3, 4])  # three is as many as there are heads
def test_a_state_may_be_a_part_of_wider_heads(width: int) -> None:
    x, dt, B, C = randn(2, 3, 2), randn(2, 3, 2, seed=1), randn(2, 4, seed=2), randn(2, 4, seed=3)
    wide, A = randn(2, 3, width, 4, seed=4), -randn(3, 2, 4, seed=5).exp()
    state = wide[:, :, :2].clone()
    y = mamba_ssm.selective_state_update(state, x, dt, A, B, C, dt_softplus=True)
    found = mamba_ssm.selective_state_update(wide[:, :, :2], x, dt, A, B, C, dt_softplus=True)
    assert torch.equal(found, y)
    assert torch.equal(wide[:, :, :2], state)


def test_rows_of_heads_that_are_one_place_in_memory_are_refused() -> None:
    inputs, pool = step_inputs(torch.float32)
    with pytest.raises(ArgumentError, match=r"^`state` must have a place in memory for each element"):
        mamba_ssm.selective_state_update(pool[:3, :1].expand(3, 4, 5, 6), **inputs)


@pytest.mark.parametrize("rows", [2, 5])  # 5 is the channels a head, which a row of rows would be taken for
def test_a_state_of_one_row_serves_no_more(rows: int) -> None:
    inputs, pool = step_inputs(torch.float32)
    inputs["B"], inputs["C"] = (randn(3, 6, seed=s) for s in (9, 10))
    for name in ("x", "dt", "z", "B", "C"):
        inputs[name] = inputs[name][:1].expand(rows, *inputs[name].shape[1:])
    before = pool.clone()
    with pytest.raises(ShapeError, match=r"`(state|x)` must have shape \(b, h, p.* b = \d"):
        mamba_ssm.selective_state_update(pool[:1], **inputs)
    assert torch.equal(pool, before)


@pytest.mark.parametrize("groups", [None, 1, 2, 4, 5, 10, 20])  # of heads, and of channels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("laid", ["as it is", "channels first", "rows of a pool"])
def test_one_row_with_a_number_a_head_is_the_row_of_many(
    groups: int | None, dtype: torch.dtype, laid: str
) -> None:
    inputs, pool = step_inputs(dtype)
    inputs["B"], inputs["C"] = (randn(3, *() if groups is None else (groups,), 6, seed=s) for s in (9, 10))
    row = {name: x[1:2] if name in ("x", "dt", "z", "B", "C") else x for name, x in inputs.items()}
    wanted = pool[:3].clone()
    y = mamba_ssm.selective_state_update(wanted, **inputs, dt_softplus=True)
    state = pool[1:2].clone()
    if laid == "channels first":
        state = state.transpose(1, 2).contiguous().transpose(1, 2)
    if laid == "rows of a pool":
        state = pool[1:2]
    found = mamba_ssm.selective_state_update(state, **row, dt_softplus=True)
    assert found.shape == (1, 4, 5)
    assert torch.equal(found, y[1:2])
    assert torch.equal(state, wanted[1:2])
    whole = {name: x.contiguous() for name, x in row.items()}  # A, D, dt and dt_bias a number a channel
    again = pool[1:2].clone() if laid != "rows of a pool" else randn(7, 4, 5, 6, seed=8, dtype=dtype)[1:2]
    assert torch.equal(mamba_ssm.selective_state_update(again, **whole, dt_softplus=True), found)
    assert torch.equal(again, state)


@pytest.mark.parametrize(
    "changed",
    [
        {"A": -randn(4, 5, 6, seed=11).exp()},
        {"D": randn(4, 5, seed=11)},
        {"dt_bias": randn(4, 5, seed=11)},
        {"B": randn(3, 20, 6, seed=11), "C": randn(3, 6, seed=12)},
        {"C": randn(3, 20, 6, seed=11), "B": randn(3, 6, seed=12)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_one_row_with_a_number_a_channel_is_the_row_of_many(changed: dict[str, Any]) -> None:
    inputs, pool = step_inputs(torch.float32)
    inputs |= changed
    row = {name: x[1:2] if name in ("x", "dt", "z", "B", "C") else x for name, x in inputs.items()}
    wanted, state = pool[:3].clone(), pool[1:2].clone()
    y = mamba_ssm.selective_state_update(wanted, **inputs)
    assert torch.equal(mamba_ssm.selective_state_update(state, **row), y[1:2])
    assert torch.equal(state, wanted[1:2])


@pytest.mark.parametrize("without", ["", "D", "dt_bias"])
@pytest.mark.parametrize("groups", [None, 1, 4])
def test_one_row_with_a_number_a_head_is_copied_nowhere(groups: int | None, without: str) -> None:
    """The step of Mamba-2: the same numbers otherwise, but A copied for each channel and state."""
    inputs, pool = step_inputs(torch.float32)
    B = randn(1, *() if groups is None else (groups,), 6)
    rest = {k: None if k == without else inputs[k] for k in ("D", "dt_bias")}
    given = {"state": pool[:1], "A": inputs["A"], "B": B, "C": B, "slots": None, **rest}
    assert is_one_row(**given)
    for wrong in ({"state": pool[:2]}, {"A": inputs["A"].contiguous()}, {"slots": torch.tensor([0])}):
        assert not is_one_row(**given | wrong)
    for name, x in rest.items():
        assert x is None or not is_one_row(**given | {name: x.contiguous()})


@pytest.mark.parametrize("slot", [0, -1])
def test_a_pool_of_one_slot_is_a_pool(slot: int) -> None:
    inputs, pool = step_inputs(torch.float32)
    row = {name: x[1:2] if name in ("x", "dt", "z", "B", "C") else x for name, x in inputs.items()}
    wanted, state = pool[1:2].clone(), pool[1:2].clone()
    y = mamba_ssm.selective_state_update(wanted, **row)
    found = mamba_ssm.selective_state_update(state, **row, state_batch_indices=torch.tensor([slot]))
    assert torch.equal(found, y if slot == 0 else torch.zeros_like(y))
    assert torch.equal(state, wanted if slot == 0 else pool[1:2])


@pytest.mark.parametrize(("h", "p", "n"), [(4, 0, 6), (0, 5, 6), (4, 5, 1)])
def test_one_row_may_have_few_channels_and_states(h: int, p: int, n: int) -> None:
    x, B, A = randn(1, h, p), randn(1, n, seed=1), (-randn(h, 1, 1, seed=2).exp()).expand(h, p, n)
    state = randn(1, p, h, n, seed=3).transpose(1, 2)
    two = torch.cat([state, state])
    y = mamba_ssm.selective_state_update(two, *(torch.cat([x, x]),) * 2, A, *(torch.cat([B, B]),) * 2)
    assert torch.equal(mamba_ssm.selective_state_update(state, x, x, A, B, B), y[:1])
    assert torch.equal(state, two[:1])


def test_a_state_of_one_number_a_channel_is_written_too() -> None:
    """A copy that joins the heads is written back, whatever the number of states."""
    inputs, pool = step_inputs(torch.float32)
    inputs = {name: x[..., :1] if name in "ABC" else x for name, x in inputs.items()}
    pool = pool[:3, ..., :1].clone()
    laid = pool.transpose(1, 2).contiguous().transpose(1, 2)
    y = mamba_ssm.selective_state_update(pool, **inputs)
    assert torch.equal(mamba_ssm.selective_state_update(laid, **inputs), y)
    assert torch.equal(laid, pool)


@pytest.mark.parametrize("heads", [False, True])
def test_the_output_lies_as_x_does(heads: bool) -> None:
    sizes = (3, 4, 5) if heads else (3, 4)
    x = randn(*reversed(sizes)).permute(*reversed(range(len(sizes))))
    A, B = -randn(*sizes[1:], 6).exp(), randn(3, 6, seed=1)
    states = [randn(*sizes, 6, seed=2) for _ in range(2)]
    y = mamba_ssm.selective_state_update(states[0], x, x, A, B, B)
    assert y.stride() == x.stride()
    assert torch.equal(y, mamba_ssm.selective_state_update(states[1], *(x.contiguous(),) * 2, A, B, B))


@pytest.mark.filterwarnings("ignore:Sparse CSR")  # PyTorch's, on making one
def test_one_row_that_is_not_valid_is_refused_as_many_are() -> None:
    inputs, pool = step_inputs(torch.float32)
    row = {name: x[:1] if name in ("x", "dt", "z", "B", "C") else x for name, x in inputs.items()}
    for changed in (
        {"z": row["z"][:, :3]}, {"A": row["A"][:3]}, {"A": None}, {"A": row["A"].to_sparse()},
        {"A": torch.ones(4, 5, 6).to_sparse_csr()},  # which has no strides
        {"B": row["B"][..., :4]}, {"B": row["B"][:, :0]}, {"dt_bias": row["dt_bias"][:3]}, {"D": 1.0},
    ):  # fmt: skip
        (name,) = changed
        for _ in range(2):
            mamba_ssm.selective_state_update(pool[:1], **row)
            with pytest.raises((ShapeError, DTypeError), match=f"`{name}` must"):
                mamba_ssm.selective_state_update(pool[:1], **row | changed)
    with pytest.raises(ArgumentError, match="`state` must have a place in memory for each element"):
        mamba_ssm.selective_state_update(pool[:1, :1].expand(1, 4, 5, 6), **row)


def test_a_state_of_another_rank_is_refused() -> None:
    inputs, _ = step_inputs(torch.float32)
    for shape in ((3,), (3, 4), (3, 4, 5, 6, 7)):
        with pytest.raises(ShapeError, match=rf"^`state` must have shape .*; got {re.escape(str(shape))}"):
            mamba_ssm.selective_state_update(torch.zeros(shape), **inputs)


def test_the_numbers_are_the_definition() -> None:
    """One channel, one state, by hand: h = e^{ΔA} h + Δ B u, y = C h + D u."""
    one = np.float32
    state = torch.full((1, 1, 1), 2.0)
    row = {"x": torch.full((1, 1), 3.0), "dt": torch.full((1, 1), 0.5), "A": torch.full((1, 1), -2.0)}
    B, C = torch.full((1, 1), 4.0), torch.full((1, 1), -1.0)
    y = mamba_ssm.selective_state_update(state, **row, B=B, C=C, D=torch.ones(1))
    h = one(np.exp(-1.0) * 2 + 0.5 * 4 * 3)
    assert abs(state.item() - h) <= np.spacing(h)
    assert abs(y.item() - (3 - h)) <= 2 * np.spacing(h)


def in_double(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.complex128 if x.is_complex() else torch.float64)


@pytest.mark.parametrize("projected", ["BC", "B", "C", ""])
@pytest.mark.parametrize("complex_", [False, True])
def test_the_block_is_its_stages_and_recomputing_changes_no_bit(complex_: bool, projected: str) -> None:
    inputs = inner_inputs(complex_, projected)
    x, z = (half.numpy() for half in inputs["xz"].double().chunk(2, 1))
    w = {name: None if value is None else value.numpy() for name, value in inputs.items()}
    x = ssm_spec.causal_conv1d(x, w["conv1d_weight"][:, 0], w["conv1d_bias"], activation="silu")
    rows = np.einsum("jd,bdl->bjl", w["x_proj_weight"], x)
    r, n = w["delta_proj_weight"].shape[1], inputs["A"].shape[1] * (2 if complex_ else 1)
    delta = np.einsum("dr,brl->bdl", w["delta_proj_weight"], rows[:, :r])

    def matrix(name: str, given: Any, part: Any) -> Any:
        if given is not None:
            return given
        part = part + w[f"{name}_proj_bias"][:, None]
        return part[:, ::2] + 1j * part[:, 1::2] if complex_ else part

    B, C = matrix("B", w["B"], rows[:, r : r + n]), matrix("C", w["C"], rows[:, -n:])
    y = ssm_spec.selective_scan(
        x, delta, w["A"], B, C, w["D"], z=z, delta_bias=w["delta_bias"], delta_softplus=True
    )
    wanted = np.einsum("md,bdl->blm", w["out_proj_weight"], y) + w["out_proj_bias"]
    double = {
        k: None if v is None else v.to(torch.promote_types(v.dtype, torch.float64)) for k, v in inputs.items()
    }
    found = mamba_ssm.mamba_inner_ref(**double)
    assert np.abs(found.numpy() - wanted).max() < 1e-12 * np.abs(wanted).max()

    gradients = []
    for checkpoint_lvl in (0, 1):
        leaves = {k: None if v is None else v.clone().requires_grad_() for k, v in inputs.items()}
        out = mamba_ssm.mamba_inner_fn(**leaves, checkpoint_lvl=checkpoint_lvl)
        out.backward(randn(*out.shape, seed=20))
        gradients.append([out, *(leaf.grad for leaf in leaves.values() if leaf is not None)])
    assert all(torch.equal(kept, again) for kept, again in zip(*gradients, strict=True))


def test_the_block_normalises_what_it_is_given_weights_for() -> None:
    inputs = inner_inputs(False, "BC")
    n, d = inputs["A"].shape[1], inputs["A"].shape[0]
    plain = mamba_ssm.mamba_inner_fn(**inputs)
    for name, size in (("b_rms_weight", n), ("c_rms_weight", n), ("dt_rms_weight", d)):
        assert not torch.equal(plain, mamba_ssm.mamba_inner_fn(**inputs, **{name: torch.ones(size)}))
    scaled = inputs | {"C_proj_bias": None, "x_proj_weight": inputs["x_proj_weight"].clone()}
    first = mamba_ssm.mamba_inner_fn(**scaled, c_rms_weight=torch.ones(n), b_c_dt_rms_eps=0.0)
    scaled["x_proj_weight"][-n:] *= 8  # a norm forgets the scale of what it norms
    assert torch.equal(
        first, mamba_ssm.mamba_inner_fn(**scaled, c_rms_weight=torch.ones(n), b_c_dt_rms_eps=0.0)
    )


def test_float64_takes_a_decay_of_float32() -> None:
    b, d, l, n = 2, 4, 7, 3
    u, B, A = randn(b, d, l, dtype=torch.float64), randn(b, n, l, dtype=torch.float64), -torch.ones(d, n)
    D = randn(d)
    y, last = mamba_ssm.selective_scan_fn(u, u.abs(), A, B, B, D, return_last_state=True)
    wide = ssm_backends.selective_scan(u, u.abs(), A.double(), B, B, D.double(), return_last_state=True)
    assert torch.equal(y, wide[0])
    assert torch.equal(last, wide[1])
    state = torch.zeros(b, d, n, dtype=torch.float64)
    for t in range(l):
        step = u[..., t], u[..., t].abs(), A, B[..., t], B[..., t], D
        mamba_ssm.selective_state_update(state, *step)
    assert_conforms("selective_scan", {"last_state": state}, u=u, delta=u.abs(), A=A.double(), B=B, C=B,
        D=D.double(), return_last_state=True)  # fmt: skip
