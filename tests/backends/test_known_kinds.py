"""A drop-in remembers who serves a kind of call: what that depends on is a part of the kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ssm_backends import (
    ArgumentError,
    DTypeError,
    FallbackError,
    FallbackWarning,
    NotSupportedError,
    ShapeError,
    mamba_ssm,
    use,
)
from ssm_backends.front import kinds, preference

from .conftest import Install
from .test_front_door import forgetful, order  # noqa: F401 # fixtures

STEP = """
    from ssm_backends import Backend, Op, TorchArrays, hookimpl

    def step(u, state, delta, A, B, C, inplace):  # and nothing that is not given
        return u + 7, state

    def convolution(x, weight):
        return x + 7

    @hookimpl
    def ssm_backend(device):
        return Backend(name="acme", version="0.3", arrays=TorchArrays(device), ops=dict(
            selective_state_update=Op(step, dtypes=("float32",), features=("inplace",), limits={"d": 4}),
            causal_conv1d=Op(convolution, dtypes=("float32",))))
"""


@pytest.fixture(autouse=True)
def acme(install: Install) -> None:
    install(STEP, name="acme")


def step_inputs(**changed: Any) -> dict[str, Any]:
    inputs = {
        "state": torch.zeros(2, 4, 3),
        "x": torch.ones(2, 4),
        "dt": torch.ones(2, 4),
        "A": -torch.ones(4, 3),
        "B": torch.ones(2, 3),
        "C": torch.ones(2, 3),
    }
    return inputs | changed


def shift(**changed: Any) -> float:
    return float((mamba_ssm.selective_state_update(**step_inputs(**changed)) - 1).mean())


def test_a_kind_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    judge = mamba_ssm.state_update._check
    monkeypatch.setattr(mamba_ssm.state_update, "_check", lambda *given: asked.append(judge(*given)))
    with use("acme"):
        for _ in range(3):
            shift()
    assert len(asked) == 1


def test_the_parameters_of_a_model_are_known_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    judge = mamba_ssm.state_update._check
    monkeypatch.setattr(mamba_ssm.state_update, "_check", lambda *given: asked.append(judge(*given)))
    with use("acme"), torch.no_grad():
        for _ in range(3):
            shift(A=torch.nn.Parameter(step_inputs()["A"]))
    assert len(asked) == 1


def test_a_row_with_a_number_a_channel_is_another_kind_than_one_with_a_number_a_head() -> None:
    """One is rows of four channels, the other a row of twenty, which acme does not take."""
    one, heads = torch.ones(1, 3), torch.ones(1, 4, 5)
    A = torch.full((4, 1, 1), -1.0).expand(4, 5, 3)
    row = {"state": torch.zeros(1, 4, 5, 3), "x": heads, "dt": heads, "B": one, "C": one}
    with use("acme", "torch"):
        assert shift(**row, A=A) == 7
        with pytest.warns(FallbackWarning, match="not by 'acme': d = 20"):
            assert shift(**row | {"state": torch.zeros(1, 4, 5, 3)}, A=A.contiguous()) == 2


def test_the_reference_is_served_by_torch_alone() -> None:
    with use("acme"):
        for _ in range(2):
            assert shift() == 7
            y = mamba_ssm.selective_state_update_ref(**step_inputs())
            assert float((y - 1).mean()) == 2


def test_what_a_backend_refuses_is_told_in_the_names_of_the_drop_in() -> None:
    def slots(*indices: int) -> float:
        return shift(state_batch_indices=torch.tensor(indices))

    with use("torch"):
        for _ in range(2):
            with pytest.raises(ArgumentError, match=r"^`state_batch_indices` must lie in -1\.\.1"):
                slots(0, 2)
            slots(0, 1)


def test_another_order_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        with use("acme"):
            assert shift() == 7
        with use("torch"):
            assert shift() == 2
        monkeypatch.setenv(preference.BACKENDS_VARIABLE, "acme")
        assert shift() == 7
        monkeypatch.setenv(preference.BACKENDS_VARIABLE, "torch")
        assert shift() == 2


def test_a_gradient_to_come_is_another_kind() -> None:
    wanted = step_inputs()["x"].requires_grad_()
    with use("acme"):
        with torch.no_grad():
            assert shift(x=wanted) == 7
        with pytest.raises(NotSupportedError, match="no gradient in `x`"):
            shift(x=wanted)
        assert shift() == 7


def test_shapes_dtypes_and_flags_are_judged_after_a_kind_that_was_valid() -> None:
    with use("acme"):
        shift()
        for name in step_inputs():
            with pytest.raises(ShapeError, match=f"`{name}`|`state`"):
                shift(**{name: step_inputs()[name][:1]} if name != "A" else {"A": torch.ones(3, 3)})
        with pytest.raises(DTypeError, match="`dt`"):
            shift(dt=step_inputs()["dt"].double())
        with pytest.raises(DTypeError, match="`B` must be a dense tensor"):
            shift(B=step_inputs()["B"].to_sparse())
        with pytest.raises(DTypeError, match="`dt_softplus` must be True or False; got 0"):
            shift(dt_softplus=0)
        with pytest.raises(DTypeError, match="`C` must be a PyTorch tensor"):
            shift(C=step_inputs()["C"].numpy())


def test_a_subclass_is_asked_every_time() -> None:
    class Own(torch.Tensor):
        pass

    with use("acme"):
        shift(x=step_inputs()["x"].as_subclass(Own))
    assert [kind for kind in kinds._REMEMBERED if kind[0] == "selective_state_update"] == []


def test_a_fallback_is_told_from_behind_a_drop_in() -> None:
    indices = torch.tensor([0, 1])  # acme does not claim them
    with use("acme", "torch"), pytest.warns(FallbackWarning, match="not by 'acme': .*state_indices"):
        shift(state_batch_indices=indices)
    with use("acme", "torch"):  # and once
        shift(state_batch_indices=indices)
    with use(fallback="error"), use("acme", "torch"), pytest.raises(FallbackError):
        shift(state_batch_indices=indices)


def filter_inputs(**changed: Any) -> dict[str, Any]:
    inputs = {"x": torch.ones(2, 4), "conv_state": torch.zeros(2, 4, 3), "weight": torch.zeros(4, 3)}
    return inputs | changed


def filtered(**changed: Any) -> float:
    return float(mamba_ssm.causal_conv1d_update(**filter_inputs(**changed)).mean())


def test_the_order_of_a_convolution_is_asked_again() -> None:
    for _ in range(2):
        with use("acme"):
            assert filtered() == 8
        with use("torch"):
            assert filtered() == 0


def test_a_convolution_is_judged_after_a_kind_that_was_valid() -> None:
    weight = filter_inputs()["weight"].requires_grad_()
    with use("acme"):
        with torch.no_grad():
            assert filtered(weight=weight) == 8
        with pytest.raises(NotSupportedError, match="no gradient in `weight`"):
            filtered(weight=weight)
        with pytest.raises(NotSupportedError, match="dtype float16 is not among"):
            filtered(**{name: x.half() for name, x in filter_inputs().items()})
        with pytest.raises(DTypeError, match="`conv_state` must have the dtype of `x`"):
            filtered(conv_state=filter_inputs()["conv_state"].double())
        with pytest.raises(ShapeError, match="`conv_state` must keep at least 2 inputs"):
            filtered(conv_state=torch.zeros(2, 4, 1))
        with pytest.raises(ArgumentError, match="`activation` must be one of"):
            filtered(activation="relu")
        overlapping = torch.zeros(2, 4, 1).expand(2, 4, 3)
        with pytest.raises(ArgumentError, match="`conv_state` must have a place in memory"):
            filtered(conv_state=overlapping)


def test_a_ring_is_another_kind() -> None:
    with use("acme"):
        assert filtered() == 8
        assert filtered(cache_seqlens=torch.tensor([0, 2])) == 8
        with pytest.raises(DTypeError, match="`cache_seqlens` must have dtype"):
            filtered(cache_seqlens=torch.tensor([0.0, 2.0]))
