"""One stream in float32 among those in 16 bits: a kernel may read it by the dtype of its neighbour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ssm_backends.dtypes import HALF
from ssm_conformance.case import Recipe
from ssm_conformance.cases import _duality, _mamba3, _short_convolution, _step
from ssm_conformance.cases._layers import h3_inputs
from ssm_conformance.cases._selective import MIXED, wider
from ssm_conformance.cases._selective import WIDER as SELECTIVE

Row = tuple[str, dict[str, Any], tuple[str, ...]]
"""Operator, inputs, and the streams that may be wider."""

_ROWS: Final[tuple[Row, ...]] = (
    ("selective_state_update", _step.step_inputs(2, 4, 3), SELECTIVE),
    ("ssd_update", _duality.update_inputs(2, 2, 3, 3), _duality.WIDER),
    ("mamba3_siso", _mamba3.siso_inputs(1, 9, 2, 3, 4), _mamba3.WIDER),
    ("mamba3_siso_step", _mamba3.step_inputs(2, 2, 3, 4), _mamba3.WIDER),
    ("causal_conv1d", _short_convolution.conv_inputs(1, 3, 9, 4), _short_convolution.WIDER),
    ("causal_conv1d_update", _short_convolution.step_inputs(2, 3, 4), _short_convolution.WIDER),
    ("h3", h3_inputs(1, 4, 9, 2, 3, False), ("k", "v")),
)


def _recipes() -> Iterator[Recipe]:
    for op, inputs, names in _ROWS:
        for name in names:
            yield Recipe(op, f"mixed-{name}", wider(inputs, name), MIXED, "full", dtypes=HALF)


MIXED_ALONE: Final = tuple(_recipes())
