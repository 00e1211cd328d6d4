"""Rows of the table of operators: the Mamba family around the scan."""

from __future__ import annotations

from typing import Final

from ssm_spec import _causal_conv1d, _causal_conv1d_bounds, _causal_conv1d_update, _mamba, _mamba3, _ssd
from ssm_spec._mamba import _block as _mamba_whole
from ssm_spec._mamba import _step as _mamba_step
from ssm_spec._mamba3 import _adjoint as _mamba3_adjoint
from ssm_spec._mamba3 import _siso as _mamba3_whole
from ssm_spec._mamba3 import _step as _mamba3_step
from ssm_spec._reference import Reference
from ssm_spec._ssd import _public as _ssd_whole
from ssm_spec._ssd import _update as _ssd_step

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
        equation="y = silu(bias + Σ_{j<w−1} w_j state_{k−w+1+j} + w_{w−1} x)",
        source="Gu and Dao, Mamba (2023), section 3.4 and figure 3, one step",
    ),
    Reference(
        name="ssd",
        outputs=_ssd_whole.OUTPUTS,
        differentiable=_ssd_whole.DIFFERENTIABLE,
        value=_ssd.ssd,
        vjp=_ssd.ssd_vjp,
        bounds=_ssd.ssd_bounds,
        vjp_bounds=_ssd.ssd_vjp_bounds,
        equation="S_t = exp(Δ_t A) S_{t−1} + Δ_t x_t B_tᵀ; y_t = (S_t C_t + D x_t) · silu(z_t)",
        source="Dao and Gu, Transformers are SSMs (2024), eq. (2) with scalar A",
    ),
    Reference(
        name="ssd_update",
        outputs=_ssd_step.OUTPUTS,
        differentiable=_ssd_step.DIFFERENTIABLE,
        value=_ssd.ssd_update,
        vjp=_ssd.ssd_update_vjp,
        bounds=_ssd.ssd_update_bounds,
        vjp_bounds=_ssd.ssd_update_vjp_bounds,
        equation="S = exp(ΔA) S⁻ + Δ x Bᵀ; y = (S C + D x) · silu(z)",
        source="Dao and Gu, Transformers are SSMs (2024), eq. (2) with scalar A, one step",
    ),
    Reference(
        name="mamba_block",
        outputs=_mamba_whole.OUTPUTS,
        differentiable=_mamba_whole.DIFFERENTIABLE,
        value=_mamba.mamba_block,
        vjp=_mamba.mamba_block_vjp,
        bounds=_mamba.mamba_block_bounds,
        vjp_bounds=_mamba.mamba_block_vjp_bounds,
        equation="(x', z) = W_in x; c = silu(conv(x')); (δ, B, C) = W_x c; y = W_out scan(c, W_Δ δ, …, z)",
        source="Gu and Dao, Mamba (2023), section 3.4, figure 3 and algorithm 2",
    ),
    Reference(
        name="mamba_step",
        outputs=_mamba_whole.OUTPUTS,
        differentiable=_mamba_step.DIFFERENTIABLE,
        value=_mamba.mamba_step,
        vjp=_mamba.mamba_step_vjp,
        bounds=_mamba.mamba_step_bounds,
        vjp_bounds=_mamba.mamba_step_vjp_bounds,
        equation="one step of mamba_block from its two states",
        source="Gu and Dao, Mamba (2023), section 3.4, figure 3 and algorithm 2, one step",
    ),
    Reference(
        name="mamba3_siso",
        outputs=_mamba3_whole.OUTPUTS,
        differentiable=_mamba3_adjoint.DIFFERENTIABLE,
        value=_mamba3.mamba3_siso,
        vjp=_mamba3.mamba3_siso_vjp,
        bounds=_mamba3.mamba3_siso_bounds,
        vjp_bounds=_mamba3.mamba3_siso_vjp_bounds,
        equation="S_t = αS_{t−1} + (1−λ)Δα v_{t−1}k̃_{t−1}ᵀ + λΔ v_t k̃_tᵀ; y_t = (S_t q̃_t + D v_t) silu(z_t)",
        source="Mamba-3 (2026), the exponential-trapezoidal rule with a rotary state",
    ),
    Reference(
        name="mamba3_siso_step",
        outputs=_mamba3_whole.OUTPUTS,
        differentiable=_mamba3_step.DIFFERENTIABLE,
        value=_mamba3.mamba3_siso_step,
        vjp=_mamba3.mamba3_siso_step_vjp,
        bounds=_mamba3.mamba3_siso_step_bounds,
        vjp_bounds=_mamba3.mamba3_siso_step_vjp_bounds,
        equation="one step of mamba3_siso from its four states",
        source="Mamba-3 (2026), the exponential-trapezoidal rule with a rotary state, one step",
    ),
)
"""Every operator of the Mamba family but the scan itself, in order."""
