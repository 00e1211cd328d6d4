"""The Mamba block, hidden states to hidden states: value, gradient, bounds, and the single step."""

from ssm_spec._mamba._adjoint_bounds import mamba_block_vjp_bounds
from ssm_spec._mamba._block import mamba_block, mamba_block_vjp
from ssm_spec._mamba._bounds import mamba_block_bounds
from ssm_spec._mamba._step import mamba_step, mamba_step_bounds, mamba_step_vjp, mamba_step_vjp_bounds

__all__ = [
    "mamba_block",
    "mamba_block_bounds",
    "mamba_block_vjp",
    "mamba_block_vjp_bounds",
    "mamba_step",
    "mamba_step_bounds",
    "mamba_step_vjp",
    "mamba_step_vjp_bounds",
]
