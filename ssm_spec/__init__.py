"""The ground truth for state space models: values, gradients, and what honest rounding may do to them."""

from ssm_spec._associative_scan import (
    ScanCost,
    ssm_associative_scan,
    ssm_associative_scan_bounds,
    ssm_associative_scan_cost,
    ssm_associative_scan_vjp,
    ssm_associative_scan_vjp_bounds,
)
from ssm_spec._causal_conv1d import (
    causal_conv1d,
    causal_conv1d_vjp,
)
from ssm_spec._causal_conv1d_bounds import (
    causal_conv1d_bounds,
    causal_conv1d_vjp_bounds,
)
from ssm_spec._causal_conv1d_update import (
    causal_conv1d_update,
    causal_conv1d_update_bounds,
    causal_conv1d_update_vjp,
    causal_conv1d_update_vjp_bounds,
)
from ssm_spec._continuous import (
    continuous_response,
    continuous_response_bounds,
    continuous_response_vjp,
    continuous_response_vjp_bounds,
)
from ssm_spec._convolution import (
    causal_convolution,
    causal_convolution_bounds,
    causal_convolution_vjp,
    causal_convolution_vjp_bounds,
)
from ssm_spec._discretize import (
    discretize_bilinear,
    discretize_bilinear_bounds,
    discretize_bilinear_vjp,
    discretize_bilinear_vjp_bounds,
    discretize_zoh,
    discretize_zoh_bounds,
    discretize_zoh_vjp,
    discretize_zoh_vjp_bounds,
)
from ssm_spec._errors import DomainError, DTypeError, ShapeError
from ssm_spec._h3 import h3, h3_vjp
from ssm_spec._h3_bounds import h3_bounds, h3_vjp_bounds
from ssm_spec._hippo import hippo_legs, hippo_legs_bounds
from ssm_spec._hippo_translated import (
    hippo_fout,
    hippo_fout_bounds,
    hippo_lagt,
    hippo_lagt_bounds,
    hippo_legt,
    hippo_legt_bounds,
)
from ssm_spec._kernel import ssm_kernel, ssm_kernel_vjp
from ssm_spec._kernel_bounds import ssm_kernel_bounds, ssm_kernel_vjp_bounds
from ssm_spec._legs_memory import (
    hippo_legs_compress,
    hippo_legs_compress_bounds,
    hippo_legs_compress_vjp,
    hippo_legs_compress_vjp_bounds,
)
from ssm_spec._legs_reconstruct import (
    hippo_legs_reconstruct,
    hippo_legs_reconstruct_bounds,
    hippo_legs_reconstruct_vjp,
    hippo_legs_reconstruct_vjp_bounds,
)
from ssm_spec._lssl import lssl, lssl_bounds, lssl_vjp, lssl_vjp_bounds
from ssm_spec._mamba import (
    mamba_block,
    mamba_block_bounds,
    mamba_block_vjp,
    mamba_block_vjp_bounds,
    mamba_step,
    mamba_step_bounds,
    mamba_step_vjp,
    mamba_step_vjp_bounds,
)
from ssm_spec._mamba3 import (
    mamba3_siso,
    mamba3_siso_bounds,
    mamba3_siso_step,
    mamba3_siso_step_bounds,
)
from ssm_spec._nplr import (
    hippo_legs_nplr,
    hippo_legs_nplr_bounds,
    s4d_inv,
    s4d_inv_bounds,
    s4d_legs,
    s4d_legs_bounds,
    s4d_lin,
    s4d_lin_bounds,
)
from ssm_spec._recurrence import ssm_recurrence, ssm_recurrence_vjp
from ssm_spec._recurrence_bounds import ssm_recurrence_bounds, ssm_recurrence_vjp_bounds
from ssm_spec._reference import Reference
from ssm_spec._references import REFERENCES
from ssm_spec._responses import (
    impulse_response,
    impulse_response_bounds,
    impulse_response_vjp,
    impulse_response_vjp_bounds,
    step_response,
    step_response_bounds,
    step_response_vjp,
    step_response_vjp_bounds,
)
from ssm_spec._roundoff import (
    LARGEST_FINITE,
    ORACLE,
    SMALLEST_NORMAL,
    UNIT_ROUNDOFF,
    Arithmetic,
    Bounded,
)
from ssm_spec._s4_kernel import s4_kernel, s4_kernel_vjp
from ssm_spec._s4_kernel_bounds import s4_kernel_bounds, s4_kernel_vjp_bounds
from ssm_spec._s4d import s4d, s4d_bounds, s4d_vjp, s4d_vjp_bounds
from ssm_spec._s4d_kernel import s4d_kernel, s4d_kernel_vjp
from ssm_spec._s4d_kernel_bounds import s4d_kernel_bounds, s4d_kernel_vjp_bounds
from ssm_spec._s5 import s5, s5_bounds, s5_vjp, s5_vjp_bounds
from ssm_spec._selective_scan import (
    selective_scan,
    selective_scan_bounds,
    selective_scan_vjp,
    selective_scan_vjp_bounds,
)
from ssm_spec._selective_state_update import (
    selective_state_update,
    selective_state_update_bounds,
    selective_state_update_vjp,
    selective_state_update_vjp_bounds,
)
from ssm_spec._ssd import (
    ssd,
    ssd_bounds,
    ssd_chunked,
    ssd_update,
    ssd_update_bounds,
    ssd_update_vjp,
    ssd_update_vjp_bounds,
    ssd_vjp,
    ssd_vjp_bounds,
)

__all__ = [
    "LARGEST_FINITE",
    "ORACLE",
    "REFERENCES",
    "SMALLEST_NORMAL",
    "UNIT_ROUNDOFF",
    "Arithmetic",
    "Bounded",
    "DTypeError",
    "DomainError",
    "Reference",
    "ScanCost",
    "ShapeError",
    "causal_conv1d",
    "causal_conv1d_bounds",
    "causal_conv1d_update",
    "causal_conv1d_update_bounds",
    "causal_conv1d_update_vjp",
    "causal_conv1d_update_vjp_bounds",
    "causal_conv1d_vjp",
    "causal_conv1d_vjp_bounds",
    "causal_convolution",
    "causal_convolution_bounds",
    "causal_convolution_vjp",
    "causal_convolution_vjp_bounds",
    "continuous_response",
    "continuous_response_bounds",
    "continuous_response_vjp",
    "continuous_response_vjp_bounds",
    "discretize_bilinear",
    "discretize_bilinear_bounds",
    "discretize_bilinear_vjp",
    "discretize_bilinear_vjp_bounds",
    "discretize_zoh",
    "discretize_zoh_bounds",
    "discretize_zoh_vjp",
    "discretize_zoh_vjp_bounds",
    "h3",
    "h3_bounds",
    "h3_vjp",
    "h3_vjp_bounds",
    "hippo_fout",
    "hippo_fout_bounds",
    "hippo_lagt",
    "hippo_lagt_bounds",
    "hippo_legs",
    "hippo_legs_bounds",
    "hippo_legs_compress",
    "hippo_legs_compress_bounds",
    "hippo_legs_compress_vjp",
    "hippo_legs_compress_vjp_bounds",
    "hippo_legs_nplr",
    "hippo_legs_nplr_bounds",
    "hippo_legs_reconstruct",
    "hippo_legs_reconstruct_bounds",
    "hippo_legs_reconstruct_vjp",
    "hippo_legs_reconstruct_vjp_bounds",
    "hippo_legt",
    "hippo_legt_bounds",
    "impulse_response",
    "impulse_response_bounds",
    "impulse_response_vjp",
    "impulse_response_vjp_bounds",
    "lssl",
    "lssl_bounds",
    "lssl_vjp",
    "lssl_vjp_bounds",
    "mamba3_siso",
    "mamba3_siso_bounds",
    "mamba3_siso_step",
    "mamba3_siso_step_bounds",
    "mamba_block",
    "mamba_block_bounds",
    "mamba_block_vjp",
    "mamba_block_vjp_bounds",
    "mamba_step",
    "mamba_step_bounds",
    "mamba_step_vjp",
    "mamba_step_vjp_bounds",
    "s4_kernel",
    "s4_kernel_bounds",
    "s4_kernel_vjp",
    "s4_kernel_vjp_bounds",
    "s4d",
    "s4d_bounds",
    "s4d_inv",
    "s4d_inv_bounds",
    "s4d_kernel",
    "s4d_kernel_bounds",
    "s4d_kernel_vjp",
    "s4d_kernel_vjp_bounds",
    "s4d_legs",
    "s4d_legs_bounds",
    "s4d_lin",
    "s4d_lin_bounds",
    "s4d_vjp",
    "s4d_vjp_bounds",
    "s5",
    "s5_bounds",
    "s5_vjp",
    "s5_vjp_bounds",
    "selective_scan",
    "selective_scan_bounds",
    "selective_scan_vjp",
    "selective_scan_vjp_bounds",
    "selective_state_update",
    "selective_state_update_bounds",
    "selective_state_update_vjp",
    "selective_state_update_vjp_bounds",
    "ssd",
    "ssd_bounds",
    "ssd_chunked",
    "ssd_update",
    "ssd_update_bounds",
    "ssd_update_vjp",
    "ssd_update_vjp_bounds",
    "ssd_vjp",
    "ssd_vjp_bounds",
    "ssm_associative_scan",
    "ssm_associative_scan_bounds",
    "ssm_associative_scan_cost",
    "ssm_associative_scan_vjp",
    "ssm_associative_scan_vjp_bounds",
    "ssm_kernel",
    "ssm_kernel_bounds",
    "ssm_kernel_vjp",
    "ssm_kernel_vjp_bounds",
    "ssm_recurrence",
    "ssm_recurrence_bounds",
    "ssm_recurrence_vjp",
    "ssm_recurrence_vjp_bounds",
    "step_response",
    "step_response_bounds",
    "step_response_vjp",
    "step_response_vjp_bounds",
]
