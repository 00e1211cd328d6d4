"""The ground truth for state space models: values, gradients, and what honest rounding may do to them."""

from ssm_spec._errors import DomainError, DTypeError, ShapeError
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
    "selective_scan",
    "selective_scan_bounds",
    "selective_scan_vjp",
    "selective_scan_vjp_bounds",
    "selective_state_update",
    "selective_state_update_bounds",
    "selective_state_update_vjp",
    "selective_state_update_vjp_bounds",
]
