"""The suite's verdict on this package, as a test of it."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ssm_jax_scan import JaxArrays

from ssm_backends import UnavailableError


def test_it_conforms() -> None:
    command = [sys.executable, "-m", "ssm_conformance", "conform", "jax-scan"]
    options = ["--level", "smoke", "--dtype", "float32", "--timeout", "200"]
    run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_complex_gradients_are_in_the_convention_of_the_contract() -> None:
    """L = Re(conj(g) x²) has ∂L/∂Re x + i ∂L/∂Im x = conj(2x) g."""
    arrays = JaxArrays("cpu")
    x, g = np.array([1 + 2j]), np.array([3 - 1j])
    found = arrays.vjp(lambda x: {"y": x * x}, {"x": jnp.asarray(x)}, {"y": jnp.asarray(g)})
    np.testing.assert_allclose(found["x"], np.conj(2 * x) * g)  # a wrong conjugate is off by its size


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "complex128", "int32"])
def test_arrays_go_in_and_out_unchanged(dtype: str) -> None:
    arrays = JaxArrays()
    x = np.arange(6).reshape(2, 3).astype("uint16" if dtype == "bfloat16" else dtype)
    inside = arrays.from_numpy(x, dtype)
    assert isinstance(inside, jax.Array)
    assert str(inside.dtype) == dtype
    np.testing.assert_array_equal(arrays.to_numpy(inside), x)
    arrays.synchronize()


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UnavailableError, match="JAX has no device 'tpu' here"):
        JaxArrays("tpu")
