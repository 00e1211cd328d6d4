"""What `validate` accepts, what it refuses, and how it says so: from the declarations themselves."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np
import pytest
import torch

from ssm_backends import (
    OPERATORS,
    Argument,
    ArgumentError,
    DeviceError,
    DTypeError,
    Form,
    Operator,
    ShapeError,
    choose_forms,
    once,
    validate,
)
from ssm_backends.operators.linear import SSM_RECURRENCE
from ssm_backends.operators.selective import SELECTIVE_SCAN, SELECTIVE_STATE_UPDATE

from .calls import SIZES, Meta, array, arrays, call, call_with, plain_value, shape_of, sizes_of
from .refusals import refused

EVERY = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
FORMS = pytest.mark.parametrize(
    ("operator", "argument", "form"),
    [pytest.param(*row, id=f"{row[0].name}-{row[1].name}-{row[2].shape}") for row in arrays()],
)
PLAIN = pytest.mark.parametrize(
    ("operator", "argument"),
    [
        pytest.param(operator, argument, id=f"{operator.name}-{argument.name}")
        for operator in OPERATORS.values()
        for argument in operator.arguments
        if not argument.forms
    ],
)


def with_complex_states(operator: Operator, inputs: dict[str, Any]) -> dict[str, Any]:
    """The call with every argument complex that must be so where A is."""
    return inputs | {
        name: Meta(value.shape, "complex128")
        for name, value in inputs.items()
        if operator.argument(name).complex == "as A"
    }


@EVERY
def test_the_required_arguments_suffice(operator: Operator) -> None:
    inputs = call(operator)
    found = validate(operator.name, **inputs)
    assert found.operator is operator
    assert found.dtype == found.compute == "float64"
    assert set(inputs) - found.given <= {a.name for a in operator.arguments if not a.required}
    sizes = sizes_of(operator)
    assert all(found.sizes[symbol] == sizes[symbol] for symbol in found.sizes if symbol in sizes)


@FORMS
def test_every_form_is_accepted_and_asks_for_its_features(
    operator: Operator, argument: Argument, form: Form
) -> None:
    found = validate(operator, **call_with(operator, argument, form))
    assert {form.feature, argument.feature} - {None} <= found.features <= set(operator.features)


@PLAIN
def test_every_other_value_asks_for_its_features(operator: Operator, argument: Argument) -> None:
    value = plain_value(argument, sizes_of(operator))
    inputs = call(operator) | {argument.name: value}
    if argument.name == "diagonal":
        inputs |= {name: Meta(shape_of("*s n")) for name in ("A", "A_bar") if name in inputs}
    found = validate(operator, **inputs)
    assert found.inputs[argument.name] == value
    assert {argument.value_features.get(value)} - {None} <= found.features


@EVERY
@pytest.mark.parametrize("size", [0, 1])
def test_the_free_sizes_may_be_zero_or_one(operator: Operator, size: int) -> None:
    small = {symbol: max(size, operator.minimum.get(symbol, 0)) for symbol in SIZES}
    small["a"] = 0  # one angle needs two states
    inputs = call(operator, sizes=small)
    validate(operator, **inputs)


@pytest.mark.parametrize(
    ("operator", "argument", "form"),
    [
        pytest.param(*row, id=f"{row[0].name}-{row[1].name}-{row[2].shape}")
        for row in arrays()
        if row[2].shape != "*s"  # which any rank broadcasts to
    ],
)
def test_a_wrong_rank_is_refused(operator: Operator, argument: Argument, form: Form) -> None:
    inputs = call_with(operator, argument, form)
    rank = 0 if form.shape.startswith("*s") else len(inputs[argument.name].shape) + 3
    refused(ShapeError, argument.name, operator, inputs | {argument.name: Meta((1,) * rank)})


@FORMS
def test_a_symbol_has_one_size_throughout_a_call(operator: Operator, argument: Argument, form: Form) -> None:
    inputs = call_with(operator, argument, form)
    forms = choose_forms(operator, inputs)
    used = [symbol for other in forms.values() for symbol in other.shape.split()]
    symbols = [symbol for symbol in form.shape.split() if symbol[0] not in "*="]
    for axis, symbol in enumerate(reversed(symbols), start=1):
        if used.count(symbol) == 1:
            continue  # only a rule between arguments could refuse another size, as tested below
        given = inputs[argument.name]
        shape = list(given.shape)
        shape[-axis] += 17
        with pytest.raises(ShapeError, match=rf"^`\w+` must have shape .*\b{symbol}\b.*; got \(") as caught:
            validate(operator, **inputs | {argument.name: Meta(tuple(shape), given.dtype)})
        assert f"`{argument.name}`" in str(caught.value)  # blamed itself, or named as the origin


@EVERY
def test_the_smallest_sizes_are_held(operator: Operator) -> None:
    for symbol, least in operator.minimum.items():
        if least == 0:
            continue  # held by every shape, except for offsets, tested below
        below = dict(SIZES) | {symbol: least - 1}
        if symbol.startswith("g_"):
            name = symbol[-1]
            argument = operator.argument(name)
            inputs = call(operator) | {name: array(argument.forms[-1], argument, sizes=below)}
        else:
            inputs = call(operator, sizes=below)
        if operator.name == "hippo_legs":
            inputs["n"] = least - 1
        with pytest.raises((ShapeError, ArgumentError), match=rf"{symbol[0]}.*; got "):
            validate(operator, **inputs)


@EVERY
def test_a_missing_or_unknown_argument_is_named(operator: Operator) -> None:
    for argument in operator.arguments:
        if argument.required:
            without = {k: v for k, v in call(operator).items() if k != argument.name}
            for inputs in (without, without | {argument.name: None}):
                assert "required" in refused(ArgumentError, argument.name, operator, inputs)
    message = refused(ArgumentError, "chunk_size", operator, call(operator) | {"chunk_size": 64})
    assert operator.arguments[-1].name in message


def test_an_unknown_operator_is_answered_with_those_there_are() -> None:
    with pytest.raises(ArgumentError, match=r"^`op` must be one of discretize_zoh, .*; got 'scan'"):
        validate("scan")


@FORMS
@pytest.mark.parametrize("given", [[[0.0]], 1.5, "x"], ids=repr)
def test_what_is_not_an_array_is_refused(
    operator: Operator, argument: Argument, form: Form, given: object
) -> None:
    inputs = call_with(operator, argument, form) | {argument.name: given}
    refused(DTypeError, argument.name, operator, inputs)


@FORMS
def test_dtypes_of_another_kind_are_refused(operator: Operator, argument: Argument, form: Form) -> None:
    inputs = call_with(operator, argument, form)
    wrong = ("float32", "float64", "complex128", "uint8", "bool") if argument.kind == "index" else (
        "int32", "int64", "bool", "uint8", "object"
    )  # fmt: skip
    for dtype in wrong:
        refused(
            DTypeError,
            argument.name,
            operator,
            inputs | {argument.name: Meta(inputs[argument.name].shape, dtype)},
        )


@FORMS
def test_complex_arrays_only_where_they_mean_something(
    operator: Operator, argument: Argument, form: Form
) -> None:
    inputs = call_with(operator, argument, form)
    matrix = "A" if "A" in inputs else "A_bar"
    given = Meta(inputs[argument.name].shape, "complex128")
    if argument.complex == "free":
        alone = inputs | {argument.name: given}
        assert "complex" in validate(operator, **with_complex_states(operator, alone)).features
    elif argument.kind == "array":
        refused(DTypeError, argument.name, operator, inputs | {argument.name: given})
        if argument.complex != "never" and matrix in inputs:
            both = inputs | {argument.name: given, matrix: Meta(inputs[matrix].shape, "complex128")}
            both = with_complex_states(operator, both)
            assert "complex" in validate(operator, **both).features


@pytest.mark.parametrize("operator", [SSM_RECURRENCE, SELECTIVE_SCAN], ids=lambda o: o.name)
def test_a_real_state_beside_a_complex_matrix_is_refused(operator: Operator) -> None:
    inputs = call(operator)
    matrix = "A" if "A" in inputs else "A_bar"
    form = operator.argument("initial_state").forms[0]
    inputs |= {
        matrix: Meta(inputs[matrix].shape, "complex128"),
        "initial_state": Meta(shape_of(form.shape)),
    }
    message = refused(DTypeError, "initial_state", operator, inputs)
    assert "must be complex where A is complex" in message


def half_scan(half: str) -> dict[str, Any]:
    """A scan of 16-bit streams with its parameters in float32."""
    streams = {"u": (2, 6, 5), "delta": (2, 6, 5), "B": (2, 3, 5), "C": (2, 3, 3, 5)}
    return {name: Meta(shape, half) for name, shape in streams.items()} | {"A": Meta((6, 3), "float32")}


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["A", "D", "delta_bias", "initial_state"])
def test_half_precision_parameters_are_refused(half: str, name: str) -> None:
    shapes = {"A": (6, 3), "D": (6,), "delta_bias": (6,), "initial_state": (2, 6, 3)}
    given = half_scan(half)
    assert validate(SELECTIVE_SCAN, **given).compute == "float32"
    refused(DTypeError, name, SELECTIVE_SCAN, given | {name: Meta(shapes[name], half)})
    step = call(SELECTIVE_STATE_UPDATE, half) | {"A": Meta((6, 3), "float32")}
    if name in step or name in ("D", "delta_bias"):
        refused(DTypeError, name, SELECTIVE_STATE_UPDATE, step | {name: Meta(shapes[name], half)})


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_a_state_may_be_stored_in_16_bits_where_that_is_a_feature(half: str) -> None:
    given = call(SELECTIVE_STATE_UPDATE, half) | {"A": Meta((6, 3), "float32")}
    assert "half_state" in validate(SELECTIVE_STATE_UPDATE, **given).features


def test_streams_share_the_dtype_of_u_or_are_float32() -> None:
    given = half_scan("bfloat16")
    assert "mixed_dtypes" not in validate(SELECTIVE_SCAN, **given).features
    for name in ("delta", "B", "C"):
        mixed = given | {name: Meta(given[name].shape, "float32")}
        assert "mixed_dtypes" in validate(SELECTIVE_SCAN, **mixed).features
        other = given | {name: Meta(given[name].shape, "float16")}
        message = refused(DTypeError, name, SELECTIVE_SCAN, other)
        assert "bfloat16 or float32" in message


def outside(argument: Argument) -> list[tuple[type[Exception], object]]:
    """Numbers beyond an argument's interval."""
    low, high = argument.interval or (-inf, inf)
    return [(ArgumentError, value) for value in (1.5, -0.1) if not low <= value <= high]


@PLAIN
def test_plain_arguments_have_a_kind_and_a_range(operator: Operator, argument: Argument) -> None:
    wrong: dict[str, list[tuple[type[Exception], object]]] = {
        "flag": [(DTypeError, 1), (DTypeError, "yes")],
        "integer": [(DTypeError, 2.0), (DTypeError, True), (ArgumentError, -1), (ArgumentError, 10**30)],
        "number": [(DTypeError, "half"), (DTypeError, True), *outside(argument)],
        "pair": [
            (DTypeError, 0.5),
            (DTypeError, ("low", "high")),
            (ArgumentError, (1.0, 0.0)),
            (ArgumentError, (0.0, 1.0, 2.0)),
            (ArgumentError, (inf - inf, 1.0)),
        ],
        "choice": [(ArgumentError, "ZOH"), (ArgumentError, 3)],
        "dtype": [(ArgumentError, "float8"), (ArgumentError, "int32")],
    }
    for error, value in wrong[argument.kind]:
        message = refused(error, argument.name, operator, call(operator) | {argument.name: value})
        assert message.endswith(f"got {value!r}")


def test_a_size_is_as_large_as_can_be_stored_and_no_larger() -> None:
    given = call(OPERATORS["hippo_legs"])
    assert validate("hippo_legs", **given | {"n": 2**44}).inputs["n"] == 2**44
    message = refused(ArgumentError, "n", OPERATORS["hippo_legs"], given | {"n": 2**44 + 1})
    assert message == "`n` must be at most 2⁴⁴, beyond which nothing can be stored; got 17592186044417"


def test_an_argument_at_its_default_counts_as_not_given() -> None:
    defaults = {a.name: a.default for a in SELECTIVE_SCAN.arguments if not a.required}
    assert validate(SELECTIVE_SCAN, **call(SELECTIVE_SCAN), **defaults).given == set(call(SELECTIVE_SCAN))


@EVERY
def test_arrays_live_on_one_device(operator: Operator) -> None:
    inputs = {
        name: Meta(value.shape, value.dtype, "cpu") if isinstance(value, Meta) else value
        for name, value in call(operator).items()
    }
    validate(operator, **inputs)
    names = [name for name, value in inputs.items() if isinstance(value, Meta)]
    for name in names[1:]:
        elsewhere = Meta(inputs[name].shape, inputs[name].dtype, "cuda:0")
        message = refused(DeviceError, name, operator, inputs | {name: elsewhere})
        assert "cpu" in message
        assert message.endswith("got cuda:0")


def test_the_message_of_the_style_guide() -> None:
    inputs = call(SELECTIVE_SCAN) | {"A": Meta((5, 16))}
    with pytest.raises(ShapeError) as caught:
        validate(SELECTIVE_SCAN, **inputs)
    assert str(caught.value) == "`A` must have shape (d, n) with d = 6 (from `u`), n ≥ 1; got (5, 16)"


@pytest.mark.parametrize(
    ("operator", "name", "given", "meant"),
    [
        ("ssm_kernel", "length", np.int32(3), 3),
        ("discretize_bilinear", "alpha", np.float32(0.25), 0.25),
        ("discretize_bilinear", "alpha", np.int64(1), 1),
        ("selective_scan", "delta_softplus", np.True_, True),
    ],
)
def test_a_scalar_of_numpy_is_the_python_number_that_it_is(
    operator: str, name: str, given: Any, meant: Any
) -> None:
    taken = validate(operator, **call(OPERATORS[operator]) | {name: given}).inputs[name]
    assert taken == meant
    assert type(taken) is type(meant)


class Shaped:
    """Has a shape and no dtype."""

    shape = (6, 3)

    def __repr__(self) -> str:
        return "a thing of a shape"


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda A: np.float32, "got <class 'numpy.float32'>"),
        (lambda A: Shaped(), "got a thing of a shape"),
        (lambda A: np.ma.array(A), "got a numpy MaskedArray, whose operations are its own"),
        (lambda A: A.view(np.matrix), "got a numpy matrix, whose operations are its own"),
        (lambda A: torch.from_numpy(A).to_sparse(), "got layout torch.sparse_coo"),
        (lambda A: torch.from_numpy(A).to_sparse_csr(), "got layout torch.sparse_csr"),
        (lambda A: torch.nested.nested_tensor([torch.from_numpy(A)]), "got a nested tensor"),
        (lambda A: ["-1.0"] * 1000, f"got {str(['-1.0'] * 10)[:60]} … {str(['-1.0'] * 10)[-60:]}"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype stage")  # the same
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")  # PyTorch's own, on making one
def test_what_only_looks_like_an_array_is_refused(change: Any, got: str) -> None:
    inputs = call(SELECTIVE_SCAN) | {"A": change(-np.ones((6, 3)))}
    message = refused(DTypeError, "A", SELECTIVE_SCAN, inputs)
    assert message.endswith(got)


def test_a_word_is_no_array_of_words() -> None:
    inputs = call(SELECTIVE_SCAN) | {"b_discretization": np.array(["euler", "zoh"])}
    refused(ArgumentError, "b_discretization", SELECTIVE_SCAN, inputs)


def test_who_made_the_compute_type_wide_is_told() -> None:
    inputs = call(SELECTIVE_SCAN, "float32")
    wide = inputs | {"A": Meta(inputs["A"].shape, "float64")}
    message = refused(DTypeError, "B", SELECTIVE_SCAN, wide)
    assert message.endswith("dtype float64, where `u` has float32 and `A` has float64; got float32")


def test_a_kind_of_call_that_was_valid_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(once, "_VALID", set())
    monkeypatch.setattr(once, "validate", lambda op, **inputs: asked.append(inputs["u"].shape))

    def refuse(inputs: Mapping[str, Any]) -> None:
        raise ArgumentError("another library")

    for length in (3, 4, 3):
        once.validate_once("causal_convolution", u=np.ones((1, 2, length)), K=np.ones((2, 2)))
    assert asked == [(1, 2, 3), (1, 2, 4)]
    for _ in range(2):  # what is refused is not remembered
        with pytest.raises(ArgumentError):
            once.validate_once("causal_convolution", refuse, u=np.ones((1, 2, 3)), K=np.ones((2, 2)))
    assert len(asked) == 4


def test_a_word_of_numpys_that_was_valid_does_not_excuse_another_of_its_length() -> None:
    call = {"u": np.ones((1, 2, 3)), "delta": np.ones((1, 2, 3)), "A": -np.ones((2, 1))}
    call |= {"B": np.ones((1, 1, 3)), "C": np.ones((1, 1, 3))}
    once.validate_once("selective_scan", **call, b_discretization=np.str_("zoh"))
    with pytest.raises(ArgumentError, match="`b_discretization` must be"):
        once.validate_once("selective_scan", **call, b_discretization=np.str_("hoz"))
