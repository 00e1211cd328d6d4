"""The short causal convolution: exact values, honest and wrong forms, states, resets, bad arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, DomainError, DTypeError, ShapeError

from . import mamba_exact

SINGLE = Arithmetic()
DOUBLE = Arithmetic(compute="float64")
OUTPUTS = ("y", "last_state")


def draw(seed: int, b: int, d: int, l: int, w: int, *, wild: bool = False, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)

    def real(*shape: int) -> Any:
        x = rng.standard_normal(shape)
        scale = 10.0 ** rng.uniform(-12, 2, shape) * (rng.random(shape) > 0.05) if wild else 1.0
        return (x * scale).astype(np.float32)

    return {
        "x": real(b, d, l),
        "weight": real(d, w),
        "bias": real(d),
        "activation": "silu",
        "initial_state": real(b, d, w - 1),
        "seq_idx": np.cumsum(rng.random((b, l)) < 0.3, axis=1),
    } | more


def run(inputs: dict[str, Any], **change: Any) -> tuple[Any, Any]:
    both = ssm_spec.causal_conv1d(**{**inputs, **change}, return_last_state=True)
    assert isinstance(both, tuple)
    return both


def draw_cotangents(inputs: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(17)
    return {
        name: rng.standard_normal(out.shape).astype(np.float32)
        for name, out in zip(OUTPUTS, run(inputs), strict=True)
    }


SIZES = [(2, 3, 7, 4), (1, 1, 1, 1), (1, 2, 2, 4), (2, 1, 0, 3), (0, 2, 3, 2), (1, 5, 13, 2)]


@pytest.mark.parametrize("activation", [None, "swish"])
@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("sizes", SIZES)
def test_values_and_gradients_lie_within_the_oracles_own_bound(
    sizes: tuple[int, int, int, int], wild: bool, activation: str | None
) -> None:
    inputs = draw(1, *sizes, wild=wild, activation=activation)
    cotangents = draw_cotangents(inputs)
    x, outputs = mamba_exact.conv(inputs)
    exact = mamba_exact.gradients(x, outputs, cotangents)
    for name, bounded in ssm_spec.causal_conv1d_bounds(arithmetic=SINGLE, **inputs).items():
        assert mamba_exact.worst(bounded, outputs[name]) <= 1, name
    found = ssm_spec.causal_conv1d_vjp_bounds(cotangents, arithmetic=SINGLE, **inputs)
    assert set(found) == {"x", "weight", "bias", "initial_state"}
    plain = ssm_spec.causal_conv1d_vjp(cotangents, **inputs)
    for name, bounded in found.items():
        assert mamba_exact.worst(bounded, exact[name], balls=True) <= 1, name
        np.testing.assert_array_equal(bounded.value, plain[name])


def kernel(inputs: dict[str, Any], *, slip: str = "") -> dict[str, Any]:
    """y and the gradients of an honest float32 kernel through torch's own convolution, or of a wrong one."""
    torch = pytest.importorskip("torch")
    names = ("x", "weight", "bias", "initial_state")
    x, weight, bias, before = (torch.tensor(inputs[name], requires_grad=True) for name in names)
    taps = weight.flip(1) if slip == "taps reversed" else weight
    line = torch.cat([before * 0 if slip == "initial state dropped" else before, x], dim=-1)
    p = torch.nn.functional.conv1d(line, taps[:, None], groups=len(weight))
    p = p if slip == "bias lost" else p + bias[:, None]
    if slip == "a tap late":
        p = torch.roll(p, 1, -1)
    y = torch.nn.functional.silu(p.bfloat16().float() if slip == "bfloat16 inside" else p)
    r = torch.tensor(draw_cotangents(inputs)["y"])
    found = torch.autograd.grad(y, [x, weight, bias, before], r, allow_unused=True)
    zero = [torch.zeros_like(leaf) for leaf in (x, weight, bias, before)]
    grads = (z if g is None else g for g, z in zip(found, zero, strict=True))
    return {"y": y.detach().numpy()} | {k: g.numpy() for k, g in zip(names, grads, strict=True)}


def ratio(found: dict[str, Any], inputs: dict[str, Any]) -> float:
    cotangents = draw_cotangents(inputs) | {"last_state": None}
    allowed = ssm_spec.causal_conv1d_vjp_bounds(cotangents, arithmetic=SINGLE, **inputs)
    allowed["y"] = ssm_spec.causal_conv1d_bounds(arithmetic=SINGLE, **inputs)["y"]
    worst = 0.0
    for name, bounded in allowed.items():
        error = np.abs(found[name] - bounded.value)
        with np.errstate(all="ignore"):
            here = np.where(error == 0, 0.0, error / (bounded.bound + bounded.own))
        here = np.where(np.isnan(here), np.inf, here)[bounded.judged]
        worst = max(worst, float(here.max(initial=0.0)))
    return worst


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
def test_an_honest_kernel_stays_within_its_bound(wild: bool) -> None:
    inputs = draw(5, 2, 7, 131, 4, wild=wild, seq_idx=None)
    assert ratio(kernel(inputs), inputs) <= 1


SLIPS = ("taps reversed", "initial state dropped", "bias lost", "a tap late", "bfloat16 inside")


@pytest.mark.parametrize("slip", SLIPS)
def test_a_wrong_kernel_leaves_it(slip: str) -> None:
    inputs = draw(5, 2, 7, 131, 4, seq_idx=None)
    assert ratio(kernel(inputs, slip=slip), inputs) > 1


def test_c2_resets_ignored_is_rejected_and_packed_is_separate() -> None:
    inputs = draw(6, 1, 3, 9, 4, seq_idx=np.array([[4, 4, 4, -1, 4, 4, 4, 4, 4]]))
    assert ratio(kernel(inputs), inputs) > 1
    y, last = run(inputs)
    for start, stop in ((0, 3), (3, 4), (4, 9)):
        given = inputs["initial_state"] if start == 0 else None
        part, end = run(inputs, x=inputs["x"][..., start:stop], seq_idx=None, initial_state=given)
        np.testing.assert_array_equal(y[..., start:stop], part)
    np.testing.assert_array_equal(last, end)


def test_c2_nothing_crosses_a_reset_not_even_a_nan() -> None:
    ids = np.array([[0, 0, 0, 1, 1, 1]])
    inputs = draw(7, 1, 2, 6, 4, seq_idx=ids)
    spoiled = inputs["x"].copy()
    spoiled[0, 0, 2] = np.nan
    clean, _ = run(inputs)
    y, _ = run(inputs, x=spoiled)
    assert np.isnan(y[0, 0, 2])
    np.testing.assert_array_equal(np.delete(y[0], 2, 1)[:, 2:], np.delete(clean[0], 2, 1)[:, 2:])
    np.testing.assert_array_equal(y[0, 1], clean[0, 1])


def test_c3_a_split_at_every_k_is_the_whole_and_so_is_a_chain_of_steps() -> None:
    inputs = draw(8, 2, 3, 7, 4, seq_idx=None)
    whole, end = run(inputs)
    for k in range(8):
        y0, state = run(inputs, x=inputs["x"][..., :k])
        y1, last = run(inputs, x=inputs["x"][..., k:], initial_state=state)
        np.testing.assert_array_equal(np.concatenate([y0, y1], -1), whole)
        np.testing.assert_array_equal(last, end)
    state, steps = inputs["initial_state"], []
    for t in range(7):
        y, state = ssm_spec.causal_conv1d_update(
            inputs["x"][..., t], state, inputs["weight"], inputs["bias"], "silu"
        )
        steps.append(y)
    np.testing.assert_array_equal(np.stack(steps, -1), whole)
    np.testing.assert_array_equal(state, end)


def test_c3_c4_the_state_of_short_and_of_young_sequences() -> None:
    inputs = draw(9, 1, 1, 2, 4, seq_idx=np.array([[0, 1]]))
    _, last = run(inputs)
    np.testing.assert_array_equal(last[0, 0], [0, 0, inputs["x"][0, 0, 1]])
    _, last = run(inputs, seq_idx=None)
    np.testing.assert_array_equal(last[0, 0], [inputs["initial_state"][0, 0, 2], *inputs["x"][0, 0]])
    y, last = run(inputs, x=inputs["x"][..., :0], seq_idx=None)
    assert y.shape == (1, 1, 0)
    np.testing.assert_array_equal(last, inputs["initial_state"])
    gradients = ssm_spec.causal_conv1d_vjp(
        {"last_state": np.ones((1, 1, 3))}, **inputs | {"x": inputs["x"][..., :0], "seq_idx": None}
    )
    np.testing.assert_array_equal(gradients["initial_state"], np.ones((1, 1, 3)))


def test_the_step_has_the_gradients_and_bounds_of_the_convolution() -> None:
    inputs = draw(10, 2, 3, 1, 4, seq_idx=None)
    step = {k: inputs[k] for k in ("weight", "bias", "activation")}
    step |= {"x": inputs["x"][..., 0], "state": inputs["initial_state"]}
    r = draw_cotangents(inputs)
    given = {"y": r["y"][..., 0], "state": r["last_state"]}
    gradients = ssm_spec.causal_conv1d_vjp(r, **inputs)
    found = ssm_spec.causal_conv1d_update_vjp_bounds(given, arithmetic=DOUBLE, **step)
    assert list(found) == ["x", "state", "weight", "bias"]
    np.testing.assert_array_equal(found["x"].value, gradients["x"][..., 0])
    np.testing.assert_array_equal(found["state"].value, gradients["initial_state"])
    np.testing.assert_array_equal(found["weight"].value, gradients["weight"])
    plain = ssm_spec.causal_conv1d_update_vjp(given, ["bias"], **step)
    np.testing.assert_array_equal(plain["bias"], gradients["bias"])
    outputs = ssm_spec.causal_conv1d_update_bounds(arithmetic=DOUBLE, **step)
    assert outputs["y"].bound.shape == (2, 3)
    np.testing.assert_array_equal(outputs["state"].value, run(inputs)[1])


def test_the_cotangent_may_overflow_on_its_way_through_the_gate() -> None:
    """r p = 3 10³⁹, which σ(1 − σ) = 4 10⁻⁵ brings back: autograd of p σ(p) takes them in that order."""
    torch = pytest.importorskip("torch")
    x = torch.full((1, 1, 1), -10.0, requires_grad=True)
    r = np.full((1, 1, 1), 3e38, np.float32)
    (dx,) = torch.autograd.grad(x * torch.sigmoid(x), x, torch.tensor(r))
    assert not torch.isfinite(dx).any()
    inputs = {"x": x.detach().numpy(), "weight": np.ones((1, 1)), "bias": np.zeros(1), "activation": "silu"}
    for factor, judged in ((1.0, False), (0.05, True)):
        found = ssm_spec.causal_conv1d_vjp_bounds({"y": r * factor}, arithmetic=SINGLE, **inputs)
        assert {name: bounded.judged.all() for name, bounded in found.items()} == dict.fromkeys(found, judged)


WHERE_IT_FAILS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "weight rank": ({"weight": np.ones(3)}, ShapeError, r"`weight` must have shape \(d, w\)"),
    "weight channels": (
        {"weight": np.ones((4, 2))},
        ShapeError,
        r"`weight` .* d = 3, from `x`; got \(4, 2\)",
    ),
    "no taps": ({"weight": np.ones((3, 0))}, ShapeError, "`weight` must have w >= 1"),
    "bias": ({"bias": np.ones(2)}, ShapeError, "`bias` must have shape"),
    "state": ({"initial_state": np.ones((2, 3, 4))}, ShapeError, "`initial_state` .* w−1 = 3, from `weight`"),
    "ids": ({"seq_idx": np.zeros((2, 8), int)}, ShapeError, "`seq_idx` must have shape"),
    "ids' type": ({"seq_idx": np.zeros((2, 7))}, DTypeError, "`seq_idx` must hold integers"),
    "integers": ({"x": np.ones((2, 3, 7), int)}, DTypeError, "`x` must hold floating-point"),
    "complex": ({"bias": np.ones(3) * 1j}, DTypeError, "`bias` must be real"),
    "activation": ({"activation": "relu"}, DomainError, "`activation` must be one of"),
}


@pytest.mark.parametrize("name", WHERE_IT_FAILS)
def test_bad_arguments_are_named(name: str) -> None:
    change, error, message = WHERE_IT_FAILS[name]
    with pytest.raises(error, match=message):
        ssm_spec.causal_conv1d(**draw(11, 2, 3, 7, 4) | change)


def test_bad_cotangents_are_named() -> None:
    with pytest.raises(DomainError, match="`cotangents` must be named after"):
        ssm_spec.causal_conv1d_vjp({"state": np.ones(1)}, **draw(11, 2, 3, 7, 4))
    with pytest.raises(DomainError, match="`wrt` must name"):
        ssm_spec.causal_conv1d_vjp({}, ["seq_idx"], **draw(11, 2, 3, 7, 4))
