"""The backend jax-scan: a selective scan in JAX, for authors who do not use PyTorch."""

from __future__ import annotations

from importlib.metadata import version

from ssm_backends import Backend, Op, hookimpl
from ssm_jax_scan.arrays import JaxArrays
from ssm_jax_scan.scan import selective_scan

__all__ = ["JaxArrays", "selective_scan", "ssm_backend"]


@hookimpl
def ssm_backend(device: str | None) -> Backend:
    """Hand over the backend."""
    return Backend(
        name="jax-scan",
        version=version("ssm-jax-scan"),
        devices=("cpu", "cuda"),
        arrays=JaxArrays(device),
        ops={
            "selective_scan": Op(
                selective_scan,
                dtypes=("float32", "float64", "bfloat16"),
                gradients="all",
                features=("complex", "constant", "grouped", "initial_state"),
                memory="materialised",
                deterministic=True,
                arithmetic={"evaluation": "scan", "decayed_state": "direct"},
            )
        },
    )
