"""One step of causal-conv1d's is one call of the operator, by who is asked first; else the convolution's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ssm_backends import FallbackWarning, mamba_ssm, use
from ssm_backends.mamba_ssm import convolution_update

from .conftest import Install
from .mamba_calls import randn
from .test_short_convolution import DTYPES, B, D, W, plain, step_of  # noqa: F401 # a fixture, too


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("kept", [W - 1, W, W + 3])
def test_one_step_is_one_call_and_gives_what_its_pieces_give(
    dtype: torch.dtype, pooled: bool, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    serve = convolution_update.call_as

    def served(*given: Any) -> Any:
        asked.append(given[3].name)
        return serve(*given)

    monkeypatch.setattr(convolution_update, "call_as", served)
    given = step_of(dtype) | {"conv_state": randn(7, D, kept, seed=4, dtype=dtype)}
    if not pooled:
        given |= {"conv_state": given["conv_state"][:B], "conv_state_indices": None}
    found = []
    for pieces in (False, True):
        state = given["conv_state"].clone()
        if pieces:
            monkeypatch.setattr(convolution_update, "known_kind", lambda *_: None)  # it would be asked first
            monkeypatch.setattr(convolution_update, "serves_as_soon", lambda *_: False)
        given["x"] = given["x"].reshape(B, D, 1) if pieces else given["x"]
        y = mamba_ssm.causal_conv1d_update(**given | {"conv_state": state})
        found.append((y.reshape(B, D), state))
    assert asked == ["causal_conv1d_update", "causal_conv1d"]
    (y, state), (y_pieces, state_pieces) = found
    assert torch.equal(state, state_pieces)
    tolerance = {"rtol": 2 * torch.finfo(dtype).eps, "atol": 8 * torch.finfo(dtype).eps}  # sums of five terms
    torch.testing.assert_close(y, y_pieces, **tolerance)


PLUGIN = """
    from ssm_backends import Backend, Op, TorchArrays, hookimpl

    def convolution(x, weight, **inputs):
        return x + 7

    def step(x, state, weight, **inputs):
        return x + 9, state

    @hookimpl
    def ssm_backend(device):
        return Backend(name="{name}", version="0.3", arrays=TorchArrays(device), ops=dict({ops}))
"""
FILTERS = "causal_conv1d=Op(convolution, dtypes=('float32',)),"
STEPS = "causal_conv1d_update=Op(step, dtypes=('float32',), features=('inplace', 'long_state')),"


@pytest.mark.parametrize(
    ("ops", "added"), [(FILTERS, 7), (STEPS, 9), (FILTERS + STEPS, 9)], ids=["filters", "steps", "both"]
)
def test_the_backend_that_is_asked_first_takes_the_step_as_it_can(
    ops: str, added: int, install: Install
) -> None:
    """In one call where it claims that, else by the convolution, and without a warning: nothing is slower."""
    name = f"acme{len(ops)}"  # loaded backends are remembered by name
    install(PLUGIN.format(name=name, ops=ops), name=name, module=f"{name}_plugin")
    given = step_of() | {"conv_state": randn(B, D, W, seed=4), "conv_state_indices": None}
    with use(name, "torch"):
        for _ in range(2):
            assert torch.equal(mamba_ssm.causal_conv1d_update(**given), given["x"] + added)


def test_a_step_that_the_first_backend_cannot_take_at_all_is_told(install: Install) -> None:
    install(PLUGIN.format(name="acme0", ops=""), name="acme0", module="acme0_plugin")
    with (
        use("acme0", "torch"),
        pytest.warns(FallbackWarning, match="not by 'acme0': causal_conv1d_update is not claimed"),
    ):
        mamba_ssm.causal_conv1d_update(**step_of())


@pytest.mark.parametrize("shape", [(B, D), (B, D, 1)])
def test_a_step_of_one_has_the_shape_it_was_given(shape: tuple[int, ...]) -> None:
    given = step_of()
    given["x"] = given["x"].reshape(shape)
    assert mamba_ssm.causal_conv1d_update(**given).shape == shape


def test_a_state_out_of_order_is_written_where_it_lies() -> None:
    given = step_of()
    apart = torch.zeros(7, W + 2, D).mT[..., :W]
    apart.copy_(given["conv_state"])
    y = mamba_ssm.causal_conv1d_update(**given | {"conv_state": apart})
    assert torch.equal(y, mamba_ssm.causal_conv1d_update(**given))
    assert torch.equal(apart, given["conv_state"])
