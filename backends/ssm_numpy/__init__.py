"""The smallest backend: linear systems, the selective scan and the short convolution in plain NumPy.

In the dtype given, and written apart from the oracle.
Called directly, the functions take their arguments as valid: those of `ssm_backends` check them first, and
raise its typed errors.
"""

from __future__ import annotations

from importlib.metadata import version

from ssm_backends import Backend, NumpyArrays, Op, hookimpl
from ssm_numpy.causal_conv1d import causal_conv1d, causal_conv1d_update
from ssm_numpy.convolution import causal_convolution
from ssm_numpy.discretize import discretize_bilinear, discretize_zoh
from ssm_numpy.hippo import hippo_legs
from ssm_numpy.recurrence import ssm_kernel, ssm_recurrence
from ssm_numpy.selective_scan import selective_scan
from ssm_numpy.selective_scan_vjp import selective_scan_vjp
from ssm_numpy.state_update import selective_state_update

__all__ = [
    "causal_conv1d",
    "causal_conv1d_update",
    "causal_convolution",
    "discretize_bilinear",
    "discretize_zoh",
    "hippo_legs",
    "selective_scan",
    "selective_scan_vjp",
    "selective_state_update",
    "ssm_backend",
    "ssm_kernel",
    "ssm_recurrence",
]

_DTYPES = ("float32", "float64")
_SYSTEM = ("dense", "diagonal", "complex")
_SELECTIVE = ("complex", "mixed_dtypes", "grouped", "zoh")


@hookimpl
def ssm_backend(device: str | None) -> Backend:
    """Hand over the backend.

    Parameters
    ----------
    device
        "cpu" or None.

    Raises
    ------
    UnavailableError
        If it is another one.
    """
    return Backend(
        name="numpy",
        version=version("ssm-spec"),
        arrays=NumpyArrays(device),
        ops={
            "discretize_zoh": Op(discretize_zoh, dtypes=_DTYPES, features=_SYSTEM),
            "discretize_bilinear": Op(discretize_bilinear, dtypes=_DTYPES, features=_SYSTEM),
            "ssm_recurrence": Op(
                ssm_recurrence, dtypes=_DTYPES, features=(*_SYSTEM, "mixed_dtypes", "initial_state")
            ),
            "ssm_kernel": Op(ssm_kernel, dtypes=_DTYPES, features=_SYSTEM),
            "causal_convolution": Op(
                causal_convolution, dtypes=_DTYPES, features=("mixed_dtypes",), deterministic=True
            ),
            "hippo_legs": Op(hippo_legs, dtypes=("float16", *_DTYPES), deterministic=True),
            "selective_scan": Op(
                selective_scan,
                vjp=selective_scan_vjp,
                dtypes=_DTYPES,
                gradients="all",
                features=(*_SELECTIVE, "constant", "initial_state", "seq_idx", "cu_seqlens"),
                memory={"forward": "fused", "backward": "materialised"},
                deterministic=True,
                arithmetic={"evaluation": "scan", "decayed_state": "direct"},
            ),
            "selective_state_update": Op(
                selective_state_update,
                dtypes=_DTYPES,
                features=(*_SELECTIVE, "state_indices", "inplace"),
                deterministic=True,
                arithmetic={"evaluation": "scan"},
            ),
            "causal_conv1d": Op(
                causal_conv1d,
                dtypes=_DTYPES,
                features=("mixed_dtypes", "initial_state", "seq_idx"),
                deterministic=True,
            ),
            "causal_conv1d_update": Op(
                causal_conv1d_update,
                dtypes=_DTYPES,
                features=("mixed_dtypes", "long_state", "state_indices", "inplace"),
                deterministic=True,
            ),
        },
    )
