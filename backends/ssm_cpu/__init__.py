"""The selective scan and its decode step compiled for CPUs, for NumPy arrays and PyTorch tensors."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from ssm_backends import Arrays, Backend, NumpyArrays, Op, TorchArrays, UnavailableError, hookimpl
from ssm_cpu._jit import converts_halves
from ssm_cpu._threads import get_num_threads, set_num_threads
from ssm_cpu.scan import selective_scan, selective_scan_forward, selective_scan_vjp
from ssm_cpu.step import selective_state_update

__all__ = [
    "get_num_threads",
    "selective_scan",
    "selective_scan_forward",
    "selective_scan_vjp",
    "selective_state_update",
    "set_num_threads",
    "ssm_backend",
]

_DTYPES = ("bfloat16", "float16", "float32", "float64")
_BOTH = ("complex", "mixed_dtypes", "grouped", "zoh")


@hookimpl
def ssm_backend(device: str | None) -> Backend:
    """Hand over the backend. PyTorch is served where it is installed.

    Parameters
    ----------
    device
        "cpu" or None.

    Raises
    ------
    UnavailableError
        If it is another one.
    """
    if device not in (None, "cpu"):
        raise UnavailableError(f"ssm_cpu runs on 'cpu'; got device {device!r}")
    libraries: tuple[Arrays, ...] = (NumpyArrays(),)
    try:
        version("torch")
    except PackageNotFoundError:
        pass
    else:
        libraries = (TorchArrays(), *libraries)
    dtypes = tuple(name for name in _DTYPES if name != "float16" or converts_halves())
    pytorch = ("compile", "autocast") if len(libraries) > 1 else ()
    facts = {"evaluation": "sequential", "decayed_state": "direct", "softplus": "log1p"}
    return Backend(
        name="cpu",
        version=version("ssm-spec"),
        arrays=libraries,
        ops={
            "selective_scan": Op(
                selective_scan,
                vjp=selective_scan_vjp,
                forward=selective_scan_forward,
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
                features=(*_BOTH, "half_state", "state_indices", "inplace", *(pytorch[1:])),
                limits={"n": 256},
                memory="fused",
                deterministic=True,
                arithmetic=facts,
            ),
        },
    )
