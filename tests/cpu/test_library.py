"""Arrays of both libraries, as kernels are told of them: where they lie, of what dtype, and how far apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ssm_cpu._library import NUMPY, TORCH, library_of
from ssm_cpu._transfer import CODES

torch = pytest.importorskip("torch")

BOTH = pytest.mark.parametrize("library", [NUMPY, TORCH], ids=["numpy", "torch"])


def strides(x: Any) -> tuple[int, ...]:
    """In bytes."""
    return x.strides if isinstance(x, np.ndarray) else tuple(x.element_size() * s for s in x.stride())


@BOTH
def test_what_is_new_lies_as_what_it_is_made_of(library: Any) -> None:
    x = library.empty((3, 4, 5), "float32")
    x[...] = 1
    assert library_of(x) is library
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        laid = x.transpose(order) if library is NUMPY else x.permute(order)
        copy, alike = library.copy(laid), library.empty_like(laid)
        assert strides(copy) == strides(alike) == strides(laid)
        assert (copy.shape, copy.dtype, alike.shape, alike.dtype) == (laid.shape, laid.dtype) * 2
        copy[...] = 2
        assert (x == 1).all()


@BOTH
def test_an_array_is_its_address_its_dtype_and_its_strides(library: Any) -> None:
    for name, code in CODES.items():
        if library is TORCH or name != "bfloat16":
            x = library.empty((3, 4), name)
            assert library.words(x[:, ::2])[1:] == (code, *strides(x[:, ::2]))
            first = library.words(x)[0]
            assert library.words(x[1:])[0] - first == strides(x)[0]
    for name, width in (("int32", 4), ("int64", 8)):
        assert library.words(library.empty((3,), name))[1:] == (width, width)


def test_what_is_only_noted_of_a_tensor_is_done() -> None:
    x = torch.tensor([1 + 2j, 3 - 1j])
    for noted in (x.conj(), x.conj().imag, x.conj()[1:], torch._neg_view(x.conj())):
        assert noted.is_conj() or noted.is_neg()
        plain = TORCH.plain(noted)
        assert not plain.is_conj()
        assert not plain.is_neg()
        assert torch.equal(plain, noted)
    assert TORCH.plain(x) is x
    assert TORCH.plain(None) is None
