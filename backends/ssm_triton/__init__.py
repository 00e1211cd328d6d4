"""The scans of Mamba and Mamba-2, the short convolution and their steps on GPUs: fused kernels in Triton."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Final

import torch

from ssm_backends import Backend, Op, TorchArrays, UnavailableError, hookimpl
from ssm_triton.convolution import TAPS, causal_conv1d
from ssm_triton.convolution_update import KEPT, causal_conv1d_update
from ssm_triton.scan import selective_scan
from ssm_triton.ssd import CHUNK, ssd
from ssm_triton.ssd_update import ssd_update
from ssm_triton.step import selective_state_update

__all__ = [
    "causal_conv1d",
    "causal_conv1d_update",
    "selective_scan",
    "selective_state_update",
    "ssd",
    "ssd_update",
    "ssm_backend",
]

UNJUDGED_VARIABLE: Final = "SSM_TRITON_UNJUDGED"
"""Set to 1 in the environment: claim what the suite has not judged with this Triton or on such a GPU."""

JUDGED: Final = ("3.6", "3.7", "3.8", "3.9")
"""Versions of Triton with which the suite has judged products of matrices on a GPU (docs/kernels.md)."""

_DTYPES = ("float16", "float32", "float64")
_BOTH = ("complex", "mixed_dtypes", "grouped", "zoh")
_POOL = ("mixed_dtypes", "long_state", "state_indices", "inplace")


@hookimpl
def ssm_backend(device: str | None) -> Backend:
    """Hand over the backend.

    Parameters
    ----------
    device
        "cuda", "cuda:1", or "cpu" under TRITON_INTERPRET=1; None for whichever of these can be.

    Raises
    ------
    UnavailableError
        If there is no such device here.
    """
    interpreted = interpreting()
    if device is None:
        device = "cpu" if interpreted else "cuda"
    kind = device.partition(":")[0]
    if kind not in ("cuda", "cpu") or (kind == "cpu" and not interpreted):
        raise UnavailableError(
            "ssm_triton needs a GPU, or the CPU with TRITON_INTERPRET=1 set before it is imported; "
            f"got {device!r}"
        )
    if kind == "cuda" and not torch.cuda.is_available():
        raise UnavailableError(
            "ssm_triton needs a GPU that PyTorch can use; torch.cuda.is_available() is False"
        )
    # Triton's interpreter cuts float32 to bfloat16 where the hardware rounds: there it is not claimed.
    dtypes = _DTYPES if kind == "cpu" else ("bfloat16", *_DTYPES)
    half_state = () if kind == "cpu" else ("half_state",)
    pytorch = ("compile", "autocast") if kind == "cpu" else ("compile", "autocast", "cuda_graph")
    dual = Op(
        ssd,
        dtypes=tuple(name for name in dtypes if name != "float64"),
        gradients="all",
        features=("mixed_dtypes", "per_channel_skip", "initial_state", "seq_idx", *pytorch),
        memory="fused",
        deterministic=True,
        arithmetic={"evaluation": "matmul_chunk", "chunk": CHUNK},
    )
    unjudged = "" if kind == "cpu" else products_unjudged(device)
    facts = {"evaluation": "scan", "decayed_state": "direct", "softplus": "log1p"}
    return Backend(
        name="triton",
        version=version("ssm-spec"),
        devices=("cuda", "cpu"),
        arrays=TorchArrays(device),
        ops={
            "selective_scan": Op(
                selective_scan,
                dtypes=dtypes,
                gradients="all",
                features=(*_BOTH, "constant", "initial_state", "seq_idx", "cu_seqlens", *pytorch),
                limits={"n": 256},
                memory="fused",
                deterministic=True,
                arithmetic=facts,
            ),
            "selective_state_update": Op(
                selective_state_update,
                dtypes=dtypes,
                features=(*_BOTH, "state_indices", "inplace", *half_state, *pytorch),
                limits={"n": 256},
                memory="fused",
                deterministic=True,
                arithmetic=facts,
            ),
            "causal_conv1d": Op(
                causal_conv1d,
                dtypes=dtypes,
                gradients="all",
                features=("mixed_dtypes", "initial_state", "seq_idx", *pytorch),
                limits={"v": TAPS - 1},
                deterministic=True,
            ),
            "causal_conv1d_update": (
                Op(
                    causal_conv1d_update,
                    dtypes=dtypes,
                    gradients="all",
                    features=("mixed_dtypes", *pytorch),
                    limits={"v": TAPS - 1},
                    deterministic=True,
                ),
                Op(
                    causal_conv1d_update,
                    dtypes=dtypes,
                    features=(*_POOL, *half_state, *pytorch),
                    limits={"v": TAPS - 1, "k": KEPT},
                    deterministic=True,
                ),
            ),
            **({} if unjudged else {"ssd": dual}),
            "ssd_update": Op(
                ssd_update,
                dtypes=dtypes,
                features=(
                    *("mixed_dtypes", "per_channel_skip", "state_indices", "inplace"),
                    *(*half_state, *pytorch),
                ),
                limits={"n": 256},
                deterministic=True,
                arithmetic=facts,
            ),
        },
        withheld={"ssd": unjudged} if unjudged else {},
    )


def products_unjudged(device: str) -> str:
    """Why products of matrices are not claimed here; "" if they are.

    Triton's compiler got some of them wrong without a word (docs/kernels.md); those that are launched were
    found right with these versions and on compute capability 9.0. Earlier GPUs have plainer products.
    """
    import triton

    capability = torch.cuda.get_device_capability(device)
    judged = ".".join(triton.__version__.split(".")[:2]) in JUDGED and capability <= (9, 0)
    if judged or os.environ.get(UNJUDGED_VARIABLE) == "1":
        return ""
    return (
        f"it was judged with Triton {', '.join(JUDGED)} and up to compute capability 9.0, and here are "
        f"{triton.__version__} and {capability[0]}.{capability[1]}; {UNJUDGED_VARIABLE}=1 in the environment "
        "claims it, and `ssm-spec conform triton --op ssd --level full` then judges it here"
    )


def interpreting() -> bool:
    """Whether Triton runs its kernels on the CPU, as TRITON_INTERPRET=1 asks at import."""
    from triton import knobs

    return bool(knobs.runtime.interpret)
