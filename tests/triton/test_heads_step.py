"""The decode step of Mamba-2: l steps are one scan; slots, skipped rows, in place, 16-bit states, heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ssm_torch
from ssm_backends import ArgumentError, NotSupportedError, mamba_ssm
from ssm_backends.mamba_ssm import state_update
from ssm_triton import ssd_update

B, H, P, N = 2, 4, 5, 3


def problem(device: str, dtype: torch.dtype = torch.float32, *, g: int = 2, **sizes: int) -> dict[str, Any]:
    """A step, its state aside."""
    b, h, p, n = (sizes.get(name, default) for name, default in zip("bhpn", (B, H, P, N), strict=True))
    generator = torch.Generator().manual_seed(0)
    wide = torch.float64 if dtype == torch.float64 else torch.float32

    def draw(*shape: int, kind: torch.dtype = dtype) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator).to(kind).to(device)

    return {
        "x": draw(b, h, p),
        "dt": draw(b, h),
        "A": -draw(h, kind=wide).abs(),
        "B": draw(b, g, n),
        "C": draw(b, g, n),
        "D": draw(h, p, kind=wide),
        "z": draw(b, h, p),
        "dt_bias": draw(h, kind=wide),
        "dt_softplus": True,
    }


@pytest.mark.parametrize("limit", [(0.0, float("inf")), (0.3, 0.9), (-float("inf"), float("inf"))])
@pytest.mark.parametrize("softplus", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_step_is_that_of_pytorch(
    device: str, dtype: torch.dtype, softplus: bool, limit: tuple[float, float]
) -> None:
    call = problem(device, dtype) | {"dt_softplus": softplus, "dt_limit": limit}
    state = torch.randn(B, H, P, N, dtype=dtype, device=device)
    y, new = ssd_update(state, **call)
    wanted_y, wanted = ssm_torch.ssd_update(state, **call)
    # The same operations, fused into multiply-adds otherwise, of numbers of size one to ten.
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-13, "atol": 1e-13}
    torch.testing.assert_close(y, wanted_y, **close)
    torch.testing.assert_close(new, wanted, **close)


@pytest.mark.parametrize(("p", "n"), [(1, 1), (3, 130), (70, 2), (17, 64), (2, 256)])
def test_heads_and_states_past_a_tile(device: str, p: int, n: int) -> None:
    call = problem(device, p=p, n=n)
    state = torch.randn(B, H, p, n, device=device)
    y, new = ssd_update(state, **call)
    wanted_y, wanted = ssm_torch.ssd_update(state, **call)
    # Float32, at most 256 terms of size one: two orders of a sum.
    torch.testing.assert_close(y, wanted_y, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(new, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("inplace", [False, True])
def test_slots_of_a_pool(device: str, inplace: bool) -> None:
    call = problem(device)
    pool = torch.randn(5, H, P, N, device=device)
    before = pool.clone()
    slots = torch.tensor([3, -1], device=device)
    y, after = ssd_update(pool, **call, state_indices=slots, inplace=inplace)
    expected, state = ssd_update(before[[3, 3]], **call)
    assert (after is pool) == inplace
    assert torch.equal(pool, before) != inplace
    assert torch.equal(y[0], expected[0])
    assert torch.equal(y[1], torch.zeros_like(y[1]))
    assert torch.equal(after[3], state[0])
    others = [0, 1, 2, 4]
    assert torch.equal(after[others], before[others])


def test_a_half_state_is_rounded_once(device: str) -> None:
    call = problem(device)
    state = torch.randn(B, H, P, N, device=device).half()
    y, new = ssd_update(state, **call)
    wide_y, wide = ssd_update(state.float(), **call)
    assert torch.equal(new, wide.half())
    assert torch.equal(y, wide_y)


def test_arrays_of_any_strides(device: str) -> None:
    call = problem(device)
    state = torch.randn(B, N, P, H, device=device).permute(0, 3, 2, 1)
    laid = {
        name: x.mT.contiguous().mT if torch.is_tensor(x) and x.ndim > 1 else x for name, x in call.items()
    }
    laid |= {name: x.repeat_interleave(2)[::2] for name, x in call.items() if name in ("A", "dt_bias")}
    found = ssd_update(state, **laid)
    wanted = ssd_update(state.contiguous(), **call)
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


def test_a_skip_of_each_head_is_not_laid_out(device: str) -> None:
    call = problem(device)
    state = torch.randn(B, H, P, N, device=device)
    D = call["D"][:, 0]
    found = ssd_update(state, **call | {"D": D})
    wanted = ssd_update(state, **call | {"D": D[:, None].expand(H, P).contiguous()})
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's, of its own forward mode
def test_a_tangent_is_not_lost(device: str) -> None:
    call = problem(device)
    state, x = torch.zeros(B, H, P, N, device=device), call.pop("x")
    with pytest.raises(NotSupportedError, match=r"^`x` must come without a tangent: ssd_update of"):
        torch.func.jvp(lambda x: ssd_update(state, x, **call)[0], (x,), (x,))


def test_a_gradient_is_not_lost(device: str) -> None:
    call = problem(device)
    state = torch.zeros(B, H, P, N, device=device)
    with pytest.raises(NotSupportedError, match=r"has no gradient, which may be asked of `A`; call"):
        ssd_update(state, **call | {"A": call["A"].requires_grad_()})
    with torch.no_grad():
        ssd_update(state, **call)


def test_autograd_sees_that_a_state_was_written_over(device: str) -> None:
    state = torch.zeros(B, H, P, N, device=device)
    weight = torch.ones_like(state, requires_grad=True)
    loss = (weight * state).sum()
    ssd_update(state, **problem(device), inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_inputs_in_the_memory_of_the_state_are_read_first(device: str) -> None:
    call, memory = problem(device, g=1), torch.randn(B + 1, H, P, N, device=device)
    state, before = memory[:B], memory.clone()
    shared = {"x": memory[1:, :, :, 0], "C": memory[:B, :1, 1]}
    wanted_y, wanted = ssd_update(before[:B], **call | {name: x.clone() for name, x in shared.items()})
    y, new = ssd_update(state, **call | shared, inplace=True)
    assert new is state
    assert torch.equal(y, wanted_y)
    assert torch.equal(new, wanted)


def test_zeros_without_memory_are_zeros(device: str) -> None:
    call = problem(device)
    state = torch.randn(B, H, P, N, device=device)
    found = ssd_update(state, **call | {"B": torch._efficientzerotensor((B, 2, N), device=device)})
    wanted = ssd_update(state, **call | {"B": torch.zeros(B, 2, N, device=device)})
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("pooled", [False, True])
def test_a_state_behind_a_sign_is_written_as_what_it_means(device: str, pooled: bool) -> None:
    call, memory = problem(device), torch.randn(5, H, P, N, device=device)
    call |= {"state_indices": torch.tensor([3, -1], device=device)} if pooled else {}
    state = torch._neg_view(memory if pooled else memory[:B])
    wanted_y, wanted = ssd_update(state.clone(), **call)
    y, new = ssd_update(state, **call, inplace=True)
    assert new is state
    assert state.is_neg()
    assert torch.equal(y, wanted_y)
    assert torch.equal(new, wanted)
    assert torch.equal(memory[: len(new)], -wanted)


@pytest.mark.parametrize("slot", [5, -2])
def test_a_slot_that_does_not_exist_is_refused_where_the_host_may_look(slot: int) -> None:
    pool = torch.zeros(5, H, P, N)
    with pytest.raises(ArgumentError, match=r"^`state_indices` must lie in -1\.\.4, the slots of `state`"):
        ssd_update(pool, **problem("cpu"), state_indices=torch.tensor([slot, 1]), inplace=True)
    assert not pool.any()


@pytest.mark.parametrize("slot", [5, -2])
def test_a_slot_that_nobody_looked_at_is_not_touched(
    device: str, slot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ssd_update.unchecked.__globals__, "look_at_slots", lambda *_: None)
    call = problem(device)
    memory = torch.randn(9, H, P, N, device=device)
    pool, before = memory[3:8], memory.clone()
    slots = torch.tensor([slot, 1], device=device)
    y, after = ssd_update(pool, **call, state_indices=slots, inplace=True)
    expected, state = ssd_update(before[[4, 4]], **call)
    assert y[0].isnan().all()
    assert torch.equal(y[1], expected[1])
    assert torch.equal(after[1], state[1])
    others = [0, 1, 2, 3, 5, 6, 7, 8]
    assert torch.equal(memory[others], before[others])


def test_a_drop_in_s_step_of_heads_is_this_one(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is copied: what is one number a head is read as that."""
    monkeypatch.setattr(state_update, "_step_heads", lambda x, backend: backend is None)
    monkeypatch.setenv("SSM_BACKENDS", "triton")
    call = problem(device, g=1)
    given = {
        "x": call["x"],
        "dt": call["dt"][..., None].expand(B, H, P),
        "A": call["A"][:, None, None].expand(H, P, N),
        "B": call["B"],
        "C": call["C"],
        "D": call["D"][:, :1].expand(H, P),
        "dt_bias": call["dt_bias"][:, None].expand(H, P),
    }
    seen: list[Any] = []

    class Launch:
        def __getitem__(self, grid: Any) -> Any:
            return lambda *args, **flags: (seen.append(args), kernel[grid](*args, **flags))

    home = ssd_update.unchecked.__globals__
    kernel = home["heads_step"]
    monkeypatch.setitem(home, "heads_step", Launch())
    state = torch.randn(B, H, P, N, device=device)
    other = state.clone()
    y = mamba_ssm.selective_state_update(state, **given, dt_softplus=True)
    (args,) = seen
    for place, name in {2: "x", 3: "dt", 4: "A", 7: "D", 9: "dt_bias"}.items():
        assert args[place].data_ptr() == given[name].data_ptr(), name
    wanted = mamba_ssm.selective_state_update_ref(other, **given, dt_softplus=True)
    torch.testing.assert_close(y, wanted)
    torch.testing.assert_close(state, other)
