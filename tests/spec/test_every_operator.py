"""What holds for every operator alike: edges, layouts, exact inputs, and an error for every bad argument."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import ORACLE, Arithmetic, DomainError, DTypeError, ShapeError

from .sample_calls import Call, sample_calls

CALLS = sample_calls()
TYPED = (ShapeError, DTypeError, DomainError)
WHOLE_SYSTEM = {"s5": "h"}
"""Operators whose channels are the inputs and outputs of one system, at least one of them."""
every_operator = pytest.mark.parametrize("op", CALLS)
FLOATS = (np.float32, np.complex64)


def all_four(op: str, call: Call) -> dict[str, Any]:
    """Values, gradients and both bounds of one call, flat, by name."""
    reference = ssm_spec.REFERENCES[op]
    result = reference.value(**call)
    found = {f"value {i}": x for i, x in enumerate(result if isinstance(result, tuple) else (result,))}
    bounds = reference.bounds(arithmetic=Arithmetic(), **call)
    found |= {f"bounded {name}": bounded for name, bounded in bounds.items()}
    if reference.vjp is not None and reference.vjp_bounds is not None:
        cotangents = {name: np.ones_like(bounded.value) for name, bounded in bounds.items()}
        found |= reference.vjp(cotangents, **call)
        slopes = reference.vjp_bounds(cotangents, arithmetic=Arithmetic(), **call)
        found |= {f"bounded d{name}": bounded for name, bounded in slopes.items()}
    flat = {}
    for name, x in found.items():
        parts = vars(x) if isinstance(x, ssm_spec.Bounded) else {"": x}
        flat |= {f"{name} {part}": array for part, array in parts.items()}
    return flat


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name, strict=True)


def test_there_is_a_sample_of_every_operator() -> None:
    assert CALLS.keys() == ssm_spec.REFERENCES.keys()


@every_operator
def test_inputs_are_read_in_any_layout_and_never_written(op: str) -> None:
    """common-6: every array backwards in memory, strided, and locked against writing."""

    def locked(x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        wide = np.full((*x.shape, 2), 99, dtype=x.dtype)
        wide[..., 0] = x
        turned = wide[..., 0].T.copy(order="C").T
        turned.flags.writeable = False
        return turned

    plain, turned = (all_four(op, call) for call in (CALLS[op], {k: locked(x) for k, x in CALLS[op].items()}))
    assert plain.keys() == turned.keys()
    for name in (name for name in plain if name.endswith(" value")):
        # Products of matrices may sum in another order.
        own = (found[name.replace(" value", " own")] for found in (plain, turned))
        assert np.all(np.abs(plain[name] - turned[name]) <= sum(own)), name


@every_operator
@pytest.mark.parametrize("form", ["lists", "tensors"])
def test_lists_and_tensors_mean_what_arrays_do(op: str, form: str) -> None:
    """common-1, and near the smallest numbers too, where a complex product may lose more than a real one."""
    if form == "tensors":
        from_numpy = pytest.importorskip("torch").from_numpy

    def given(x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        return x.tolist() if form == "lists" else from_numpy(x)

    system = ("A", "Lambda", "delta", "K", "a", "points", "times")
    small = {
        name: x * np.float32(1e-19) if getattr(x, "dtype", int) in FLOATS and name not in system else x
        for name, x in CALLS[op].items()
    }
    same(all_four(op, small), all_four(op, {name: given(x) for name, x in small.items()}))


@every_operator
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_inputs_stand_for_their_exact_numbers(op: str, dtype: str) -> None:
    """common-1. State matrices come in single precision at least."""
    half = np.dtype(np.float16) if dtype == "float16" else pytest.importorskip("ml_dtypes").bfloat16
    narrow = {
        name: x.astype(half)
        if isinstance(x, np.ndarray) and x.dtype == np.float32 and name not in ("A", "A_log")
        else x
        for name, x in CALLS[op].items()
    }
    exact = {
        name: np.asarray(x, dtype=np.float64) if getattr(x, "dtype", None) == half else x
        for name, x in narrow.items()
    }
    same(all_four(op, narrow), all_four(op, exact))


@pytest.mark.parametrize("name", ["A", "A_log"])
@pytest.mark.parametrize(
    "op", ["selective_scan", "selective_state_update", "ssd", "ssd_update", "mamba_block"]
)
def test_decay_rates_in_half_precision_are_refused(op: str, name: str) -> None:
    if name not in CALLS[op]:
        return
    rates = CALLS[op][name].real.astype(np.float16)
    real = {k: x.real if np.iscomplexobj(x) else x for k, x in CALLS[op].items()}
    with pytest.raises(DTypeError, match=f"`{name}` must have at least single precision; got float16"):
        ssm_spec.REFERENCES[op].value(**real | {name: rates})


EDGES = ({"B": 0}, {"D": 0}, {"L": 0}, {"L": 1}, {"B": 1, "D": 2, "L": 1}, {"B": 0, "D": 0, "L": 0})


@every_operator
@pytest.mark.parametrize("sizes", EDGES, ids=str)
def test_empty_and_single_sizes_are_values(op: str, sizes: dict[str, int]) -> None:
    """common-2: shapes agree, everything is finite, and nothing is excused."""
    if sizes.get("L") == 0 and op in ("selective_state_update", "ssd_update", "mamba3_siso_step"):
        return  # a step has no length
    call = sample_calls(**sizes)[op]
    if sizes.get("D") == 0 and op in WHOLE_SYSTEM:
        with pytest.raises(ShapeError, match=f"must have {WHOLE_SYSTEM[op]} >= 1"):
            all_four(op, call)
        return
    for name, array in all_four(op, call).items():
        assert np.all(np.isfinite(array)), name
        if name.endswith("judged"):
            assert np.all(array), name
    reference = ssm_spec.REFERENCES[op]
    if reference.vjp is not None:
        for name, slope in reference.vjp({}, **call).items():
            assert slope.shape == np.shape(call[name])
            assert not np.any(slope)


@every_operator
def test_what_is_not_finite_is_so_in_silence(op: str) -> None:
    """common-4: no floating-point warning leaves a public function; pytest makes errors of them."""
    call = CALLS[op]
    for name, array in call.items():
        if isinstance(array, np.ndarray) and array.dtype.kind in "fc":
            infinite = array.copy()
            infinite.flat[0] = np.inf
            with contextlib.suppress(*TYPED):  # a point outside its interval, a singular matrix
                all_four(op, {**call, name: infinite})


def bad_values(value: Any, required: bool) -> Iterator[tuple[str, Any]]:
    """What must not pass for a given argument, whatever it is."""
    yield "a word", "words"
    yield "words", ["a", "b"]
    yield "an object", object()
    yield "a mapping", {"a": 1.0}
    yield "a ragged list", [[1.0], [1.0, 2.0]]
    if isinstance(value, bool):
        yield from (("an integer", 1), ("nothing", None), ("a list", [True]), ("an array", np.ones((2, 2))))
    if not isinstance(value, np.ndarray):
        return
    if required:
        yield "nothing", None
    yield "bools", np.ones(value.shape, dtype=bool)
    yield "objects", np.full(value.shape, None)
    yield "letters", np.full(value.shape, "a")
    yield "dates", np.zeros(value.shape, dtype="datetime64[s]")
    if value.dtype.kind == "i":
        yield "NaN for an index", np.full(value.shape, np.nan)
        yield "floats for indices", value.astype(np.float64)
        yield "complex indices", value.astype(np.complex128)
    else:
        yield "integers", np.ones(value.shape, dtype=np.int64)
        yield "numbers too wide", value.astype(np.clongdouble if value.dtype.kind == "c" else np.longdouble)


def four_functions(op: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    reference = ssm_spec.REFERENCES[op]
    yield "value", reference.value
    yield "bounds", lambda **call: reference.bounds(arithmetic=ORACLE, **call)
    if reference.vjp is not None and reference.vjp_bounds is not None:
        vjp, vjp_bounds = reference.vjp, reference.vjp_bounds
        yield "vjp", lambda **call: vjp({}, **call)
        yield "vjp_bounds", lambda **call: vjp_bounds({}, arithmetic=ORACLE, **call)


@every_operator
def test_a_bad_argument_is_named_by_a_typed_error(op: str) -> None:
    """common-7, for each argument of each of the four functions."""
    parameters = inspect.signature(ssm_spec.REFERENCES[op].value).parameters
    for name, parameter in parameters.items():
        value = CALLS[op].get(name, parameter.default)
        required = parameter.default is inspect.Parameter.empty and "None" not in parameter.annotation
        for kind, bad in bad_values(value, required):
            for which, function in four_functions(op):
                with pytest.raises(TYPED) as caught:
                    function(**CALLS[op] | {name: bad})
                assert f"`{name}`" in str(caught.value), (which, name, kind, str(caught.value))


@every_operator
def test_a_missing_and_an_unknown_argument_are_named(op: str) -> None:
    parameters = inspect.signature(ssm_spec.REFERENCES[op].value).parameters
    required = [name for name, p in parameters.items() if p.default is inspect.Parameter.empty]
    for which, function in four_functions(op):
        for name in required:
            with pytest.raises(TypeError, match=f"'{name}'"):
                function(**{key: value for key, value in CALLS[op].items() if key != name})
        with pytest.raises(TypeError, match="'nonsense'"):
            function(**CALLS[op], nonsense=1.0)
        assert which


@every_operator
def test_bad_cotangents_names_and_arithmetics_are_named(op: str) -> None:
    reference, call = ssm_spec.REFERENCES[op], CALLS[op]
    for bad in (None, "float32", {"compute": "float32"}):
        with pytest.raises(DTypeError, match="`arithmetic` must be an `Arithmetic`"):
            reference.bounds(arithmetic=bad, **call)
    if reference.vjp is None:
        return
    first = reference.outputs[0]
    size = reference.bounds(arithmetic=ORACLE, **call)[first].value.shape
    for bad in (
        None,
        [1.0],
        {"nope": 1.0},
        {first: "a"},
        {first: np.ones((7,) * 6)},
        {first: np.ones(size, int)},
    ):
        with pytest.raises(TYPED, match="`cotangents"):
            reference.vjp(bad, **call)
    for names in (3, "nope", ("nope",), (1,)):
        with pytest.raises(TYPED, match="`wrt` must"):
            reference.vjp({}, names, **call)


SIZES = {name: size for name in CALLS for size in ("length", "n") if isinstance(CALLS[name].get(size), int)}
NO_SIZES = (-1, 2.5, 1e30, float("nan"), True, "4", None, [4], 10**30, 2**62)


@pytest.mark.parametrize("op", SIZES)
@pytest.mark.parametrize("bad", NO_SIZES, ids=str)
def test_a_size_that_no_array_has_is_named(op: str, bad: Any) -> None:
    for _, function in four_functions(op):
        with pytest.raises((DTypeError, DomainError), match=f"`{SIZES[op]}` must"):
            function(**CALLS[op] | {SIZES[op]: bad})


@pytest.mark.parametrize("bad", [0, *NO_SIZES], ids=str)
def test_a_chunk_that_has_no_size_is_named(bad: Any) -> None:
    scan = CALLS["ssm_associative_scan"]
    inputs = {name: x for name, x in CALLS["ssd"].items() if name != "return_final_states"}
    for name, call in {
        "chunk": lambda: ssm_spec.ssm_associative_scan(**scan, chunk=bad),
        "chunk_size": lambda: ssm_spec.ssd_chunked(chunk_size=bad, **inputs),
    }.items():
        with pytest.raises((DTypeError, DomainError), match=f"`{name}` must"):
            call()
    if bad != 0:
        with pytest.raises((DTypeError, DomainError), match="`length` must"):
            ssm_spec.ssm_associative_scan_cost(bad)
