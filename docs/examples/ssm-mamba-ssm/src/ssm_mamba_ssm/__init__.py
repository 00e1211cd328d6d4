"""The backend mamba-ssm: the CUDA scan that Mamba came with, on an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from ssm_backends import Backend, Op, TorchArrays, UnavailableError, hookimpl

__all__ = ["ssm_backend"]


@hookimpl
def ssm_backend(device: str | None) -> Backend:
    """Hand over the backend.

    It claims no gradient through the last state, which upstream's own documentation leaves out, and no
    repeatable backward pass: dB and dC are summed by atomics.
    """
    if not torch.cuda.is_available():
        raise UnavailableError("the scan of mamba_ssm is CUDA code, and PyTorch sees no NVIDIA GPU here")
    if device is not None and not device.startswith("cuda"):
        raise UnavailableError(f"the scan of mamba_ssm runs on 'cuda' alone; got device {device!r}")
    return Backend(
        name="mamba-ssm",
        version=version("mamba-ssm"),
        devices=("cuda",),
        arrays=TorchArrays(device or "cuda"),
        ops={
            "selective_scan": Op(
                _wrapped(_upstream()),
                dtypes=("float32", "float16", "bfloat16"),
                gradients="all",
                cotangents=("y",),
                features=("constant", "grouped"),
                limits={"n": 256},
                memory="fused",
                deterministic={"forward": True, "backward": False},
                arithmetic={"evaluation": "scan", "decayed_state": "subtractive", "saved_gate": "io"},
            )
        },
    )


def _upstream() -> Callable[..., Any]:
    """``selective_scan_fn``, if this build of mamba_ssm has the extension behind it."""
    try:
        import selective_scan_cuda  # noqa: F401  the extension itself: without it the function fails later
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError as error:
        raise UnavailableError(
            f"mamba_ssm {version('mamba-ssm')} was installed without its CUDA scan, which is built from "
            f"source with nvcc: {error}"
        ) from error
    found: Callable[..., Any] = selective_scan_fn
    return found


def _wrapped(upstream: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the contract's arguments: those that it has under the same names."""

    def selective_scan(
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        z: Tensor | None = None,
        delta_bias: Tensor | None = None,
        delta_softplus: bool = False,
        return_last_state: bool = False,
    ) -> Any:
        return upstream(u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state)

    return selective_scan
