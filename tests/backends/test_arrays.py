"""The adapters: values and layouts survive, gradients follow the convention, memory is seen."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ssm_backends import (
    Arrays,
    DTypeError,
    Layout,
    NotSupportedError,
    NumpyArrays,
    TorchArrays,
    UnavailableError,
)
from ssm_backends.arrays.storage import zeros

BOTH = pytest.mark.parametrize("arrays", [NumpyArrays(), TorchArrays()], ids=["numpy", "torch"])
DTYPES = ("float16", "float32", "float64", "complex64", "complex128", "int32", "int64")
LAYOUTS = {
    "plain": Layout(),
    "transposed": Layout(order=(2, 0, 1)),
    "time first": Layout(order=(2, 1, 0)),
    "every third": Layout(step=3),
    "offset": Layout(offset=7),
    "padded rows": Layout(pad=5),
    "planes apart": Layout(order=(1, 0, 2), gap=4),
    "all at once": Layout(order=(1, 2, 0), step=2, offset=3, pad=1),
}


def draw(dtype: str, shape: tuple[int, ...] = (2, 3, 5)) -> NDArray[Any]:
    rng = np.random.default_rng(7)
    values = 100 * rng.standard_normal(shape)
    return (values + 1j * rng.standard_normal(shape) if dtype.startswith("complex") else values).astype(dtype)


def strides_in_elements(x: Any) -> tuple[int, ...]:
    return tuple(s // x.itemsize for s in x.strides) if isinstance(x, np.ndarray) else tuple(x.stride())


@BOTH
def test_an_adapter_is_one(arrays: Arrays) -> None:
    assert isinstance(arrays, Arrays)
    assert (arrays.device, arrays.strides, arrays.memory) == ("cpu", True, True)


def test_another_library_s_array_is_refused() -> None:
    with pytest.raises(DTypeError, match=r"`x` must be a NumPy array; got torch\.Tensor"):
        NumpyArrays().to_numpy(torch.ones(2))
    with pytest.raises(DTypeError, match=r"`x` must be a PyTorch tensor; got numpy\.ndarray"):
        TorchArrays().to_numpy(np.ones(2))


@BOTH
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3, 5), (1,), (), (0, 4), (3, 0, 2)], ids=str)
def test_values_survive(arrays: Arrays, dtype: str, shape: tuple[int, ...]) -> None:
    x = draw(dtype, shape)
    back = arrays.to_numpy(arrays.from_numpy(x, dtype))
    assert back.dtype == x.dtype
    np.testing.assert_array_equal(back, x, strict=True)


@BOTH
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 3, 1), (0, 3, 5)], ids=str)
def test_values_survive_in_every_layout(arrays: Arrays, name: str, shape: tuple[int, ...]) -> None:
    x, layout = draw("float32", shape), LAYOUTS[name]
    there = arrays.from_numpy(x, "float32", layout)
    np.testing.assert_array_equal(arrays.to_numpy(there), x, strict=True)
    wanted, _ = layout.strides(shape)
    sized = [dim for dim, size in enumerate(shape) if size > 1]
    if x.size:
        assert [strides_in_elements(there)[dim] for dim in sized] == [wanted[dim] for dim in sized]


@pytest.mark.parametrize("reverse", [(0,), (1, 2), (0, 1, 2)], ids=str)
def test_a_reversed_dimension_lies_backwards(reverse: tuple[int, ...]) -> None:
    x, layout = draw("float32", (2, 3, 5)), Layout(reverse=reverse, offset=3)
    there = NumpyArrays().from_numpy(x, "float32", layout)
    np.testing.assert_array_equal(there, x)
    signs = [-1 if dim in reverse else 1 for dim in range(3)]
    assert strides_in_elements(there) == tuple(np.multiply(signs, (15, 5, 1)))
    assert layout.strides((2, 3, 5))[1] == 3 + 30
    lowest = np.flip(there, reverse).ctypes.data
    assert there.ctypes.data - lowest == -4 * sum(
        step * (size - 1) for step, size in zip(strides_in_elements(there), x.shape, strict=True) if step < 0
    )


@BOTH
def test_a_broadcast_dimension_takes_no_memory(arrays: Arrays) -> None:
    x = np.broadcast_to(draw("float32", (2, 1, 5)), (2, 3, 5))
    there = arrays.from_numpy(x, "float32", Layout(broadcast=(1,)))
    assert strides_in_elements(there) == (5, 0, 1)
    np.testing.assert_array_equal(arrays.to_numpy(there), x)


@pytest.mark.parametrize(
    ("layout", "strides"),
    [
        (Layout(), (15, 5, 1)),
        (Layout(order=(2, 0, 1)), (3, 1, 6)),
        (Layout(step=3), (45, 15, 3)),
        (Layout(offset=7), (15, 5, 1)),
        (Layout(pad=5), (30, 10, 1)),
        (Layout(gap=5), (20, 5, 1)),
        (Layout(order=(1, 0, 2), gap=5), (5, 15, 1)),
        (Layout(broadcast=(0,)), (0, 5, 1)),
        (Layout(order=(1, 2, 0), step=2, offset=3, pad=1), (2, 25, 5)),
    ],
)
def test_strides_of_a_layout(layout: Layout, strides: tuple[int, ...]) -> None:
    assert layout.strides((2, 3, 5))[0] == strides


def test_a_layout_s_storage_holds_it() -> None:
    for layout in LAYOUTS.values():
        strides, extent = layout.strides((2, 3, 5))
        last = layout.offset + sum(s * (n - 1) for s, n in zip(strides, (2, 3, 5), strict=True))
        assert extent == last + 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such a mapping is refused, or is not known")
def test_zeros_need_no_memory_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "zeros", full)
    x = zeros(5, "complex64")
    assert x.dtype == "complex64"
    np.testing.assert_array_equal(x, [0] * 5)
    x[3] = 1j
    assert x.sum() == 1j
    with pytest.raises(MemoryError, match=f"{2**60} numbers of float32: "):
        zeros(2**60, "float32")


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_what_comes_out_or_goes_in_is_a_copy(arrays: Arrays, dtype: str) -> None:
    x = draw(dtype)
    before = x.copy()
    there = arrays.from_numpy(x, dtype)
    arrays.to_numpy(there)[...] = 0
    np.testing.assert_array_equal(arrays.to_numpy(there), before)
    there[...] = 0
    np.testing.assert_array_equal(x, before)


def test_bfloat16_crosses_as_its_bits() -> None:
    arrays = TorchArrays()
    bits = np.arange(2**16, dtype=np.uint16)  # infinities, NaNs with payloads, subnormals and both zeros
    there = arrays.from_numpy(bits, "bfloat16")
    assert there.dtype == torch.bfloat16
    np.testing.assert_array_equal(arrays.to_numpy(there), bits, strict=True)
    assert arrays.from_numpy(np.array([0x3FC0], np.uint16), "bfloat16").item() == 1.5
    strided = arrays.from_numpy(bits.reshape(2, -1), "bfloat16", Layout(order=(1, 0), step=2))
    np.testing.assert_array_equal(arrays.to_numpy(strided), bits.reshape(2, -1))


def test_numpy_has_no_bfloat16() -> None:
    with pytest.raises(NotSupportedError, match="bfloat16"):
        NumpyArrays().from_numpy(np.zeros(3, np.uint16), "bfloat16")


def test_lazily_conjugated_tensors_come_out_right() -> None:
    x = draw("complex64")
    there = TorchArrays().from_numpy(x, "complex64")
    np.testing.assert_array_equal(TorchArrays().to_numpy(there.conj()), x.conj())
    np.testing.assert_array_equal(TorchArrays().to_numpy(there.conj().imag), -x.imag)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tpu", ""])
def test_numpy_lives_on_the_cpu(device: str) -> None:
    with pytest.raises(UnavailableError, match="cpu"):
        NumpyArrays(device)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "cpu:x"])
def test_a_device_that_torch_does_not_have_is_unavailable(device: str) -> None:
    with pytest.raises(UnavailableError, match=device):
        TorchArrays(device)


def test_a_real_gradient_is_that_of_the_paired_outputs() -> None:
    arrays = TorchArrays()
    x, y = (arrays.from_numpy(draw("float64", (3,)) + i, "float64") for i in range(2))
    r, s = (arrays.from_numpy(np.arange(3.0) + i, "float64") for i in range(2))
    found = arrays.vjp(
        lambda x, y: {"product": x * y, "square": x**2}, {"x": x, "y": y}, {"product": r, "square": s}
    )
    # Four operations on numbers under ten: a few times 1e-15, and a wrong pairing is off by one.
    torch.testing.assert_close(found["x"], r * y + 2 * s * x, rtol=0, atol=1e-12)
    torch.testing.assert_close(found["y"], r * x, rtol=0, atol=1e-12)
    assert not x.requires_grad


def test_a_complex_gradient_is_by_the_real_part_plus_i_times_by_the_imaginary_part() -> None:
    arrays = TorchArrays()
    x, r = np.array([1.5 - 2j]), np.array([0.25 + 3j])

    def loss(x: NDArray[Any]) -> float:
        return float((r.conj() * x**2 * (1 + 2j)).real.sum())  # Σ Re(conj(cotangent) · output)

    given = {"x": arrays.from_numpy(x, "complex128")}
    found = arrays.vjp(lambda x: {"y": x**2 * (1 + 2j)}, given, {"y": arrays.from_numpy(r, "complex128")})
    h = 1e-6
    by_parts = [(loss(x + step) - loss(x - step)) / (2 * h) for step in (h, 1j * h)]
    assert abs(complex(found["x"].item()) - complex(*by_parts)) < 1e-7


def test_what_the_outputs_do_not_depend_on_has_the_gradient_zero() -> None:
    arrays = TorchArrays()
    x, y = (arrays.from_numpy(draw("float32"), "float32") for _ in range(2))
    found = arrays.vjp(lambda x, y: {"a": 2 * x, "b": y.detach()}, {"x": x, "y": y}, {"a": x, "b": x})
    assert not any(gradient.requires_grad for gradient in found.values())
    assert torch.equal(found["y"], torch.zeros_like(y))
    nothing = arrays.vjp(lambda x: {"a": 2 * x}, {"x": x}, {"a": None})
    assert torch.equal(nothing["x"], torch.zeros_like(x))


def test_numpy_has_no_autograd() -> None:
    assert not NumpyArrays().autograd
    with pytest.raises(NotSupportedError, match="vjp"):
        NumpyArrays().vjp(dict, {}, {})


@BOTH
def test_memory_sees_temporaries_and_what_is_kept(arrays: Arrays) -> None:
    x = arrays.from_numpy(draw("float64", (1000, 250)), "float64")  # 2 MB
    size = 8 * 250_000
    arrays.peak_memory(lambda: x + 1)

    def squared() -> Any:
        shifted = x + 1  # by name, or NumPy reuses its memory for the product
        return shifted * shifted

    result, use = arrays.peak_memory(squared)
    assert 2 * size <= use.peak < 2.2 * size
    assert size <= use.held < 1.1 * size
    np.testing.assert_array_equal(arrays.to_numpy(result), (arrays.to_numpy(x) + 1) ** 2)

    _, use = arrays.peak_memory(lambda: float(squared().sum()))
    assert 2 * size <= use.peak < 2.2 * size
    assert use.held < 0.1 * size

    _, use = arrays.peak_memory(lambda: x[0])
    assert use.peak < 0.1 * size


@BOTH
def test_synchronising_is_harmless(arrays: Arrays) -> None:
    arrays.synchronize()


def test_tensors_without_pytorch_are_unavailable_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UnavailableError, match="PyTorch is not installed; run: pip install torch"):
        TorchArrays()
