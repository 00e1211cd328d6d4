"""One stream in float32 among those in 16 bits, and parameters in float64 beside a stream that is narrower.

A kernel may read an array by the dtype of its neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from ssm_backends.dtypes import HALF
from ssm_conformance.case import Recipe
from ssm_conformance.cases import _dual_step, _duality, _mamba3, _short_convolution, _step
from ssm_conformance.cases._layers import h3_inputs, lssl_inputs, s4d_inputs, s5_inputs
from ssm_conformance.cases._linear import diagonal_system
from ssm_conformance.cases._selective import MIXED, scan_inputs, states, wider
from ssm_conformance.cases._selective import WIDER as SELECTIVE
from ssm_conformance.draw import Draw

_BOTH: Final = ("selective_scan", "selective_state_update")
"""Operators of which real modes and complex ones are asked about."""
_SCANNED: Final = ("u", *SELECTIVE)
_DUAL: Final = ("x", *_duality.WIDER)
"""The streams of a scan; its state is kept in the type computed in."""

Row = tuple[str, dict[str, Any], tuple[str, ...]]
"""Operator, inputs, and the streams that may be wider."""

_ROWS: Final[tuple[Row, ...]] = (
    ("selective_state_update", _step.step_inputs(2, 4, 3), SELECTIVE),
    ("ssd_update", _dual_step.update_inputs(2, 2, 3, 3), _duality.WIDER),
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


def _mixed_layers() -> Iterator[Recipe]:
    """The same where there is more than a block: a path for layers may read all streams in one type."""
    for op, inputs, names in (
        ("selective_scan", scan_inputs(1, 72, 70, 16), SELECTIVE),
        ("selective_state_update", _step.step_inputs(2, 72, 16), SELECTIVE),
        ("ssd", _duality.ssd_inputs(1, 70, 2, 64, 16), _duality.WIDER),
        ("ssd_update", _dual_step.update_inputs(2, 2, 64, 16), _duality.WIDER),
        ("causal_conv1d", _short_convolution.conv_inputs(1, 72, 70, 4), _short_convolution.WIDER),
        ("causal_conv1d_update", _short_convolution.step_inputs(2, 72, 4), _short_convolution.WIDER),
    ):
        yield Recipe(op, "layer-mixed", wider(inputs, *names), MIXED, dtypes=("bfloat16",))


def _wide_parameters() -> Iterator[Recipe]:
    """The compute type is that of the widest input."""
    modes = diagonal_system(3, n=4, complex_=True) | {"u": Draw((2, 3, 1, 9))}
    for op, inputs, streams in (
        ("ssm_recurrence", modes, ("u",)),
        ("s4d", s4d_inputs(2, 3, 9, 4, True), ("u",)),
        ("s5", s5_inputs(2, 3, 9, 4, True), ("u",)),
        ("lssl", lssl_inputs(2, 3, 9, 4, 2), ("u",)),
        ("h3", h3_inputs(1, 4, 9, 2, 3, True), ("q", "k", "v")),
        ("selective_scan", scan_inputs(2, 4, 9, 3, initial_state=states(2, 4, 3)), _SCANNED),
        ("selective_scan", scan_inputs(2, 4, 9, 3, complex_=True), _SCANNED),
        ("selective_state_update", _step.step_inputs(2, 4, 3), _SCANNED),
        ("selective_state_update", _step.step_inputs(2, 4, 3, complex_=True), _SCANNED),
        ("ssd", _duality.ssd_inputs(2, 9, 4, 2, 3, g=2, initial_states=Draw((2, 4, 2, 3))), _DUAL),
        ("ssd_update", _dual_step.update_inputs(2, 4, 2, 3, g=2), _DUAL),
    ):
        wide = {
            name: replace(x, dtype="complex128" if x.complex else "float64")
            for name, x in inputs.items()
            if isinstance(x, Draw) and name not in streams
        }
        name = "wide-parameters-complex" if op in _BOTH and inputs["A"].complex else "wide-parameters"
        yield Recipe(op, name, inputs | wide, MIXED, dtypes=("float32", "bfloat16"))


MIXED_ALONE: Final = (*_recipes(), *_mixed_layers(), *_wide_parameters())
