"""The scan and the step for PyTorch tensors: autograd, bfloat16, torch.compile, and no copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ssm_backends import DeviceError, DTypeError
from ssm_cpu import selective_scan, selective_scan_forward, selective_scan_vjp, selective_state_update
from ssm_cpu._operator import _BACKWARD, _SCAN

from .problems import problem


def _tensors(call: dict[str, Any]) -> dict[str, Any]:
    return {k: torch.from_numpy(v.copy()) if isinstance(v, np.ndarray) else v for k, v in call.items()}


@pytest.mark.parametrize("complex_", [False, True])
def test_autograd_gives_the_bits_of_numpys_gradient(complex_: bool) -> None:
    call = problem(d=20, l=70, complex_=complex_) | {"return_last_state": True}
    outputs, saved = selective_scan_forward(**call)
    wrt = tuple(k for k, v in call.items() if isinstance(v, np.ndarray))
    cotangents = dict(zip(("y", "last_state"), outputs, strict=True))
    expected = selective_scan_vjp(cotangents, wrt, saved, **call)
    tensors = _tensors(call)
    leaves = [tensors[name].requires_grad_() for name in wrt]
    found = selective_scan(**tensors)
    for x, y in zip(found, outputs, strict=True):
        assert np.array_equal(x.detach().numpy(), y)
    gradients = torch.autograd.grad(found, leaves, [torch.from_numpy(x) for x in outputs])
    for name, gradient in zip(wrt, gradients, strict=True):
        assert np.array_equal(gradient.numpy(), expected[name]), name


def test_only_the_last_state_is_used() -> None:
    tensors = _tensors(problem())
    leaf = tensors["u"].requires_grad_()
    _, last = selective_scan(**tensors, return_last_state=True)
    assert torch.autograd.grad(last.sum(), leaf)[0].abs().sum() > 0


def test_what_a_hook_hands_back_may_lie_in_another_order() -> None:
    tensors = _tensors(problem(d=20, l=200))
    leaves = [x.requires_grad_() for x in tensors.values() if torch.is_tensor(x)]
    expected = torch.autograd.grad(selective_scan(**tensors).sum(), leaves)
    with torch.autograd.graph.saved_tensors_hooks(_by_columns, lambda x: x):
        found = torch.autograd.grad(selective_scan(**tensors).sum(), leaves)
    for x, y in zip(found, expected, strict=True):
        assert torch.equal(x, y)


def _by_columns(x: Any) -> Any:
    return x.mT.contiguous().mT if x.ndim > 1 else x.clone()


def test_bfloat16_is_float32_inside() -> None:
    streams = ("u", "delta", "z", "B", "C")
    tensors = _tensors(problem(d=20, l=70))
    half = tensors | {name: tensors[name].bfloat16() for name in streams}
    wide = half | {name: half[name].float() for name in streams}
    assert torch.equal(selective_scan(**half), selective_scan(**wide).bfloat16())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("d", [3, 19])  # a few channels, and a block of sixteen
def test_nan_of_16_bits_stays_one(d: int, dtype: torch.dtype) -> None:
    call = {name: torch.tensor(x) for name, x in problem(d=d, plain=True).items()}
    call |= {name: call[name].to(dtype) for name in ("u", "delta", "B", "C")}
    call["u"][0, 1, 4] = torch.nan
    found = selective_scan(**call).isnan()
    assert found.nonzero().tolist() == [[0, 1, t] for t in range(4, 7)]


def test_a_conjugate_view_is_what_it_says() -> None:
    tensors = _tensors(problem(complex_=True))
    lazy = tensors | {"B": tensors["B"].conj()}
    assert lazy["B"].is_conj()
    assert torch.equal(selective_scan(**lazy), selective_scan(**tensors | {"B": lazy["B"].resolve_conj()}))


@pytest.mark.parametrize("name", ["u", "A", "z", "initial_state"])
def test_zeros_that_pytorch_keeps_no_memory_for(name: str) -> None:
    """As forward mode may give them: a kernel would read at the address 0."""
    tensors = _tensors(problem())
    zeros = torch._efficientzerotensor(tensors[name].shape)
    assert zeros._is_zerotensor()
    expected = selective_scan(**tensors | {name: torch.zeros_like(tensors[name])})
    assert torch.equal(selective_scan(**tensors | {name: zeros}), expected)


def test_a_step_in_place_writes_the_tensor_it_was_given() -> None:
    tensors = _tensors(problem(l=1))
    state = tensors.pop("initial_state")
    given = {k: v[..., 0] if k in ("u", "delta", "z", "B", "C") else v for k, v in tensors.items()}
    y, new = selective_state_update(state.clone(), **given)
    y_again, same = selective_state_update(state, **given, inplace=True)
    assert same is state
    assert torch.equal(new, state)
    assert torch.equal(y, y_again)


def test_autograd_sees_that_a_state_was_written_over() -> None:
    tensors = _tensors(problem(l=1))
    state = tensors.pop("initial_state")
    given = {k: v[..., 0] if k in ("u", "delta", "z", "B", "C") else v for k, v in tensors.items()}
    weight = torch.ones_like(state, requires_grad=True)
    loss = (weight * state).sum()
    selective_state_update(state, **given, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    with torch.inference_mode():
        state = torch.zeros_like(state)  # of such a one nobody counts the writes
        assert selective_state_update(state, **given, inplace=True)[1] is state


def test_a_tensor_elsewhere_is_refused() -> None:
    tensors = {k: v.to("meta") if torch.is_tensor(v) else v for k, v in _tensors(problem()).items()}
    with pytest.raises(DeviceError, match="`u` must be on the CPU; got a tensor on meta"):
        selective_scan(**tensors)


@pytest.mark.parametrize("check", ["test_schema", "test_faketensor"])
def test_the_operators_keep_torchs_contract(check: str) -> None:
    x = _tensors(problem(b=1, d=3, l=3, n=2))
    arrays = [x[k] for k in ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")]
    arguments = (*arrays, None, None, True, False, True, True)
    torch.library.opcheck(_SCAN, arguments, test_utils=check)
    y, last, saved = _SCAN(*arguments)
    backward = (torch.ones_like(y), torch.ones_like(last), saved, *arguments[:-2])
    torch.library.opcheck(_BACKWARD, backward, test_utils=check)


@pytest.mark.parametrize("groups", [(None, None), (2, 4)])
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_as_one_graph(dynamic: bool, groups: tuple[int | None, int | None]) -> None:
    torch.compiler.reset()
    compiled = torch.compile(selective_scan, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for length in (70, 33):
        tensors = _tensors(problem(d=20, l=length, groups=groups))
        leaf = tensors["u"].requires_grad_()
        outputs = selective_scan(**tensors), compiled(**tensors)
        assert torch.equal(*outputs)
        assert torch.equal(*(torch.autograd.grad(y.square().sum(), leaf)[0] for y in outputs))


class Scan(torch.nn.Module):
    """A module with one call in it, and a parameter."""

    def __init__(self, A: torch.Tensor) -> None:
        super().__init__()
        self.A = torch.nn.Parameter(A)

    def forward(self, u: torch.Tensor, B: torch.Tensor, C: torch.Tensor) -> torch.Tensor:
        return selective_scan(u, u, self.A, B, C, delta_softplus=True)


@pytest.mark.parametrize("groups", [(None, None), (2, 4)])
def test_exported_for_every_batch_and_length(groups: tuple[int | None, int | None]) -> None:
    """At 20 channels a chunk is wider from 205 rows on: no size of the graph may depend on it."""
    few, many = (_tensors(problem(b=b, d=20, l=l, groups=groups)) for b, l in ((2, 9), (210, 20)))
    module, b, l = Scan(few["A"]), torch.export.Dim("b"), torch.export.Dim("l")
    given = {name: few[name] for name in ("u", "B", "C")}
    sizes = {name: {0: b, x.ndim - 1: l} for name, x in given.items()}
    exported = torch.export.export(module, (), given, dynamic_shapes=sizes).module()
    others = {name: many[name] for name in given}
    assert torch.equal(exported(**others), module(**others))


def test_results_lie_on_the_cpu_whatever_the_default_device_is() -> None:
    tensors = _tensors(problem(d=6, l=21) | {"return_last_state": True})
    expected = selective_scan(**tensors)
    with torch.device("meta"):
        found = selective_scan(**tensors)
    for x, y in zip(found, expected, strict=True):
        assert x.device.type == "cpu"
        assert torch.equal(x, y)


class Foreign:
    """An array of a library that nobody knows."""

    def __init__(self, x: Any) -> None:
        self.shape, self.dtype = x.shape, x.dtype


def test_arrays_of_two_libraries_are_refused_by_name() -> None:
    call = _tensors(problem())
    with pytest.raises(DTypeError, match=r"^`A` must be a PyTorch tensor, as `u` is; got a NumPy array"):
        selective_scan(**call | {"A": call["A"].numpy()})
    with pytest.raises(DTypeError, match=r"^`A` must be a PyTorch tensor, as `u` is; got .*\.Foreign"):
        selective_scan(**call | {"A": Foreign(call["A"])})
    selective_scan(**call)
    with pytest.raises(DTypeError, match=r"^`A` must be a plain dense array; got layout torch.sparse_coo"):
        selective_scan(**call | {"A": call["A"].to_sparse()})
