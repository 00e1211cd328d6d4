"""Mamba-3 as its authors' kernel has it: both weights of a key and a value are one, and enter with them.

The early source of step t + 1 and the late one of step t are products of the same v_t k̃_tᵀ. Merged, they are
one source of step t; what is handed on at a chunk's end has in it what is early in the next chunk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic

from .test_mamba3_gradients import CALLS, autograd, cotangents_of, ratio
from .test_mamba3_siso import OUTPUTS, draw
from .test_terms_of_the_scan import kogge_stone_sums, opposed

Q = 16
FAR = 200.0
"""σ of it is 1 in float32, and of −FAR it is 0."""


def _rotated(torch: Any, x: Any, theta: Any) -> Any:
    a = theta.shape[-1]
    even, odd, cos, sin = x[..., 0 : 2 * a : 2], x[..., 1 : 2 * a : 2], torch.cos(theta), torch.sin(theta)
    pairs = torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)
    return torch.cat([pairs, x[..., 2 * a :]], -1)


def merged(torch: Any, x: dict[str, Any]) -> tuple[Any, ...]:
    """In chunks of Q, what a step adds at its own time apart from what it leaves; the total summed apart."""
    b, l, h, p = x["v"].shape
    g, n, a = *x["q"].shape[2:], x["angles"].shape[3]
    shapes = {"angle_state": (a,), "ssm_state": (p, n), "k_state": (n,), "v_state": (p,)}
    angle, S, k_state, v_state = (
        x.get(i, torch.zeros(b, h, *s, dtype=x["v"].dtype)) for i, s in shapes.items()
    )
    v, adt, dt = x["v"].transpose(1, 2), x["adt"], x["dt"]
    turns = dt.unsqueeze(-1) * torch.pi * torch.tanh(x["angles"].transpose(1, 2))
    theta = angle.unsqueeze(2) + turns.cumsum(2)
    plain = [(x[i].repeat_interleave(h // g, 2) + x[f"{i}_bias"]).transpose(1, 2) for i in ("q", "k")]
    q, k = (_rotated(torch, w, theta) for w in plain)
    share = torch.sigmoid(x["trap"])
    late, early = share * dt, (1 - share) * dt
    scale = late + torch.nn.functional.pad(early[..., 1:], (0, 1))
    S = S + v_state[..., None] * (early[..., :1] * k_state)[..., None, :]
    keys, here = k * scale[..., None], (plain[0] * plain[1]).sum(-1) * late
    skip = (x["D"][:, None] + here if "D" in x else here)[..., None] * v
    y = []
    for i in range(0, l, Q):
        part = slice(i, i + Q)
        sums, total = adt[..., part].cumsum(-1), adt[..., part].sum(-1)[..., None]
        between = torch.exp((sums[..., :, None] - sums[..., None, :]).clamp(max=0)).tril(-1)
        scores = (q[:, :, part] @ keys[:, :, part].mT) * between
        y.append(
            torch.exp(sums)[..., None] * (q[:, :, part] @ S.mT) + scores @ v[:, :, part] + skip[:, :, part]
        )
        left = v[:, :, part] * torch.exp(total - sums)[..., None]
        S = torch.exp(total)[..., None] * S + left.mT @ keys[:, :, part]
    out = torch.cat(y, 2).transpose(1, 2)
    out = out * torch.nn.functional.silu(x["z"]) if "z" in x else out
    return out, theta[:, :, -1], S, k[:, :, -1], v[:, :, -1]


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
def test_the_authors_form_stays_within_its_bounds(wild: bool) -> None:
    torch = pytest.importorskip("torch")
    arithmetic = Arithmetic(evaluation="matmul_chunk", chunk=Q)
    for seed, more in enumerate(CALLS[:2]):
        for length in (1, 15, 61):
            inputs = draw(seed, 2, length, 4, 3, 2, 6, 2, wild=wild, **more)
            bounds = ssm_spec.mamba3_siso_bounds(arithmetic=arithmetic, **inputs)
            with torch.no_grad():
                values = merged(torch, {name: torch.tensor(x) for name, x in inputs.items()})
            for name, value in zip(OUTPUTS, values, strict=True):
                near = np.abs(value.numpy() - bounds[name].value) <= bounds[name].bound + bounds[name].own
                assert near[bounds[name].judged].all(), name
            cotangents = cotangents_of(seed, inputs)
            found = autograd(inputs, cotangents, "float32", merged)
            worst = ratio(found, inputs, cotangents, arithmetic)
            assert all(ratio <= 1 for ratio in worst.values()), worst


def one_head(l: int, **given: Any) -> dict[str, Any]:
    """One key of one number, which nothing turns, and one value; what is not said is 0 or 1."""
    time, heads = {"q": 1.0, "k": 1.0, "v": 0.0}, {"adt": 0.0, "dt": 1.0, "trap": FAR}
    inputs: dict[str, Any] = {
        name: np.resize(np.asarray(given.pop(name, x), np.float32), shape)
        for names, shape in ((time, (1, l, 1, 1)), (heads, (1, 1, l)))
        for name, x in names.items()
    }
    inputs |= {"q_bias": np.zeros((1, 1)), "k_bias": np.zeros((1, 1)), "angles": np.zeros((1, l, 1, 0))}
    return inputs | {name: np.full((1, 1, 1, 1), x, np.float32) for name, x in given.items()}


def exact_but_for_sums(q: int) -> Arithmetic:
    return Arithmetic(evaluation="matmul_chunk", chunk=q, k_exp=0, k_log=0, k_div=0, k_scale=0)


def test_what_is_early_in_a_chunk_may_be_weighted_in_the_one_before() -> None:
    """exp(total − S_31) of v_31 k_31, the total summed from its end: S_31 is two and a half units less."""
    steps = opposed(5)
    total = np.float32(0)
    for step in steps[::-1]:
        total = np.float32(total + step)
    left = np.exp(128.0 * (float(kogge_stone_sums(steps)[-1]) - float(total)))
    trap, v = np.full(33, FAR), np.zeros(33)
    trap[31:], v[31] = -FAR, 1.0
    inputs = one_head(33, adt=np.append(-128.0 * steps, 0.0), trap=trap, v=v)
    y = ssm_spec.mamba3_siso_bounds(arithmetic=exact_but_for_sums(32), **inputs)["y"]
    assert y.value[0, 32, 0, 0] == 1.0
    assert 0.3 < abs(left - 1.0) / y.bound[0, 32, 0, 0] <= 1


def slope(inputs: dict[str, Any], y: Any, t: int) -> tuple[float, float]:
    """d(adt) of step t of the cotangent y, and its bound in chunks of two."""
    given = {"y": np.asarray(y, np.float32)[None, :, None, None]}
    found = ssm_spec.mamba3_siso_vjp_bounds(given, ["adt"], arithmetic=exact_but_for_sums(2), **inputs)["adt"]
    assert found.judged.all()
    return float(found.value[0, 0, t]), float(found.bound[0, 0, t])


def test_a_row_and_a_column_have_what_is_early_in_the_next_chunk() -> None:
    """d(adt) of step 1 is the 2⁻²⁵ that v_0 k_0 leaves: in the row of what is handed on it is added to 1."""
    small = np.float32(2.0**-25)
    inputs = one_head(3, v=[small / 2, 1.0, 0.0], trap=[FAR, -FAR, -FAR])
    exact, bound = slope(inputs, [0, 0, 1], 1)
    assert exact == small
    found = (small + np.float32(1)) - np.float32(1)
    assert found == 0.0
    assert 0.005 < abs(found - exact) / bound <= 1


def test_what_comes_later_in_a_chunk_may_be_the_rest_of_a_sum() -> None:
    """d(adt) of step 1 is the 2⁻²⁵ of its row: the sum of both rows, less the first of 1."""
    small = np.float32(2.0**-25)
    exact, bound = slope(one_head(2, ssm_state=1.0), [1, small], 1)
    assert exact == small
    found = (np.float32(1) + small) - np.float32(1)
    assert found == 0.0
    assert 0.02 < abs(found - exact) / bound <= 1


def test_a_query_may_meet_what_is_early_in_the_next_chunk_behind_a_mask() -> None:
    """q_0 k_1 Δ_2 of step 1 is 10⁴⁰, which a mask of zeros makes a NaN of y_0."""
    inputs = one_head(3, q=[1e15, 1.0, 1.0], k=[1.0, 1e15, 1.0], v=[1.0, 1e-20, 1.0], dt=[1.0, 1.0, 1e10])
    y = ssm_spec.mamba3_siso_bounds(arithmetic=exact_but_for_sums(2), **inputs)["y"]
    assert (np.abs(y.value) < 1e20).all()
    np.testing.assert_array_equal(y.judged[0, :, 0, 0], [False, True, True])
