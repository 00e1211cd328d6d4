"""Triton reads TRITON_INTERPRET when it is first imported: without a GPU its kernels run on the CPU."""

import os

import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton")

if not torch.cuda.is_available():
    from . import interpreted

    interpreted.install()


@pytest.fixture(scope="session")
def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
