"""The rows of the linear systems of the field: initialisations, kernels and layers on the basic rooms."""

from __future__ import annotations

from typing import Final

from ssm_spec import _hippo_translated, _nplr
from ssm_spec._reference import Reference

_HIPPO: Final = "Gu, Dao, Ermon, Rudra and Ré, HiPPO (2020)"
_S4: Final = "Gu, Goel and Ré, S4 (2021)"
_S4D: Final = "Gu, Gupta, Goel and Ré, S4D (2022)"

LINEAR_ROWS: Final[tuple[Reference, ...]] = (
    Reference(
        name="hippo_legt",
        outputs=("A", "B"),
        differentiable=(),
        value=_hippo_translated.hippo_legt,
        vjp=None,
        bounds=_hippo_translated.hippo_legt_bounds,
        vjp_bounds=None,
        equation="A_nk = −√((2n+1)(2k+1))/θ · {1 for k ≤ n; (−1)^(n−k) for k > n}; B_n = √(2n+1)/θ",
        source=f"{_HIPPO}, theorem 1, normalised",
    ),
    Reference(
        name="hippo_lagt",
        outputs=("A", "B"),
        differentiable=(),
        value=_hippo_translated.hippo_lagt,
        vjp=None,
        bounds=_hippo_translated.hippo_lagt_bounds,
        vjp_bounds=None,
        equation="A_nk = −1 for n ≥ k, 0 for n < k; B_n = 1",
        source=f"{_HIPPO}, theorem 1",
    ),
    Reference(
        name="hippo_fout",
        outputs=("A", "B"),
        differentiable=(),
        value=_hippo_translated.hippo_fout,
        vjp=None,
        bounds=_hippo_translated.hippo_fout_bounds,
        vjp_bounds=None,
        equation="A = R − 2ββᵀ, R_{2k,2k+1} = −2πk = −R_{2k+1,2k}; B = 2β, β = (1, 0, √2, 0, √2, 0, ...)",
        source="Gu, Johnson, Timalsina, Rudra and Ré, How to Train Your HiPPO (2022), eq. (10)",
    ),
    Reference(
        name="hippo_legs_nplr",
        outputs=("Lambda", "P", "B", "V"),
        differentiable=(),
        value=_nplr.hippo_legs_nplr,
        vjp=None,
        bounds=_nplr.hippo_legs_nplr_bounds,
        vjp_bounds=None,
        equation="A = V (diag(Λ) − P P*) V*, V B = B of LegS",
        source=f"{_S4}, theorem 1 and eq. (6)",
    ),
    Reference(
        name="s4d_legs",
        outputs=("Lambda", "B"),
        differentiable=(),
        value=_nplr.s4d_legs,
        vjp=None,
        bounds=_nplr.s4d_legs_bounds,
        vjp_bounds=None,
        equation="Λ the eigenvalues of A + P Pᵀ with Im λ > 0, B = V* B",
        source=f"{_S4D}, section 4.1",
    ),
    Reference(
        name="s4d_inv",
        outputs=("Lambda", "B"),
        differentiable=(),
        value=_nplr.s4d_inv,
        vjp=None,
        bounds=_nplr.s4d_inv_bounds,
        vjp_bounds=None,
        equation="λ_m = −½ + i (n/π)(n/(2m+1) − 1), B = 1",
        source=f"{_S4D}, eq. (8)",
    ),
    Reference(
        name="s4d_lin",
        outputs=("Lambda", "B"),
        differentiable=(),
        value=_nplr.s4d_lin,
        vjp=None,
        bounds=_nplr.s4d_lin_bounds,
        vjp_bounds=None,
        equation="λ_m = −½ + iπm, B = 1",
        source=f"{_S4D}, eq. (9)",
    ),
)
