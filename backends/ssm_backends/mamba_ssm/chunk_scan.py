"""``mamba_chunk_scan_combined``: the scan of Mamba-2."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from ssm_backends.errors import NotSupportedError
from ssm_backends.front.functions import ssd
from ssm_backends.mamba_ssm._tensors import (
    check_count,
    check_flag,
    check_state_dtype,
    computed,
    only_pythons,
    only_tensors,
    wide_as,
    widened,
)

if TYPE_CHECKING:
    from torch import Tensor, dtype


def mamba_chunk_scan_combined(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    seq_idx: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, inf),
    return_final_states: bool = False,
    return_varlen_states: bool = False,
    state_dtype: dtype | None = None,
) -> Any:
    """State space duality, the scan of Mamba-2 (Dao & Gu 2024, eq. 2), by the best backend.

    b batch, l length, h heads, p width of a head, g groups of heads, n state.

    Parameters
    ----------
    x
        (b, l, h, p); float32, bfloat16, float16 or float64.
    z
        (b, l, h, p), x's dtype or float32.
    dt
        (b, l, h), x's dtype or float32: the step sizes, before bias, softplus and limits.
    A
        (h,), float32; widened where x is float64.
    B, C
        (b, l, g, n), x's dtype or float32.
    chunk_size
        How the length is cut there, a positive int. What is computed does not depend on it, and each
        backend cuts as suits it.
    D
        (h,) or (h, p), float32; another floating type is made A's.
    dt_bias
        (h,), float32; another floating type is made A's.
    initial_states
        (b, h, p, n), float32 or narrower, float64 where x is; zeros if not given.
    seq_idx
        (b, l), int32 or int64: the states are reset where it changes along l.
    cu_seqlens, return_varlen_states
        Not served: the states at the ends of packed sequences. `cu_seqlens` alone is not read, as in
        mamba-ssm: it is `seq_idx` that keeps sequences apart.
    dt_softplus
        Δ = log(1 + exp(dt + dt_bias)).
    dt_limit
        Δ is clamped to (low, high) after that.
    return_final_states
        Return (y, final states (b, h, p, n)).
    state_dtype
        What the states between chunks are rounded to there, a real floating dtype. Here none are narrower
        than float32, whatever it is.

    Returns
    -------
    y (b, l, h, p) in x's dtype, alone or with the final states, float32, float64 where x is; both are
    differentiable.

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        Naming the argument, the rule and what was given.
    NotSupportedError
        If the states of packed sequences are asked for, or no backend serves the call here.
    """
    only_pythons(dt_softplus=dt_softplus, return_final_states=return_final_states)
    check_count("chunk_size", chunk_size)
    check_flag("return_varlen_states", return_varlen_states)
    check_state_dtype(state_dtype)
    if return_varlen_states:
        raise NotSupportedError(
            "`return_varlen_states` is not served: "
            "mamba_chunk_scan_combined returns no states within a length"
        )
    optional = {
        "D": D, "z": z, "dt_bias": dt_bias, "initial_states": initial_states, "seq_idx": seq_idx,
    }  # fmt: skip
    only_tensors({"x": x, "dt": dt, "A": A, "B": B, "C": C}, optional)
    A = wide_as(x, A)
    return ssd(
        x, dt, A, B, C,
        widened("D", D, A), z, widened("dt_bias", dt_bias, A),
        dt_softplus, dt_limit, return_final_states,
        initial_states=None if initial_states is None else computed(initial_states), seq_idx=seq_idx,
    )  # fmt: skip
