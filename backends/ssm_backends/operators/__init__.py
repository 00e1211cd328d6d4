"""Every operator of the specification, declared once: documentation, validation and cases come from here.

`SYMBOLS` says what the symbols of their shapes count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ssm_backends.operators import (
    duality,
    hippo,
    kernels,
    layers,
    linear,
    mamba3,
    selective,
    short_convolution,
)
from ssm_backends.operators._common import PYTORCH_FEATURES, SYMBOLS
from ssm_backends.schema import Operator


def _with_pytorch(operator: Operator) -> Operator:
    """The operator with what may be claimed of PyTorch functions, if it takes arrays."""
    if not any(argument.forms for argument in operator.arguments):
        return operator
    return replace(operator, features={**operator.features, **PYTORCH_FEATURES})


OPERATORS: Final[Mapping[str, Operator]] = {
    operator.name: _with_pytorch(operator)
    for operator in (
        linear.DISCRETIZE_ZOH,
        linear.DISCRETIZE_BILINEAR,
        linear.SSM_RECURRENCE,
        linear.SSM_KERNEL,
        linear.CAUSAL_CONVOLUTION,
        hippo.HIPPO_LEGS,
        hippo.HIPPO_LEGT,
        hippo.HIPPO_LAGT,
        hippo.HIPPO_FOUT,
        hippo.HIPPO_LEGS_COMPRESS,
        kernels.S4D_KERNEL,
        kernels.S4_KERNEL,
        layers.S4D,
        layers.LSSL,
        layers.S5,
        layers.H3,
        selective.SELECTIVE_SCAN,
        selective.SELECTIVE_STATE_UPDATE,
        short_convolution.CAUSAL_CONV1D,
        short_convolution.CAUSAL_CONV1D_UPDATE,
        duality.SSD,
        duality.SSD_UPDATE,
        mamba3.MAMBA3_SISO,
        mamba3.MAMBA3_SISO_STEP,
    )
}
"""Name → operator, in the order of the specification."""

__all__ = ["OPERATORS", "PYTORCH_FEATURES", "SYMBOLS"]
