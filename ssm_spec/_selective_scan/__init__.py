"""The selective scan of Mamba: value, gradient, and the bounds of both."""

from ssm_spec._selective_scan._public import (
    selective_scan,
    selective_scan_bounds,
    selective_scan_vjp,
    selective_scan_vjp_bounds,
)

__all__ = [
    "selective_scan",
    "selective_scan_bounds",
    "selective_scan_vjp",
    "selective_scan_vjp_bounds",
]
