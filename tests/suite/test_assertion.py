"""The one line in a kernel developer's test: it passes what is right and explains what is not."""

import numpy as np
import pytest

import ssm_spec
from ssm_backends import ArgumentError, DTypeError
from ssm_conformance import ConformanceError, assert_conforms

from .a_scan import inputs, right


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_right_result_passes(dtype: str) -> None:
    call = inputs(dtype)
    assert_conforms("selective_scan", right(call), **call)


def test_a_wider_result_is_judged_by_its_numbers() -> None:
    """A kernel that returns float64 for float32 inputs: each number is exactly what stands there."""
    call = inputs()
    y = ssm_spec.selective_scan(**call)
    bound = ssm_spec.selective_scan_bounds(arithmetic=ssm_spec.Arithmetic(), **call)["y"].bound
    assert_conforms("selective_scan", y + 0.9 * bound, **call)
    with pytest.raises(ConformanceError):
        assert_conforms("selective_scan", y + 1.1 * bound, **call)


@pytest.mark.parametrize("dtype", ["int64", "bool", "longdouble"])
def test_what_holds_no_floats_is_refused(dtype: str) -> None:
    call = inputs()
    bad = np.zeros((2, 6, 23), dtype)
    with pytest.raises(DTypeError, match=f"`actual` must hold .*; got {bad.dtype} for y"):
        assert_conforms("selective_scan", bad, **call)
    y = right(call)
    with pytest.raises(DTypeError, match=f"`gradients` must hold .*; got {bad.dtype} for u"):
        assert_conforms("selective_scan", y, gradients={"u": bad}, cotangents={"y": y}, **call)


def test_it_takes_torch_tensors_bfloat16_too() -> None:
    torch = pytest.importorskip("torch")
    names = ("u", "delta", "B", "C", "z")
    call = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in inputs().items()}
    call |= {name: call[name].to(torch.bfloat16) for name in names}
    exact = {k: v.double().numpy() if isinstance(v, torch.Tensor) else v for k, v in call.items()}
    y = torch.tensor(ssm_spec.selective_scan(**exact)).to(torch.bfloat16)
    assert_conforms("selective_scan", y, **call)
    with pytest.raises(ConformanceError):
        assert_conforms("selective_scan", y * 1.02, **call)


def test_a_gradient_of_one_number_may_be_a_bfloat16() -> None:
    torch = pytest.importorskip("torch")
    call = {"A": -np.eye(2), "B": np.ones((2, 1)), "delta": np.array(0.5)}
    outputs = dict(zip(("A_bar", "B_bar"), ssm_spec.discretize_zoh(**call), strict=True))
    cotangents = {"A_bar": np.zeros((2, 2)), "B_bar": np.ones((2, 1))}
    (slope,) = ssm_spec.REFERENCES["discretize_zoh"].vjp(cotangents, ("delta",), **call).values()
    near = torch.tensor(float(slope)).bfloat16()
    assert_conforms("discretize_zoh", outputs, gradients={"delta": near}, cotangents=cotangents, **call)
    with pytest.raises(ConformanceError, match=r"gradient of delta\[\] = "):
        assert_conforms("discretize_zoh", outputs, gradients={"delta": -near}, cotangents=cotangents, **call)


def test_it_takes_outputs_by_name_or_in_order() -> None:
    call = inputs(return_last_state=True)
    y, state = (x.astype("float32") for x in ssm_spec.selective_scan(**call))
    assert_conforms("selective_scan", (y, state), **call)
    assert_conforms("selective_scan", {"last_state": state}, **call)
    with pytest.raises(ConformanceError, match="last_state"):
        assert_conforms("selective_scan", (y, state * 1.001), **call)


def test_a_shape_that_is_a_slip_is_told_as_one() -> None:
    call = inputs()
    said = r"got \(2, 23, 6\)\n  likely mistake: the axes of y are in another order$"
    with pytest.raises(ConformanceError, match=said):
        assert_conforms("selective_scan", right(call).swapaxes(1, 2), **call)
    cotangents = {"y": np.ones_like(call["u"])}
    unsummed = {"D": np.ones((2, 6), "float32")}
    with pytest.raises(ConformanceError, match="mistake: the gradient of D is not summed over the axes"):
        assert_conforms("selective_scan", {}, gradients=unsummed, cotangents=cotangents, **call)
    with pytest.raises(ConformanceError, match=r"got \(2, 6, 22\)$"):
        assert_conforms("selective_scan", right(call)[..., 1:], **call)


def test_gradients_are_judged_with_their_cotangents() -> None:
    call = inputs("float64")
    cotangents = {"y": np.random.default_rng(6).standard_normal(call["u"].shape)}
    gradients = ssm_spec.selective_scan_vjp(cotangents, **call)
    assert_conforms("selective_scan", right(call), gradients=gradients, cotangents=cotangents, **call)
    gradients["B"] = gradients["B"][:, ::-1]
    with pytest.raises(ConformanceError, match="gradient of B"):
        assert_conforms("selective_scan", right(call), gradients=gradients, cotangents=cotangents, **call)


def test_the_message_names_the_element_and_the_bound() -> None:
    call = inputs()
    y = right(call)
    y[1, 4, 7] += 1.0
    with pytest.raises(
        ConformanceError, match=r"y\[1, 4, 7\] = .*; expected .* ± .*times the bound"
    ) as caught:
        assert_conforms("selective_scan", y, **call)
    assert "1 of 276 elements" in str(caught.value)


def test_an_output_that_was_not_asked_for_says_how_it_is() -> None:
    call = inputs()
    message = (
        "in order: selective_scan must return 1 output .*; last_state is one with return_last_state=True$"
    )
    with pytest.raises(ArgumentError, match=message):
        assert_conforms("selective_scan", (right(call), np.zeros((2, 6, 3))), **call)


@pytest.mark.parametrize(
    ("actual", "options", "message"),
    [
        ({}, {}, "`actual` must hold an output of selective_scan, or `gradients` be given; got {}"),
        (None, {"gradients": {}}, "`gradients` must hold at least one, or be None; got {}"),
        (None, {"gradients": [1.0]}, "`gradients` must be a mapping by name; got list"),
        (
            None,
            {"gradients": {"u": 1.0}, "cotangents": 1.0},
            "`cotangents` must be a mapping by name; got float",
        ),
        (None, {"gradients": {"u": np.zeros(1)}}, "`cotangents` must be given with `gradients`; got None"),
        (None, {"cotangents": {"y": 1.0}}, "`cotangents` must be None without `gradients`"),
        (None, {"arithmetic": "float32"}, "`arithmetic` must be a mapping by name; got str"),
        (
            None,
            {"arithmetic": {"rtol": 1e-3}},
            "`arithmetic` must name facts among evaluation, .*; got 'rtol'",
        ),
        (
            None,
            {"arithmetic": {"compute": "float16"}},
            "`arithmetic` must name facts among .*; got 'compute'",
        ),
    ],
)
def test_a_question_about_nothing_is_refused(actual, options: dict, message: str) -> None:
    call = inputs()
    with pytest.raises((ArgumentError, DTypeError), match=f"^{message}"):
        assert_conforms("selective_scan", right(call) if actual is None else actual, **options, **call)


def test_a_gradient_is_an_array() -> None:
    call = inputs()
    given = {"gradients": {"u": None}, "cotangents": {"y": call["u"]}}
    with pytest.raises(ArgumentError, match=r"^`gradients` must hold arrays; got NoneType for u"):
        assert_conforms("selective_scan", right(call), **given, **call)


def test_a_gradient_of_what_has_none_is_refused_by_the_name_it_came_under() -> None:
    call = inputs()
    given = {"gradients": {"v": call["u"]}, "cotangents": {"y": call["u"]}}
    with pytest.raises(ArgumentError, match=r"^`gradients` must name differentiable inputs .*; got 'v'"):
        assert_conforms("selective_scan", right(call), **given, **call)


@pytest.mark.parametrize("op", ["nothing", ["selective_scan"], None])
def test_an_operator_is_named_by_a_word(op) -> None:
    with pytest.raises(ArgumentError, match=r"^`op` must be one of .*selective_scan.*; got "):
        assert_conforms(op, np.ones(2))


@pytest.mark.parametrize("op", ["hippo_legs", "hippo_legs_nplr"])
def test_no_output_of_no_array_is_refused(op: str) -> None:
    with pytest.raises(ArgumentError, match=f"^`actual` must hold an output of {op}.*; got {{}}"):
        assert_conforms(op, {}, n=3)


class Handed:
    """What a C++ extension returns that knows no library: it can be handed over, and nothing else."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **asked):
        return self._array.__dlpack__(**asked)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


def test_what_has_dlpack_alone_is_an_array_everywhere() -> None:
    call = inputs()
    y = right(call)
    slopes = ssm_spec.selective_scan_vjp({"y": y}, ("u",), **call)
    handed = {name: Handed(v) if isinstance(v, np.ndarray) else v for name, v in call.items()}
    gradients = {"u": Handed(slopes["u"].astype("float32"))}
    given = {"gradients": gradients, "cotangents": {"y": Handed(y)}}
    assert_conforms("selective_scan", Handed(y), **given, **handed)
    with pytest.raises(ConformanceError):
        assert_conforms("selective_scan", Handed(y * 1.001), **handed)


class Afar(Handed):
    """The same in the memory of a device."""

    def __dlpack__(self, **asked):
        raise BufferError("no copy to the host")


def test_what_cannot_be_handed_over_is_refused_by_name() -> None:
    call = inputs()
    with pytest.raises(ArgumentError, match=r"^`actual` must hold numbers that can be read; got Afar.*host"):
        assert_conforms("selective_scan", Afar(right(call)), **call)
    with pytest.raises(ArgumentError, match=r"^`u` must hold numbers that can be read; got Afar.*host"):
        assert_conforms("selective_scan", right(call), **call | {"u": Afar(call["u"])})


@pytest.mark.parametrize("where", ["actual", "gradients", "cotangents"])
def test_numbers_behind_a_mask_are_nobody_s(where: str) -> None:
    """A masked element would be judged by what lies under its mask."""
    call = inputs()
    y = right(call)
    slopes = {"u": ssm_spec.selective_scan_vjp({"y": y}, ("u",), **call)["u"].astype("float32")}
    asked = {"actual": y, "gradients": slopes, "cotangents": {"y": y}}
    masked = np.ma.masked_array(y, mask=np.zeros(y.shape, bool))
    asked |= {where: masked if where == "actual" else {next(iter(asked[where])): masked}}
    with pytest.raises(DTypeError, match=f"^`{where}` must hold arrays without a mask; got MaskedArray"):
        assert_conforms("selective_scan", **asked, **call)


def test_a_call_of_which_nothing_can_be_judged_is_no_test() -> None:
    """Whatever the kernel gave would pass; not so where another output can be judged."""
    call = inputs()
    lost = call | {"u": np.full_like(call["u"], np.nan)}
    y = right(call)
    with pytest.raises(ArgumentError, match=r"^`actual`: none of the 276 elements of y can be judged"):
        assert_conforms("selective_scan", y, **lost)
    given = {"gradients": {"A": call["A"]}, "cotangents": {"y": np.full_like(y, np.inf)}}
    with pytest.raises(ArgumentError, match=r"^`gradients`: none of the 18 elements of A can be judged"):
        assert_conforms("selective_scan", y, **given, **call)
    one = call | {"u": call["u"].copy()}
    one["u"][0, 0, 5] = np.nan
    assert_conforms("selective_scan", right(one), **one)
    late = call | {"u": call["u"].copy(), "return_last_state": True}
    late["u"][..., -1] = np.nan
    assert_conforms("selective_scan", ssm_spec.selective_scan(**late), **late)
    nothing = inputs(l=0)
    assert_conforms("selective_scan", right(nothing), **nothing)
