"""The Mamba block: exact values and gradients, honest and wrong blocks in float32, states, bad arguments."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic, DTypeError, ShapeError

from . import mamba_exact

SINGLE = Arithmetic()
OUTPUTS = ("y", "conv_state", "ssm_state")


def draw(
    seed: int,
    b: int,
    l: int,
    e: int,
    d: int,
    n: int,
    r: int,
    w: int,
    *,
    wild: bool = False,
    bare: bool = False,
) -> dict[str, Any]:
    """Arguments of `mamba_block`, exact in float32."""
    rng = np.random.default_rng(seed)

    def real(*shape: int, scale: float = 1.0) -> Any:
        x = rng.standard_normal(shape) * scale
        if wild:
            x = x * 10.0 ** rng.uniform(-3, 1, shape) * (rng.random(shape) > 0.03)
        return x.astype(np.float32)

    inputs = {
        "x": real(b, l, e),
        "in_proj": real(2 * d, e, scale=e**-0.5),
        "conv1d_weight": real(d, w, scale=w**-0.5),
        "conv1d_bias": None if bare else real(d, scale=0.1),
        "x_proj": real(r + 2 * n, d, scale=d**-0.5),
        "dt_proj_weight": real(d, r, scale=r**-0.5),
        "dt_proj_bias": (rng.uniform(-6, -1, d)).astype(np.float32),
        "A_log": np.log(np.tile(np.arange(1.0, n + 1), (d, 1))).astype(np.float32),
        "D": real(d),
        "out_proj": real(e, d, scale=d**-0.5),
    }
    if not bare:
        inputs |= {"conv_state": real(b, d, w - 1), "ssm_state": real(b, d, n)}
    return inputs


def run(inputs: dict[str, Any], **change: Any) -> tuple[Any, Any, Any]:
    found = ssm_spec.mamba_block(**{**inputs, **change}, return_states=True)
    assert isinstance(found, tuple)
    return found


def draw_cotangents(inputs: dict[str, Any], size: float = 1.0) -> dict[str, Any]:
    rng = np.random.default_rng(17)
    outputs = zip(OUTPUTS, run(inputs), strict=True)
    return {name: (size * rng.standard_normal(out.shape)).astype(np.float32) for name, out in outputs}


@pytest.mark.parametrize("bare", [False, True], ids=["full", "bare"])
@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
def test_values_and_gradients_lie_within_the_oracles_own_bound(wild: bool, bare: bool) -> None:
    inputs = draw(1, 2, 5, 3, 4, 2, 2, 3, wild=wild, bare=bare)
    cotangents = draw_cotangents(inputs)
    x, outputs = mamba_exact.block(inputs)
    exact = mamba_exact.gradients(x, outputs, cotangents)
    for name, bounded in ssm_spec.mamba_block_bounds(arithmetic=SINGLE, **inputs).items():
        assert mamba_exact.worst(bounded, outputs[name]) <= 1, name
        assert (bounded.own < 1e5 * 2.0**-53 * np.abs(bounded.value).max()).all()
    plain = ssm_spec.mamba_block_vjp(cotangents, **inputs)
    found = ssm_spec.mamba_block_vjp_bounds(cotangents, arithmetic=SINGLE, **inputs)
    assert set(found) == set(plain) == set(exact)
    for name, bounded in found.items():
        assert mamba_exact.worst(bounded, exact[name], balls=True) <= 1, name
        np.testing.assert_array_equal(bounded.value, plain[name])


def block(
    inputs: dict[str, Any], *, slip: str = "", operands: str = "float32", size: float = 1.0
) -> dict[str, Any]:
    """A block in eager float32 torch, one step after the other, with autograd's gradients; or a wrong one.

    With `operands` of 16 bits those of each projection, there and back, and what lies between the stages are
    rounded to them; sums and the scan stay in float32.
    """
    torch = pytest.importorskip("torch")
    v = {name: torch.tensor(value, requires_grad=True) for name, value in inputs.items()}
    d, n, r = len(v["D"]), v["A_log"].shape[1], v["dt_proj_weight"].shape[1]

    class Rounded(torch.autograd.Function):  # type: ignore[misc, name-defined]  # torch is Any here
        """The numbers, their cotangent, or both, to the operands' type."""

        @staticmethod
        def forward(ctx: Any, x: Any, there: bool, back: bool) -> Any:
            ctx.back = back
            return narrow(x) if there else x.clone()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return narrow(g) if ctx.back else g, None, None

    def narrow(x: Any, dtype: str = operands) -> Any:
        return x.to(getattr(torch, dtype)).float()

    def given(x: Any) -> Any:
        return Rounded.apply(x, True, False)

    def stage(x: Any) -> Any:
        x = Rounded.apply(x, True, slip != "cotangents in bfloat16")
        if slip == "cotangents in bfloat16":
            x.register_hook(lambda g: narrow(g, "bfloat16"))
        if slip == "small cotangents flushed":
            x.register_hook(lambda g: torch.where(g.abs() < 2.0**-14, 0.0, g))
        return x

    inner = stage(given(v["x"]) @ given(v["in_proj"]).T)
    first, z = inner.mT.chunk(2, dim=1)
    if slip == "x and z exchanged":
        first, z = z, first
    line = torch.cat([v["conv_state"], first], dim=-1)
    c = torch.nn.functional.conv1d(line, v["conv1d_weight"][:, None], v["conv1d_bias"], groups=d)
    c = stage(c if slip == "no activation" else torch.nn.functional.silu(c))
    low = stage(given(v["x_proj"]) @ c)
    delta, B, C = low.split([r, n, n], dim=1)
    B = B.detach() if slip == "B's gradient lost" else B
    if slip == "B and C exchanged":
        B, C = C, B
    delta = stage(given(v["dt_proj_weight"]) @ delta) + v["dt_proj_bias"][:, None]
    delta = delta + v["dt_proj_bias"][:, None] if slip == "bias twice" else delta
    step = torch.nn.functional.softplus(delta)
    A = -torch.exp(v["A_log"])
    h, y = v["ssm_state"], []
    for t in range(c.shape[-1]):
        drive = (step[..., t] * c[..., t])[..., None] * B[:, None, :, t]
        h = torch.exp(step[..., t, None] * A) * h + drive
        y.append((h @ C[..., t, None])[..., 0] + v["D"] * c[..., t])
    gated = stage(torch.stack(y, -1) * torch.nn.functional.silu(z))
    out = Rounded.apply(gated.mT @ given(v["out_proj"]).T, False, True)
    out = out + v["x"] if slip == "a residual" else out
    outputs = dict(zip(OUTPUTS, (out, line[..., c.shape[-1] :], h), strict=True))
    cotangents = {name: torch.tensor(r) for name, r in draw_cotangents(inputs, size).items()}
    used = [outputs[name] for name in cotangents]
    found = torch.autograd.grad(used, list(v.values()), list(cotangents.values()))
    gradients = {f"d {name}": g.numpy() for name, g in zip(v, found, strict=True)}
    return {name: value.detach().numpy() for name, value in outputs.items()} | gradients


def ratio(
    found: dict[str, Any], inputs: dict[str, Any], arithmetic: Arithmetic = SINGLE, size: float = 1.0
) -> float:
    worst = 0.0
    allowed = ssm_spec.mamba_block_bounds(arithmetic=arithmetic, **inputs)
    cotangents = draw_cotangents(inputs, size)
    gradients = ssm_spec.mamba_block_vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)
    allowed |= {f"d {name}": bounded for name, bounded in gradients.items()}
    for name, value in found.items():
        bounded = allowed[name]
        error = np.abs(value - bounded.value)
        with np.errstate(all="ignore"):
            here = np.where(error == 0, 0.0, error / (bounded.bound + bounded.own))
        assert bounded.judged.all()
        worst = max(worst, float(np.where(np.isnan(here), np.inf, here).max(initial=0.0)))
    return worst


SIZES = (2, 23, 7, 11, 5, 3, 4)


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
def test_an_honest_block_stays_within_its_bound(wild: bool) -> None:
    for seed in range(3):
        inputs = draw(seed, *SIZES, wild=wild)
        for arithmetic in (SINGLE, Arithmetic(evaluation="sequential")):
            assert ratio(block(inputs), inputs, arithmetic) <= 1


@pytest.mark.parametrize(("operands", "wild"), [("bfloat16", False), ("bfloat16", True), ("float16", False)])
def test_16_bits_between_the_stages_have_to_be_declared(operands: Any, wild: bool) -> None:
    """Wild numbers leave the range of float16."""
    for seed in range(3):
        inputs = draw(seed, *SIZES, wild=wild)
        found = block(inputs, operands=operands)
        assert ratio(found, inputs) > 10
        for declared in (Arithmetic(operands=operands), Arithmetic(operands=operands, evaluation="scan")):
            assert ratio(found, inputs, declared) <= 1


FEW: Final = (1, 2, 1, 1, 1, 1, 2)
"""So few terms that a bound has no room for what it does not grant."""


@pytest.mark.parametrize("sizes", [FEW, (2, 23, 7, 11, 5, 3, 4)], ids=["few", "more"])
@pytest.mark.parametrize("size", [1e-3, 1e-5, 1e-7])
def test_cotangents_may_be_subnormal_in_float16(sizes: Any, size: float) -> None:
    """Between stages they lose up to 2⁻²⁵ each, and no more: nothing flushes them."""
    declared = Arithmetic(operands="float16")
    for seed in range(3):
        inputs = draw(seed, *sizes)
        found = gradients_of(block(inputs, operands="float16", size=size))
        assert ratio(found, inputs, declared, size) <= 1
    flushed = gradients_of(block(inputs, operands="float16", size=1e-5, slip="small cotangents flushed"))
    assert ratio(flushed, inputs, declared, 1e-5) > 10


@pytest.mark.parametrize("slip", ["cotangents in bfloat16", "B's gradient lost", "B and C exchanged"])
def test_wrong_gradients_leave_the_bound_of_float16(slip: str) -> None:
    for seed in range(3):
        inputs = draw(seed, *FEW)
        found = gradients_of(block(inputs, operands="float16", slip=slip))
        assert ratio(found, inputs, Arithmetic(operands="float16")) > 1


def gradients_of(found: dict[str, Any]) -> dict[str, Any]:
    return {name: x for name, x in found.items() if name.startswith("d ")}


@pytest.mark.parametrize("name", ["x", "in_proj", "x_proj", "out_proj"])
def test_operands_that_are_subnormal_in_float16_lose_more_than_a_share(name: str) -> None:
    """10⁻⁷ is two steps of 2⁻²⁴."""
    inputs = draw(2, *SIZES)
    inputs[name] = inputs[name] * np.float32(1e-7)
    assert ratio(block(inputs, operands="float16"), inputs, Arithmetic(operands="float16")) <= 1


@pytest.mark.parametrize(("operands", "large"), [("float16", 65520.0), ("bfloat16", 3.4e38)])
@pytest.mark.parametrize("name", ["x", "in_proj"])
def test_operands_may_be_infinite_in_their_type(name: str, operands: Any, large: float) -> None:
    inputs = draw(2, *SIZES)
    other = {"x": "in_proj", "in_proj": "x"}[name]
    inputs[name], inputs[other] = np.full_like(inputs[name], large), inputs[other] * np.float32(1 / large)
    found = block(inputs, operands=operands)
    assert not np.isfinite(found["y"]).any()
    bounds = ssm_spec.mamba_block_bounds(arithmetic=Arithmetic(operands=operands), **inputs)
    assert {name for name, bounded in bounds.items() if not bounded.judged.any()} == set(OUTPUTS)
    assert ssm_spec.mamba_block_bounds(arithmetic=SINGLE, **inputs)["conv_state"].judged.all()


SLIPS = (
    "x and z exchanged",
    "B and C exchanged",
    "no activation",
    "bias twice",
    "a residual",
    "B's gradient lost",
)


@pytest.mark.parametrize("slip", SLIPS)
def test_c1_to_c4_a_wrong_block_leaves_it(slip: str) -> None:
    inputs = draw(3, *SIZES)
    assert ratio(block(inputs, slip=slip), inputs) > 100


def test_c5_a_split_at_every_k_is_the_whole_and_so_is_a_chain_of_steps() -> None:
    inputs = draw(4, 2, 6, 3, 4, 2, 2, 3)
    arithmetic = Arithmetic(compute="float64", evaluation="sequential")
    bounds = ssm_spec.mamba_block_bounds(arithmetic=arithmetic, **inputs)

    def same(found: tuple[Any, Any, Any]) -> None:
        for name, value in zip(OUTPUTS, found, strict=True):  # products of matrices may sum in another order
            assert (np.abs(value - bounds[name].value) <= bounds[name].bound + bounds[name].own).all(), name

    for k in range(7):
        y0, conv, ssm = run(inputs, x=inputs["x"][:, :k])
        y1, conv, ssm = run(inputs, x=inputs["x"][:, k:], conv_state=conv, ssm_state=ssm)
        same((np.concatenate([y0, y1], 1), conv, ssm))
    parameters = {k: v for k, v in inputs.items() if k not in ("x", "conv_state", "ssm_state")}
    conv, ssm, steps = inputs["conv_state"], inputs["ssm_state"], []
    for t in range(6):
        y, conv, ssm = ssm_spec.mamba_step(inputs["x"][:, t], conv, ssm, **parameters)
        steps.append(y)
    same((np.stack(steps, 1), conv, ssm))


def test_the_step_has_the_gradients_and_bounds_of_length_one() -> None:
    inputs = draw(5, 2, 1, 3, 4, 2, 2, 3)
    cotangents = draw_cotangents(inputs)
    step = inputs | {"x": inputs["x"][:, 0]}
    gradients = ssm_spec.mamba_block_vjp(cotangents, **inputs)
    found = ssm_spec.mamba_step_vjp(cotangents | {"y": cotangents["y"][:, 0]}, **step)
    assert list(found)[:4] == ["x", "conv_state", "ssm_state", "in_proj"]
    assert set(found) == set(gradients)
    for name, gradient in found.items():
        np.testing.assert_array_equal(gradient, gradients[name].reshape(step[name].shape))
    given = cotangents | {"y": cotangents["y"][:, 0]}
    for name, bounded in ssm_spec.mamba_step_vjp_bounds(given, arithmetic=SINGLE, **step).items():
        assert bounded.bound.shape == step[name].shape
    bounds = ssm_spec.mamba_step_bounds(arithmetic=SINGLE, **step)
    assert bounds["y"].bound.shape == (2, 3)
    np.testing.assert_array_equal(bounds["ssm_state"].value, run(inputs)[2])


@pytest.mark.parametrize("sizes", [(0, 3, 2, 3, 2, 1, 2), (2, 0, 2, 3, 2, 1, 2), (1, 1, 1, 1, 1, 1, 1)])
def test_empty_and_smallest_blocks(sizes: tuple[int, ...]) -> None:
    inputs = draw(6, *sizes)
    y, conv, ssm = run(inputs)
    assert y.shape == inputs["x"].shape
    if sizes[1] == 0:
        np.testing.assert_array_equal(conv, inputs["conv_state"])
        np.testing.assert_array_equal(ssm, inputs["ssm_state"])
    for name, bounded in ssm_spec.mamba_block_bounds(arithmetic=SINGLE, **inputs).items():
        assert bounded.judged.shape == bounded.value.shape, name
    cotangents = draw_cotangents(inputs)
    for name, bounded in ssm_spec.mamba_block_vjp_bounds(cotangents, arithmetic=SINGLE, **inputs).items():
        assert bounded.value.shape == bounded.bound.shape == bounded.own.shape == inputs[name].shape


WHERE_IT_FAILS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "in_proj": ({"in_proj": np.ones((4, 3))}, ShapeError, r"`in_proj` must have shape \(2d, e\) .* 2d = 8"),
    "x_proj": ({"x_proj": np.ones((5, 4))}, ShapeError, r"`x_proj` must have shape \(r\+2n, d\) .* = 6"),
    "out_proj": ({"out_proj": np.ones((4, 3))}, ShapeError, "`out_proj` must have shape"),
    "conv1d": (
        {"conv1d_weight": np.ones((4, 1, 3))},
        ShapeError,
        r"`conv1d_weight` must have shape \(d, w\)",
    ),
    "conv state": ({"conv_state": np.ones((2, 4, 3))}, ShapeError, "`conv_state` .* w−1 = 2"),
    "half": ({"A_log": np.ones((4, 2), np.float16)}, DTypeError, "`A_log` must have at least single"),
    "integers": ({"x": np.ones((2, 5, 3), int)}, DTypeError, "`x` must hold floating-point"),
}


@pytest.mark.parametrize("name", WHERE_IT_FAILS)
def test_bad_arguments_are_named(name: str) -> None:
    change, error, message = WHERE_IT_FAILS[name]
    with pytest.raises(error, match=message):
        ssm_spec.mamba_block(**draw(7, 2, 5, 3, 4, 2, 2, 3) | change)
