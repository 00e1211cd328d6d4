"""The single-input single-output recurrence of Mamba-3, forward: value, bounds, and the single step."""

from ssm_spec._mamba3._bounds import mamba3_siso_bounds
from ssm_spec._mamba3._siso import mamba3_siso
from ssm_spec._mamba3._step import mamba3_siso_step, mamba3_siso_step_bounds

__all__ = ["mamba3_siso", "mamba3_siso_bounds", "mamba3_siso_step", "mamba3_siso_step_bounds"]
