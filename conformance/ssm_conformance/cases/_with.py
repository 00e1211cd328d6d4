"""Optional arguments of the other operators, each present and absent, and every pair of them in some call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, Final

from ssm_conformance.case import Recipe
from ssm_conformance.cases._convolution_step import LONGER, pooled
from ssm_conformance.cases._dual_step import update_inputs
from ssm_conformance.cases._duality import LIMITS
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
from ssm_conformance.cases._linear import RECURRENCE, diagonal_system
from ssm_conformance.cases._mamba3 import STEP as SISO_STEP
from ssm_conformance.cases._mamba3 import VALUE as SISO
from ssm_conformance.cases._mamba3 import siso_inputs
from ssm_conformance.cases._mamba3 import step_inputs as siso_step_inputs
from ssm_conformance.cases._selective import fixed
from ssm_conformance.cases._short_convolution import OUTPUT, STEP_OUTPUT, conv_inputs, step_inputs
from ssm_conformance.draw import Draw

_SINGLE: Final = ("float32",)
_TWO: Final = fixed([[0] * 3 + [1] * 6, [5] * 6 + [4] * 3], dtype="int32")
"""Two sequences in each row of nine steps."""
_SERVED: Final = fixed([3, -1, 0], dtype="int32")
_RULES: Final = ("bilinear", "forward_euler", "backward_euler")
"""Rules of discretisation, each of which decides what becomes of an initial state too."""


def every_pair(options: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Six choices among at most ten options; each two of them stand in all four ways in some choice.

    Each option is in three of five rows, no two in the same three: such rows meet, and neither
    holds the other. In the sixth row there is none.
    """
    rows = dict(zip(options, combinations(range(5), 3), strict=False))
    for number in range(6):
        yield tuple(option for option in options if number in rows[option])


def _with(
    op: str, clause: str, inputs: Mapping[str, Any], options: tuple[str, ...], kind: str = ""
) -> Iterator[Recipe]:
    """Calls of an operator that have each choice of the options among its inputs."""
    needed = {name: value for name, value in inputs.items() if name not in options}
    for chosen in dict.fromkeys(every_pair(options)):
        name = "-".join(filter(None, ("with", kind, *(chosen or ("none",)))))
        given = {option: inputs[option] for option in chosen}
        yield Recipe(op, name, needed | given, clause, first=_SINGLE)


def _by_rule(op: str, clause: str, inputs: Mapping[str, Any], rules: tuple[str, ...]) -> Iterator[Recipe]:
    kind = "complex" if inputs["A"].complex else "real"
    for rule in rules:
        given = {**inputs, "discretization": rule}
        yield Recipe(op, f"{kind}-{rule.replace('_', '-')}", given, clause, first=_SINGLE)


def _recipes() -> Iterator[Recipe]:
    conv = conv_inputs(2, 3, 9, 4, initial=True, seq_idx=_TWO)
    names = ("bias", "activation", "initial_state", "seq_idx", "return_last_state")
    yield from _with("causal_conv1d", OUTPUT, conv, names)
    yield from _with("causal_conv1d_update", STEP_OUTPUT, step_inputs(2, 3, 4), ("bias", "activation"))
    served = pooled(3, 3, 4, 5, [3, -1, 0], k=4, inplace=True)
    yield from _with("causal_conv1d_update", LONGER, served, ("bias", "activation", "inplace"), "pool-longer")
    update = update_inputs(2, 4, 3, 2, dt=_steps(2, 4), dt_bias=_bias(4), dt_limit=(0.05, 0.2))
    options = ("D", "z", "dt_bias", "dt_softplus", "dt_limit")
    yield from _with("ssd_update", LIMITS, update, options)
    held = update_inputs(3, 4, 3, 2, slots=5, state_indices=_SERVED, inplace=True, D=Draw((4, 3)), g=2)
    held |= {"dt": _steps(3, 4), "dt_bias": _bias(4), "dt_limit": (0.05, 0.2)}
    yield from _with("ssd_update", LIMITS, held, (*options, "inplace"), "pool")
    siso = siso_inputs(2, 9, 3, 2, 4, initial=True, seq_idx=_TWO)
    states = ("angle_state", "ssm_state", "k_state", "v_state")
    yield from _with("mamba3_siso", SISO, siso, ("D", "z", "return_final_states", *states, "seq_idx"))
    yield from _with("mamba3_siso_step", SISO_STEP, siso_step_inputs(2, 3, 2, 4), ("D", "z"))
    yield from _layers()


def _layers() -> Iterator[Recipe]:
    run = ("D", "initial_state", "return_last_state")
    last = {"return_last_state": True}
    for complex_ in (False, True):
        kind = "complex" if complex_ else ""
        state = Draw((2, 2, 3), complex=complex_)
        system = diagonal_system(2, n=3, complex_=complex_) | {"u": Draw((2, 2, 1, 9))}
        system |= {"D": Draw((2, 1, 1)), "initial_state": state}
        yield from _with("ssm_recurrence", RECURRENCE, system | last, run, kind)
        s4d = s4d_inputs(2, 2, 9, 3, complex_, initial_state=state)
        yield from _with("s4d", S4D, s4d | last, run, kind)
        yield from _by_rule("s4d", S4D, s4d | last, _RULES)
        yield from _by_rule("s4d_kernel", S4D_KERNEL, modal_inputs(2, 3, complex_, length=9), _RULES)
        s5 = s5_inputs(2, 2, 9, 3, complex_) | {"initial_state": Draw((2, 3), complex=complex_)}
        yield from _with("s5", S5, s5 | last, run, kind)
        yield from _by_rule("s5", S5, s5 | last, _RULES)
        h3 = h3_inputs(2, 4, 9, 2, 3, complex_, D=Draw((2,)), out_proj=Draw((3, 4)))
        yield from _with("h3", H3, h3, ("D", "out_proj"), kind)
        yield from _by_rule("h3", H3, h3, _RULES)
    lssl = lssl_inputs(2, 2, 9, 3, 2) | {"initial_state": Draw((2, 2, 3))}
    yield from _with("lssl", LSSL, lssl | last, run)
    yield from _by_rule("lssl", LSSL, lssl | last, ("zoh", *_RULES[1:]))


def _steps(*shape: int) -> Draw:
    return Draw(shape, "log_uniform", parameters={"low": 1e-3, "high": 0.3})


def _bias(*shape: int) -> Draw:
    return Draw(shape, "uniform", parameters={"low": -0.2, "high": 0.2})


WITH: Final = tuple(_recipes())
