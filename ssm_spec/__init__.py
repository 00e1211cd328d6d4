"""The ground truth for state space models: values, gradients, and what honest rounding may do to them."""

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
from ssm_spec._hippo import hippo_legs, hippo_legs_bounds
from ssm_spec._kernel import ssm_kernel, ssm_kernel_vjp
from ssm_spec._kernel_bounds import ssm_kernel_bounds, ssm_kernel_vjp_bounds
from ssm_spec._recurrence import ssm_recurrence, ssm_recurrence_vjp
from ssm_spec._recurrence_bounds import ssm_recurrence_bounds, ssm_recurrence_vjp_bounds
from ssm_spec._references import REFERENCES, Reference
from ssm_spec._roundoff import (
    LARGEST_FINITE,
    ORACLE,
    SMALLEST_NORMAL,
    UNIT_ROUNDOFF,
    Arithmetic,
    Bounded,
)
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
    "ShapeError",
    "causal_convolution",
    "causal_convolution_bounds",
    "causal_convolution_vjp",
    "causal_convolution_vjp_bounds",
    "discretize_bilinear",
    "discretize_bilinear_bounds",
    "discretize_bilinear_vjp",
    "discretize_bilinear_vjp_bounds",
    "discretize_zoh",
    "discretize_zoh_bounds",
    "discretize_zoh_vjp",
    "discretize_zoh_vjp_bounds",
    "hippo_legs",
    "hippo_legs_bounds",
    "selective_scan",
    "selective_scan_bounds",
    "selective_scan_vjp",
    "selective_scan_vjp_bounds",
    "selective_state_update",
    "selective_state_update_bounds",
    "selective_state_update_vjp",
    "selective_state_update_vjp_bounds",
    "ssm_kernel",
    "ssm_kernel_bounds",
    "ssm_kernel_vjp",
    "ssm_kernel_vjp_bounds",
    "ssm_recurrence",
    "ssm_recurrence_bounds",
    "ssm_recurrence_vjp",
    "ssm_recurrence_vjp_bounds",
]
