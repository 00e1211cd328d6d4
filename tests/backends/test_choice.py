"""Who serves a call, and the words for who does not: what no call of the front door shows by itself."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ssm_backends import Call, DTypeError, FallbackWarning, NotSupportedError, explain, selective_scan
from ssm_backends.front import choice, preference
from ssm_backends.front.preference import order_for
from ssm_backends.validation import find

from .conftest import Install

TWO = """
    from ssm_backends import Backend, Op, TorchArrays, hookimpl

    def scan(u, **inputs):
        return u

    @hookimpl
    def ssm_backend(device):
        claims = dict(grad_dtypes=("float64",), gradients="all", limits=dict(n=4))
        ops = tuple(Op(scan, dtypes=("float32", "float64"), **claims) for _ in range(2))
        return Backend(name="two", version="1", arrays=TorchArrays(device), ops=dict(selective_scan=ops),
                       withheld=dict(ssd="it awaits a better compiler"))
"""


@pytest.fixture(autouse=True)
def two(install: Install, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A backend of two Ops with the same claims, and nothing remembered."""
    install(TWO, name="two")
    for variable in (preference.BACKENDS_VARIABLE, preference.FALLBACK_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    choice._loaded.cache_clear()
    choice._TOLD.clear()
    yield
    choice._loaded.cache_clear()


def scan(dtype: torch.dtype = torch.float32, n: int = 3, **more: Any) -> dict[str, Any]:
    shapes = {"u": (1, 2, 5), "delta": (1, 2, 5), "A": (2, n), "B": (1, n, 5), "C": (1, n, 5)}
    return {name: torch.ones(shape, dtype=dtype) for name, shape in shapes.items()} | more


def test_the_built_in_order_is_fastest_first_and_leaves_out_who_has_no_such_operator() -> None:
    assert order_for("selective_scan", "torch", "cuda").names == ("triton", "torch")
    assert order_for("s4d", "torch", "cuda").names == ("torch",)
    assert order_for("selective_state_update", "torch", "cpu").names == ("cpu", "torch")
    assert order_for("ssd", "torch", "cpu").names == ("torch",)
    assert order_for("selective_scan", "numpy", "cpu").names == ("cpu", "numpy")
    assert order_for("hippo_legs", "", "cpu").names == ("numpy",)
    assert order_for("selective_scan", "jax", "cpu").names == ()


def test_an_index_is_an_array_of_the_same_library_too() -> None:
    with pytest.raises(DTypeError, match="`seq_idx` must be an array of torch, as `u` is; got one of numpy"):
        explain("selective_scan", **scan(seq_idx=np.zeros((1, 5), np.int32)))


def test_an_array_of_jax_says_its_device_in_its_own_way() -> None:
    kind = type(
        "Array", (), {"__module__": "jaxlib._jax", "devices": lambda self: [SimpleNamespace(platform="gpu")]}
    )
    traced = type("Tracer", (), {"__module__": "jax._src.core"})
    for array, device in ((kind(), "gpu"), (traced(), "cpu")):
        call = Call(find("selective_scan"), {"u": array}, "float32", "float32", {}, (), frozenset())
        assert choice.where(call) == ("jax", device)


def test_a_gradient_in_a_dtype_that_is_not_claimed_is_not_lost() -> None:
    assert explain("selective_scan", **scan(), backend="two").backend.name == "two"
    given = scan()
    given["u"].requires_grad_()
    with pytest.raises(NotSupportedError, match=r"'two': no gradient in float32 \(none is asked for under"):
        selective_scan(**given, backend="two")
    with torch.no_grad():
        selective_scan(**given, backend="two")
    given = scan(torch.float64)
    given["u"].requires_grad_()
    assert explain("selective_scan", **given, backend="two").op.grad_dtypes == ("float64",)


def test_one_reason_is_told_once_and_what_is_withheld_says_why() -> None:
    with pytest.raises(NotSupportedError) as error:
        explain("selective_scan", **scan(n=5), backend="two")
    assert str(error.value).count("n = 5 is above the limit 4") == 1
    _, said = choice.outlook("ssd", "torch", "cpu", backend="two")
    assert said == {"two": "it awaits a better compiler"}


def test_a_built_in_backend_that_is_not_installed_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preference, "FASTEST", {("torch", "cpu"): ("nobody", "torch")})
    with pytest.warns(FallbackWarning, match="not by 'nobody': no backend is called 'nobody'"):
        selective_scan(**scan(n=2))


def test_arrays_that_nobody_built_in_serves_have_the_ways_to_name_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preference, "FASTEST", {})
    with pytest.raises(
        NotSupportedError, match=r"^no built-in backend serves torch arrays on cpu; name one .*`use`"
    ):
        selective_scan(**scan())


def test_of_two_ways_the_one_is_known_that_is_served_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def sooner(one: Any, other: Any) -> bool:
        return choice.serves_as_soon(one, other, "torch", "cpu", "float32")

    small, large = (("selective_scan", (), (("n", n),)) for n in (4, 5))
    packed, ssd = ("selective_scan", ("seq_idx",), ()), ("ssd", (), ())
    monkeypatch.setattr(preference, "FASTEST", {("torch", "cpu"): ("two", "torch")})
    for late in (large, packed, ssd):
        assert sooner(small, late)
        assert not sooner(late, small)
        assert sooner(late, late)
    monkeypatch.setattr(preference, "FASTEST", {("torch", "cpu"): ("two",)})
    for never in (large, packed, ssd):
        assert sooner(small, never)
        assert not sooner(never, never)
