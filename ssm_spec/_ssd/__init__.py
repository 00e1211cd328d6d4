"""State space duality, the scan of Mamba-2: value in two forms, gradient, bounds, and the single step."""

from ssm_spec._ssd._dual import ssd_chunked
from ssm_spec._ssd._public import ssd, ssd_bounds, ssd_vjp, ssd_vjp_bounds
from ssm_spec._ssd._update import ssd_update, ssd_update_bounds, ssd_update_vjp, ssd_update_vjp_bounds

__all__ = [
    "ssd",
    "ssd_bounds",
    "ssd_chunked",
    "ssd_update",
    "ssd_update_bounds",
    "ssd_update_vjp",
    "ssd_update_vjp_bounds",
    "ssd_vjp",
    "ssd_vjp_bounds",
]
