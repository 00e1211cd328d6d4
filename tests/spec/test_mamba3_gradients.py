"""Mamba-3's gradients: against autograd and differences; honest and wrong float32; resets, the step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import REFERENCES, Arithmetic, ShapeError

from .test_mamba3_siso import OUTPUTS, PER_HEAD, SIZES, STATES, STREAMS, draw, in_time, run

ALL = REFERENCES["mamba3_siso"].differentiable
SINGLE = Arithmetic()
DUAL = Arithmetic(evaluation="matmul_chunk", chunk=64)
EMPTY = ([2, 0, 4, 3, 2, 6, 2], [2, 1, 4, 3, 4, 5, 1], [1, 1, 1, 1, 1, 1, 0])


def cotangents_of(seed: int, inputs: dict[str, Any]) -> dict[str, Any]:
    """One for every output, exact in float32."""
    rng = np.random.default_rng([seed, 3])
    return {name: rng.standard_normal(x.shape).astype(np.float32) for name, x in run(inputs).items()}


def _rotated(torch: Any, x: Any, theta: Any) -> Any:
    a = theta.shape[-1]
    even, odd, cos, sin = x[..., 0 : 2 * a : 2], x[..., 1 : 2 * a : 2], torch.cos(theta), torch.sin(theta)
    pairs = torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)
    return torch.cat([pairs, x[..., 2 * a :]], -1)


def loop(torch: Any, x: dict[str, Any], slip: str = "") -> tuple[Any, ...]:
    """The recurrence in eager torch, step by step; a slip spoils what flows back, not the values."""
    b, l, h, p = x["v"].shape
    g, n, a = *x["q"].shape[2:], x["angles"].shape[3]
    shapes = ((b, h, a), (b, h, p, n), (b, h, n), (b, h, p))
    states = [
        x.get(name, torch.zeros(shape, dtype=x["v"].dtype))
        for name, shape in zip(STATES, shapes, strict=True)
    ]
    share = torch.sigmoid(x["trap"])
    late, early = share * x["dt"], (1 - share) * x["dt"] * torch.exp(x["adt"])
    turn = x["dt"].transpose(1, 2)[..., None] * torch.pi * torch.tanh(x["angles"])
    turn = turn.detach() if slip == "angles have no gradient" else turn
    early = early.detach() if slip == "the early weight has no gradient" else early
    y = []
    for t in range(l):
        if "seq_idx" in x and t > 0:
            new = x["seq_idx"][:, t] != x["seq_idx"][:, t - 1]
            kept = [torch.where(new.view(-1, *[1] * (s.dim() - 1)), 0.0, s) for s in states]
            states = [_leaking(s, k) if slip == "gradients cross a reset" else k
                      for s, k in zip(states, kept, strict=True)]  # fmt: skip
        theta, S, key, value = states
        theta = theta + turn[:, t]
        used = 2 * theta.detach() - theta if slip == "angles turn back" else theta
        k, q = (
            _rotated(torch, x[name][:, t].repeat_interleave(h // g, 1) + x[f"{name}_bias"], used)
            for name in ("k", "q")
        )
        if slip == "the early source has no gradient":
            key, value = key.detach(), value.detach()
        S = torch.exp(x["adt"][..., t, None, None]) * S
        S = S + (early[..., t, None] * value)[..., None] * key[..., None, :]
        S = S + (late[..., t, None] * x["v"][:, t])[..., None] * k[..., None, :]
        states = [theta, S, k, x["v"][:, t]]
        read = (S @ q[..., None])[..., 0]
        skip = x["D"][:, None] * x["v"][:, t] if "D" in x else 0 * read
        y.append(read + (skip.detach() if slip == "D has no gradient" else skip))
    out = torch.stack(y, 1) if y else torch.zeros_like(x["v"])
    if "z" in x:
        gate = torch.sigmoid(x["z"]) if slip == "the gate's slope is sigma" else None
        silu = torch.nn.functional.silu(x["z"])
        out = out * (silu if gate is None else silu.detach() + gate - gate.detach())
    return (out, *states)


def _leaking(before: Any, kept: Any) -> Any:
    """The values that are kept, with the gradient of what was before."""
    return kept.detach() + before - before.detach()


def autograd(
    inputs: dict[str, Any], cotangents: dict[str, Any], dtype: str, form: Any = loop, **more: Any
) -> dict[str, Any]:
    """Gradients of the inputs given, by torch."""
    torch = pytest.importorskip("torch")
    kind = getattr(torch, dtype)
    x = {name: torch.tensor(value) for name, value in inputs.items()}
    x = {name: value.to(kind) if value.is_floating_point() else value for name, value in x.items()}
    names = [name for name in ALL if name in x]
    for name in names:
        x[name].requires_grad_()
    outputs = dict(zip(OUTPUTS, form(torch, x, **more), strict=True))
    sum((outputs[name] * torch.tensor(r).to(kind)).sum() for name, r in cotangents.items()).backward()
    zero = torch.zeros_like
    return {name: (zero(x[name]) if x[name].grad is None else x[name].grad).numpy() for name in names}


def blockwise(torch: Any, x: dict[str, Any]) -> tuple[Any, ...]:
    """The backend's form by products of matrices in chunks."""
    del torch
    found: tuple[Any, ...] = pytest.importorskip("ssm_torch").mamba3_siso(**x, return_final_states=True)
    return found


def ratio(
    found: dict[str, Any], inputs: dict[str, Any], cotangents: dict[str, Any], arithmetic: Arithmetic
) -> dict[str, float]:
    """The worst |error| of each gradient by its bound."""
    bounds = ssm_spec.mamba3_siso_vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)
    worst = {}
    for name, bounded in bounds.items():
        error = np.abs(found[name] - bounded.value)
        with np.errstate(all="ignore"):
            here = np.where(error == 0, 0.0, error / (bounded.bound + bounded.own))
        worst[name] = float(np.where(np.isnan(here), np.inf, here)[bounded.judged].max(initial=0.0))
    return worst


CALLS: tuple[dict[str, Any], ...] = ({}, {"bare": True}, {"resets": 0.3})


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("more", CALLS, ids=["full", "bare", "resets"])
def test_gradients_are_those_of_autograd_in_float64(more: dict[str, Any], wild: bool) -> None:
    arithmetic = Arithmetic(compute="float64", evaluation="sequential")
    for a in (0, 1, 3):
        inputs = draw(a, 2, 19, 4, 3, 2, 6, a, wild=wild, **more)
        cotangents = cotangents_of(a, inputs)
        found = autograd(inputs, cotangents, "float64")
        worst = ratio(found, inputs, cotangents, arithmetic)
        assert all(ratio <= 1 for ratio in worst.values()), worst
        plain = ssm_spec.mamba3_siso_vjp(cotangents, **inputs)
        assert set(plain) == set(found) == {name for name in ALL if name in inputs}
        for name, gradient in plain.items():
            assert gradient.shape == inputs[name].shape
            assert gradient.dtype == np.float64


def test_gradients_are_central_differences() -> None:
    """In every direction of every input, one at a time."""
    inputs = {
        name: x.astype(np.float64) if x.dtype.kind == "f" else x
        for name, x in draw(1, 1, 5, 2, 2, 1, 4, 1).items()
    } | {"seq_idx": np.array([[0, 0, 0, 1, 1]])}
    cotangents = cotangents_of(1, inputs)

    def loss(**change: Any) -> float:
        return float(sum(np.sum(cotangents[name] * x) for name, x in run(inputs, **change).items()))

    for name, gradient in ssm_spec.mamba3_siso_vjp(cotangents, **inputs).items():
        for i in np.ndindex(gradient.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = inputs[name].copy()
                moved[i] += step
                ends.append(loss(**{name: moved}))
            assert abs((ends[0] - ends[1]) / 2e-5 - gradient[i]) < 1e-7 * (1 + abs(gradient[i])), (name, i)


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize(
    ("form", "arithmetic"),
    [
        (loop, Arithmetic(evaluation="sequential", decayed_state="direct")),
        (loop, SINGLE),
        (blockwise, DUAL),
        (blockwise, SINGLE),
    ],
    ids=["sequential", "sequential-as-any", "blockwise", "blockwise-as-any"],
)
def test_honest_gradients_stay_within_their_bounds(form: Any, arithmetic: Arithmetic, wild: bool) -> None:
    for seed, more in enumerate(CALLS):
        for length in (1, 29, 150):
            inputs = draw(seed, 2, length, 4, 3, 2, 6, 2, wild=wild, **more)
            cotangents = cotangents_of(seed, inputs)
            found = autograd(inputs, cotangents, "float32", form)
            worst = ratio(found, inputs, cotangents, arithmetic)
            assert all(ratio <= 1 for ratio in worst.values()), worst


def test_honest_products_of_operands_in_bfloat16_stay_within_their_bounds() -> None:
    """k̃ and q̃ are turned in float32, and rounded whatever k and q were given in."""
    pytest.importorskip("torch")
    from .ssd_kernels import NarrowProducts, in_bfloat16

    def form(torch: Any, x: dict[str, Any]) -> tuple[Any, ...]:
        with NarrowProducts():
            return blockwise(torch, x)

    arithmetic = Arithmetic(evaluation="matmul_chunk", chunk=64, operands="bfloat16", io="bfloat16")
    for seed in range(20):
        inputs = in_bfloat16(draw(seed, 2, 5, 4, 3, 2, 6, 2, wild=True), *STREAMS)
        cotangents = cotangents_of(seed, inputs)
        worst = ratio(autograd(inputs, cotangents, "float32", form), inputs, cotangents, arithmetic)
        assert all(ratio <= 1 for ratio in worst.values()), (seed, worst)


def test_a_state_may_be_infinite_in_bfloat16() -> None:
    """dq of an initial state of 3.4 10³⁸, which is a number in float32 alone."""
    pytest.importorskip("torch")
    from .ssd_kernels import NarrowProducts

    def form(torch: Any, x: dict[str, Any]) -> tuple[Any, ...]:
        with NarrowProducts():
            return blockwise(torch, x)

    inputs = draw(1, 1, 2, 1, 1, 1, 2, 0, bare=True)
    inputs["adt"] = np.full_like(inputs["adt"], -1.0)
    inputs["ssm_state"] = np.full((1, 1, 1, 2), 3.4e38, np.float32)
    cotangents = {name: 0 * x for name, x in cotangents_of(1, inputs).items()}
    for operands, kernel, finite in (("bfloat16", form, False), ("compute", blockwise, True)):
        found = autograd(inputs, cotangents, "float32", kernel)["q"]
        arithmetic = Arithmetic(evaluation="matmul_chunk", chunk=64, operands=operands)
        bounds = ssm_spec.mamba3_siso_vjp_bounds(cotangents, ["q"], arithmetic=arithmetic, **inputs)
        assert np.isfinite(found).all() == finite
        assert bounds["q"].judged.all() == finite
        assert np.isfinite(found[bounds["q"].judged]).all()


@pytest.mark.parametrize(("form", "arithmetic"), [(loop, SINGLE), (blockwise, DUAL)])
def test_honest_gradients_of_many_equal_turns_stay_within_theirs(form: Any, arithmetic: Arithmetic) -> None:
    """Each sum of the angles rounds the same way: what is lost grows with the square of the steps."""
    inputs = draw(0, 1, 700, 2, 2, 1, 4, 1)
    inputs |= {"dt": np.full_like(inputs["dt"], 0.63), "angles": np.full_like(inputs["angles"], 0.7)}
    cotangents = cotangents_of(0, inputs)
    worst = ratio(autograd(inputs, cotangents, "float32", form), inputs, cotangents, arithmetic)
    assert all(ratio <= 1 for ratio in worst.values()), worst


def test_a_gradient_forgets_what_its_angles_have_lost() -> None:
    """Steps that are all alike: with four times as many an angle loses sixteen times as much; they do not."""

    def last_bounds(l: int) -> dict[str, float]:
        ones = {name: np.ones(shape) for name, shape in (("q", (1, l, 1, 2)), ("k", (1, l, 1, 2)))}
        heads = {"adt": np.full((1, 1, l), -1.0), "dt": np.full((1, 1, l), 0.5), "trap": np.zeros((1, 1, l))}
        inputs = {**ones, **heads, "v": np.ones((1, l, 1, 1)), "angles": np.full((1, l, 1, 1), 0.7)}
        inputs |= {"q_bias": np.zeros((1, 2)), "k_bias": np.zeros((1, 2))}
        given = {"y": np.ones((1, l, 1, 1))}
        found = ssm_spec.mamba3_siso_vjp_bounds(given, arithmetic=SINGLE, **inputs)
        value = ssm_spec.mamba3_siso_bounds(arithmetic=SINGLE, **inputs)["y"]
        streams = {"y": value, **{name: found[name] for name in ("q", "k", "v")}}
        last = {name: float(bounded.bound[0, -1].max()) for name, bounded in streams.items()}
        return last | {"adt": float(found["adt"].bound[0, 0, -1])}

    few, many = last_bounds(500), last_bounds(2000)
    assert {name for name, bound in many.items() if bound > 8 * few[name]} == set()


SLIPS = {
    "the early source has no gradient": ("k", "v"),
    "the early weight has no gradient": ("adt", "dt", "trap"),
    "angles have no gradient": ("angles", "dt"),
    "angles turn back": ("angles", "dt", "angle_state"),
    "gradients cross a reset": ("q", "k", "v", "adt", "angles"),
    "D has no gradient": ("v", "D"),
    "the gate's slope is sigma": ("z",),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_wrong_gradients_leave_them(slip: str) -> None:
    inputs = draw(4, *SIZES, resets=0.2)
    cotangents = cotangents_of(4, inputs)
    worst = ratio(autograd(inputs, cotangents, "float32", slip=slip), inputs, cotangents, SINGLE)
    wrong = {name for name, found in worst.items() if found > 1}
    assert wrong & set(SLIPS[slip]), worst
    assert max(worst.values()) > 100


def test_nothing_flows_back_across_a_reset() -> None:
    inputs = draw(6, 1, 9, 4, 3, 2, 5, 2) | {"seq_idx": np.array([[3, 3, 3, 8, 3, 3, 3, 3, 3]])}
    cotangents = cotangents_of(6, inputs)
    whole = ssm_spec.mamba3_siso_vjp(cotangents, **inputs)
    for start, stop in ((0, 3), (3, 4), (4, 9)):
        one = in_time(inputs, slice(start, stop)) | {"seq_idx": None}
        one = one if start == 0 else {name: x for name, x in one.items() if name not in STATES}
        seeds = (
            {"y": cotangents["y"][:, start:stop]} if stop < 9 else cotangents | {"y": cotangents["y"][:, 4:]}
        )
        part = ssm_spec.mamba3_siso_vjp(seeds, **one)
        for name in ("q", "k", "v", "angles", "z"):
            np.testing.assert_array_equal(whole[name][:, start:stop], part[name])
        for name in PER_HEAD:
            np.testing.assert_array_equal(whole[name][..., start:stop], part[name])
        if start == 0:
            for name in STATES:
                np.testing.assert_array_equal(whole[name], part[name])
    spoiled = cotangents | {"y": cotangents["y"].copy()}
    spoiled["y"][0, 4, 0] = np.nan
    back = ssm_spec.mamba3_siso_vjp(spoiled, **inputs)
    for name in ("q", "k", "v", "angles"):
        np.testing.assert_array_equal(back[name][:, :4], whole[name][:, :4])


def test_the_step_is_the_recurrence_at_length_one() -> None:
    inputs = draw(7, 2, 1, 4, 3, 2, 5, 2)
    cotangents = cotangents_of(7, inputs)
    step = {name: x[:, 0] if name in STREAMS else x for name, x in inputs.items()}
    step |= {name: inputs[name][..., 0] for name in PER_HEAD}
    seeds = cotangents | {"y": cotangents["y"][:, 0]}
    whole = ssm_spec.mamba3_siso_vjp_bounds(cotangents, arithmetic=SINGLE, **inputs)
    bounds = ssm_spec.mamba3_siso_step_vjp_bounds(seeds, arithmetic=SINGLE, **step)
    found = ssm_spec.mamba3_siso_step_vjp(seeds, **step)
    assert list(found) == [name for name in REFERENCES["mamba3_siso_step"].differentiable if name in step]
    for name, gradient in found.items():
        assert gradient.shape == step[name].shape
        np.testing.assert_array_equal(gradient, bounds[name].value)
        np.testing.assert_array_equal(bounds[name].bound.reshape(-1), whole[name].bound.reshape(-1))
    some = ssm_spec.mamba3_siso_step_vjp({"k_state": seeds["k_state"]}, "k", **step)
    assert set(some) == {"k"}
    with pytest.raises(ShapeError, match=r"`cotangents\['y'\]` must have shape"):
        ssm_spec.mamba3_siso_step_vjp({"y": cotangents["y"]}, **step)


@pytest.mark.parametrize("sizes", EMPTY, ids=str)
def test_empty_and_smallest(sizes: list[int]) -> None:
    inputs = draw(8, *sizes)
    cotangents = cotangents_of(8, inputs)
    for name, bounded in ssm_spec.mamba3_siso_vjp_bounds(cotangents, arithmetic=SINGLE, **inputs).items():
        assert bounded.bound.shape == bounded.judged.shape == inputs[name].shape
        assert bounded.judged.all()
        if sizes[1] == 0 and name in STATES:
            np.testing.assert_array_equal(bounded.value, cotangents[name])


def test_what_is_declared_widens_only_what_it_concerns() -> None:
    """The gated output in bfloat16 concerns dz; operands in bfloat16 what passes a state."""
    inputs = draw(9, 2, 29, 4, 3, 2, 6, 2)
    cotangents = cotangents_of(9, inputs)

    def bounds(**facts: Any) -> dict[str, Any]:
        arithmetic = Arithmetic(io="bfloat16", evaluation="matmul_chunk", chunk=16, **facts)
        found = ssm_spec.mamba3_siso_vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)
        return {name: bounded.bound for name, bounded in found.items()}

    plain, saved, narrow = bounds(), bounds(saved_gate="io"), bounds(operands="bfloat16")
    for name, bound in plain.items():
        assert (saved[name] > bound).all() if name == "z" else (saved[name] == bound).all()
        assert (narrow[name] >= bound).all()
    assert np.median(narrow["adt"] / plain["adt"]) > 100
    direct = bounds(decayed_state="direct")
    assert (direct["adt"] <= plain["adt"]).all()
    assert (direct["adt"] < plain["adt"]).any()


def test_the_parts_of_an_angles_gradient_meet_the_rest_one_by_one() -> None:
    """d(angle state) is about 2.7; of the four small parts of it two are added after another."""
    one, heads = np.ones((1, 1, 1, 2), np.float32), np.zeros((1, 2), np.float32)
    part = np.float32(1.4e-7)
    inputs = {
        "q": 0 * one,
        "k": 0 * one,
        "v": 0 * one[..., :1],
        "adt": np.zeros((1, 1, 1), np.float32),
        "dt": np.ones((1, 1, 1), np.float32),
        "trap": np.zeros((1, 1, 1), np.float32),
        "q_bias": heads,
        "k_bias": heads + 1,
        "angles": np.zeros((1, 1, 1, 1), np.float32),
        "angle_state": np.zeros((1, 1, 1), np.float32),
    }
    last = np.float32(2.7)
    cotangents = {
        "angle_state": np.full((1, 1, 1), last, np.float32),
        "k_state": np.array([[[-part, part]]], np.float32),
    }
    found = last
    for each in (part, part):
        found = np.float32(found + each)
    allowed = ssm_spec.mamba3_siso_vjp_bounds(
        cotangents, ["angle_state"], arithmetic=Arithmetic(evaluation="sequential"), **inputs
    )["angle_state"]
    error = abs(float(found) - allowed.value[0, 0, 0])
    assert 2.0**-24 * last < error <= allowed.bound[0, 0, 0]
