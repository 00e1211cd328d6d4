"""Rows of the table of operators: the Mamba family around the scan."""

from __future__ import annotations

from typing import Final

from ssm_spec import _causal_conv1d, _causal_conv1d_bounds, _causal_conv1d_update
from ssm_spec._reference import Reference

MAMBA_ROWS: Final[tuple[Reference, ...]] = (
    Reference(
        name="causal_conv1d",
        outputs=_causal_conv1d.OUTPUTS,
        differentiable=_causal_conv1d.DIFFERENTIABLE,
        value=_causal_conv1d.causal_conv1d,
        vjp=_causal_conv1d.causal_conv1d_vjp,
        bounds=_causal_conv1d_bounds.causal_conv1d_bounds,
        vjp_bounds=_causal_conv1d_bounds.causal_conv1d_vjp_bounds,
        equation="y_t = silu(bias + Σ_j w_j x_{t−w+1+j})",
        source="Gu and Dao, Mamba (2023), section 3.4 and figure 3",
    ),
    Reference(
        name="causal_conv1d_update",
        outputs=_causal_conv1d_update.OUTPUTS,
        differentiable=_causal_conv1d_update.DIFFERENTIABLE,
        value=_causal_conv1d_update.causal_conv1d_update,
        vjp=_causal_conv1d_update.causal_conv1d_update_vjp,
        bounds=_causal_conv1d_update.causal_conv1d_update_bounds,
        vjp_bounds=_causal_conv1d_update.causal_conv1d_update_vjp_bounds,
        equation="y = silu(bias + Σ_{j<w−1} w_j state_j + w_{w−1} x)",
        source="Gu and Dao, Mamba (2023), section 3.4 and figure 3, one step",
    ),
)
"""Every operator of the Mamba family but the scan itself, in order."""
