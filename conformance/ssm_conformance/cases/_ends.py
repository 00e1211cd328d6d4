"""Ends of ranges, and softplus between them, of the scans, their steps and layers; pools and packed rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ssm_conformance.case import Check, Recipe
from ssm_conformance.cases._dual_step import update_inputs
from ssm_conformance.cases._duality import GATE, LIMITS, ssd_inputs
from ssm_conformance.cases._duality import RESET as SSD_RESET
from ssm_conformance.cases._duality import VALUE as SSD
from ssm_conformance.cases._layers import (
    H3,
    LSSL,
    S4D,
    S4D_KERNEL,
    S5,
    h3_inputs,
    lssl_inputs,
    modal_inputs,
    s4d_inputs,
    s5_inputs,
)
from ssm_conformance.cases._mamba3 import TURNS, siso_inputs
from ssm_conformance.cases._mamba3 import VALUE as SISO
from ssm_conformance.cases._mamba3 import step_inputs as siso_step_inputs
from ssm_conformance.cases._selective import OUTPUT, RESET, SOFTPLUS, STATE, ZOH, fixed, scan_inputs, states
from ssm_conformance.cases._short_convolution import RESET as CONVOLUTION_RESET
from ssm_conformance.cases._short_convolution import conv_inputs
from ssm_conformance.cases._step import SLOTS, step_inputs
from ssm_conformance.draw import Draw

Row = tuple[str, str, Check, str, dict[str, Any]]
"""Operator, name, word in the report, clause, inputs."""

_FAR: Final = (-1e4, -88.0, -20.0, 0.0, 20.0, 88.0, 1e4)
_LARGE: Final = (17.0, 24.0, 31.0, 96.0, 1e4)
_ONE: Final = fixed([[3], [4]], dtype="int32")


def _choice(values: tuple[Any, ...], *shape: int) -> Draw:
    return Draw(shape, "choice", parameters={"values": values})


def _rates(*shape: int, low: float, high: float) -> Draw:
    return Draw(shape, "log_uniform", parameters={"low": low, "high": high, "sign": -1.0})


def _growing(*shape: int) -> Draw:
    return Draw(shape, "uniform", parameters={"low": -0.5, "high": 0.8})


def _steps() -> Iterator[Row]:
    """The step's gate, steps and modes, as far as the scan's; slots beyond 8 bits; more rows than slots."""
    op = "selective_state_update"
    yield op, "gate-far", "extreme", OUTPUT, step_inputs(7, 4, 2, z=_choice(_FAR, 7, 4))
    large = step_inputs(5, 4, 2, delta=_choice(_LARGE, 5, 4), A=_rates(4, 2, low=1e-4, high=2.0))
    yield op, "softplus-large", "extreme", SOFTPLUS, large
    yield op, "growing", "extreme", STATE, step_inputs(2, 3, 2, softplus=False, A=_growing(3, 2))
    near = Draw((4, 3), "choice", parameters={"values": (0.0, -1e-9, -1e-5, 1e-7, -1.0)})
    tiny = Draw((2, 4), "log_uniform", parameters={"low": 1e-7, "high": 1e-2})
    plain = step_inputs(2, 4, 3, gate=False, softplus=False, b_discretization="zoh", A=near, delta=tiny)
    yield op, "zoh-near-zero", "extreme", ZOH, plain | {"state": fixed(0.0, (2, 4, 3)), "D": fixed(0.0, (4,))}
    slots = fixed([299, -1, 130], dtype="int32")
    yield op, "pool-large", "value", SLOTS, step_inputs(3, 2, 2, slots=300, state_indices=slots)
    few = fixed([2, -1, -1, 0, -1], dtype="int32")
    yield op, "pool-of-few", "value", SLOTS, step_inputs(5, 2, 2, slots=3, state_indices=few)


def _heads() -> Iterator[Row]:
    """SSD and Mamba-3."""
    large = ssd_inputs(2, 9, 4, 2, 2, dt=_choice(_LARGE, 2, 9, 4), A=_rates(4, low=1e-4, high=2.0))
    yield "ssd", "softplus-large", "extreme", LIMITS, large
    yield "ssd", "growing", "extreme", SSD, ssd_inputs(1, 12, 3, 2, 2, softplus=False, A=_growing(3))
    update = update_inputs(7, 4, 2, 2, z=_choice(_FAR, 7, 4, 2))
    yield "ssd_update", "gate-far", "extreme", GATE, update
    large = update_inputs(5, 4, 2, 2, dt=_choice(_LARGE, 5, 4), A=_rates(4, low=1e-4, high=2.0))
    yield "ssd_update", "softplus-large", "extreme", LIMITS, large
    growing = update_inputs(2, 3, 2, 2, softplus=False, A=_growing(3))
    yield "ssd_update", "growing", "extreme", SSD, growing
    far = siso_inputs(2, 9, 2, 2, 4, trap=_choice(_FAR, 2, 2, 9), z=_choice(_FAR, 2, 9, 2, 2))
    yield "mamba3_siso", "gates-far", "extreme", SISO, far
    angles = siso_inputs(2, 9, 2, 2, 4, a=2, angles=_choice(_FAR, 2, 9, 2, 2))
    yield "mamba3_siso", "angles-far", "extreme", TURNS, angles
    decays = siso_inputs(2, 15, 3, 2, 4, adt=_rates(2, 3, 15, low=1e-4, high=1e3))
    yield "mamba3_siso", "decay-strong-and-weak", "extreme", SISO, decays
    yield "mamba3_siso", "growing", "extreme", SISO, siso_inputs(1, 9, 2, 2, 4, adt=_growing(1, 2, 9))
    step = siso_step_inputs(7, 2, 2, 4, trap=_choice(_FAR, 7, 2), z=_choice(_FAR, 7, 2, 2))
    yield "mamba3_siso_step", "gates-far", "extreme", SISO, step


def _layers() -> Iterator[Row]:
    """(exp(Δλ) − 1)/λ is 0/0 at λ = 0 and loses its digits near it; A⁻¹(Ā − I)B needs a regular A."""
    near = (0.0, -1e-9, -1e-5, 1e-7, -1.0)
    yield "s5", "near-zero", "extreme", S5, s5_inputs(2, 3, 9, 5, False) | {"A": fixed(near)}
    yield "s4d", "near-zero", "extreme", S4D, s4d_inputs(2, 3, 9, 5, False, A=fixed(near, (3, 5)))
    kernel = modal_inputs(3, 5, False, length=9, A=fixed(near, (3, 5)))
    yield "s4d_kernel", "near-zero", "extreme", S4D_KERNEL, kernel
    yield "h3", "near-zero", "extreme", H3, h3_inputs(2, 4, 9, 2, 5, False, A=fixed(near, (2, 5)))
    singular = {"A": fixed([[0.0, 1.0], [0.0, 0.0]], (2, 2, 2)), "discretization": "zoh"}
    yield "lssl", "zoh-singular", "extreme", LSSL, lssl_inputs(2, 2, 9, 2, 1) | singular


def _bends() -> Iterator[Row]:
    """Softplus where it is neither exp(x) nor x: x is −4 to 10 once the bias is added.

    What takes x for it above 2 is wrong by an eighth there; where layers start, and at the ends, by nothing.
    """

    def steps(*shape: int) -> Draw:
        return Draw(shape, "uniform", parameters={"low": -3.0, "high": 11.0})

    name, bias = "softplus-near", fixed(-1.0, (4,))
    modes, heads = _rates(4, 2, low=1e-4, high=2.0), _rates(4, low=1e-4, high=2.0)
    scan = scan_inputs(2, 4, 19, 2) | {"delta": steps(2, 4, 19), "A": modes, "delta_bias": bias}
    yield "selective_scan", name, "extreme", SOFTPLUS, scan
    step = step_inputs(9, 4, 2, delta=steps(9, 4), A=modes, delta_bias=bias)
    yield "selective_state_update", name, "extreme", SOFTPLUS, step
    dual = ssd_inputs(2, 19, 4, 2, 2, dt=steps(2, 19, 4), A=heads, dt_bias=bias)
    yield "ssd", name, "extreme", LIMITS, dual
    update = update_inputs(9, 4, 2, 2, dt=steps(9, 4), A=heads, dt_bias=bias)
    yield "ssd_update", name, "extreme", LIMITS, update


def _one_step() -> Iterator[Row]:
    """Packed rows of one step, which have no reset."""
    scan = scan_inputs(2, 3, 1, 2, initial_state=states(2, 3, 2), seq_idx=_ONE)
    yield "selective_scan", "packed-single", "robustness", RESET, scan
    dual = ssd_inputs(2, 1, 3, 2, 2, initial_states=Draw((2, 3, 2, 2)), seq_idx=_ONE)
    yield "ssd", "packed-single", "robustness", SSD_RESET, dual
    siso = siso_inputs(2, 1, 3, 2, 4, initial=True, seq_idx=_ONE)
    yield "mamba3_siso", "packed-single", "robustness", SISO, siso
    conv = conv_inputs(2, 3, 1, 4, initial=True, seq_idx=_ONE)
    yield "causal_conv1d", "packed-single", "robustness", CONVOLUTION_RESET, conv


def _recipes() -> Iterator[Recipe]:
    for rows in (_steps(), _heads(), _layers(), _one_step()):
        for op, name, check, clause, inputs in rows:
            yield Recipe(op, name, inputs, clause, "quick", check, dtypes=("float32",))
    for op, name, check, clause, inputs in _bends():
        yield Recipe(op, name, inputs, clause, "quick", check)


ENDS: Final = tuple(_recipes())
