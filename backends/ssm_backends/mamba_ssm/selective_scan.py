"""``selective_scan_fn`` and ``selective_scan_ref``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssm_backends.errors import ShapeError
from ssm_backends.front.functions import selective_scan
from ssm_backends.mamba_ssm._tensors import only_tensors, paired, wide_as, widened

if TYPE_CHECKING:
    from torch import Tensor


def selective_scan_fn(
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
    """The selective scan of Mamba (Gu & Dao 2023, Algorithm 2), by the best backend.

    Parameters
    ----------
    u, delta, z
        (b, d, l); float32, bfloat16, float16 or float64.
    A
        (d, n), float32 or complex64 (float64, complex128); widened where u is float64.
    B, C
        (d, n), (b, n, l) or (b, g, n, l). With complex A, variable ones may be interleaved reals
        (…, 2l): real and imaginary part of each step, as in mamba-ssm; or complex (…, l).
    D, delta_bias
        (d,), float32; another floating type is made A's.
    delta_softplus
        Δ = log(1 + exp(delta + delta_bias)).
    return_last_state
        Return (y, last state (b, d, n)).

    Returns
    -------
    y (b, d, l) in u's dtype, alone or with the last state; both are differentiable.

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        Naming the argument, the rule and what was given.
    NotSupportedError
        If no backend serves the call here.
    """
    return _scan(
        None, u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state
    )  # fmt: skip


def selective_scan_ref(
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
    """As :func:`selective_scan_fn`, by the backend "torch", whatever else is installed.

    Arguments, result and errors are those of that function.
    """
    return _scan(
        "torch", u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state
    )  # fmt: skip


def _scan(
    backend: str | None,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    return_last_state: bool,
) -> Any:
    only_tensors({"u": u, "delta": delta, "A": A, "B": B, "C": C}, {"D": D, "z": z, "delta_bias": delta_bias})
    if u.ndim != 3:
        raise ShapeError(f"`u` must have shape (b, d, l); got {tuple(u.shape)}")
    A = wide_as(u, A)
    if A.is_complex():
        B, C = _complex(B, u.shape[-1]), _complex(C, u.shape[-1])
    return selective_scan(
        u, delta, A, B, C,
        widened("D", D, A), z, widened("delta_bias", delta_bias, A),
        delta_softplus, return_last_state, backend=backend,
    )  # fmt: skip


def _complex(x: Tensor, length: int) -> Tensor:
    """Interleaved reals (…, 2l) as complex numbers (…, l); anything else as it is."""
    if not x.is_floating_point() or x.ndim < 3 or x.shape[-1] != 2 * length:
        return x  # which is complex, constant in time, or not valid
    return paired(x)
