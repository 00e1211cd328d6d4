"""What the selective scan means: sequences, states, edges, infinities, and the rules for arguments."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, DomainError, DTypeError, ShapeError

from .scan_data import VARIANTS, draw, draw_cotangents

DOUBLE = Arithmetic(compute="float64", evaluation="sequential")
PLAIN = draw(0, 2, 6, 11, 3)


def scan(inputs: dict[str, Any], **change: Any) -> tuple[Any, Any]:
    both = ssm_spec.selective_scan(**{**inputs, **change}, return_last_state=True)
    assert isinstance(both, tuple)
    return both


def in_time(inputs: dict[str, Any], part: slice) -> dict[str, Any]:
    """The inputs of a span of time; constants stay."""
    streamed = {"u", "delta", "z", "seq_idx"} | {name for name in ("B", "C") if inputs[name].ndim > 2}
    return {name: value[..., part] if name in streamed else value for name, value in inputs.items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_split_at_every_k_is_the_whole(variant: str) -> None:
    inputs = draw(1, 2, 6, 7, 3, **VARIANTS[variant] | {"resets": 0.0})
    whole = ssm_spec.selective_scan_bounds(arithmetic=DOUBLE, **inputs)
    for k in range(8):
        y0, h = scan(in_time(inputs, slice(0, k)))
        y1, last = scan(in_time(inputs, slice(k, None)), initial_state=h)
        joined = np.concatenate([y0, y1], axis=-1)
        assert (np.abs(joined - whole["y"].value) <= whole["y"].own).all()
        assert (np.abs(last - whole["last_state"].value) <= whole["last_state"].own).all()


@pytest.mark.parametrize("complex_", [False, True], ids=["real", "complex"])
def test_packed_sequences_are_the_separate_ones_gradients_too(complex_: bool) -> None:
    offsets = np.array([0, 3, 3, 4, 9, 9], dtype=np.int32)
    packed = draw(2, 1, 6, 9, 3, B="b 2 n l", complex_=complex_, initial=False)
    initial = draw(3, 5, 6, 1, 3, complex_=complex_)["initial_state"]
    packed |= {"cu_seqlens": offsets, "initial_state": initial}
    cotangents = draw_cotangents(4, packed)
    y, last = scan(packed)
    gradients = ssm_spec.selective_scan_vjp(cotangents, **packed)
    bounds = ssm_spec.selective_scan_vjp_bounds(cotangents, arithmetic=DOUBLE, **packed)
    total = {name: np.zeros_like(gradients[name]) for name in ("A", "C", "D", "delta_bias")}
    for i, (first, stop) in enumerate(pairwise(offsets)):
        part = slice(first, stop)
        one = in_time({k: v for k, v in packed.items() if k != "cu_seqlens"}, part)
        one["initial_state"] = initial[i : i + 1]
        y_one, last_one = scan(one)
        np.testing.assert_array_equal(y[..., part], y_one)
        np.testing.assert_array_equal(last[i : i + 1], last_one)
        given = {"y": cotangents["y"][..., part], "last_state": cotangents["last_state"][i : i + 1]}
        found = ssm_spec.selective_scan_vjp(given, **one)
        for name in ("u", "delta", "z", "B"):
            error = np.abs(gradients[name][..., part] - found[name])
            assert (error <= 2 * bounds[name].own[..., part]).all()
        np.testing.assert_array_equal(gradients["initial_state"][i], found["initial_state"][0])
        for name in ("A", "D", "delta_bias"):
            total[name] += found[name]
    for name in ("A", "D", "delta_bias"):
        assert (np.abs(total[name] - gradients[name]) <= 2 * bounds[name].own).all()


def test_seq_idx_counts_changes_alone_and_offsets_say_the_same() -> None:
    inputs = draw(5, 1, 6, 9, 3, initial=False)
    ids = np.array([[7, 7, 7, -2, 7, 7, 7, 7, 7]])
    y, last = scan(inputs, seq_idx=ids)
    y_renamed, _ = scan(inputs, seq_idx=np.array([[0, 0, 0, 1, 2, 2, 2, 2, 2]]))
    y_packed, lasts = scan(inputs, cu_seqlens=np.array([0, 3, 4, 9]))
    np.testing.assert_array_equal(y, y_renamed)
    np.testing.assert_array_equal(y, y_packed)
    np.testing.assert_array_equal(last[0], lasts[-1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nothing_reaches_back_in_time_or_over_a_reset_or_to_another_row(bad: float) -> None:
    ids = np.zeros((2, 11), dtype=int)
    ids[:, 8:] = 1
    clean, _ = scan(PLAIN, seq_idx=ids)
    for name in ("u", "delta"):
        spoiled = PLAIN[name].copy()
        spoiled[0, 2, 5] = bad
        y, _ = scan(PLAIN, seq_idx=ids, **{name: spoiled})
        away = np.ones(y.shape, dtype=bool)
        away[0, 2, 5:8] = False
        np.testing.assert_array_equal(y[away], clean[away])
        assert not np.isfinite(y[0, 2, 5])
    for name in ("z", "C", "D"):
        spoiled = PLAIN[name].copy()
        spoiled[..., -1] = bad
        _, last = scan(PLAIN, seq_idx=ids, **{name: spoiled})
        assert np.isfinite(last).all()


def test_a_reset_selects_even_where_the_decay_is_infinite() -> None:
    inputs = draw(6, 1, 2, 4, 2, softplus=False, initial=False)
    inputs |= {
        "A": np.full((2, 2), 1e4),
        "delta": np.ones((1, 2, 4)),
        "delta_bias": None,
        "z": None,
        "seq_idx": np.arange(4)[None],
    }
    y, last = scan(inputs)
    assert np.isfinite(y).all()
    # One product: Δ is 1.
    np.testing.assert_allclose(
        last[0], inputs["u"][0, :, -1:].astype(float) * inputs["B"][0, :, -1], rtol=1e-15
    )


def test_what_would_reach_back_before_a_start_from_nothing_changes_no_gradient() -> None:
    """There conj(a)λ overflows, and dp = λ conj(a h) is zero."""
    inputs = draw(6, 1, 2, 3, 2, softplus=False, initial=False)
    inputs |= {"A": np.full((2, 2), 700.0), "delta": np.ones((1, 2, 3)), "delta_bias": None, "z": None}
    cotangents = {"y": np.full((1, 2, 3), 1e20)}
    gradients = ssm_spec.selective_scan_vjp(cotangents, **inputs, seq_idx=np.arange(3)[None])
    np.testing.assert_array_equal(gradients["A"], 0.0)
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())


def test_delta_at_minus_infinity_under_softplus_leaves_the_state_alone_with_zero_gradient() -> None:
    delta = PLAIN["delta"].copy()
    delta[:, :, :] = -np.inf
    _, last = scan(PLAIN, delta=delta)
    np.testing.assert_array_equal(last, PLAIN["initial_state"])
    cotangents = draw_cotangents(0, PLAIN)
    gradients = ssm_spec.selective_scan_vjp(cotangents, **{**PLAIN, "delta": delta})
    assert (gradients["delta"] == 0).all()
    found = ssm_spec.selective_scan_bounds(arithmetic=Arithmetic(), **{**PLAIN, "delta": delta})
    assert all(np.isfinite(bounded.bound).all() for bounded in found.values())


def test_the_value_holds_the_states_of_few_steps_at_a_time() -> None:
    """b·d·l + b·d·n numbers and some, never b·d·l·n; the gradient √l states more."""
    inputs = draw(0, 1, 32, 2048, 64, dtype="float64", initial=False) | {"seq_idx": None}
    every, cotangents = 8 * 32 * 2048 * 64, {"y": np.ones((1, 32, 2048))}
    assert peak(lambda: ssm_spec.selective_scan(**inputs)) < 0.3 * every
    assert peak(lambda: ssm_spec.selective_scan_vjp(cotangents, **inputs)) < 0.7 * every


def peak(run: Callable[[], Any]) -> int:
    """The most bytes that a call holds."""
    tracemalloc.start()
    run()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.mark.parametrize("rule", ["euler", "zoh"])
def test_delta_zero_holds_and_a_zero_rate_integrates(rule: str) -> None:
    inputs = {**PLAIN, "delta_softplus": False, "delta_bias": None, "b_discretization": rule}
    _, last = scan(inputs, delta=np.zeros((2, 6, 11)))
    np.testing.assert_array_equal(last, PLAIN["initial_state"])
    _, last = scan(inputs, A=np.zeros((6, 3)), delta=np.ones((2, 6, 11)))
    drive = np.einsum("bdl,bnl->bdn", PLAIN["u"].astype(float), PLAIN["B"].astype(float))
    np.testing.assert_allclose(last, PLAIN["initial_state"] + drive, rtol=1e-12)  # eleven sums


@pytest.mark.parametrize("shape", [(0, 6, 4), (2, 0, 4), (2, 6, 0), (1, 1, 1)])
@pytest.mark.parametrize("complex_", [False, True], ids=["real", "complex"])
def test_empty_and_single_sizes(shape: tuple[int, int, int], complex_: bool) -> None:
    inputs = draw(7, *shape, 2, B="b 1 n l", complex_=complex_)
    cotangents = draw_cotangents(7, inputs)
    y, last = scan(inputs)
    assert y.shape == shape
    gradients = ssm_spec.selective_scan_vjp(cotangents, **inputs)
    bounds = ssm_spec.selective_scan_vjp_bounds(cotangents, arithmetic=Arithmetic(), **inputs)
    for name, gradient in gradients.items():
        assert gradient.shape == inputs[name].shape == bounds[name].bound.shape
    if shape[2] == 0:
        np.testing.assert_array_equal(last, inputs["initial_state"])
        np.testing.assert_array_equal(gradients["initial_state"], cotangents["last_state"])
        assert all((gradients[name] == 0).all() for name in gradients if name != "initial_state")


def test_elements_beyond_the_range_of_the_type_are_not_judged() -> None:
    inputs = draw(8, 1, 2, 6, 1, softplus=False)
    inputs |= {"A": np.array([[20.0], [-1.0]]), "delta": np.ones((1, 2, 6)), "delta_bias": None}
    y = ssm_spec.selective_scan_bounds(arithmetic=Arithmetic(), **inputs)["y"]
    assert y.judged[0, 1].all()  # the damped channel
    np.testing.assert_array_equal(y.judged[0, 0], [True, True, True, True, False, False])  # e^100 > 2^128


def test_only_the_arguments_named_are_differentiated() -> None:
    cotangents = {"y": np.ones((2, 6, 11)), "last_state": None}
    everything = ssm_spec.selective_scan_vjp(cotangents, **PLAIN)
    some = ssm_spec.selective_scan_vjp(cotangents, ["A", "z"], **PLAIN)
    assert list(some) == ["A", "z"]
    assert set(everything) == set(ssm_spec.REFERENCES["selective_scan"].differentiable)
    np.testing.assert_array_equal(some["A"], everything["A"])


def test_blocks_of_any_size_give_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = draw(9, 3, 6, 13, 2, B="b 2 n l", C="d n", resets=0.3)
    cotangents = draw_cotangents(9, inputs)
    before = ssm_spec.selective_scan_vjp_bounds(cotangents, arithmetic=Arithmetic(), **inputs)
    y, last = scan(inputs)
    from ssm_spec._selective_scan import _adjoint, _adjoint_bounds, _bounds, _value

    for module, name in (
        (_value, "CACHE"),
        (_adjoint, "CACHE"),
        (_bounds, "ANALYSED"),
        (_adjoint_bounds, "ANALYSED"),
    ):
        monkeypatch.setattr(module, name, 1)
    y_small, last_small = scan(inputs)
    np.testing.assert_array_equal(y, y_small)
    np.testing.assert_array_equal(last, last_small)
    after = ssm_spec.selective_scan_vjp_bounds(cotangents, arithmetic=Arithmetic(), **inputs)
    for name, bounded in before.items():
        assert (np.abs(after[name].value - bounded.value) <= 2 * bounded.own).all()
        # A bound is a sum of some hundred terms, here in another order.
        np.testing.assert_allclose(after[name].bound, bounded.bound, rtol=1e-12)


REFUSALS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "rank": ({"u": np.zeros(3)}, ShapeError, r"`u` must have shape \(b, d, l\); got \(3,\)"),
    "delta": (
        {"delta": np.zeros((2, 6, 5))},
        ShapeError,
        r"`delta` must have shape \(b, d, l\) with .*l = 11",
    ),
    "A": (
        {"A": np.zeros((5, 3))},
        ShapeError,
        r"`A` must have shape \(d, n\) with d = 6, from `u`; got \(5, 3\)",
    ),
    "no state": ({"A": np.zeros((6, 0))}, ShapeError, r"`A` must have n >= 1; got n = 0"),
    "half A": ({"A": np.zeros((6, 3), np.float16)}, DTypeError, "`A` .* single precision; got float16"),
    "groups": ({"B": np.zeros((2, 4, 3, 11))}, ShapeError, "`B` .* divides d = 6; got g = 4"),
    "integers": ({"u": np.zeros((2, 6, 11), int)}, DTypeError, "`u` must hold floating-point .*; got int64"),
    "bools": ({"D": np.zeros(6, bool)}, DTypeError, "`D` .*; got bool"),
    "complex B": ({"B": np.zeros((6, 3), complex)}, DTypeError, "`B` must be real where `A` is real"),
    "complex u": ({"u": np.zeros((2, 6, 11), complex)}, DTypeError, "`u` must be real; got complex128"),
    "state": (
        {"initial_state": np.zeros((1, 6, 3))},
        ShapeError,
        r"`initial_state` .*b = 2.*; got \(1, 6, 3\)",
    ),
    "rule": (
        {"b_discretization": "tustin"},
        DomainError,
        "`b_discretization` must be one of .*; got 'tustin'",
    ),
    "both": (
        {"seq_idx": np.zeros((2, 11), int), "cu_seqlens": [0, 11]},
        DomainError,
        "`cu_seqlens` must not be given together with `seq_idx`",
    ),
    "float ids": ({"seq_idx": np.zeros((2, 11))}, DTypeError, "`seq_idx` must hold integers; got float64"),
    "packed rows": ({"cu_seqlens": [0, 11]}, ShapeError, "`u` must have b = 1 .*; got b = 2"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_arguments_are_refused_by_name(name: str) -> None:
    change, error, message = REFUSALS[name]
    with pytest.raises(error, match=message):
        ssm_spec.selective_scan(**{**PLAIN, **change})


@pytest.mark.parametrize("offsets", [[1, 11], [0, 10], [0, 7, 5, 11]])
def test_offsets_must_rise_from_zero_to_the_length(offsets: list[int]) -> None:
    inputs = draw(0, 1, 6, 11, 3, initial=False)
    with pytest.raises(DomainError, match="`cu_seqlens` must rise from 0 to l = 11"):
        ssm_spec.selective_scan(**inputs, cu_seqlens=offsets)


def test_bad_cotangents_and_names_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"`cotangents\['y'\]` must have shape \(2, 6, 11\)"):
        ssm_spec.selective_scan_vjp({"y": np.ones((2, 6))}, **PLAIN)
    with pytest.raises(DomainError, match="`cotangents` must be named after the outputs"):
        ssm_spec.selective_scan_vjp({"x": np.ones((2, 6))}, **PLAIN)
    with pytest.raises(DomainError, match="`wrt` must name differentiable inputs"):
        ssm_spec.selective_scan_vjp({}, ["seq_idx"], **PLAIN)
    with pytest.raises(DomainError, match=r"`arithmetic.evaluation` .* got 'fft'"):
        ssm_spec.selective_scan_bounds(arithmetic=Arithmetic(evaluation="fft"), **PLAIN)


def test_a_chunk_by_matrix_products_has_the_bound_of_a_chunk() -> None:
    """But for D u, which may come before the sum over its times."""
    sums, products = (Arithmetic(evaluation=e, chunk=8) for e in ("chunk", "matmul_chunk"))  # type: ignore[arg-type] # two of its words
    nothing_passes = {name: value for name, value in PLAIN.items() if name != "D"}
    for inputs, joined in (
        (nothing_passes, np.testing.assert_array_equal),
        (PLAIN, np.testing.assert_array_less),
    ):
        by_sums, by_products = (
            ssm_spec.selective_scan_bounds(arithmetic=a, **inputs) for a in (sums, products)
        )
        np.testing.assert_array_equal(by_sums["last_state"].bound, by_products["last_state"].bound)
        joined(by_sums["y"].bound, by_products["y"].bound)
    rounded = Arithmetic(evaluation="matmul_chunk", operands="bfloat16")
    with pytest.raises(DomainError, match=r"`arithmetic.operands` .* must be 'compute'.* got 'bfloat16'"):
        ssm_spec.selective_scan_bounds(arithmetic=rounded, **PLAIN)


def test_inputs_are_never_written() -> None:
    inputs = {
        name: np.array(value) if isinstance(value, np.ndarray) else value for name, value in PLAIN.items()
    }
    for value in inputs.values():
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
    scan(inputs)
    ssm_spec.selective_scan_vjp(draw_cotangents(0, inputs), **inputs)
    wide = {k: v.astype(float) if isinstance(v, np.ndarray) else v for k, v in inputs.items()}
    y, _ = scan(wide)
    np.testing.assert_array_equal(y, scan(inputs)[0])
