"""bfloat16 as bits goes in and out unharmed, and narrower formats round to nearest even."""

from __future__ import annotations

import numpy as np
import pytest

from ssm_backends import Arrays, Layout
from ssm_conformance.mutants.kernels.bits import Bfloat16, BitArrays, loaded, rounded, stored
from ssm_conformance.mutants.kernels.formats import _flushed


def test_the_adapter_is_one() -> None:
    assert isinstance(BitArrays(), Arrays)


def test_every_finite_bfloat16_survives() -> None:
    bits = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    inside = BitArrays().from_numpy(bits, "bfloat16")
    assert isinstance(inside, Bfloat16)
    assert inside.shape == bits.shape
    np.testing.assert_array_equal(BitArrays().to_numpy(inside), bits)
    values = loaded(inside, "float32")
    finite = np.isfinite(values)
    np.testing.assert_array_equal(stored(values, "bfloat16").bits[finite], bits[finite])


def test_a_layout_is_honoured() -> None:
    bits = np.arange(12, dtype=np.uint16).reshape(3, 4)
    inside = BitArrays().from_numpy(bits, "bfloat16", Layout(order=(1, 0)))
    assert inside.bits.strides == (2, 6)
    np.testing.assert_array_equal(inside.bits, bits)


@pytest.mark.parametrize("compute", ["float32", "float64"])
def test_tf32_keeps_ten_bits_and_ties_go_to_even(compute: str) -> None:
    x = np.array([0.0, 1 + 2**-10, 1 + 2**-11, 1 + 3 * 2**-11, -3 - 2**-9, np.inf], compute)
    expected = np.array([0.0, 1 + 2**-10, 1.0, 1 + 2**-9, -3 - 2**-9, np.inf], compute)
    result = rounded(x, "tf32")
    assert result.dtype == compute
    np.testing.assert_array_equal(result, expected)


def test_both_parts_of_a_complex_number_are_rounded() -> None:
    x = np.array([1 + 2**-9 + 1j * (1 - 2**-10)], np.complex64)
    result = rounded(x, "bfloat16")
    assert result.dtype == np.complex64
    np.testing.assert_array_equal(result, [1 + 1j])


def test_a_complex_result_becomes_real_only_in_a_real_dtype() -> None:
    x = np.array([1 + 2j], np.complex64)
    assert stored(x, "float32").tolist() == [1.0]
    assert stored(x, "complex64").tolist() == [1 + 2j]
    assert loaded(x, "float64").dtype == np.complex128


def test_what_is_flushed_keeps_its_sign_in_both_parts() -> None:
    tiny = np.float32(1e-40)
    for found in (_flushed(np.array([-tiny, tiny])), _flushed(np.array([complex(-tiny, -0.0)], "complex64"))):
        parts = found.view(np.float32)
        np.testing.assert_array_equal(parts, 0)
        np.testing.assert_array_equal(np.signbit(parts), [True, found.dtype == np.complex64])
