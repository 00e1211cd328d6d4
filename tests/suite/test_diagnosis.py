"""The likely mistake that a failure names: right where one fits, and none where none does."""

import numpy as np
import pytest

import ssm_spec
from ssm_conformance import ConformanceError, assert_conforms
from ssm_conformance.diagnosis import mistaken_shape

from .a_scan import inputs, right, slopes


def tiled(call: dict) -> dict:
    return call | {name: call[name][:, np.arange(6) % call[name].shape[1]] for name in ("B", "C")}


@pytest.mark.parametrize(
    ("wrong", "mistake"),
    [
        (lambda c: right(c | {"D": None}), "`D` is ignored"),
        (lambda c: right(c | {"z": None}), "`z` is ignored"),
        (lambda c: right(c | {"delta_softplus": False}), "softplus is not applied"),
        (lambda c: right(c | {"b_discretization": "zoh"}), "discretised by the rule 'zoh'"),
        (lambda c: right(tiled(c)), "groups are repeated"),
        (lambda c: right(c | {"B": c["C"], "C": c["B"]}), "`B` and `C` are swapped"),
        (lambda c: np.concatenate([0 * right(c)[..., :1], right(c)[..., :-1]], axis=-1), "one step late"),
        (lambda c: 2 * right(c), "twice"),
        (lambda c: 0 * right(c), "all zero"),
    ],
)
def test_the_likely_mistake_is_named(wrong, mistake: str) -> None:
    call = inputs()
    with pytest.raises(ConformanceError, match=f"likely mistake: .*{mistake}"):
        assert_conforms("selective_scan", wrong(call), **call)


@pytest.mark.parametrize("threshold", [20, 5])
def test_a_softplus_that_is_cut_off_is_named(threshold: int) -> None:
    call = inputs("float64", delta_bias=np.linspace(-1, 1, 6))
    call["delta"] = 12 * call["delta"]
    x = call["delta"] + call["delta_bias"][:, None]
    soft, slope = np.logaddexp(x, 0), 1 / (1 + np.exp(-x))
    cut = call | {"delta": np.where(x > threshold, x, soft), "delta_bias": None, "delta_softplus": False}
    said = "likely mistake: softplus is cut off: a large argument is taken for Δ itself$"
    with pytest.raises(ConformanceError, match=said):
        assert_conforms("selective_scan", right(cut), **call)
    cotangents = {"y": np.random.default_rng(6).standard_normal(call["u"].shape)}
    gradients = slopes(cotangents, **cut)
    for slopes_used in (np.where(x > threshold, 1, slope), slope):
        given = gradients | {"delta": gradients["delta"] * slopes_used}
        given["delta_bias"] = given["delta"].sum((0, 2))
        with pytest.raises(ConformanceError, match=said):
            assert_conforms("selective_scan", {}, gradients=given, cotangents=cotangents, **call)


def test_a_bias_that_is_added_after_softplus_is_named() -> None:
    call = inputs("float64", delta_bias=np.linspace(0.1, 1, 6))
    shift = call["delta_bias"][:, None]
    late = call | {
        "delta": np.logaddexp(call["delta"], 0) + shift,
        "delta_bias": None,
        "delta_softplus": False,
    }
    said = "likely mistake: `delta_bias` is added after softplus$"
    with pytest.raises(ConformanceError, match=said):
        assert_conforms("selective_scan", right(late), **call)
    cotangents = {"y": np.random.default_rng(6).standard_normal(call["u"].shape)}
    gradients = slopes(cotangents, **late)
    gradients["delta_bias"] = gradients["delta"].sum((0, 2))
    gradients["delta"] = gradients["delta"] / (1 + np.exp(-call["delta"]))
    with pytest.raises(ConformanceError, match=said):
        assert_conforms("selective_scan", {}, gradients=gradients, cotangents=cotangents, **call)


def backward(call: dict, r: np.ndarray, decayed, reset=lambda at, t: at[:, t]) -> dict:
    """Some gradients by hand, of a real scan without groups: what Δ and A get through their product, and B.

    `decayed(a, before, after)` stands for the decayed state, `reset(at, t)` for where the adjoint is cut.
    """
    z, A, C = call["z"], call["A"], call["C"][:, 0]
    q, step = r * z / (1 + np.exp(-z)), np.logaddexp(call["delta"], 0)
    drive = step[:, :, None] * call["u"][:, :, None] * call["B"][:, 0, None]
    decay = np.exp(step[:, :, None] * A[:, :, None])
    at = np.diff(call["seq_idx"], prepend=call["seq_idx"][:, :1]) != 0
    h, states = np.zeros((*z.shape[:2], A.shape[1])), []
    for t in range(z.shape[-1]):
        before = np.where(at[:, t, None, None], 0, h)
        h = decay[..., t] * before + drive[..., t]
        states.append((before, h))
    adjoint, found = 0 * h, {"delta": 0 * z, "A": 0 * A, "B": 0 * call["B"]}
    for t in reversed(range(z.shape[-1])):
        adjoint = adjoint + q[:, :, t, None] * C[:, None, :, t]
        power = adjoint * decayed(decay[..., t], *states[t])
        found["A"] += (power * step[:, :, t, None]).sum(0)
        direct = (adjoint * call["B"][:, 0, None, :, t]).sum(-1) * call["u"][..., t]
        found["delta"][..., t] = ((power * A).sum(-1) + direct) / (1 + np.exp(-call["delta"][..., t]))
        found["B"][:, 0, :, t] = (adjoint * (step * call["u"])[..., t, None]).sum(1)
        adjoint = np.where(reset(at, t)[:, None, None], 0, adjoint * decay[..., t])
    return found


@pytest.mark.parametrize(
    ("wrong", "mistake"),
    [
        ({"decayed": lambda a, _, after: a * after}, "h_t stands where h_{t-1} belongs"),
        ({"decayed": lambda a, _, after: after}, "h_t stands where a_t h_{t-1} belongs"),
        (
            {"reset": lambda at, t: np.zeros_like(at[:, t])},
            "`seq_idx` is ignored, in the gradient of B",
        ),
    ],
)
def test_a_state_of_another_step_is_named(wrong: dict, mistake: str) -> None:
    call = inputs("float64", seq_idx=np.repeat([[0, 1, 2], [4, 4, 2]], [8, 7, 8], axis=1))
    call |= {name: call[name][:, :1] for name in ("B", "C")}
    cotangents = {"y": np.random.default_rng(6).standard_normal(call["u"].shape)}
    kept = {"decayed": lambda a, before, _: a * before}
    honest = backward(call, cotangents["y"], **kept)
    assert_conforms("selective_scan", {}, gradients=honest, cotangents=cotangents, **call)
    gradients = slopes(cotangents, **call) | backward(call, cotangents["y"], **kept | wrong)
    with pytest.raises(ConformanceError) as caught:
        assert_conforms("selective_scan", {}, gradients=gradients, cotangents=cotangents, **call)
    assert str(caught.value).endswith(f"likely mistake: {mistake}")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_mistake_that_is_that_of_one_gradient_of_two_is_named(dtype: str) -> None:
    call = inputs(dtype, seq_idx=np.repeat([[0, 1, 2], [4, 4, 2]], [8, 7, 8], axis=1))
    cotangents = {"y": np.random.default_rng(6).standard_normal(call["u"].shape).astype(dtype)}
    gradients, ignored = slopes(cotangents, **call), slopes(cotangents, **call | {"seq_idx": None})
    gradients |= {"B": ignored["B"], "u": 1.01 * gradients["u"]}
    given = {name: x.astype(dtype) for name, x in gradients.items()}
    with pytest.raises(
        ConformanceError, match=r"likely mistake: `seq_idx` is ignored, in the gradient of B$"
    ):
        assert_conforms("selective_scan", {}, gradients=given, cotangents=cotangents, **call)


def test_a_bias_that_makes_states_grow_when_it_is_added_late_warns_of_nothing() -> None:
    """As layers begin, Δ of 1e-3 to 0.1: without softplus around it the bias is negative, and so is Δ.

    With these rates the gradients of Δ are still numbers, and their sum, that of the bias, is none.
    """
    start = np.log(np.expm1(np.geomspace(1e-3, 0.1, 6)))
    call = inputs("float64", l=64, delta_bias=start)
    call["A"] = 0.43150139686669886 * call["A"]
    cotangents = {"y": np.random.default_rng(6).standard_normal(call["u"].shape)}
    gradients = slopes(cotangents, **call)
    gradients["delta"] = 1.01 * gradients["delta"]
    with pytest.raises(ConformanceError):
        assert_conforms("selective_scan", {}, gradients=gradients, cotangents=cotangents, **call)


def test_inputs_in_each_other_s_place_are_named_by_the_gradients_too() -> None:
    call = inputs(dtype := "float32")
    call["C"] = call["B"][:, ::-1] + np.asarray(1, dtype)
    cotangents = {"y": np.random.default_rng(6).standard_normal(call["u"].shape)}
    gradients = slopes(cotangents, **call | {"B": call["C"], "C": call["B"]})
    gradients["B"], gradients["C"] = gradients["C"], gradients["B"]
    with pytest.raises(ConformanceError, match=r"likely mistake: `B` and `C` are swapped$"):
        assert_conforms("selective_scan", {}, gradients=gradients, cotangents=cotangents, **call)


def of_the_value(cotangents: dict, call: dict) -> np.ndarray:
    """The gradient of Δ, where that of what softplus is applied to is asked for."""
    delta = np.logaddexp(call["delta"].astype("float64") + call["delta_bias"][:, None], 0)
    changed = {"delta": delta, "delta_bias": None, "delta_softplus": False}
    return slopes(cotangents, **call | changed)["delta"]


@pytest.mark.parametrize(
    ("wrong", "mistake"),
    [
        (
            lambda r, c: {"delta_bias": of_the_value(r, c).sum((0, 2))},
            "the slope of softplus is left out, in the gradient of delta_bias",
        ),
        (
            lambda r, c: {"delta": of_the_value(r, c), "delta_bias": of_the_value(r, c).sum((0, 2))},
            "the slope of softplus is left out",
        ),
        (
            lambda r, c: {"D": slopes(r, **c | {"z": None})["D"]},
            "`z` is ignored, in the gradient of D",
        ),
        (lambda r, c: slopes(r, **c | {"z": None}), "`z` is ignored"),
        (lambda r, c: {"u": 0 * c["u"]}, "the gradient of u is all zero"),
        (lambda r, c: {"B": 0 * c["B"]}, "the gradient of B is all zero"),
    ],
)
def test_the_likely_mistake_of_a_gradient_is_named(wrong, mistake: str) -> None:
    call = inputs(delta_bias=np.linspace(-1, 1, 6, dtype="float32"))
    cotangents = {"y": np.random.default_rng(6).standard_normal(call["u"].shape)}
    gradients = slopes(cotangents, **call) | wrong(cotangents, call)
    del gradients["z"]  # it has none where it is ignored
    with pytest.raises(ConformanceError) as caught:
        assert_conforms("selective_scan", {}, gradients=gradients, cotangents=cotangents, **call)
    assert str(caught.value).endswith(f"likely mistake: {mistake}")


@pytest.mark.parametrize(
    ("name", "mistaken", "back", "mistake"),
    [
        ("D", None, np.zeros_like, "`D` is ignored"),
        ("A", np.negative, np.negative, "the sign of `A` is lost"),
    ],
)
def test_what_autograd_makes_of_a_mistake_is_named(name: str, mistaken, back, mistake: str) -> None:
    call = inputs()
    wrong = call | {name: None if mistaken is None else mistaken(call[name])}
    cotangents = {"y": np.random.default_rng(6).standard_normal(call["u"].shape)}
    gradients = slopes(cotangents, **wrong)
    gradients[name] = back(gradients.get(name, call[name]))
    with pytest.raises(ConformanceError) as caught:
        assert_conforms("selective_scan", {}, gradients=gradients, cotangents=cotangents, **call)
    assert str(caught.value).endswith(f"likely mistake: {mistake}")


def test_a_state_that_is_kept_in_16_bits_is_told_by_its_numbers() -> None:
    torch = pytest.importorskip("torch")
    call = inputs(return_last_state=True)
    y, state = ssm_spec.selective_scan(**call)
    kept = torch.tensor(state).bfloat16().float().numpy()
    message = (
        "likely mistake: every number of last_state is one of bfloat16: it was kept, or computed, in that$"
    )
    with pytest.raises(ConformanceError, match=message):
        assert_conforms("selective_scan", (y.astype("float32"), kept), **call)


def test_a_mistake_is_named_in_16_bits_too() -> None:
    torch = pytest.importorskip("torch")
    call = inputs(l=70)
    call = {
        name: torch.tensor(x).bfloat16() if name in ("u", "B", "C", "z") else x for name, x in call.items()
    }
    exact = {name: x.double().numpy() if torch.is_tensor(x) else x for name, x in call.items()}
    pieces = [
        ssm_spec.selective_scan(
            **exact | {k: exact[k][..., t : t + 32] for k in ("u", "delta", "B", "C", "z")}
        )
        for t in (0, 32, 64)
    ]
    y = torch.tensor(np.concatenate(pieces, axis=-1)).bfloat16()
    call = {name: torch.as_tensor(x) if isinstance(x, np.ndarray) else x for name, x in call.items()}
    with pytest.raises(
        ConformanceError, match="likely mistake: the state is not carried from one chunk of 32"
    ):
        assert_conforms("selective_scan", y, **call)


def test_no_mistake_is_named_where_none_fits() -> None:
    call = inputs()
    with pytest.raises(ConformanceError) as caught:
        assert_conforms(
            "selective_scan",
            right(call) + np.random.default_rng(6).standard_normal((2, 6, 23)).astype("float32"),
            **call,
        )
    assert "likely" not in str(caught.value)


def test_an_error_that_no_number_holds_is_no_evidence_for_a_mistake() -> None:
    """A state is copied: its bound is the smallest number, and zero a little nearer than what is right."""
    rng = np.random.default_rng(0)
    call = {
        "x": rng.normal(size=(2, 3)),
        "state": rng.uniform(2.5, 3.5, (2, 3, 3)),
        "weight": rng.normal(size=(3, 4)),
    }
    y, state = ssm_spec.causal_conv1d_update(**call)
    with pytest.raises(AssertionError, match="beyond theirs") as raised:
        assert_conforms("causal_conv1d_update", (y, -state - 0.1), **call)
    assert "likely mistake" not in str(raised.value)


def test_a_cotangent_that_is_ignored_is_named() -> None:
    call = inputs("float64", return_last_state=True)
    rng = np.random.default_rng(6)
    cotangents = {"y": rng.standard_normal(call["u"].shape), "last_state": rng.standard_normal((2, 6, 3))}
    gradients = slopes({"y": cotangents["y"]}, **call)
    with pytest.raises(ConformanceError, match=r"the cotangent of last_state is ignored$"):
        assert_conforms("selective_scan", {}, gradients=gradients, cotangents=cotangents, **call)


def test_a_shape_names_a_mistake_only_where_it_is_a_usual_one() -> None:
    gradient = "the gradient of `B`"
    assert mistaken_shape("`y`", (2, 3), (3, 2)) == "the axes of `y` are in another order"
    assert mistaken_shape(gradient, (3,), (2, 3)).startswith(f"{gradient} is not summed over the axes")
    assert mistaken_shape("`y`", (3,), (2, 3)) == mistaken_shape(gradient, (2, 3), (3,)) == ""
