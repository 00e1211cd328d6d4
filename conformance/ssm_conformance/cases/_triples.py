"""Every three optional arguments in some call together, each present and absent, past a block of 64 steps.

Kernels are compiled for choices of options, and a choice of three has a kernel of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ssm_conformance.case import Recipe
from ssm_conformance.cases._convolution_step import LONGER, pooled
from ssm_conformance.cases._dual_step import update_inputs
from ssm_conformance.cases._duality import LIMITS, with_options
from ssm_conformance.cases._layers import H3, LSSL, S4D, S5, h3_inputs, lssl_inputs, s4d_inputs, s5_inputs
from ssm_conformance.cases._linear import RECURRENCE, diagonal_system
from ssm_conformance.cases._mamba3 import STEP as SISO_STEP
from ssm_conformance.cases._mamba3 import VALUE as SISO
from ssm_conformance.cases._mamba3 import siso_inputs
from ssm_conformance.cases._mamba3 import step_inputs as siso_step_inputs
from ssm_conformance.cases._options import TRIPLE, scan_with, step_with
from ssm_conformance.cases._selective import fixed
from ssm_conformance.cases._short_convolution import OUTPUT, conv_inputs
from ssm_conformance.draw import Draw

SCAN_ROWS: Final = (
    "z bias last initial cu_seqlens zoh B-constant C-constant complex",
    "z softplus seq_idx zoh B-grouped C-grouped complex",
    "softplus initial zoh B-constant C-grouped",
    "D z last seq_idx zoh C-constant complex",
    "z bias initial cu_seqlens B-grouped",
    "D bias softplus initial cu_seqlens B-grouped C-grouped complex",
    "D z bias softplus initial zoh C-constant complex",
    "D z last initial seq_idx B-constant C-grouped",
    "softplus last cu_seqlens zoh B-grouped complex",
    "last initial B-constant C-constant complex",
    "D bias cu_seqlens zoh B-constant C-grouped",
    "D initial seq_idx zoh complex",
    "D z bias seq_idx B-grouped C-constant",
    "D cu_seqlens zoh C-grouped complex",
    "D z initial seq_idx zoh B-constant C-constant",
    "bias softplus last initial seq_idx zoh B-grouped",
    "bias zoh B-grouped C-grouped",
    "D z softplus last cu_seqlens zoh B-constant complex",
    "D z softplus last seq_idx C-grouped complex",
    "bias softplus initial cu_seqlens C-constant complex",
    "z last B-constant complex",
)
"""What the calls that have every pair of a scan's options lack of the triples."""
STEP_ROWS: Final = (
    "z bias inplace half",
    "D softplus B-grouped pool half",
    "D z zoh B-grouped C-grouped pool inplace half",
    "D bias softplus zoh C-grouped half",
    "z bias C-grouped complex pool",
    "softplus B-grouped C-grouped complex inplace",
    "zoh pool half",
    "D bias softplus zoh B-grouped complex",
    "D z bias softplus B-grouped C-grouped pool inplace half",
    "z softplus B-grouped C-grouped half",
    "D inplace half",
)
"""The same for a step; no state in 16 bits is complex."""
SSD_ROWS: Final = (
    "wide-D z bias softplus limits initial seq_idx groups last",
    "softplus limits initial seq_idx last",
    "D z bias softplus initial last",
    "wide-D z bias initial groups",
    "limits seq_idx groups",
    "D bias limits seq_idx last",
    "wide-D softplus initial last",
    "D z softplus limits initial seq_idx groups",
    "z bias softplus limits initial seq_idx groups last",
    "wide-D z bias last",
)
"""The same for SSD."""
_TWO: Final = fixed([[0] * 65 + [1] * 5, [5] * 33 + [4] * 37], dtype="int32")
"""Two sequences in each row of seventy steps."""
_STATES: Final = ("angle_state", "ssm_state", "k_state", "v_state")


def every_three(options: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Choices among options; each three of them stand in all eight ways in some choice.

    An option's number is odd, and it is in the rows that have an odd number of bits in common with it. Bit
    by bit, no odd number is the sum of two others: three of them are independent.
    """
    numbers = range(1, 2 * len(options), 2)
    for row in range(2 ** numbers[-1].bit_length()):
        yield tuple(o for o, number in zip(options, numbers, strict=True) if (row & number).bit_count() % 2)


def _with(
    op: str, clause: str, inputs: Mapping[str, Any], given: Mapping[str, Mapping[str, Any]], kind: str = ""
) -> Iterator[Recipe]:
    """Calls that have each choice among what is given for a word; the word is its name."""
    for chosen in every_three(tuple(given)):
        name = "-".join(filter(None, ("triple", kind, "with", *(chosen or ("none",)))))
        call = dict(inputs)
        for word in chosen:
            call |= given[word]
        yield Recipe(op, name, call, clause, "full", dtypes=("float32",))


def _each(inputs: Mapping[str, Any], *options: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The inputs without the options, and each of these for itself."""
    needed = {name: value for name, value in inputs.items() if name not in options}
    return needed, {option: {option: inputs[option]} for option in options}


def _convolutions() -> Iterator[Recipe]:
    conv = conv_inputs(2, 3, 70, 4, initial=True, seq_idx=_TWO)
    names = ("bias", "activation", "initial_state", "seq_idx", "return_last_state")
    yield from _with("causal_conv1d", OUTPUT, *_each(conv, *names))
    for kind, k in (("", 3), ("longer", 6)):
        needed, given = _each(
            pooled(3, 3, 4, 3, [2, -1, 0], k=k, inplace=True), "bias", "activation", "inplace"
        )
        given["pool"] = {"state_indices": needed.pop("state_indices")}
        given["half"] = {"state": Draw((3, 3, k), dtype="bfloat16")}
        yield from _with("causal_conv1d_update", LONGER, needed, given, kind)


def _heads() -> Iterator[Recipe]:
    for kind, D in (("", Draw((4,))), ("wide-D", Draw((4, 3)))):
        needed, given = _update(2, D=D)
        calls = _with("ssd_update", LIMITS, needed, given, kind)
        yield from (call for call in calls if "D" in call.inputs or not kind)
    needed, given = _update(3, D=Draw((4, 3)))
    given |= {
        "inplace": {"inplace": True},
        "pool": {"state_indices": fixed([2, -1, 0], dtype="int32")},
        "half": {"state": Draw((3, 4, 3, 2), dtype="bfloat16")},
    }
    yield from _with("ssd_update", LIMITS, needed, given, "held")
    siso = siso_inputs(2, 70, 4, 2, 4, initial=True, seq_idx=_TWO)
    needed, given = _each(siso, "D", "z", "return_final_states", *_STATES, "seq_idx")
    given["groups"] = {name: Draw((2, 70, 2, 4)) for name in ("q", "k")}
    yield from _with("mamba3_siso", SISO, needed, given)
    for kind, a in (("", 1), ("turned", 2)):
        needed, given = _each(siso_step_inputs(2, 4, 2, 4, a=a), "D", "z")
        given["groups"] = {name: Draw((2, 2, 4)) for name in ("q", "k")}
        yield from _with("mamba3_siso_step", SISO_STEP, needed, given, kind)


def _update(b: int, **more: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """A step of SSD without its options, and each of these for itself."""
    steps = Draw((b, 4), "log_uniform", parameters={"low": 1e-3, "high": 0.3})
    bias = Draw((4,), "uniform", parameters={"low": -0.2, "high": 0.2})
    update = update_inputs(b, 4, 3, 2, dt=steps, dt_bias=bias, dt_limit=(0.05, 0.2), **more)
    needed, given = _each(update, "D", "z", "dt_bias", "dt_softplus", "dt_limit")
    given["groups"] = {name: Draw((b, 2, 2)) for name in ("B", "C")}
    return needed, given


def _layers() -> Iterator[Recipe]:
    run = ("D", "initial_state", "return_last_state")
    last = {"return_last_state": True}
    lssl = lssl_inputs(2, 2, 70, 3, 2) | {"initial_state": Draw((2, 2, 3))} | last
    yield from _ruled("lssl", LSSL, lssl, run, "zoh")
    for complex_ in (False, True):
        kind = "complex" if complex_ else ""
        state = {"initial_state": Draw((2, 2, 3), complex=complex_)} | last
        system = diagonal_system(2, n=3, complex_=complex_) | {"u": Draw((2, 2, 1, 70)), "D": Draw((2, 1, 1))}
        yield from _with("ssm_recurrence", RECURRENCE, *_each(system | state, *run), kind)
        yield from _ruled("s4d", S4D, s4d_inputs(2, 2, 70, 3, complex_) | state, run, "bilinear", kind)
        s5 = s5_inputs(2, 2, 70, 3, complex_) | {"initial_state": Draw((2, 3), complex=complex_)}
        yield from _ruled("s5", S5, s5 | last, run, "bilinear", kind)
        h3 = h3_inputs(2, 4, 70, 2, 3, complex_, D=Draw((2,)), out_proj=Draw((3, 4)))
        yield from _ruled("h3", H3, h3, ("D", "out_proj"), "bilinear", kind)


def _ruled(
    op: str, clause: str, inputs: Mapping[str, Any], options: tuple[str, ...], rule: str, kind: str = ""
) -> Iterator[Recipe]:
    """Calls with each choice among the options and another rule of discretisation."""
    needed, given = _each(inputs, *options)
    return _with(op, clause, needed, given | {rule: {"discretization": rule}}, kind)


TRIPLES: Final = (
    *(scan_with(row, TRIPLE, "full") for row in SCAN_ROWS),
    *(step_with(row, TRIPLE) for row in STEP_ROWS),
    *(with_options(row, "triple", "full") for row in SSD_ROWS),
    *_convolutions(),
    *_heads(),
    *_layers(),
)
