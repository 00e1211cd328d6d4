"""The one door to python-flint: ball arithmetic, or an error that names the command that brings it."""

from __future__ import annotations

try:
    from flint import acb, acb_mat, arb, arb_mat, arb_poly, ctx
except ImportError as error:
    raise ImportError(
        "`ssm_spec.certify` needs python-flint, which is not installed; run: pip install 'ssm-spec[certify]'",
        name="flint",
    ) from error

__all__ = ["acb", "acb_mat", "arb", "arb_mat", "arb_poly", "ctx"]
