"""Mamba-3's recurrence: exact values, honest and wrong forms in float32, states, resets, bad arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, DTypeError, ShapeError

from . import mamba_exact

SINGLE = Arithmetic()
STATES = ("angle_state", "ssm_state", "k_state", "v_state")
OUTPUTS = ("y", *STATES)
STREAMS = ("q", "k", "v", "angles", "z", "seq_idx")
PER_HEAD = ("adt", "dt", "trap")


def draw(
    seed: int,
    b: int,
    l: int,
    h: int,
    p: int,
    g: int,
    n: int,
    a: int,
    *,
    wild: bool = False,
    bare: bool = False,
    resets: float = 0.0,
) -> dict[str, Any]:
    """Arguments of `mamba3_siso`, exact in float32."""
    rng = np.random.default_rng(seed)

    def real(*shape: int) -> Any:
        x = rng.standard_normal(shape)
        scale = 10.0 ** rng.uniform(-4, 2, shape) * (rng.random(shape) > 0.03) if wild else 1.0
        return (x * scale).astype(np.float32)

    dt = np.exp(rng.uniform(-7, 2 if wild else -1, (b, h, l)))
    inputs = {
        "q": real(b, l, g, n),
        "k": real(b, l, g, n),
        "v": real(b, l, h, p),
        "adt": (-dt * np.exp(rng.uniform(-2, 2, (b, h, l)))).astype(np.float32),
        "dt": dt.astype(np.float32),
        "trap": (rng.standard_normal((b, h, l)) * (8 if wild else 1)).astype(np.float32),
        "q_bias": real(h, n),
        "k_bias": real(h, n),
        "angles": real(b, l, h, a),
    }
    if not bare:
        inputs |= {"D": real(h), "z": real(b, l, h, p), "angle_state": real(b, h, a)}
        inputs |= {"ssm_state": real(b, h, p, n), "k_state": real(b, h, n), "v_state": real(b, h, p)}
    if resets:
        inputs["seq_idx"] = np.cumsum(rng.random((b, l)) < resets, axis=1)
    return inputs


def run(inputs: dict[str, Any], **change: Any) -> dict[str, Any]:
    found = ssm_spec.mamba3_siso(**{**inputs, **change}, return_final_states=True)
    return dict(zip(OUTPUTS, found, strict=True))


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("more", [{}, {"bare": True}, {"resets": 0.4}], ids=["full", "bare", "resets"])
def test_values_lie_within_the_oracles_own_bound(more: dict[str, Any], wild: bool) -> None:
    for a in (0, 1, 2):
        inputs = draw(a, 2, 6, 4, 2, 2, 4, a, wild=wild, **more)
        exact = mamba_exact.siso(inputs)
        bounds = ssm_spec.mamba3_siso_bounds(arithmetic=SINGLE, **inputs)
        assert set(bounds) == set(OUTPUTS)
        for name, value in run(inputs).items():
            assert mamba_exact.worst(bounds[name], exact[name], balls=True) <= 1, name
            np.testing.assert_array_equal(bounds[name].value, value)


def kernel(inputs: dict[str, Any], *, slip: str = "") -> dict[str, Any]:
    """The recurrence in eager float32 torch, or a wrong one."""
    torch = pytest.importorskip("torch")
    x = {name: torch.tensor(value) for name, value in inputs.items()}
    b, l, h = x["v"].shape[:3]
    g = x["q"].shape[2]
    turn = x["dt"].permute(0, 2, 1)[..., None] * torch.pi * torch.tanh(x["angles"])
    late = torch.sigmoid(x["trap"]) * x["dt"]
    early = (1 - torch.sigmoid(x["trap"])) * x["dt"] * torch.exp(x["adt"])
    if slip == "one side of the trapezoid":
        late, early = late + early, early * 0
    theta, S, key, value = (x[name] for name in STATES)
    y = []
    for t in range(l):
        if "seq_idx" in x and slip != "resets ignored":
            new = torch.zeros(b, dtype=torch.bool) if t == 0 else x["seq_idx"][:, t] != x["seq_idx"][:, t - 1]
            theta, S, key, value = (
                torch.where(new.view(-1, *[1] * (s.dim() - 1)), 0.0, s) for s in (theta, S, key, value)
            )
        used = theta
        theta = torch.remainder(theta + turn[:, t], 2 * torch.pi)
        used = used if slip == "the angle excludes its step" else theta
        k, q = (
            _turned(torch, x[name][:, t].repeat_interleave(h // g, 1), x[f"{name}_bias"], used, slip)
            for name in ("k", "q")
        )
        S = torch.exp(x["adt"][..., t, None, None]) * S
        S = S + (early[..., t, None] * value)[..., None] * key[..., None, :]
        S = S + (late[..., t, None] * x["v"][:, t])[..., None] * k[..., None, :]
        key, value = k, x["v"][:, t]
        y.append((S @ q[..., None])[..., 0] + x["D"][:, None] * value)
    out = torch.stack(y, 1) * torch.nn.functional.silu(x["z"])
    return {k: s.numpy() for k, s in zip(OUTPUTS, (out, theta, S, key, value), strict=True)}


def _turned(torch: Any, x: Any, bias: Any, theta: Any, slip: str) -> Any:
    x = x if slip == "bias after the rotation" else x + bias
    a = theta.shape[-1]
    if slip == "halves turned instead of pairs":
        even, odd = x[..., :a], x[..., a : 2 * a]
    else:
        even, odd = x[..., 0 : 2 * a : 2], x[..., 1 : 2 * a : 2]
    cos, sin = torch.cos(theta), torch.sin(theta)
    pairs = torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)
    x = torch.cat([pairs, x[..., 2 * a :]], -1)
    return x + bias if slip == "bias after the rotation" else x


def fused(inputs: dict[str, Any]) -> dict[str, Any]:
    """One chunk of matrix products: k̃_s v_s once, weighted for its own step and for the next."""
    torch = pytest.importorskip("torch")
    x = {name: torch.tensor(value) for name, value in inputs.items()}
    h, g, l = x["v"].shape[2], x["q"].shape[2], x["v"].shape[1]
    theta = (x["dt"].permute(0, 2, 1)[..., None] * torch.pi * torch.tanh(x["angles"])).cumsum(1)
    k, q = (
        _turned(torch, x[m].repeat_interleave(h // g, 2), x[f"{m}_bias"], theta, "").transpose(1, 2)
        for m in ("k", "q")
    )
    share, total = torch.sigmoid(x["trap"]), x["adt"].cumsum(-1)
    late, rest = share * x["dt"], (1 - share) * x["dt"]
    weight = late + torch.cat([rest[..., 1:], rest[..., :1] * 0], -1)
    apart = (total[..., None] - total[..., None, :]).masked_fill(~torch.ones(l, l).bool().tril(), -torch.inf)
    scores = (q @ k.mT) * torch.exp(apart)
    v = x["v"].transpose(1, 2)
    below = scores.tril(-1) * weight[..., None, :] + torch.diag_embed(scores.diagonal(0, -2, -1) * late)
    return {"y": (below @ v).transpose(1, 2).numpy()}


def ratio(found: dict[str, Any], inputs: dict[str, Any], arithmetic: Arithmetic = SINGLE) -> float:
    worst = 0.0
    bounds = ssm_spec.mamba3_siso_bounds(arithmetic=arithmetic, **inputs)
    for name, value in found.items():
        bounded = bounds[name]
        error = value - bounded.value
        if name == "angle_state":  # C5
            error = np.abs(np.remainder(error + np.pi, 2 * np.pi) - np.pi)
        with np.errstate(all="ignore"):
            here = np.where(error == 0, 0.0, np.abs(error) / (bounded.bound + bounded.own))
        here = np.where(np.isnan(here), np.inf, here)[bounded.judged]
        worst = max(worst, float(here.max(initial=0.0)))
    return worst


SIZES = (2, 29, 4, 3, 2, 6, 2)


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("evaluation", ["sequential", "any"])
def test_an_honest_kernel_stays_within_its_bound(evaluation: Any, wild: bool) -> None:
    for seed, resets in ((0, 0.0), (1, 0.2), (129, 0.1)):  # 129: an angle just below 0, lifted by 2π
        inputs = draw(seed, *SIZES, wild=wild, resets=resets)
        assert ratio(kernel(inputs), inputs, Arithmetic(evaluation=evaluation)) <= 1
    bare = draw(3, *SIZES, wild=wild, bare=True)
    if evaluation == "any":
        for chunk in (SINGLE, Arithmetic(evaluation="matmul_chunk", chunk=29)):
            assert ratio(fused(bare), bare, chunk) <= 1


SLIPS = (
    "one side of the trapezoid",
    "resets ignored",
    "the angle excludes its step",
    "bias after the rotation",
    "halves turned instead of pairs",
)


@pytest.mark.parametrize("slip", SLIPS)
def test_c1_to_c4_a_wrong_kernel_leaves_it(slip: str) -> None:
    inputs = draw(4, *SIZES, resets=0.2)
    assert ratio(kernel(inputs, slip=slip), inputs) > 100


def in_time(inputs: dict[str, Any], span: slice) -> dict[str, Any]:
    found = {name: value[:, span] if name in STREAMS else value for name, value in inputs.items()}
    return found | {name: inputs[name][..., span] for name in PER_HEAD}


def test_c4_a_split_at_every_k_is_the_whole_and_so_is_a_chain_of_steps() -> None:
    inputs = draw(5, 2, 6, 4, 3, 2, 5, 2)
    whole = run(inputs)
    for k in range(7):
        first = run(in_time(inputs, slice(0, k)))
        second = run(in_time(inputs, slice(k, None)) | {name: first[name] for name in STATES})
        second["y"] = np.concatenate([first["y"], second["y"]], 1)
        for name in OUTPUTS:
            np.testing.assert_array_equal(second[name], whole[name])
    states, y = [inputs[name] for name in STATES], []
    for t in range(6):
        now = {k: v for k, v in inputs.items() if k not in STATES}
        now |= {name: inputs[name][:, t] for name in STREAMS if name in inputs}
        now |= {name: inputs[name][..., t] for name in PER_HEAD}
        out, *states = ssm_spec.mamba3_siso_step(*states, **now)
        y.append(out)
    np.testing.assert_array_equal(np.stack(y, 1), whole["y"])
    for name, state in zip(STATES, states, strict=True):
        np.testing.assert_array_equal(state, whole[name])


def test_c4_packed_is_separate_and_nothing_crosses_a_reset() -> None:
    inputs = draw(6, 1, 9, 4, 3, 2, 5, 2) | {"seq_idx": np.array([[3, 3, 3, 8, 3, 3, 3, 3, 3]])}
    whole = run(inputs)
    for start, stop in ((0, 3), (3, 4), (4, 9)):
        one = in_time(inputs, slice(start, stop)) | {"seq_idx": None}
        part = run(one if start == 0 else {k: v for k, v in one.items() if k not in STATES})
        np.testing.assert_array_equal(whole["y"][:, start:stop], part["y"])
    for name in STATES:
        np.testing.assert_array_equal(whole[name], part[name])
    spoiled = inputs["v"].copy()
    spoiled[0, 2, 0] = np.nan
    y = run(inputs, v=spoiled)["y"]
    hit = np.zeros(y.shape, bool)
    hit[0, 2, 0] = True
    assert np.isnan(y[hit]).all()
    np.testing.assert_array_equal(y[~hit], whole["y"][~hit])


def test_c2_c5_turns_of_a_whole_circle_change_nothing_and_the_step_has_bounds() -> None:
    inputs = draw(7, 2, 1, 4, 3, 2, 5, 2)
    bounds = ssm_spec.mamba3_siso_bounds(arithmetic=SINGLE, **inputs)
    turned = run(inputs, angle_state=inputs["angle_state"].astype(np.float64) + 2 * np.pi)
    assert (np.abs(turned["y"] - bounds["y"].value) <= bounds["y"].bound).all()
    step = {k: v[:, 0] if k in STREAMS else v for k, v in inputs.items()}
    step |= {name: inputs[name][..., 0] for name in PER_HEAD}
    found = ssm_spec.mamba3_siso_step_bounds(arithmetic=SINGLE, **step)
    np.testing.assert_array_equal(found["y"].bound, bounds["y"].bound[:, 0])
    np.testing.assert_array_equal(found["k_state"].own, bounds["k_state"].own)


@pytest.mark.parametrize("sizes", [(0, 2, 2, 3, 1, 4, 1), (2, 0, 2, 3, 2, 2, 1), (1, 1, 1, 1, 1, 1, 0)])
def test_empty_and_smallest(sizes: tuple[int, ...]) -> None:
    inputs = draw(8, *sizes)
    found = run(inputs)
    assert found["y"].shape == inputs["v"].shape
    bounds = ssm_spec.mamba3_siso_bounds(arithmetic=SINGLE, **inputs)
    for name, value in found.items():
        assert bounds[name].bound.shape == bounds[name].judged.shape == value.shape
        if sizes[1] == 0 and name != "y":
            np.testing.assert_array_equal(value, inputs[name])


WHERE_IT_FAILS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "adt": ({"adt": np.ones((2, 3, 4))}, ShapeError, r"`adt` must have shape \(b, h, l\)"),
    "groups": ({"q": np.ones((2, 3, 3, 6)), "k": np.ones((2, 3, 3, 6))}, ShapeError, "`q` must .* h = 4"),
    "k": ({"k": np.ones((2, 3, 2, 5))}, ShapeError, "`k` must have shape .* n = 6, from `q`"),
    "angles": ({"angles": np.ones((2, 3, 4, 4))}, ShapeError, "`angles` must have a <= n/2 with n = 6"),
    "state": ({"angle_state": np.ones((2, 4, 3))}, ShapeError, "`angle_state` must have shape"),
    "ids": ({"seq_idx": np.zeros((2, 3))}, DTypeError, "`seq_idx` must hold integers"),
    "integers": ({"v": np.ones((2, 3, 4, 2), int)}, DTypeError, "`v` must hold floating-point"),
}


@pytest.mark.parametrize("name", WHERE_IT_FAILS)
def test_bad_arguments_are_named(name: str) -> None:
    change, error, message = WHERE_IT_FAILS[name]
    with pytest.raises(error, match=message):
        ssm_spec.mamba3_siso(**draw(9, 2, 3, 4, 2, 2, 6, 2) | change)
