"""The table of operators: the value of each, its gradient, the two bounds, and its equation."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ssm_spec import (
    _convolution,
    _discretize,
    _hippo,
    _kernel,
    _kernel_bounds,
    _recurrence,
    _recurrence_bounds,
    _selective_scan,
    _selective_state_update,
)
from ssm_spec._docstrings import complete
from ssm_spec._reference import Reference
from ssm_spec._references_linear import LINEAR_ROWS
from ssm_spec._references_mamba import MAMBA_ROWS

_ROWS: tuple[Reference, ...] = (
    Reference(
        name="discretize_zoh",
        outputs=("A_bar", "B_bar"),
        differentiable=("A", "B", "delta"),
        value=_discretize.discretize_zoh,
        vjp=_discretize.discretize_zoh_vjp,
        bounds=_discretize.discretize_zoh_bounds,
        vjp_bounds=_discretize.discretize_zoh_vjp_bounds,
        equation="[[Ā, B̄], [0, I]] = exp(Δ [[A, B], [0, 0]])",
        source="Van Loan, IEEE Trans. Autom. Control 23 (1978), theorem 1; Gu and Dao, Mamba (2023), eq. (4)",
    ),
    Reference(
        name="discretize_bilinear",
        outputs=("A_bar", "B_bar"),
        differentiable=("A", "B", "delta"),
        value=_discretize.discretize_bilinear,
        vjp=_discretize.discretize_bilinear_vjp,
        bounds=_discretize.discretize_bilinear_bounds,
        vjp_bounds=_discretize.discretize_bilinear_vjp_bounds,
        equation="Ā = (I − αΔA)⁻¹(I + (1−α)ΔA), B̄ = (I − αΔA)⁻¹ΔB",
        source="Gu, Goel and Ré, S4 (2021), eq. (3), where α = 1/2",
    ),
    Reference(
        name="ssm_recurrence",
        outputs=("y", "last_state"),
        differentiable=("A_bar", "B_bar", "C", "u", "D", "initial_state"),
        value=_recurrence.ssm_recurrence,
        vjp=_recurrence.ssm_recurrence_vjp,
        bounds=_recurrence_bounds.ssm_recurrence_bounds,
        vjp_bounds=_recurrence_bounds.ssm_recurrence_vjp_bounds,
        equation="h_k = Ā h_{k−1} + B̄ u_k, y_k = C h_k + D u_k",
        source="Gu, Goel and Ré, S4 (2021), eq. (3)",
    ),
    Reference(
        name="ssm_kernel",
        outputs=("K",),
        differentiable=("A_bar", "B_bar", "C"),
        value=_kernel.ssm_kernel,
        vjp=_kernel.ssm_kernel_vjp,
        bounds=_kernel_bounds.ssm_kernel_bounds,
        vjp_bounds=_kernel_bounds.ssm_kernel_vjp_bounds,
        equation="K_j = C Āʲ B̄",
        source="Gu, Goel and Ré, S4 (2021), eq. (5)",
    ),
    Reference(
        name="causal_convolution",
        outputs=("y",),
        differentiable=("u", "K"),
        value=_convolution.causal_convolution,
        vjp=_convolution.causal_convolution_vjp,
        bounds=_convolution.causal_convolution_bounds,
        vjp_bounds=_convolution.causal_convolution_vjp_bounds,
        equation="y_t = Σ_{j ≤ t} K_j u_{t−j}",
        source="Gu, Goel and Ré, S4 (2021), eq. (4)",
    ),
    Reference(
        name="hippo_legs",
        outputs=("A", "B"),
        differentiable=(),
        value=_hippo.hippo_legs,
        vjp=None,
        bounds=_hippo.hippo_legs_bounds,
        vjp_bounds=None,
        equation="A_nk = −√((2n+1)(2k+1)) for n > k, −(n+1) for n = k, 0 for n < k; B_n = √(2n+1)",
        source="Gu, Dao, Ermon, Rudra and Ré, HiPPO (2020), theorem 2",
    ),
    Reference(
        name="selective_scan",
        outputs=("y", "last_state"),
        differentiable=("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state"),
        value=_selective_scan.selective_scan,
        vjp=_selective_scan.selective_scan_vjp,
        bounds=_selective_scan.selective_scan_bounds,
        vjp_bounds=_selective_scan.selective_scan_vjp_bounds,
        equation="h_t = exp(Δ_t A) h_{t−1} + b̄_t u_t; y_t = (γ Re Σ_n C_t h_t + D u_t) · silu(z_t)",
        source="Gu and Dao, Mamba (2023), eq. (2) and (4), algorithm 2",
    ),
    Reference(
        name="selective_state_update",
        outputs=("y", "state"),
        differentiable=("state", "u", "delta", "A", "B", "C", "D", "z", "delta_bias"),
        value=_selective_state_update.selective_state_update,
        vjp=_selective_state_update.selective_state_update_vjp,
        bounds=_selective_state_update.selective_state_update_bounds,
        vjp_bounds=_selective_state_update.selective_state_update_vjp_bounds,
        equation="h = exp(ΔA) h⁻ + b̄ u; y = (γ Re Σ_n C h + D u) · silu(z)",
        source="Gu and Dao, Mamba (2023), eq. (2) and (4), one step",
    ),
)

REFERENCES: Final[Mapping[str, Reference]] = MappingProxyType(
    {row.name: complete(row) for row in (*_ROWS, *LINEAR_ROWS, *MAMBA_ROWS)}
)
"""Every operator of the oracle, by name."""
