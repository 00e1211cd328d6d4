"""The scan as an operator of PyTorch: its schema, its fake kernel, its gradient, and the plugin's claims."""

from __future__ import annotations

import pytest
import torch

from ssm_backends import NotSupportedError, UnavailableError
from ssm_triton import ssm_backend
from ssm_triton.scan import scan, scan_backward

from .problems import problem


def _arguments(device: str) -> tuple[object, ...]:
    x = problem(device, b=1, d=3, l=3, n=2)
    B, C = x["B"][:, None], x["C"][:, None]
    rest = [x[k] for k in ("D", "z", "delta_bias", "initial_state")]
    return x["u"], x["delta"], x["A"], B, C, *rest, None, None, True, False, True, 32


@pytest.mark.parametrize("check", ["test_schema", "test_faketensor"])
def test_the_operators_keep_torchs_contract(device: str, check: str) -> None:
    arguments = _arguments(device)
    torch.library.opcheck(scan, arguments, test_utils=check)
    y, last, saved = scan(*arguments)
    torch.library.opcheck(
        scan_backward, (torch.ones_like(y), torch.ones_like(last), saved, *arguments[:-2]), test_utils=check
    )


def test_a_call_that_kept_nothing_has_its_gradient(device: str) -> None:
    """So it is in a graph that was recorded without gradients, and is differentiated after all."""
    u, *others = _arguments(device)
    leaf = u.requires_grad_()
    gradients = []
    for save in (0, others[-1]):
        y, last, _ = scan(leaf, *others[:-1], save)
        gradients.append(torch.autograd.grad(y.square().sum() + last.sum(), leaf)[0])
    assert torch.equal(*gradients)


def test_a_second_derivative_is_refused_by_name(device: str) -> None:
    u, *others = _arguments(device)
    leaf = u.requires_grad_()
    (gradient,) = torch.autograd.grad(scan(leaf, *others)[0].square().sum(), leaf, create_graph=True)
    with pytest.raises(NotSupportedError, match=r"^selective_scan of this backend has one derivative"):
        gradient.sum().backward()


def test_the_plugin_claims_gradients_and_fused_memory(device: str) -> None:
    backend = ssm_backend(device)
    for op in backend.implementations("selective_scan"):
        assert op.memory == "fused"
        assert op.gradients == "all"
        assert op.is_deterministic("backward")


def test_a_device_that_it_cannot_serve(device: str) -> None:
    with pytest.raises(UnavailableError, match="GPU"):
        ssm_backend("meta")
