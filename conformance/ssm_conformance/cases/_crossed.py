"""Optional arguments, each present and absent, in wide, long and single-step calls, and of another filter.

Elsewhere options meet small sizes, and large sizes meet the options of one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ssm_conformance.case import Level, Recipe
from ssm_conformance.cases._convolution_step import LONGER, pooled
from ssm_conformance.cases._dual_step import update_inputs
from ssm_conformance.cases._duality import LIMITS
from ssm_conformance.cases._layers import (
    H3,
    LSSL,
    S4_KERNEL,
    S4D,
    S4D_KERNEL,
    S5,
    dplr_inputs,
    h3_inputs,
    lssl_inputs,
    modal_inputs,
    s4d_inputs,
    s5_inputs,
)
from ssm_conformance.cases._linear import RECURRENCE, diagonal_system
from ssm_conformance.cases._mamba3 import STEP as SISO_STEP
from ssm_conformance.cases._mamba3 import VALUE as SISO
from ssm_conformance.cases._mamba3 import siso_inputs
from ssm_conformance.cases._mamba3 import step_inputs as siso_step_inputs
from ssm_conformance.cases._selective import fixed
from ssm_conformance.cases._short_convolution import OUTPUT, STEP_OUTPUT, conv_inputs, step_inputs
from ssm_conformance.cases._with import every_pair
from ssm_conformance.draw import Draw

Row = tuple[str, str, Mapping[str, Any], tuple[str, ...]]
"""Operator, clause, inputs, and which of them are optional."""

_LAST: Final = {"return_last_state": True}
_STATES: Final = ("angle_state", "ssm_state", "k_state", "v_state")
_CONV: Final = ("bias", "activation", "initial_state", "seq_idx", "return_last_state")
_RULES: Final = ("bilinear", "forward_euler", "backward_euler")
_ENGINE: Final = ("bias", "activation", "inplace")
_SLOW: Final = {"low": 1e-4, "high": 1e-2, "sign": -1.0}


def back_again(l: int, first: int, second: int) -> Draw:
    """Ids of two rows in each of which a short sequence lies between two of one id, which is not zero."""
    rows = [[9] * start + [5] * 10 + [9] * (l - start - 10) for start in (first, second)]
    return fixed(rows, dtype="int32")


def _filters() -> Iterator[tuple[str, Row]]:
    """Filters of few taps, for which kernels are compiled apart, and of more; many channels in long rows."""
    for w in (1, 2, 3):
        conv = conv_inputs(2, 3, 40, w, initial=True, seq_idx=back_again(40, 7, 20))
        yield f"taps-{w}", ("causal_conv1d", OUTPUT, conv, _CONV)
        yield f"taps-{w}", ("causal_conv1d_update", STEP_OUTPUT, step_inputs(2, 3, w), ("bias", "activation"))
        yield f"taps-{w}-pool", ("causal_conv1d_update", LONGER, _served(3, w), _ENGINE)
    long = conv_inputs(2, 72, 100, 9, initial=True, seq_idx=back_again(100, 60, 30))
    yield "taps-9", ("causal_conv1d", OUTPUT, long, _CONV)
    wide = conv_inputs(2, 72, 600, 4, initial=True, seq_idx=back_again(600, 480, 530))
    yield "large", ("causal_conv1d", OUTPUT, wide, _CONV)
    yield "large", ("causal_conv1d_update", STEP_OUTPUT, step_inputs(2, 72, 4), ("bias", "activation"))
    yield "large-pool", ("causal_conv1d_update", LONGER, _served(72, 4), _ENGINE)


def _served(d: int, w: int) -> dict[str, Any]:
    """A step on a pool of states that hold one input more than the filter reads, in place."""
    return pooled(3, d, w, 5, [3, -1, 0], k=w, inplace=True)


def _heads() -> Iterator[tuple[str, Row]]:
    """Heads, widths and states past a block, every pair turned or a state left over, and chunks of 64."""
    update = update_inputs(2, 12, 33, 65, g=2, D=Draw((12, 33)), dt_limit=(0.05, 0.2))
    names = ("D", "z", "dt_bias", "dt_softplus", "dt_limit")
    yield "large", ("ssd_update", LIMITS, update, names)
    slots = fixed([3, -1, 0], dtype="int32")
    held = update_inputs(3, 12, 33, 65, g=2, slots=5, state_indices=slots, inplace=True, dt_limit=(0.05, 0.2))
    yield "large-pool", ("ssd_update", LIMITS, held, (*names, "inplace"))
    slow = Draw((2, 6, 100), "log_uniform", parameters=_SLOW)
    siso = siso_inputs(2, 100, 6, 9, 18, a=9, g=2, initial=True, adt=slow, seq_idx=back_again(100, 30, 75))
    yield "large", ("mamba3_siso", SISO, siso, ("D", "z", "return_final_states", *_STATES, "seq_idx"))
    step = siso_step_inputs(2, 6, 33, 67, a=20, g=2)
    yield "large", ("mamba3_siso_step", SISO_STEP, step, ("D", "z"))


def _layers() -> Iterator[tuple[str, Row]]:
    """More channels and modes than a block, and more than two chunks of 64."""
    run = ("D", "initial_state", "return_last_state")
    for complex_ in (False, True):
        kind = "large-complex" if complex_ else "large"
        state = Draw((2, 34, 17), complex=complex_)
        system = diagonal_system(34, n=17, complex_=complex_) | {"u": Draw((2, 34, 1, 130))}
        system |= {"D": Draw((34, 1, 1)), "initial_state": state}
        yield kind, ("ssm_recurrence", RECURRENCE, system | _LAST, run)
        s4d = s4d_inputs(2, 34, 130, 17, complex_, initial_state=state)
        yield kind, ("s4d", S4D, s4d | _LAST, run)
        s5 = s5_inputs(2, 34, 130, 17, complex_) | {"initial_state": Draw((2, 17), complex=complex_)}
        yield kind, ("s5", S5, s5 | _LAST, run)
        h3 = h3_inputs(2, 34, 130, 17, 9, complex_, D=Draw((17,)), out_proj=Draw((3, 34)))
        yield kind, ("h3", H3, h3, ("D", "out_proj"))
    lssl = lssl_inputs(2, 34, 130, 17, 2) | {"A": Draw((34, 17, 17), "legs")}
    yield "large", ("lssl", LSSL, lssl | _LAST | {"initial_state": Draw((2, 34, 17))}, run)


def _few_steps() -> Iterator[tuple[str, Row]]:
    """One step, for which a kernel may have a path of its own, and none."""
    run = ("D", "initial_state", "return_last_state")
    for kind, l in (("single", 1), ("empty", 0)):
        ids = fixed([[3] * l] * 2, dtype="int32")
        yield kind, ("causal_conv1d", OUTPUT, conv_inputs(2, 3, l, 4, initial=True, seq_idx=ids), _CONV)
        siso = siso_inputs(2, l, 4, 2, 4, g=2, initial=True, seq_idx=ids)
        yield kind, ("mamba3_siso", SISO, siso, ("D", "z", "return_final_states", *_STATES, "seq_idx"))
        state = {"initial_state": Draw((2, 2, 3), complex=True)}
        yield kind, ("s4d", S4D, s4d_inputs(2, 2, l, 3, True, **state) | _LAST, run)
        s5 = s5_inputs(2, 2, l, 3, True) | {"initial_state": Draw((2, 3), complex=True)}
        yield kind, ("s5", S5, s5 | _LAST, run)
        h3 = h3_inputs(2, 4, l, 2, 3, True, D=Draw((2,)), out_proj=Draw((3, 4)))
        yield kind, ("h3", H3, h3, ("D", "out_proj"))
        lssl = lssl_inputs(2, 2, l, 3, 2) | {"initial_state": Draw((2, 2, 3))}
        yield kind, ("lssl", LSSL, lssl | _LAST, run)


def _rules() -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """Every rule of discretisation in large calls; a step of forward Euler there must not grow."""
    damped = Draw((34, 17), "uniform", complex=True, parameters={"low": -1.8, "high": -0.05})
    for rule in _RULES:
        given = {"discretization": rule}
        yield "s4d", rule, S4D, s4d_inputs(2, 34, 130, 17, True, A=damped) | given
        yield "s4d_kernel", rule, S4D_KERNEL, modal_inputs(34, 17, False, length=130) | given
        yield "s5", rule, S5, s5_inputs(2, 34, 130, 17, False) | given
        yield "h3", rule, H3, h3_inputs(1, 34, 130, 17, 9, False) | given
    for rule in ("zoh", "backward_euler"):
        legs = lssl_inputs(1, 34, 130, 17, 2) | {"A": Draw((34, 17, 17), "legs"), "discretization": rule}
        yield "lssl", rule, LSSL, legs
    slow = {"A": Draw((34, 17, 17), "stable_matrix", parameters={"radius": 0.05})}
    euler = lssl_inputs(1, 34, 130, 17, 2) | slow | {"discretization": "forward_euler"}
    yield "lssl", "forward_euler", LSSL, euler
    yield "s4d_kernel", "zoh", S4D_KERNEL, modal_inputs(34, 17, False, length=130)
    yield "s4_kernel", "real", S4_KERNEL, dplr_inputs(34, 9, False, 130)
    yield "s4_kernel", "complex", S4_KERNEL, dplr_inputs(34, 9, True, 130)


def _chosen(kind: str, row: Row) -> Iterator[Recipe]:
    op, clause, inputs, options = row
    needed = {name: value for name, value in inputs.items() if name not in options}
    for place, chosen in enumerate(dict.fromkeys(every_pair(options))):
        name = "-".join((kind, "with", *(chosen or ("none",))))
        level: Level = "full" if place else "quick"
        given = {option: inputs[option] for option in chosen}
        yield Recipe(op, name, needed | given, clause, level, dtypes=("float32",))


def _recipes() -> Iterator[Recipe]:
    for rows in (_filters(), _heads(), _layers(), _few_steps()):
        for kind, row in rows:
            yield from _chosen(kind, row)
    for op, rule, clause, inputs in _rules():
        yield Recipe(op, f"large-{rule.replace('_', '-')}", inputs, clause, "full", dtypes=("float32",))


CROSSED: Final = tuple(_recipes())
