"""The decode step: l steps are one scan; slots, skipped rows, in place, 16-bit states."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from ssm_backends import ArgumentError, NotSupportedError, mamba_ssm, use
from ssm_triton import selective_scan, selective_state_update
from ssm_triton import step as step_module

from .problems import problem


def _at(call: dict[str, Any], t: int) -> dict[str, Any]:
    streams = ("u", "delta", "z", "B", "C")
    rest = {k: v[..., t] if k in streams else v for k, v in call.items()}
    return {k: v for k, v in rest.items() if k != "initial_state"}


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("rule", ["euler", "zoh"])
def test_steps_are_the_scan(device: str, rule: str, complex_: bool) -> None:
    call = problem(device, torch.float64, l=4, groups=(2, 3), complex_=complex_) | {"b_discretization": rule}
    y, last = selective_scan(**call, return_last_state=True)
    state, outputs = call["initial_state"], []
    for t in range(4):
        out, state = selective_state_update(state, **_at(call, t))
        outputs.append(out)
    # float64, four steps: the same operations, fused into multiply-adds otherwise.
    torch.testing.assert_close(torch.stack(outputs, -1), y, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(state, last, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("repeated", ["states", "channels", "turned around"])
def test_a_matrix_is_read_where_it_lies(device: str, repeated: str, complex_: bool) -> None:
    call = _at(problem(device, complex_=complex_), 0)
    A = call["A"]
    laid = {
        "states": A[:, :1].expand(6, 3),
        "channels": A[:1].expand(6, 3),
        "turned around": A.mT.contiguous().mT,
    }
    for plain in (torch.no_grad(), FlopCounterMode(display=False)):  # a mode sees the operator
        with plain:
            state = torch.randn(2, 6, 3, dtype=A.dtype, device=device)
            found = selective_state_update(state, **call | {"A": laid[repeated]})
            wanted = selective_state_update(state, **call | {"A": laid[repeated].contiguous()})
            for one, other in zip(found, wanted, strict=True):
                assert torch.equal(one, other)


@pytest.mark.parametrize("complex_", [False, True])
def test_a_large_step_with_a_large_input_is_held(device: str, complex_: bool) -> None:
    call = _at(problem(device, complex_=complex_, plain=True), 0) | {"b_discretization": "zoh"}
    call["delta"].fill_(1e20)
    call["u"].fill_(1e20)  # three states, padded to four: Δ u of the padding must not become NaN
    out, state = selective_state_update(torch.zeros(2, 6, 3, dtype=call["A"].dtype, device=device), **call)
    held = -call["B"][:, None] / call["A"] * 1e20
    # Two roundings and exp(ΔA) = 0: a few units in the last place of float32.
    torch.testing.assert_close(state, held, rtol=1e-6, atol=0)
    assert out.isfinite().all()


@pytest.mark.parametrize("inplace", [False, True])
def test_slots_of_a_pool(device: str, inplace: bool) -> None:
    call = _at(problem(device), 0)
    pool = torch.randn(5, 6, 3, device=device)
    before = pool.clone()
    slots = torch.tensor([3, -1], device=device)
    y, after = selective_state_update(pool, **call, state_indices=slots, inplace=inplace)
    expected, state = selective_state_update(before[[3, 3]], **call)
    assert (after is pool) == inplace
    assert torch.equal(pool, before) != inplace
    assert torch.equal(y[0], expected[0])
    assert torch.equal(y[1], torch.zeros_like(y[1]))
    assert torch.equal(after[3], state[0])
    others = [0, 1, 2, 4]
    assert torch.equal(after[others], before[others])


def test_a_half_state_is_rounded_once(device: str) -> None:
    call = _at(problem(device), 0)
    state = torch.randn(2, 6, 3, device=device).half()
    y, new = selective_state_update(state, **call)
    wide_y, wide = selective_state_update(state.float(), **call)
    assert torch.equal(new, wide.half())
    assert torch.equal(y, wide_y)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's, of its own forward mode
def test_a_tangent_is_not_lost(device: str) -> None:
    call = _at(problem(device), 0)
    state, u = torch.zeros(2, 6, 3, device=device), call.pop("u")
    with pytest.raises(
        NotSupportedError, match=r"^`u` must come without a tangent: selective_state_update of"
    ):
        torch.func.jvp(lambda u: selective_state_update(state, u, **call)[0], (u,), (u,))


def test_autograd_sees_that_a_state_was_written_over(device: str) -> None:
    state = torch.zeros(2, 6, 3, device=device)
    weight = torch.ones_like(state, requires_grad=True)
    loss = (weight * state).sum()
    selective_state_update(state, **_at(problem(device), 0), inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_many_rows_in_tiles_of_their_own(device: str) -> None:
    call = _at(problem(device, d=2100, n=16), 0)
    state = torch.randn(2, 2100, 16, device=device)
    rows = 9
    many = {
        k: v.repeat(rows, *[1] * (v.ndim - 1)) if len(v) == 2 else v
        for k, v in call.items()
        if torch.is_tensor(v)
    }
    assert rows * state.numel() >= 2**19
    y, new = selective_state_update(state.repeat(rows, 1, 1), **call | many)
    expected, after = selective_state_update(state, **call)
    # Lanes hold other states: two orders of a sum of sixteen. A row or a channel mixed up is off by about 1.
    torch.testing.assert_close(y, expected.repeat(rows, 1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(new, after.repeat(rows, 1, 1), rtol=1e-5, atol=1e-5)


def test_the_heads_of_one_row_are_not_copied(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is one number a head is read as h numbers, in a row for each of its p channels."""
    h, p, n = 4, 5, 3
    given = {
        "x": torch.randn(1, h, p),
        "dt": torch.rand(1, h, 1).expand(1, h, p),
        "A": (-torch.rand(h, 1, 1)).expand(h, p, n),
        "B": torch.randn(1, 2, n),
        "C": torch.randn(1, n),
        "D": torch.randn(h, 1).expand(h, p),
        "dt_bias": torch.rand(h, 1).expand(h, p),
    }
    given = {name: x.to(device) for name, x in given.items()}

    class Launch:
        def __getitem__(self, grid: Any) -> Any:
            return lambda *args, **flags: (seen.append(args), kernel[grid](*args, **flags))

    seen: list[Any] = []
    kernel = step_module.step
    monkeypatch.setattr(step_module, "step", Launch())
    state = torch.randn(1, h, p, n, device=device)
    other = state.clone()
    with use("triton"):
        y = mamba_ssm.selective_state_update(state, **given, dt_softplus=True)
    (args,) = seen
    for place, name in {2: "x", 3: "dt", 4: "A", 7: "D", 9: "dt_bias"}.items():
        assert args[place].data_ptr() == given[name].data_ptr()
    wanted = mamba_ssm.selective_state_update_ref(other, **given, dt_softplus=True)
    torch.testing.assert_close(y, wanted)
    torch.testing.assert_close(state, other)


@pytest.mark.parametrize("slot", [5, -2])
def test_a_slot_that_does_not_exist_is_refused_where_the_host_may_look(slot: int) -> None:
    call = _at(problem("cpu"), 0)
    pool = torch.zeros(5, 6, 3)
    with pytest.raises(ArgumentError, match=r"^`state_indices` must lie in -1\.\.4, the slots of `state`"):
        selective_state_update(pool, **call, state_indices=torch.tensor([slot, 1]), inplace=True)
    assert not pool.any()


@pytest.mark.parametrize("slot", [5, -2])
def test_a_slot_that_nobody_looked_at_is_not_touched(
    device: str, slot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_module, "look_at_slots", lambda *_: None)
    call = _at(problem(device), 0)
    memory = torch.randn(9, 6, 3, device=device)
    pool, before = memory[3:8], memory.clone()
    y, after = selective_state_update(
        pool, **call, state_indices=torch.tensor([slot, 1], device=device), inplace=True
    )
    expected, state = selective_state_update(before[[4, 4]], **call)
    assert y[0].isnan().all()
    assert torch.equal(y[1], expected[1])
    assert torch.equal(after[1], state[1])
    others = [0, 1, 2, 3, 5, 6, 7, 8]
    assert torch.equal(memory[others], before[others])


def test_a_gradient_is_not_lost(device: str) -> None:
    call = _at(problem(device), 0)
    state = torch.zeros(2, 6, 3, device=device)
    with pytest.raises(NotSupportedError, match=r"has no gradient, which may be asked of `A`; call"):
        selective_state_update(state, **call | {"A": call["A"].requires_grad_()})
    with torch.no_grad():
        selective_state_update(state, **call)


def test_slots_without_numbers_are_not_looked_at() -> None:
    call = _at(problem("cpu"), 0)
    with FakeTensorMode() as mode:
        fake = {k: mode.from_tensor(v) if torch.is_tensor(v) else v for k, v in call.items()}
        pool = mode.from_tensor(torch.zeros(5, 6, 3))
        y, after = selective_state_update(pool, **fake, state_indices=mode.from_tensor(torch.tensor([7, 1])))
    assert y.shape == (2, 6)
    assert after.shape == pool.shape


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("name", ["u", "A", "B", "D"])
def test_what_lies_in_the_pool_is_read_first(device: str, name: str, seen: bool) -> None:
    pool = torch.randn(5, 6, 3, device=device)
    call = _at(problem(device), 0) | {"state_indices": torch.tensor([3, 1], device=device)}
    call[name] = {"u": pool[1::2, :, 1], "A": pool[3], "B": pool[2:4, 5], "D": pool[3, :, 2]}[name]
    expected, state = selective_state_update(pool.clone(), **call, inplace=False)
    with FlopCounterMode(display=False) if seen else torch.no_grad():  # a mode sees the operator
        y, _ = selective_state_update(pool, **call, inplace=True)
    assert torch.equal(y, expected)
    assert torch.equal(pool, state)
