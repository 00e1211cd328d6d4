"""No honest form of SSD leaves its bound, and known-bad ones do: values, and gradients by autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic

from .ssd_data import VARIANTS, draw, draw_cotangents

torch = pytest.importorskip("torch")
from .ssd_kernels import Kernel, execute, in_bfloat16

ANY = Arithmetic()


def matmul(q: int, **more: Any) -> Arithmetic:
    return Arithmetic(evaluation="matmul_chunk", chunk=q, **more)


HONEST: dict[str, tuple[Kernel, Arithmetic]] = {
    "recurrent": (Kernel(), Arithmetic(evaluation="sequential")),
    "chunks of 4": (Kernel(4), matmul(4)),
    "chunks of 8": (Kernel(8), matmul(8)),
    "one chunk, undeclared": (Kernel(256), ANY),
    "chunks of 8, operands in bfloat16": (
        Kernel(8, torch.bfloat16),
        matmul(8, operands="bfloat16"),
    ),
}
SIZES = (1, 21, 4, 3, 2, 3)


def ratios(kernel: Kernel, inputs: dict[str, Any], arithmetic: Arithmetic) -> dict[str, float]:
    """The worst err / (bound + own) of each output and gradient; NaN counts as infinite."""
    cotangents = draw_cotangents(1, inputs)
    allowed = ssm_spec.ssd_vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)
    outputs = ssm_spec.ssd_bounds(arithmetic=arithmetic, **inputs)
    allowed |= {f"out:{name}": bounded for name, bounded in outputs.items()}
    found = execute(kernel, inputs, cotangents)
    worst = {}
    for name, bounded in allowed.items():
        error = np.abs(found[name] - bounded.value)
        with np.errstate(all="ignore"):
            ratio = np.where(error == 0, 0.0, error / (bounded.bound + bounded.own))
        ratio = np.where(np.isnan(ratio), np.inf, ratio)[bounded.judged]
        worst[name] = float(ratio.max(initial=0.0))
    return worst


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("name", HONEST)
def test_honest_arithmetic_stays_within_its_bound(name: str, wild: bool) -> None:
    kernel, arithmetic = HONEST[name]
    for seed, variant in enumerate(VARIANTS.values()):
        found = ratios(kernel, draw(seed, *SIZES, wild=wild, **variant), arithmetic)
        assert all(ratio <= 1 for ratio in found.values()), (variant, found)


def test_operands_in_bfloat16_have_to_be_declared() -> None:
    inputs = draw(0, *SIZES)
    narrow = Kernel(8, torch.bfloat16)
    assert max(ratios(narrow, inputs, matmul(8)).values()) > 10
    coarse = Arithmetic(evaluation="matmul_chunk", chunk=8, operands="tf32")
    assert max(ratios(narrow, inputs, coarse).values()) > 1


@pytest.mark.parametrize("narrow", [("x",), ("x", "B", "C")], ids=["x", "x, B and C"])
def test_operands_in_bfloat16_round_the_inputs_that_are_not(narrow: tuple[str, ...]) -> None:
    """Of a weight C B w and of what it multiplies two factors are rounded more where B and C are float32."""
    arithmetic = matmul(4, operands="bfloat16", io="bfloat16")
    for seed in range(12):
        for variant in VARIANTS.values():
            inputs = in_bfloat16(draw(seed, *SIZES, wild=True, **variant), *narrow)
            found = ratios(Kernel(4, torch.bfloat16), inputs, arithmetic)
            assert all(ratio <= 1 for ratio in found.values()), (seed, variant, found)


def test_operands_that_are_given_in_their_type_have_half_the_bound() -> None:
    inputs = draw(3, *SIZES)
    both = [
        ssm_spec.ssd_bounds(arithmetic=matmul(8, operands=operands), **given)["final_states"].bound
        for operands, bits in (("bfloat16", 8), ("tf32", 11))
        for given in (inputs, inputs | {name: _cut(inputs[name], bits) for name in ("x", "B", "C")})
    ]
    for wide, narrow in (both[:2], both[2:]):
        np.testing.assert_allclose(wide, 2 * narrow, rtol=0.05)  # numbers moved by 2⁻⁸, float32's own part


def _cut(x: Any, bits: int) -> Any:
    """Rounded to so many bits."""
    significand, exponent = np.frexp(x)
    return np.ldexp(np.rint(np.ldexp(significand, bits)), exponent - bits)


WRONG = {
    "limits missing": "limits",
    "groups repeated out of order": "plain",
    "resets ignored": "resets, D of each channel",
    "D missing": "plain",
    "initial states dropped": "plain",
    "chunks not joined": "plain",
}


@pytest.mark.parametrize("slip", WRONG)
def test_known_bad_kernels_leave_the_widest_bound(slip: str) -> None:
    inputs = draw(5, *SIZES, **VARIANTS[WRONG[slip]])
    for chunk in (8,) if slip == "chunks not joined" else (0, 8):
        assert max(ratios(Kernel(chunk, slip=slip), inputs, ANY).values()) > 1
        widest = matmul(256, operands="bfloat16")
        assert max(ratios(Kernel(chunk, torch.bfloat16, slip), inputs, widest).values()) > 1


@pytest.mark.parametrize("late", [False, True], ids=["of one time", "behind a mask"])
def test_products_of_matrices_may_overflow_where_states_do_not(late: bool) -> None:
    """C_t B_s = 10⁴⁰ meets Δx = 10⁻³⁰; or, where s is later than t, the zero of a mask."""
    one = np.ones((1, 2, 1, 1), np.float32)
    times = np.array([0, 1], np.float32).reshape(1, 2, 1, 1)
    large = np.float32(1e20)
    B = large * times if late else large * one
    C = large * (1 - times) if late else large * one
    inputs = {"x": np.float32(1e-30) * one, "dt": one[..., 0], "A": -one[0, 0, 0], "B": B, "C": C}
    inputs |= {"dt_softplus": False, "dt_limit": (0.0, float("inf"))}
    cotangents = {"y": 0 * one, "final_states": 0 * one[:, :1]}
    for kernel, arithmetic, finite in (
        (Kernel(2), matmul(2), False),
        (Kernel(), Arithmetic(evaluation="scan"), True),
    ):
        y = execute(kernel, inputs, cotangents)["out:y"]
        judged = ssm_spec.ssd_bounds(arithmetic=arithmetic, **inputs)["y"].judged
        assert np.isfinite(y[:, 0]).all() == finite
        assert judged[:, 0].all() == finite
        assert np.isfinite(y[judged]).all()


def test_products_of_matrices_sum_over_channels_first() -> None:
    """Σ_p q x = 5 10³⁸ of dB, of which no term overflows, meets Δ C = 10⁻¹⁰."""
    one = np.ones((1, 1, 1, 5), np.float32)
    few = one[..., :1]
    inputs = {
        "x": np.float32(1e19) * one,
        "dt": np.float32(1e-10) * few[..., 0],
        "A": -few[0, 0, 0],
        "B": few,
        "C": few,
    }
    inputs |= {"dt_softplus": False, "dt_limit": (0.0, float("inf"))}
    cotangents = {"y": np.float32(1e19) * one, "final_states": 0 * one.swapaxes(2, 3).reshape(1, 1, 5, 1)}
    found = execute(Kernel(1), inputs, cotangents)["B"]
    assert not np.isfinite(found).any()
    assert not ssm_spec.ssd_vjp_bounds(cotangents, arithmetic=matmul(1), **inputs)["B"].judged.any()


def test_what_is_handed_on_may_meet_what_enters_before_there_is_a_state() -> None:
    """x r_last = 10⁴⁵ of the gradient of a weight, which B = 10⁻³⁰ brings back; dA sums such gradients."""
    one = np.ones((1, 2, 1, 1), np.float32)
    inputs = {
        "x": np.float32(1e20) * one,
        "dt": one[..., 0],
        "A": -one[0, 0, 0],
        "B": np.float32(1e-30) * one,
    }
    inputs |= {"C": one, "dt_softplus": False, "dt_limit": (0.0, float("inf"))}
    cotangents = {"y": 0 * one, "final_states": np.float32(1e25) * one[:, :1]}
    for kernel, arithmetic, finite in (
        (Kernel(2), matmul(2), False),
        (Kernel(), Arithmetic(evaluation="scan"), True),
    ):
        found = execute(kernel, inputs, cotangents)["A"]
        dA = ssm_spec.ssd_vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)["A"]
        assert np.abs(dA.value) < 1e16
        assert np.isfinite(found).all() == finite
        assert dA.judged.all() == finite


OVERFLOWING: dict[str, dict[str, Any]] = {
    "Δ x B of the sequence before": {"dt": 1e30, "x": 1e10},
    "the last state of the sequence before": {"initial_states": 3e38, "A": 1.0},
    "C with the last state of the sequence before": {"initial_states": 1e25, "C": 1e20},
}


@pytest.mark.parametrize(
    ("name", "chunk"),
    [(name, chunk) for name in OVERFLOWING for chunk in ((1, 2, 4) if "C" in name else (1, 2))],
)
def test_a_mask_of_zeros_makes_a_nan_of_what_overflowed_before_a_reset(name: str, chunk: int) -> None:
    """0 · ∞: two sequences of two steps, of which the first overflows; a form that selects gives numbers."""
    given = {name: np.float32(x) for name, x in OVERFLOWING[name].items()}
    early = np.array([1, 1, 0, 0], np.float32).reshape(1, 4, 1, 1)
    one = np.ones_like(early)
    inputs: dict[str, Any] = {
        "x": np.where(early > 0, given.get("x", 1), one),
        "dt": np.where(early > 0, given.get("dt", 1), one)[..., 0],
        "A": given.get("A", np.float32(-1.0)) * one[0, 0, 0],
        "B": one,
        "C": np.where(early > 0, 1, one * given.get("C", 1)),
        "initial_states": given.get("initial_states", np.float32(1.0)) * one[:, :1],
    }
    inputs |= {"dt_softplus": False, "dt_limit": (0.0, float("inf")), "seq_idx": np.array([[0, 0, 1, 1]])}
    cotangents = {"y": one, "final_states": one[:, :1]}
    for kernel, arithmetic in (
        (Kernel(chunk), matmul(chunk)),
        (Kernel(), Arithmetic(evaluation="scan")),
    ):
        found = execute(kernel, inputs, cotangents)
        bounds = ssm_spec.ssd_bounds(arithmetic=arithmetic, **inputs)
        allowed = ssm_spec.ssd_vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)
        allowed |= {f"out:{each}": bounded for each, bounded in bounds.items()}
        for each, bounded in allowed.items():
            assert np.isfinite(found[each][bounded.judged]).all(), each
        selects = kernel.chunk == 0
        late = allowed["out:y"].judged[0, 2:], np.isfinite(found["out:y"][0, 2:])
        assert all(part.all() == selects for part in late), (name, chunk, late)


INFINITE_OPERANDS: dict[str, tuple[str, dict[str, Any]]] = {
    "B": ("out:y", {"B": 3.4e38, "dt": 1e-30}),
    "C": ("x", {"C": 3.4e38, "x": 1e-30}),
    "the initial states": ("out:y", {"initial_states": 3.4e38, "A": -1.0}),
    "C B, rounded up": ("out:y", {"C": 1.8425e19, "B": 1.8425e19, "x": 1e-10}),
    "the cotangent of y": ("B", {"y": 3.4e38, "C": 1e-20, "x": 1e-20}),
}


@pytest.mark.parametrize("name", INFINITE_OPERANDS)
def test_an_operand_may_be_infinite_in_bfloat16(name: str) -> None:
    """3.4 10³⁸ is a number in float32 alone."""
    wanted, large = INFINITE_OPERANDS[name]
    one, given = np.ones((1, 2, 1, 1), np.float32), {key: np.float32(x) for key, x in large.items()}
    few = np.float32(1e-10)
    inputs: dict[str, Any] = {key: given.get(key, np.float32(1)) * one for key in ("x", "B", "C")}
    inputs["dt"] = given.get("dt", np.float32(1)) * one[..., 0]
    inputs["A"] = given.get("A", np.float32(0)) * one[0, 0, 0]
    inputs["initial_states"] = given.get("initial_states", few) * one[:, :1]
    inputs |= {"dt_softplus": False, "dt_limit": (0.0, float("inf"))}
    cotangents = {"y": given.get("y", few) * one, "final_states": few * one[:, :1]}
    for operands, type_, finite in (("bfloat16", torch.bfloat16, False), ("compute", None, True)):
        found = execute(Kernel(2, type_), inputs, cotangents)
        arithmetic = matmul(2, operands=operands)
        allowed = ssm_spec.ssd_vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)
        outputs = ssm_spec.ssd_bounds(arithmetic=arithmetic, **inputs)
        allowed |= {f"out:{each}": bounded for each, bounded in outputs.items()}
        for each, bounded in allowed.items():
            assert np.isfinite(found[each][bounded.judged]).all(), each
        if not finite:
            assert not np.isfinite(found[wanted]).all()


def test_a_chunk_subtracts_sums_of_exponents_that_may_both_have_overflowed() -> None:
    """Δ A = −6 10³⁸: where exp gives zero, the difference of two sums, ∞ − ∞, gives a NaN."""
    one = np.ones((1, 2, 1, 1), np.float32)
    small = np.float32(1e-20) * one
    inputs = {"x": small, "B": small, "C": one, "dt": np.float32(3e38) * one[..., 0]}
    inputs |= {"A": np.float32(-2) * one[0, 0, 0], "dt_softplus": False, "dt_limit": (0.0, float("inf"))}
    cotangents = {"y": one, "final_states": one[:, :1]}
    for kernel, arithmetic, finite in (
        (Kernel(2), matmul(2), False),
        (Kernel(), Arithmetic(evaluation="sequential"), True),
    ):
        y = execute(kernel, inputs, cotangents)["out:y"]
        bounded = ssm_spec.ssd_bounds(arithmetic=arithmetic, **inputs)["y"]
        assert np.isfinite(bounded.value).all()
        assert np.isfinite(y).all() == bounded.judged.all() == finite
        assert np.isfinite(y[bounded.judged]).all()


LARGE_IN_CHUNKS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "c h and b λ, summed over the states, before they cancel": (
        "dt",
        1,
        {"x": 1e19, "dt": 10.0, "A": -1e-10, "C": 1.2e18},
    ),
    "q and the decays that hand it on, before they meet C": (
        "B",
        2,
        {"x": 1.0, "dt": 1.0, "A": 46.0, "C": 1e-30, "y": 1e20},
    ),
    "a product of all decays": ("initial_states", 2, {"dt": 1.0, "A": 50.0, "C": 1e-30}),
}


@pytest.mark.parametrize("name", LARGE_IN_CHUNKS)
def test_what_overflows_in_the_gradients_of_a_chunk_alone(name: str) -> None:
    """Three states that begin from nothing, one step or two."""
    wanted, steps, large = LARGE_IN_CHUNKS[name]
    chunk = 1 if wanted == "B" else 2
    given = {key: np.float32(x) for key, x in large.items()}
    one = np.ones((1, steps, 1, 1), np.float32)
    every = one.repeat(3, -1)
    inputs: dict[str, Any] = {
        "x": given.get("x", np.float32(0)) * one,
        "dt": given["dt"] * one[..., 0],
        "A": given["A"] * one[0, 0, 0],
        "B": every,
        "C": given["C"] * every,
        "initial_states": np.zeros((1, 1, 1, 3), np.float32),
    }
    inputs |= {"dt_softplus": False, "dt_limit": (0.0, float("inf"))}
    cotangents = {"y": given.get("y", np.float32(1)) * one, "final_states": 0 * every[:, :1]}
    for kernel, arithmetic, finite in (
        (Kernel(chunk), matmul(chunk), False),
        (Kernel(), Arithmetic(evaluation="sequential"), True),
    ):
        found = execute(kernel, inputs, cotangents)[wanted]
        judged = ssm_spec.ssd_vjp_bounds(cotangents, arithmetic=arithmetic, **inputs)[wanted].judged
        assert np.isfinite(found).all() == finite
        assert judged.all() == finite
        assert np.isfinite(found[judged]).all()
