"""mamba-ssm's step with heads of one decay each: on a GPU it is a step of SSD."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ssm_backends import NotSupportedError, mamba_ssm, use
from ssm_backends.front import kinds
from ssm_backends.mamba_ssm import state_update
from ssm_backends.mamba_ssm._heads import is_of_heads

from .mamba_calls import randn
from .test_mamba_ssm import step_inputs


@pytest.mark.parametrize("softplus", [False, True])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("whole", ["D", "z", "dt_bias", "groups"])
def test_heads_are_stepped_as_heads(
    softplus: bool, pooled: bool, whole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: the same numbers as channel by channel, and no clamp of a negative step size."""
    inputs, pool = step_inputs(torch.float32)
    if whole == "D":
        inputs["D"] = randn(4, 5, seed=9)
    if whole in ("z", "dt_bias"):
        del inputs[whole]
    if whole == "groups":
        inputs |= {name: inputs[name][:, 0] for name in "BC"}
    slots = torch.tensor([6, -1, 2]) if pooled else None
    pool = pool if pooled else pool[:3]
    given = {"dt_softplus": softplus, "state_batch_indices": slots}
    other = pool.clone()
    y = mamba_ssm.selective_state_update(pool, **inputs, **given)
    asked = []
    monkeypatch.setattr(state_update, "_step_heads", lambda x, backend: asked.append(backend) or True)
    monkeypatch.setattr(state_update, "channels_as_rows", None)
    monkeypatch.setattr(state_update, "heads_joined", None)
    found = mamba_ssm.selective_state_update(other, **inputs, **given)
    assert asked
    # Float32, six states: a few roundings of numbers of size one to ten.
    torch.testing.assert_close(found, y, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(other, pool, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["dt", "A", "dt_bias"])
def test_heads_of_many_numbers_are_no_step_of_heads(name: str) -> None:
    inputs, pool = step_inputs(torch.float32)
    given = {key: inputs.get(key) for key in ("x", "dt", "A", "B", "C", "dt_bias")}
    assert is_of_heads(pool, **given)
    assert is_of_heads(pool, **given | {"dt_bias": None})
    assert not is_of_heads(pool, **given | {name: inputs[name].contiguous()})
    assert not is_of_heads(pool, **given | {"C": inputs["C"][:, :1]})
    assert not is_of_heads(pool[0], **given)
    assert not is_of_heads(pool, **given | {"dt": None})


def test_who_has_to_serve_a_step_of_heads_is_asked_for_the_step_of_channels() -> None:
    on_a_gpu = SimpleNamespace(device=torch.device("cuda"))
    assert state_update._step_heads(on_a_gpu, None)
    assert not state_update._step_heads(on_a_gpu, "torch")
    assert not state_update._step_heads(torch.zeros(1), None)
    assert not state_update._step_heads(None, None)
    with use("triton"):
        assert not state_update._step_heads(on_a_gpu, None)


def test_complex_heads_are_no_step_of_heads() -> None:
    inputs, pool = step_inputs(torch.float32)
    given = {key: inputs.get(key) for key in ("x", "dt", "B", "C", "dt_bias")}
    A = torch.complex(inputs["A"][:, :1, :1], inputs["A"][:, :1, :1]).expand(4, 5, 6)
    assert A.stride()[1:] == (0, 0)
    assert not is_of_heads(pool, A=A, **given)
    assert not is_of_heads(pool.to(torch.complex64), A=inputs["A"], **given)


def test_a_graph_does_not_ask_who_is_named() -> None:
    def asked(x: torch.Tensor) -> torch.Tensor:
        return x + int(state_update._step_heads(x, None))

    x = torch.zeros(2, device="meta")
    assert state_update._step_heads(x, None)
    torch._dynamo.reset()
    torch.compile(asked, backend="eager", fullgraph=True)(x)


def test_a_refused_step_of_heads_names_the_step_that_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_update, "_step_heads", lambda x, backend: True)
    inputs, pool = step_inputs(torch.float32)
    inputs["dt"] = inputs["dt"].detach().requires_grad_()
    for _ in range(2):  # what was not served is not remembered
        with pytest.raises(NotSupportedError, match="selective_state_update"):
            mamba_ssm.selective_state_update(pool[:3], **inputs)


def test_numbers_of_a_head_in_16_bits_are_widened_once_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def seen(name: str, x: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
        asked.append((name, tuple(x.shape)))
        return x.to(A.dtype)

    monkeypatch.setattr(state_update, "_step_heads", lambda x, backend: True)
    monkeypatch.setattr(state_update, "widened", seen)
    inputs, pool = step_inputs(torch.float32)
    other = pool.clone()
    inputs |= {name: inputs[name][:, :1].half().expand(4, 5) for name in ("D", "dt_bias")}
    y = mamba_ssm.selective_state_update(pool[:3], **inputs)
    assert asked == [("D", (4,)), ("dt_bias", (4,))]
    wanted = mamba_ssm.selective_state_update_ref(other[:3], **inputs)
    torch.testing.assert_close(y, wanted, rtol=1e-5, atol=1e-5)  # a few roundings, six states


def test_where_no_step_of_heads_is_served_that_of_channels_is(monkeypatch: pytest.MonkeyPatch) -> None:
    call = state_update.call_as

    def of_channels(kind, known, names, operator, *given):
        if operator.name == "ssd_update":
            raise NotSupportedError("nobody serves it")
        return call(kind, known, names, operator, *given)

    monkeypatch.setattr(state_update, "_step_heads", lambda x, backend: True)
    monkeypatch.setattr(state_update, "call_as", of_channels)
    monkeypatch.setattr(kinds, "_REMEMBERED", {})
    inputs, pool = step_inputs(torch.float32)
    other = pool.clone()
    for _ in range(2):  # what was served instead is not remembered as a step of heads
        y = mamba_ssm.selective_state_update(pool[:3], **inputs)
        wanted = mamba_ssm.selective_state_update_ref(other[:3], **inputs)
        torch.testing.assert_close(y, wanted)
    torch.testing.assert_close(pool, other)
