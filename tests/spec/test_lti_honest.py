"""No honest float32 or float64 form of the linear rooms fails its bound, and plausible slips do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_spec import Arithmetic

torch = pytest.importorskip("torch")

from . import lti_forms as forms

Arrays = dict[str, Any]


def narrowed(arrays: Arrays) -> Arrays:
    return {k: v.astype(np.complex64 if np.iscomplexobj(v) else np.float32) for k, v in arrays.items()}


def ratios(
    op: str, form: Callable[..., Arrays], arrays: Arrays, compute: str, options: Arrays, **facts: Any
) -> dict[str, float]:
    """The worst |error| / bound of each output, and of each gradient by PyTorch's own differentiation."""
    reference, arithmetic = ssm_spec.REFERENCES[op], Arithmetic(compute=compute, **facts)
    real, complex_ = (
        (torch.float32, torch.complex64) if compute == "float32" else (torch.float64, torch.complex128)
    )
    leaves = {
        k: torch.tensor(v, dtype=complex_ if np.iscomplexobj(v) else real, requires_grad=True)
        for k, v in arrays.items()
    }
    outputs = form(**leaves)
    torch.manual_seed(0)
    cotangents = {k: torch.randn_like(v) for k, v in outputs.items()}
    slopes = torch.autograd.grad(
        list(outputs.values()),
        list(leaves.values()),
        list(cotangents.values()),
        materialize_grads=True,
    )
    judged = reference.bounds(arithmetic=arithmetic, **arrays, **options)
    plain = {k: v.numpy() for k, v in cotangents.items()}
    assert reference.vjp_bounds is not None
    gradients = reference.vjp_bounds(plain, arithmetic=arithmetic, **arrays, **options)
    found = {k: ratio(v.detach().numpy(), judged[k]) for k, v in outputs.items()}
    # The zero that PyTorch 2.8 gives where nothing depends on an input asks for a gradient itself.
    return found | {
        f"d{k}": ratio(v.detach().numpy(), gradients[k]) for k, v in zip(leaves, slopes, strict=True)
    }


def ratio(actual: Any, expected: ssm_spec.Bounded) -> float:
    assert np.all(expected.judged)
    error, allowed = np.abs(actual - expected.value), expected.bound + expected.own
    return float(np.max(np.where(error == 0, 0.0, error / np.where(allowed == 0, 5e-324, allowed))))


def system(kind: str) -> Arrays:
    """Continuous systems of every temper, as float32 numbers."""
    rng = np.random.default_rng(5)
    if kind.startswith("legs"):
        n, delta = int(kind.split()[1]), float(kind.split()[2])
        A, B = ssm_spec.hippo_legs(n)
    else:
        n, delta = 7, 0.5
        A, B = rng.standard_normal((n, n)), rng.standard_normal((n, 2))
        if kind == "stiff":
            A, delta = np.triu(A, 1) - np.diag(np.logspace(-2, 2, n)), 0.1
        elif kind == "rotating":
            A = 3 * (A - A.T)
        elif kind == "nilpotent":
            A = np.diag(np.full(n - 1, 3.0), 1)
        elif kind == "complex":
            A, B = A + 1j * rng.standard_normal((n, n)), B + 1j * rng.standard_normal((n, 2))
        elif kind == "zero":
            A = np.zeros((n, n))
    return narrowed({"A": A, "B": B, "delta": np.array(delta)})


SYSTEMS = [
    "legs 1 0.1",
    "legs 16 0.001",
    "legs 16 1.0",
    "random",
    "stiff",
    "rotating",
    "nilpotent",
    "complex",
    "zero",
]
BOTH = pytest.mark.parametrize("compute", ["float32", "float64"])


@BOTH
@pytest.mark.parametrize("kind", SYSTEMS)
@pytest.mark.parametrize(
    "form",
    [forms.zoh_matrix_exp, forms.zoh_taylor, partial(forms.zoh_taylor, norm=1.0)],
    ids=["torch", "short", "long"],
)
def test_honest_exponentials_stay_within(kind: str, form: Any, compute: Any) -> None:
    worst = ratios("discretize_zoh", form, system(kind), compute, {})
    assert all(ratio <= 1 for ratio in worst.values()), worst


def test_an_exponential_is_bounded_alike_beside_one_of_many_squarings() -> None:
    """e^|X| = 19 from |X|/2⁶⁸, of which 1 + |X|/2⁶⁸ keeps nothing."""
    B = np.array([[[1.0], [1.0]], [[1.0], [3e18]]])
    given = {"A": -2 * np.eye(2), "delta": 1.5, "arithmetic": Arithmetic()}
    alone = ssm_spec.discretize_zoh_bounds(B=B[0], **given)["A_bar"]
    beside = ssm_spec.discretize_zoh_bounds(B=B, **given)["A_bar"]
    # One system's bound, formed in float64 beside another: products of matrices may round otherwise.
    np.testing.assert_allclose(beside.bound[0], alone.bound, rtol=1e-6)


@BOTH
@pytest.mark.parametrize("kind", SYSTEMS)
@pytest.mark.parametrize("form", [forms.bilinear_solve, forms.bilinear_inverse], ids=["solve", "inverse"])
def test_honest_solves_stay_within(kind: str, form: Any, compute: Any) -> None:
    worst = ratios("discretize_bilinear", form, system(kind), compute, {})
    assert all(ratio <= 1 for ratio in worst.values()), worst


@BOTH
@pytest.mark.parametrize("complex_", [False, True])
def test_honest_modes_stay_within(complex_: bool, compute: Any) -> None:
    rng = np.random.default_rng(8)
    A = -(10.0 ** rng.uniform(-6, 1, 23)) + (1j * rng.uniform(-30, 30, 23) if complex_ else 0)
    arrays = narrowed({"A": A, "B": rng.standard_normal((23, 1)), "delta": np.array(0.1)})
    for op, form in (("discretize_zoh", forms.zoh_modes), ("discretize_bilinear", forms.bilinear_modes)):
        worst = ratios(op, form, arrays, compute, {"diagonal": True})
        assert all(ratio <= 1 for ratio in worst.values()), worst


@pytest.mark.parametrize(
    ("form", "compute", "kind", "least"),
    [
        (forms.euler, "float32", "legs 16 0.001", 1e3),
        (forms.euler_input, "float32", "legs 16 0.001", 1e3),
        (forms.euler_input, "float32", "random", 1e3),
        (partial(forms.zoh_taylor, norm=1.0, lost=5), "float32", "random", 1),
        (partial(forms.zoh_taylor, norm=1.0, lost=5), "float64", "random", 1e6),
        (forms.zoh_off_by_a_little, "float32", "legs 1 0.1", 1),
        (forms.zoh_off_by_a_little, "float64", "legs 16 1.0", 1e6),
    ],
)
def test_wrong_holds_exceed_the_bound(form: Any, compute: Any, kind: str, least: float) -> None:
    arrays = system(kind)
    worst = ratios("discretize_zoh", form, arrays, compute, {})
    assert max(worst["A_bar"], worst["B_bar"]) > least, worst


def test_subtracting_one_from_an_exponential_exceeds_the_bound() -> None:
    arrays = narrowed({"A": np.array([-1e-6, -1.0]), "B": np.ones((2, 1)), "delta": np.array(0.1)})
    worst = ratios("discretize_zoh", forms.zoh_modes_subtracting, arrays, "float32", {"diagonal": True})
    assert worst["B_bar"] > 1e3, worst


@BOTH
@pytest.mark.parametrize("complex_", [False, True])
def test_the_slope_of_a_hold_is_an_exponential_and_no_difference(complex_: bool, compute: Any) -> None:
    """∂φ/∂Δ = e^p: PyTorch's derivative of expm1, expm1(p) + 1, and that of Δφ₁(p) keep no digit of it."""
    A = -np.linspace(40.0, 60.0, 5) + (1j * np.linspace(-9.0, 9.0, 5) if complex_ else 0)
    arrays = narrowed({"A": A, "B": np.ones((5, 1)), "delta": np.array(1.0)})
    right, *wrong = (
        ratios("discretize_zoh", form, arrays, compute, {"diagonal": True})
        for form in (
            forms.zoh_strong_modes,
            partial(forms.zoh_strong_modes, by_autograd=True),
            forms.zoh_modes,
        )
    )
    assert all(ratio <= 1 for ratio in right.values()), right
    for found in wrong:
        slope = found.pop("ddelta")
        assert slope > 1e3, slope
        assert all(ratio <= 1 for ratio in found.values()), found


@BOTH
def test_a_wrong_alpha_exceeds_the_bound(compute: Any) -> None:
    worst = ratios("discretize_bilinear", forms.bilinear_too_implicit, system("legs 1 0.1"), compute, {})
    assert worst["A_bar"] > 3, worst


def discrete(diagonal: bool, complex_: bool, length: int) -> Arrays:
    """A discrete system with slow and fast modes; a full one turned by a random basis."""
    rng = np.random.default_rng(length + 2 * diagonal + complex_)
    n, m, p, b = 5, 2, 3, 2

    def draw(*shape: int) -> Any:
        return rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if complex_ else 0)

    A = np.array([0.999, 0.97, 0.7, 0.2, 1e-3]) * (np.exp(1j * rng.uniform(-3, 3, n)) if complex_ else 1)
    if not diagonal:
        basis = draw(n, n)
        A = basis @ np.diag(A) @ np.linalg.inv(basis)
    return narrowed(
        {
            "A_bar": A, "B_bar": draw(n, m), "C": draw(p, n), "u": rng.standard_normal((b, m, length)),
            "D": rng.standard_normal((p, m)), "initial_state": draw(b, n),
        }
    )  # fmt: skip


@BOTH
@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("length", [1, 131])
def test_honest_recurrences_stay_within(complex_: bool, length: int, compute: Any) -> None:
    modes, full = discrete(True, complex_, length), discrete(False, complex_, length)
    for form in (forms.recurrence, forms.kogge_stone, forms.chunked):
        worst = ratios("ssm_recurrence", form, modes, compute, {"diagonal": True})
        assert all(ratio <= 1 for ratio in worst.values()), (form, worst)
    worst = ratios("ssm_recurrence", forms.recurrence, full, compute, {})
    assert all(ratio <= 1 for ratio in worst.values()), worst


@pytest.mark.parametrize(
    "form", [partial(forms.recurrence, lag=1), forms.half_state], ids=["late", "bfloat16"]
)
@pytest.mark.parametrize("diagonal", [False, True])
def test_wrong_recurrences_exceed_the_bound(form: Any, diagonal: bool) -> None:
    worst = ratios("ssm_recurrence", form, discrete(diagonal, False, 37), "float32", {"diagonal": diagonal})
    assert worst["y"] > 10, worst


@BOTH
@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("length", [1, 131])
def test_honest_kernels_stay_within(complex_: bool, length: int, compute: Any) -> None:
    for diagonal, honest in (
        (True, (forms.kernel_by_products, forms.kernel_by_logarithm)),
        (False, (forms.kernel_in_order, forms.kernel_doubling, forms.kernel_from_output)),
    ):
        arrays = {
            k: v for k, v in discrete(diagonal, complex_, length).items() if k in ("A_bar", "B_bar", "C")
        }
        for form in honest:
            options = {"length": length, "diagonal": diagonal}
            worst = ratios("ssm_kernel", partial(form, length=length), arrays, compute, options)
            assert all(ratio <= 1 for ratio in worst.values()), (form, worst)


def test_wrong_kernels_exceed_the_bound() -> None:
    for diagonal, form in ((True, forms.kernel_unpaired), (False, partial(forms.kernel_in_order, skip=1))):
        arrays = {k: v for k, v in discrete(diagonal, True, 37).items() if k in ("A_bar", "B_bar", "C")}
        options = {"length": 37, "diagonal": diagonal}
        assert ratios("ssm_kernel", partial(form, length=37), arrays, "float32", options)["K"] > 100


def signal(length: int, k: int) -> Arrays:
    rng = np.random.default_rng(k)
    return narrowed(
        {"u": rng.standard_normal((2, 3, length)), "K": rng.standard_normal((3, k)) * 0.97 ** np.arange(k)}
    )


@BOTH
@pytest.mark.parametrize(("length", "k"), [(1, 1), (127, 31), (31, 127), (257, 257)])
def test_honest_convolutions_stay_within(length: int, k: int, compute: Any) -> None:
    worst = ratios("causal_convolution", forms.convolution_direct, signal(length, k), compute, {})
    assert all(ratio <= 1 for ratio in worst.values()), worst
    worst = ratios(
        "causal_convolution", forms.convolution_fft, signal(length, k), compute, {}, evaluation="fft"
    )
    assert all(ratio <= 1 for ratio in worst.values()), worst


def test_wrong_convolutions_exceed_the_bound() -> None:
    late = ratios(
        "causal_convolution", partial(forms.convolution_direct, late=1), signal(127, 31), "float32", {}
    )
    assert late["y"] > 1e3
    facts = {"evaluation": "fft"}
    wrapped = ratios(
        "causal_convolution", forms.convolution_circular, signal(127, 31), "float32", {}, **facts
    )
    assert wrapped["y"] > 100


def test_a_transform_that_does_not_say_so_exceeds_the_direct_bound() -> None:
    worst = ratios("causal_convolution", forms.convolution_fft, signal(257, 257), "float32", {})
    assert worst["y"] > 1


@pytest.mark.parametrize("form", [forms.recurrence, forms.kogge_stone])
def test_rounding_that_always_goes_one_way_stays_within_the_declared_scan(form: Any) -> None:
    """Constant data round the same way at every step: the bound must grow with the memory of the mode."""
    arrays = narrowed(
        {
            "A_bar": np.array([0.9997, 0.99, 0.3]), "B_bar": np.full((3, 1), 0.1), "C": np.ones((1, 3)),
            "u": np.full((1, 1, 1501), 0.1), "D": np.zeros((1, 1)), "initial_state": np.zeros((1, 3)),
        }
    )  # fmt: skip
    worst = ratios("ssm_recurrence", form, arrays, "float32", {"diagonal": True}, evaluation="scan")
    assert 0.01 < worst["last_state"] <= 1, worst
    assert all(ratio <= 1 for ratio in worst.values()), worst


@pytest.mark.parametrize("evaluation", ["any", "scan"])
def test_products_of_modes_may_underflow_where_the_state_does_not(evaluation: Any) -> None:
    """(1e-20)² is subnormal; times a state of 1e10 the digits that it lost are seen."""
    arrays = narrowed(
        {
            "A_bar": np.array([1e-20]), "B_bar": np.ones((1, 1)), "C": np.ones((1, 1)),
            "u": np.zeros((1, 1, 5)), "D": np.zeros((1, 1)), "initial_state": np.array([[1e30]]),
        }
    )  # fmt: skip
    options = {"diagonal": True}
    worst = ratios("ssm_recurrence", forms.kogge_stone, arrays, "float32", options, evaluation=evaluation)
    assert all(ratio <= 1 for ratio in worst.values()), worst


def test_chunks_that_do_not_say_so_need_their_own_class() -> None:
    """Decays as powers lose what a scan does not; the declared class allows it."""
    arrays = discrete(True, True, 131)
    form = partial(forms.chunked, Q=128)
    declared = ratios(
        "ssm_recurrence", form, arrays, "float32", {"diagonal": True}, evaluation="chunk", chunk=128
    )
    assert all(ratio <= 1 for ratio in declared.values()), declared


def absorbing(distances: Any, length: int, decay: float) -> Arrays:
    """One state: a 1 enters last, before it what arrives as just less than half a unit in its last place."""
    u = np.zeros((1, 1, length))
    u[..., -1] = 1.0
    for d in distances:
        u[..., -1 - d] = 0.99 * 2.0**-24 / decay**d
    arrays = {"A_bar": [[decay]], "B_bar": [[1.0]], "C": [[1.0]], "u": u}
    return narrowed({name: np.asarray(x) for name, x in arrays.items()})


def test_a_sum_over_a_chunk_of_a_full_matrix_has_any_order() -> None:
    """From the nearest term on each further one is lost: as many units as there are terms."""
    arrays = absorbing(range(1, 41), 41, 0.5)
    y = np.float32(0)
    for d in range(41):
        y = np.float32(y + np.float32(0.5**d) * arrays["u"][0, 0, -1 - d])
    for evaluation, within in (("chunk", True), ("matmul_chunk", True), ("sequential", False)):
        facts = ssm_spec.Arithmetic(evaluation=evaluation)
        found = ssm_spec.ssm_recurrence_bounds(arithmetic=facts, **arrays)["y"]
        assert (abs(y - found.value[0, 0, -1]) <= found.bound[0, 0, -1]) == within


def test_a_tree_of_a_full_matrix_may_turn_right_at_every_level() -> None:
    arrays = absorbing([2**k for k in range(12)], 4096, 1.0)
    x = arrays["u"][0, 0]
    for k in range(12):
        x = np.concatenate((x[: 2**k], x[2**k :] + x[: -(2**k)]))
    found = ssm_spec.ssm_recurrence_bounds(arithmetic=ssm_spec.Arithmetic(evaluation="scan"), **arrays)["y"]
    error = abs(x[-1] - found.value[0, 0, -1])
    assert 11 * 2.0**-24 < error <= found.bound[0, 0, -1]
