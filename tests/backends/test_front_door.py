"""The front door: the best backend that claims a call, said aloud, and never a silent fallback."""

from __future__ import annotations

import inspect
import re
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import ssm_backends
from ssm_backends import (
    OPERATORS,
    REQUIRED,
    ArgumentError,
    DTypeError,
    FallbackError,
    FallbackWarning,
    NotSupportedError,
    ShapeError,
    UnavailableError,
    UnknownBackendError,
    call,
    explain,
    load,
    mamba_ssm,
    use,
)
from ssm_backends.front import calling, choice, kinds, preference

from .conftest import Install

PLAIN = """
    from ssm_backends import Backend, Op, TorchArrays, UnavailableError, hookimpl

    def scan(u, **inputs):
        return u + {shift}

    @hookimpl
    def ssm_backend(device):
        {gate}
        return Backend(name="{name}", version="0.3", arrays=TorchArrays(device), ops=dict(selective_scan=Op(
            scan, dtypes=("float32",), gradients={gradients}, features=("zoh",), limits=dict(n=4))))
"""


def plugin(name: str, shift: float = 1.0, gradients: Any = "all", gate: str = "") -> str:
    return PLAIN.format(name=name, shift=shift, gradients=repr(gradients), gate=gate or "pass")


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is remembered from test to test."""
    for variable in (preference.BACKENDS_VARIABLE, preference.FALLBACK_VARIABLE):
        monkeypatch.delenv(variable, raising=False)

    def forget() -> None:
        choice._loaded.cache_clear()
        choice._TOLD.clear()
        kinds._REMEMBERED.clear()

    forget()
    yield
    forget()


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the built-in order of torch on a CPU."""

    def change(*names: str) -> None:
        monkeypatch.setattr(preference, "FASTEST", {("torch", "cpu"): names})

    return change


def scan_inputs(n: int = 3, l: int = 5) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = {"u": (1, 2, l), "delta": (1, 2, l), "A": (2, n), "B": (1, n, l), "C": (1, n, l)}
    return {name: torch.from_numpy(rng.uniform(-1, 0, size)).float() for name, size in shapes.items()}


def test_every_operator_has_a_function_with_the_declared_signature() -> None:
    for name, operator in OPERATORS.items():
        function = getattr(ssm_backends, name)
        parameters = inspect.signature(function).parameters
        assert list(parameters) == [*(argument.name for argument in operator.arguments), "backend"]
        for argument in operator.arguments:
            default = parameters[argument.name].default
            assert (
                default is inspect.Parameter.empty
                if argument.default is REQUIRED
                else default == argument.default
            )
            says = re.search(rf"^{argument.name} : (.*)", function.__doc__, re.MULTILINE)[1]
            assert argument.kind not in ("array", "index") or re.search(r"\), .*(float|int|dtype of)", says)
        assert function.__name__ == name


@pytest.mark.parametrize(("backend", "take"), [("torch", lambda x: x), ("numpy", lambda x: x.numpy())])
def test_the_result_is_the_backends(backend: str, take: Any) -> None:
    inputs = {name: take(x) for name, x in scan_inputs().items()}
    found = ssm_backends.selective_scan(*inputs.values(), return_last_state=True, backend=backend)
    wanted = call(load(backend, "cpu"), "selective_scan", **inputs, return_last_state=True)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("op", "name", "first", "then"),
    [
        ("selective_scan", "delta_softplus", np.False_, np.True_),
        ("selective_scan", "b_discretization", np.str_("euler"), np.str_("zoh")),
        ("discretize_bilinear", "alpha", np.float64(0.5), np.float64(1)),
        ("hippo_legt", "theta", np.float64(1), np.float64(2)),
        ("hippo_legs", "n", np.int64(3), np.int64(4)),
    ],
)
def test_a_scalar_of_numpy_is_read_in_every_call(op: str, name: str, first: Any, then: Any) -> None:
    """A call like one before is not looked at again, and NumPy's scalars have the metadata of arrays."""
    given = {
        "selective_scan": scan_inputs(),
        "discretize_bilinear": {"A": -torch.eye(2), "B": torch.ones(2, 1), "delta": torch.tensor(0.5)},
        "hippo_legt": {"n": 3},
    }.get(op, {})
    function = getattr(ssm_backends, op)
    for value in (first, then):
        found, meant = (function(**given, **{name: x}, backend="torch") for x in (value, value.item()))
        for one, other in zip(found, meant, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_a_scalar_of_numpy_is_judged_in_every_call() -> None:
    ssm_backends.hippo_legs(np.int64(3))
    with pytest.raises(ArgumentError, match=r"^`n` must be at least 1; got -3"):
        ssm_backends.hippo_legs(np.int64(-3))
    with pytest.raises(ArgumentError, match=r"^`theta` must be positive and finite; got nan"):
        ssm_backends.hippo_legt(3, theta=np.float64("nan"))


def test_a_sparse_tensor_is_refused_after_a_dense_one_was_served() -> None:
    inputs = scan_inputs()
    ssm_backends.selective_scan(**inputs)
    with pytest.raises(DTypeError, match=r"^`A` must be a plain dense array; got layout torch.sparse_coo"):
        ssm_backends.selective_scan(**inputs | {"A": inputs["A"].to_sparse()})


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype stage")  # PyTorch's own, on making one
def test_a_nested_tensor_is_refused_by_name() -> None:
    inputs = scan_inputs() | {"u": torch.nested.nested_tensor([torch.ones(2, 5)])}
    for function in (ssm_backends.selective_scan, mamba_ssm.selective_scan_fn):
        with pytest.raises(DTypeError, match=r"^`u` must be a .*dense .*; got a nested tensor"):
            function(**inputs)


@pytest.mark.parametrize("dtype", [np.float32, np.dtype("float32"), np.array(["float32"])])
def test_a_dtype_is_named_by_a_word(dtype: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^`dtype` must be one of bfloat16, .*; got "):
        ssm_backends.hippo_legs(3, dtype=dtype)


@pytest.mark.parametrize("backend", [3, b"torch", ["torch"], {}])
def test_a_backend_is_named_by_a_word(backend: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^`backend` must be the name of a backend; got "):
        ssm_backends.selective_scan(**scan_inputs(), backend=backend)


def test_arrays_are_of_one_library() -> None:
    given = scan_inputs()
    x = {name: tensor if name == "B" else tensor.numpy() for name, tensor in given.items()}
    with pytest.raises(DTypeError, match="`B` must be an array of numpy, as `u` is; got one of torch"):
        ssm_backends.selective_scan(**x)
    with pytest.raises(DTypeError, match="`B` must be an array of numpy"):
        explain("selective_scan", **x)


def test_a_subclass_of_an_array_is_served_as_its_base() -> None:
    class Marked(torch.Tensor):
        """A library's own tensor."""

    x = scan_inputs()
    y = ssm_backends.selective_scan(**{**x, "u": x["u"].as_subclass(Marked)}, backend="torch")
    assert torch.equal(y.as_subclass(torch.Tensor), ssm_backends.selective_scan(**x, backend="torch"))


def test_a_call_without_arrays_goes_to_numpy() -> None:
    assert isinstance(ssm_backends.hippo_legs(3)[0], np.ndarray)
    assert isinstance(ssm_backends.hippo_legs(3, backend="torch")[1], torch.Tensor)


def test_who_decides(install: Install, order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for k, name in enumerate(("first", "second", "third", "fourth")):
        install(plugin(name, k), name=name, module=f"{name}_plugin")
    order("first", "torch")
    inputs = scan_inputs()

    def shift(**options: Any) -> float:
        return float((ssm_backends.selective_scan(**inputs, **options) - inputs["u"])[0, 0, 0].round())

    assert shift() == 0
    assert str(explain("selective_scan", **inputs)) == (
        "selective_scan is served by 'first' (the order for torch on cpu)"
    )
    monkeypatch.setenv("SSM_BACKENDS", "second, torch")
    assert shift() == 1
    assert "SSM_BACKENDS of the environment" in str(explain("selective_scan", **inputs))
    with use("third"):
        assert shift() == 2
        assert "(`use`)" in str(explain("selective_scan", **inputs))
        with use("fourth"):
            assert shift() == 3
        assert shift() == 2
        assert shift(backend="second") == 1
        assert "the argument `backend`" in str(explain("selective_scan", **inputs, backend="first"))
    assert shift() == 1
    monkeypatch.delenv("SSM_BACKENDS")
    assert shift() == 0


def test_a_fallback_warns_once_and_names_the_cause_and_the_caller(install: Install, order: Any) -> None:
    install(plugin("narrow"), name="narrow")
    order("narrow", "torch")
    with pytest.warns(FallbackWarning) as caught:
        ssm_backends.selective_scan(**scan_inputs(n=5))
    assert [str(w.message) for w in caught] == [
        "selective_scan is served by 'torch' (the order for torch on cpu); "
        "not by 'narrow': n = 5 is above the limit 4"
    ]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ssm_backends.selective_scan(**scan_inputs(n=5))
        ssm_backends.selective_scan(**scan_inputs(n=5, l=7))
        ssm_backends.selective_scan(**scan_inputs(n=4))


def test_a_fallback_is_told_until_a_call_went_on_and_not_by_who_asks(install: Install, order: Any) -> None:
    install(plugin("narrow"), name="narrow")
    order("narrow", "torch")
    inputs = scan_inputs(n=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            assert explain("selective_scan", **inputs).backend.name == "torch"
            with pytest.raises(FallbackWarning):
                ssm_backends.selective_scan(**inputs)
    with use(fallback="error"):
        assert "not by 'narrow'" in str(explain("selective_scan", **inputs))
    with pytest.warns(FallbackWarning):
        ssm_backends.selective_scan(**inputs)


def test_a_missing_extra_is_a_fallback_with_its_remedy(install: Install, order: Any) -> None:
    install("raise RuntimeError('imported')", name="absent", requires="distribution-that-nobody-has>=2")
    order("absent", "torch")
    with pytest.warns(FallbackWarning, match=r"not by 'absent': .*pip install 'acme_plugin\[gpu\]'"):
        ssm_backends.selective_scan(**scan_inputs())


@pytest.mark.parametrize("by", ["use", "environment"])
def test_a_fallback_can_be_an_error(
    by: str, install: Install, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(plugin("narrow"), name="narrow")
    order("narrow", "torch")
    if by == "environment":
        monkeypatch.setenv("SSM_BACKENDS_FALLBACK", "error")
    with use(fallback="error" if by == "use" else None):
        assert explain("selective_scan", **scan_inputs()).backend.name == "narrow"
        with pytest.raises(FallbackError, match=r"limit 4\. Falling back is an error here"):
            ssm_backends.selective_scan(**scan_inputs(n=5))
        with use(fallback="warn"), pytest.warns(FallbackWarning):
            ssm_backends.selective_scan(**scan_inputs(n=5))


def test_a_backend_that_was_named_serves_or_raises(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(plugin("narrow"), name="narrow")
    gate = "raise UnavailableError('no such device')"
    install(plugin("away", gate=gate), name="away", module="away_plugin")
    inputs = scan_inputs(n=5)
    with pytest.raises(NotSupportedError, match=r"\(the argument `backend`\): 'narrow': n = 5 is above"):
        ssm_backends.selective_scan(**inputs, backend="narrow")
    with pytest.raises(UnavailableError, match="no such device"):
        ssm_backends.selective_scan(**inputs, backend="away")
    with use("away", "torch"), pytest.warns(FallbackWarning, match="not by 'away': no such device"):
        ssm_backends.selective_scan(**inputs)
    with pytest.raises(NotSupportedError, match="takes arrays of numpy, not of torch"):
        ssm_backends.selective_scan(**inputs, backend="numpy")
    with pytest.raises(UnknownBackendError, match="'nobody'; installed: "):
        ssm_backends.selective_scan(**inputs, backend="nobody")
    monkeypatch.setenv("SSM_BACKENDS", "torch,nobody")
    assert explain("selective_scan", **inputs).backend.name == "torch"


def test_a_gradient_that_is_not_claimed_is_not_lost(install: Install, order: Any) -> None:
    install(plugin("forward", gradients=()), name="forward")
    order("forward", "torch")
    inputs = scan_inputs()
    assert explain("selective_scan", **inputs).backend.name == "forward"
    inputs["A"].requires_grad_()
    with torch.no_grad():
        assert ssm_backends.selective_scan(**inputs)[0, 0, 0] == inputs["u"][0, 0, 0] + 1
    with pytest.warns(FallbackWarning, match="not by 'forward': no gradient in `A` "):
        ssm_backends.selective_scan(**inputs).sum().backward()
    assert inputs["A"].grad is not None


def test_bad_use_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ShapeError, match=r"^`A` must have shape"):
        ssm_backends.selective_scan(**scan_inputs() | {"A": torch.ones(3, 3)})
    with pytest.raises(ArgumentError, match="`backend` must be the name of a backend; got 3"):
        ssm_backends.selective_scan(**scan_inputs(), backend=3)
    with (
        pytest.raises(ArgumentError, match="`fallback` must be one of warn, error; got 'silent'"),
        use(
            fallback="silent"  # type: ignore[arg-type]  # the point of the test
        ),
    ):
        pass
    with pytest.raises(ArgumentError, match="`backends` must be names of backends; got ''"), use(""):
        pass
    monkeypatch.setenv("SSM_BACKENDS_FALLBACK", "maybe")
    with pytest.raises(ArgumentError, match=r"`SSM_BACKENDS_FALLBACK` must be .*; got 'maybe'"):
        ssm_backends.selective_scan(**scan_inputs())


def test_a_kind_of_call_is_validated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def counted(operator: Any, **inputs: Any) -> Any:
        seen.append(operator.name)
        return ssm_backends.validate(operator, **inputs)

    monkeypatch.setattr(calling, "validate", counted)
    with use("torch"):
        for _ in range(3):
            ssm_backends.selective_scan(**scan_inputs())
        ssm_backends.selective_scan(**scan_inputs(l=6))
        ssm_backends.selective_scan(**scan_inputs(), b_discretization="zoh")
        with pytest.raises(ShapeError):
            ssm_backends.selective_scan(**scan_inputs() | {"A": torch.ones(3, 3)})
    assert len(seen) == 4


def test_one_graph_serves_every_length(install: Install, order: Any) -> None:
    install(plugin("simple"), name="simple")
    order("simple")
    graphs: list[Any] = []

    def count(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(ssm_backends.selective_scan, backend=count, fullgraph=True, dynamic=True)
    for length in (5, 6, 9):
        inputs = scan_inputs(l=length)
        assert torch.equal(compiled(**inputs), inputs["u"] + 1)
    assert len(graphs) == 1


def test_two_operators_are_one_graph() -> None:
    """In a graph that is traced before either was: PyTorch keeps what it first saw of a table."""
    torch._dynamo.reset()
    calling._TRACED.__dict__.clear()
    inputs, weight = scan_inputs(), torch.ones(2, 4)

    def layer(u: torch.Tensor, **rest: torch.Tensor) -> torch.Tensor:
        u = ssm_backends.causal_conv1d(u, weight, None, "silu", backend="torch")
        return ssm_backends.selective_scan(u, **rest, backend="torch")

    assert torch.equal(torch.compile(layer, fullgraph=True, backend="eager")(**inputs), layer(**inputs))


def test_a_call_that_is_traced_is_served_by_who_can_be(install: Install, order: Any) -> None:
    install(plugin("simple"), name="simple")
    order("simple", "torch")
    torch._dynamo.reset()
    inputs = scan_inputs()
    compiled = torch.compile(ssm_backends.selective_scan, fullgraph=True, backend="eager")
    with pytest.warns(FallbackWarning, match="not by 'simple': features not claimed: compile"):
        found = compiled(**inputs)
    assert torch.equal(found, ssm_backends.selective_scan(**inputs, backend="torch"))


def test_a_thread_has_its_own_wish() -> None:
    found: list[str] = []
    with use("torch"):
        thread = threading.Thread(
            target=lambda: found.append(preference.order_for("hippo_legs", "numpy", "cpu").said_by)
        )
        thread.start()
        thread.join()
    assert found == ["the order for numpy on cpu"]
