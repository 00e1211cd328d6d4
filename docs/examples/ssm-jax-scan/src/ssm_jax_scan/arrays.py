"""How the suite talks to JAX: arrays in and out, the device, and gradients in the suite's convention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ssm_backends import Layout, NotSupportedError, UnavailableError
from ssm_backends.arrays import MemoryUse


class JaxArrays:
    """JAX arrays on one device.

    JAX arrays have no strides, and no instrument shows what one call takes: both stay unclaimed.

    Parameters
    ----------
    device
        "cpu", "cuda" or "cuda:1"; JAX's own default if None.
    """

    name = "jax"
    strides = False
    memory = False
    autograd = True

    def __init__(self, device: str | None = None) -> None:
        jax.config.update("jax_enable_x64", True)  # otherwise float64 silently becomes float32
        kind, _, index = (device or jax.default_backend()).partition(":")
        try:
            self._device = jax.devices(kind)[int(index or 0)]
        except (RuntimeError, IndexError, ValueError) as error:
            raise UnavailableError(f"JAX has no device {device!r} here: {error}") from error
        self.device = "cpu" if self._device.platform == "cpu" else f"cuda:{self._device.id}"

    def from_numpy(self, x: NDArray[Any], dtype: str, layout: Layout | None = None) -> jax.Array:
        """See ``ssm_backends.Arrays``; bfloat16 comes as its bits."""
        if layout is not None:
            raise NotSupportedError("JAX arrays have no strides")
        values = np.asarray(x).view(jnp.bfloat16) if dtype == "bfloat16" else np.asarray(x, dtype=dtype)
        return jax.device_put(np.array(values), self._device)

    def to_numpy(self, x: jax.Array) -> NDArray[Any]:
        """See ``ssm_backends.Arrays``; bfloat16 goes as its bits."""
        values = np.array(x)
        return values.view(np.uint16) if x.dtype == jnp.bfloat16 else values

    def synchronize(self) -> None:
        """Wait for everything that was started on the device."""
        jax.block_until_ready(jax.device_put(0.0, self._device) + 0)
        jax.effects_barrier()

    def vjp(
        self, fn: Callable[..., Mapping[str, Any]], primals: Mapping[str, Any], cotangents: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Gradients as ∂L/∂Re x + i ∂L/∂Im x. JAX's are the conjugates of these, cotangents likewise."""
        outputs, pull = jax.vjp(lambda given: dict(fn(**given)), dict(primals))
        given = {
            name: jnp.zeros_like(x) if cotangents.get(name) is None else jnp.conj(cotangents[name])
            for name, x in outputs.items()
        }
        (gradients,) = pull(given)
        return {name: jnp.conj(x) for name, x in gradients.items()}

    def peak_memory(self, call: Callable[[], Any]) -> tuple[Any, MemoryUse]:
        """JAX has no instrument for it."""
        raise NotSupportedError("JAX shows no peak memory of one call")
