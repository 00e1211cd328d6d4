"""The single-input single-output recurrence of Mamba-3: value, gradient, bounds, and the single step."""

from ssm_spec._mamba3._adjoint import mamba3_siso_vjp
from ssm_spec._mamba3._adjoint_bounds import mamba3_siso_vjp_bounds
from ssm_spec._mamba3._bounds import mamba3_siso_bounds
from ssm_spec._mamba3._siso import mamba3_siso
from ssm_spec._mamba3._step import (
    mamba3_siso_step,
    mamba3_siso_step_bounds,
    mamba3_siso_step_vjp,
    mamba3_siso_step_vjp_bounds,
)

__all__ = [
    "mamba3_siso",
    "mamba3_siso_bounds",
    "mamba3_siso_step",
    "mamba3_siso_step_bounds",
    "mamba3_siso_step_vjp",
    "mamba3_siso_step_vjp_bounds",
    "mamba3_siso_vjp",
    "mamba3_siso_vjp_bounds",
]
