"""Every operator in PyTorch, on CPUs and GPUs, differentiable by autograd.

Called directly, the functions take their arguments as valid: those of `ssm_backends` check them first, and
raise its typed errors.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

from ssm_backends import Backend, Op, TorchArrays, UnavailableError, hookimpl
from ssm_torch.causal_conv1d import causal_conv1d
from ssm_torch.convolution import causal_convolution
from ssm_torch.convolution_update import causal_conv1d_update
from ssm_torch.discretize import discretize_bilinear, discretize_zoh
from ssm_torch.duality.sizes import CHUNK
from ssm_torch.h3 import h3
from ssm_torch.hippo import hippo_fout, hippo_lagt, hippo_legs, hippo_legt
from ssm_torch.legs_memory import hippo_legs_compress
from ssm_torch.lssl import lssl
from ssm_torch.mamba3 import mamba3_siso, mamba3_siso_step
from ssm_torch.recurrence import ssm_kernel, ssm_recurrence
from ssm_torch.s4 import s4_kernel
from ssm_torch.s4d import s4d, s4d_kernel
from ssm_torch.s5 import s5
from ssm_torch.selective_scan import selective_scan
from ssm_torch.ssd import ssd
from ssm_torch.ssd_update import ssd_update
from ssm_torch.state_update import selective_state_update

__all__ = [
    "causal_conv1d",
    "causal_conv1d_update",
    "causal_convolution",
    "discretize_bilinear",
    "discretize_zoh",
    "h3",
    "hippo_fout",
    "hippo_lagt",
    "hippo_legs",
    "hippo_legs_compress",
    "hippo_legt",
    "lssl",
    "mamba3_siso",
    "mamba3_siso_step",
    "s4_kernel",
    "s4d",
    "s4d_kernel",
    "s5",
    "selective_scan",
    "selective_state_update",
    "ssd",
    "ssd_update",
    "ssm_backend",
    "ssm_kernel",
    "ssm_recurrence",
]

_DEVICES = ("cpu", "cuda")
_WIDE = ("float32", "float64")
_ALL = ("bfloat16", "float16", *_WIDE)
_SYSTEM = ("dense", "diagonal", "complex")
_EULER = ("forward_euler", "backward_euler")
_PYTORCH = ("compile", "autocast")
_SELECTIVE = ("complex", "mixed_dtypes", "grouped", "zoh")
_DUAL = ("mixed_dtypes", "per_channel_skip", *_PYTORCH)
_SCAN = (*_SELECTIVE, "constant", "initial_state", "seq_idx")
_STEP = (*_SELECTIVE, "half_state")
_FILTER = ("mixed_dtypes", "long_state", "half_state")
_SEQUENTIAL = {"evaluation": "scan", "decayed_state": "direct"}


@hookimpl
def ssm_backend(device: str | None) -> Backend:
    """Hand over the backend.

    Parameters
    ----------
    device
        "cpu", "cuda", "cuda:1"; None for the CPU.

    Raises
    ------
    UnavailableError
        If there is no PyTorch, or no such device here.
    """
    arrays = TorchArrays(device)
    if arrays.device.partition(":")[0] not in _DEVICES:
        raise UnavailableError(f"ssm_torch serves {' and '.join(_DEVICES)}; got device {device!r}")
    graphs = ("cuda_graph",) if arrays.device.startswith("cuda") else ()
    return Backend(
        name="torch",
        version=version("ssm-spec"),
        devices=_DEVICES,
        arrays=arrays,
        ops={
            "discretize_zoh": Op(
                discretize_zoh, dtypes=_WIDE, gradients="all", features=(*_SYSTEM, *_PYTORCH)
            ),
            "discretize_bilinear": Op(
                discretize_bilinear, dtypes=_WIDE, gradients="all", features=(*_SYSTEM, *_PYTORCH)
            ),
            "ssm_recurrence": Op(
                ssm_recurrence,
                dtypes=_ALL,
                gradients="all",
                features=(*_SYSTEM, *_PYTORCH, "mixed_dtypes", "initial_state"),
            ),
            "ssm_kernel": Op(ssm_kernel, dtypes=_WIDE, gradients="all", features=(*_SYSTEM, *_PYTORCH)),
            "causal_convolution": Op(
                causal_convolution,
                dtypes=_ALL,
                gradients="all",
                features=("mixed_dtypes", *_PYTORCH),
                arithmetic={"evaluation": "fft"},
            ),
            **{
                function.__name__: Op(
                    partial(function, device=arrays.device), dtypes=_ALL, deterministic=True
                )
                for function in (hippo_legs, hippo_legt, hippo_lagt, hippo_fout)
            },
            "hippo_legs_compress": Op(
                hippo_legs_compress,
                dtypes=_ALL,
                gradients="all",
                features=("bilinear", *_PYTORCH),
                deterministic=True,
            ),
            "s4d_kernel": Op(
                s4d_kernel,
                dtypes=_WIDE,
                gradients="all",
                features=("complex", "bilinear", *_EULER, *_PYTORCH),
            ),
            "s4_kernel": Op(s4_kernel, dtypes=_WIDE, gradients="all", features=("complex", *_PYTORCH)),
            "s4d": Op(
                s4d,
                dtypes=_ALL,
                gradients="all",
                features=("complex", "mixed_dtypes", "initial_state", "bilinear", *_EULER, *_PYTORCH),
                arithmetic={"evaluation": "fft"},
            ),
            "lssl": Op(
                lssl,
                dtypes=_ALL,
                gradients="all",
                features=("mixed_dtypes", "initial_state", "zoh", *_EULER, *_PYTORCH),
            ),
            "s5": Op(
                s5,
                dtypes=_ALL,
                gradients="all",
                features=("complex", "mixed_dtypes", "initial_state", "bilinear", *_EULER, *_PYTORCH),
            ),
            "h3": Op(
                h3,
                dtypes=_ALL,
                gradients="all",
                features=("complex", "mixed_dtypes", "bilinear", *_EULER, *_PYTORCH),
                arithmetic={"evaluation": "fft"},
            ),
            # The offsets of packed sequences, and the slots of a pool, are read by the host: no CUDA graph.
            "selective_scan": tuple(
                Op(
                    selective_scan,
                    dtypes=_ALL,
                    gradients="all",
                    features=(*_SCAN, *more),
                    memory="fused",
                    deterministic=True,
                    arithmetic=_SEQUENTIAL,
                )
                for more in ((*_PYTORCH, *graphs), (*_PYTORCH, "cu_seqlens"))
            ),
            "selective_state_update": (
                *(
                    Op(
                        selective_state_update,
                        dtypes=_ALL,
                        gradients="all",
                        features=(*_STEP, *more),
                        deterministic=True,
                        arithmetic=_SEQUENTIAL,
                    )
                    for more in ((*_PYTORCH, *graphs), (*_PYTORCH, "state_indices"))
                ),
                Op(
                    selective_state_update,
                    dtypes=_ALL,
                    features=(*_STEP, *_PYTORCH, "state_indices", "inplace"),
                    deterministic=True,
                    arithmetic={"evaluation": "scan"},
                ),
            ),
            "causal_conv1d": Op(
                causal_conv1d,
                dtypes=_ALL,
                gradients="all",
                features=("mixed_dtypes", "initial_state", "seq_idx", *_PYTORCH, *graphs),
                deterministic=True,
            ),
            "causal_conv1d_update": (
                *(
                    Op(
                        causal_conv1d_update,
                        dtypes=_ALL,
                        gradients="all",
                        features=(*_FILTER, *more),
                        deterministic=True,
                    )
                    for more in ((*_PYTORCH, *graphs), (*_PYTORCH, "state_indices"))
                ),
                Op(
                    causal_conv1d_update,
                    dtypes=_ALL,
                    features=(*_FILTER, *_PYTORCH, "state_indices", "inplace"),
                    deterministic=True,
                ),
            ),
            "ssd": Op(
                ssd,
                dtypes=_ALL,
                gradients="all",
                features=(*_DUAL, "initial_state", "seq_idx"),
                memory="fused",
                deterministic=True,
                arithmetic={"evaluation": "matmul_chunk", "chunk": CHUNK},
            ),
            "ssd_update": (
                *(
                    Op(
                        ssd_update,
                        dtypes=_ALL,
                        gradients="all",
                        features=(*_DUAL, "half_state", *more),
                        deterministic=True,
                        arithmetic=_SEQUENTIAL,
                    )
                    for more in (graphs, ("state_indices",))
                ),
                Op(
                    ssd_update,
                    dtypes=_ALL,
                    features=(*_DUAL, "half_state", "state_indices", "inplace"),
                    deterministic=True,
                    arithmetic=_SEQUENTIAL,
                ),
            ),
            "mamba3_siso": Op(
                mamba3_siso,
                dtypes=_ALL,
                gradients="all",
                features=("mixed_dtypes", "initial_state", "seq_idx", *_PYTORCH),
                deterministic=True,
                arithmetic={"evaluation": "matmul_chunk", "chunk": CHUNK},
            ),
            "mamba3_siso_step": Op(
                mamba3_siso_step,
                dtypes=_ALL,
                gradients="all",
                features=("mixed_dtypes", *_PYTORCH),
                deterministic=True,
                arithmetic={"evaluation": "matmul_chunk", "chunk": CHUNK},
            ),
        },
    )
