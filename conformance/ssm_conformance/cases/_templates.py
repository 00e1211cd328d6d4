"""Sizes that a kernel is compiled or launched for apart: whole chunks, filters, axes of one size, grids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ssm_conformance.case import Level, Recipe
from ssm_conformance.cases._dual_step import update_inputs
from ssm_conformance.cases._duality import SKIP, ssd_inputs
from ssm_conformance.cases._duality import VALUE as SSD
from ssm_conformance.cases._layers import (
    COMPRESS,
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
from ssm_conformance.cases._linear import (
    BILINEAR,
    CONVOLUTION,
    KERNEL,
    RECURRENCE,
    ZOH,
    diagonal_system,
    system_inputs,
)
from ssm_conformance.cases._mamba3 import VALUE as SISO
from ssm_conformance.cases._mamba3 import siso_inputs
from ssm_conformance.cases._mamba3 import step_inputs as siso_step_inputs
from ssm_conformance.cases._rows import Row
from ssm_conformance.cases._selective import EDGE, fixed, scan_inputs, states
from ssm_conformance.cases._short_convolution import LAST, OUTPUT, STEP_OUTPUT, conv_inputs
from ssm_conformance.cases._short_convolution import step_inputs as conv_step_inputs
from ssm_conformance.cases._step import step_inputs
from ssm_conformance.draw import Draw

MANY: Final = "common-2: b, d and l have no largest value"
_WEAK: Final = {"low": 1e-4, "high": 1e-2, "sign": -1.0}
_GRID: Final = 65_537
"""More than the second and the third axis of a CUDA grid may have."""
_FILTERS: Final[tuple[tuple[int, Level], ...]] = (
    (2, "quick"),
    (3, "quick"),
    *((w, "full") for w in (5, 6, 7, 8, 9, 12, 16, 17)),
)
_DENSE: Final = system_inputs(n=3, m=2, p=2)
_WHOLE: Final[tuple[tuple[int, Level], ...]] = ((64, "quick"), (65, "full"), (256, "full"), (257, "full"))
_CHUNKS: Final[tuple[tuple[int, Level], ...]] = (
    (64, "quick"),
    *((l, "full") for l in (32, 65, 128, 129, 256, 257)),
)


def _slow(*shape: int) -> Draw:
    """Δ A of which something is left after a chunk."""
    return Draw(shape, "log_uniform", parameters=_WEAK)


def _squares() -> Iterator[Row]:
    """Any two axes could be taken for each other."""
    yield "selective_scan", "square", EDGE, "quick", scan_inputs(3, 3, 3, 3, g_B=3, g_C=3)
    yield "selective_state_update", "square", EDGE, "quick", step_inputs(3, 3, 3, g=3)
    yield "ssd", "square", SKIP, "quick", ssd_inputs(3, 3, 3, 3, 3, g=3, D=Draw((3, 3)))
    yield "ssd_update", "square", SKIP, "quick", update_inputs(3, 3, 3, 3, g=3, D=Draw((3, 3)))
    yield "mamba3_siso", "square", EDGE, "quick", siso_inputs(4, 4, 4, 4, 4, a=2, g=4, initial=True)
    yield "mamba3_siso_step", "square", EDGE, "quick", siso_step_inputs(4, 4, 4, 4, a=2, g=4)
    yield "causal_conv1d", "square", EDGE, "quick", conv_inputs(3, 3, 3, 4, initial=True)


def _filters() -> Iterator[Row]:
    """Short filters of each width, and lags that are one, or one more or less than the steps."""
    for w, level in _FILTERS:
        yield "causal_conv1d", f"taps-{w}", OUTPUT, level, conv_inputs(2, 3, 19, w, initial=True)
        yield "causal_conv1d_update", f"taps-{w}", STEP_OUTPUT, level, conv_step_inputs(2, 3, w)
    ids = fixed([[4, 5, 5], [6, 6, 7]], dtype="int32")
    short = conv_inputs(2, 3, 3, 5, initial=True, seq_idx=ids)
    yield "causal_conv1d", "packed-shorter-than-the-filter", LAST, "quick", short
    swish = conv_step_inputs(2, 3, 4) | {"activation": "swish"}
    yield "causal_conv1d_update", "swish", STEP_OUTPUT, "quick", swish
    for name, l, k in (("one-lag", 9, 1), ("a-lag-more", 16, 17), ("a-lag-less", 17, 16)):
        yield "causal_convolution", name, CONVOLUTION, "quick", {"u": Draw((2, 3, l)), "K": Draw((3, k))}
    more = {"u": Draw((2, 67, 9)), "K": Draw((67, 20))}
    yield "causal_convolution", "more-lags-of-many", CONVOLUTION, "quick", more


def _chunks() -> Iterator[Row]:
    """Whole chunks, and options past a chunk."""
    for l, level in _CHUNKS:
        yield "mamba3_siso", f"length-{l}", SISO, level, siso_inputs(1, l, 2, 2, 4, adt=_slow(1, 2, l))
    for l in (512, 1024, 2048, 4097):
        inputs = {"u": Draw((1, 2, l)), "K": Draw((2, l))}
        yield "causal_convolution", f"length-{l}", CONVOLUTION, "full", inputs
    two = fixed([0] * 64 + [1] * 66, (2, 130), dtype="int32")
    bare = siso_inputs(2, 130, 4, 2, 4, g=2, bare=True, adt=_slow(2, 4, 130))
    yield "mamba3_siso", "long-plain", SISO, "full", bare
    yield "mamba3_siso", "long-packed", SISO, "full", bare | {"seq_idx": two}
    late = fixed([0] * 1024 + [1] * 77, (1, 1101), dtype="int32")
    plain = {"x": Draw((1, 2, 1101)), "weight": Draw((2, 4)), "return_last_state": True}
    yield "causal_conv1d", "long-plain", OUTPUT, "full", plain
    yield "causal_conv1d", "long-initial", OUTPUT, "full", plain | {"initial_state": Draw((1, 2, 3))}
    yield "causal_conv1d", "long-packed", OUTPUT, "full", plain | {"seq_idx": late}
    yield "ssd", "layer-64-128", SSD, "full", ssd_inputs(1, 70, 2, 64, 128)


def _whole_layers() -> Iterator[Row]:
    """Whole chunks of the layers, of their kernels and of dense systems, and one step more."""
    for l, level in _WHOLE:
        last = {"return_last_state": True}
        yield "s4d", f"length-{l}", S4D, level, s4d_inputs(2, 3, l, 4, True) | last
        yield "s5", f"length-{l}", S5, level, s5_inputs(2, 3, l, 4, True) | last
        yield "h3", f"length-{l}", H3, level, h3_inputs(1, 4, l, 2, 3, True)
        yield (
            "lssl",
            f"length-{l}",
            LSSL,
            level,
            lssl_inputs(2, 2, l, 3, 2) | {"A": Draw((2, 3, 3), "legs")} | last,
        )
        yield "s4d_kernel", f"length-{l}", S4D_KERNEL, level, modal_inputs(3, 4, True, length=l)
        yield "s4_kernel", f"length-{l}", S4_KERNEL, level, dplr_inputs(3, 4, True, l, paired=True)
        yield "hippo_legs_compress", f"length-{l}", COMPRESS, level, {"f": Draw((2, l)), "n": 6}
        dense = system_inputs(n=4) | {"u": Draw((2, 1, l)), "D": Draw((1, 1)), "initial_state": Draw((2, 4))}
        yield "ssm_recurrence", f"dense-{l}", RECURRENCE, level, dense | last
        yield "ssm_kernel", f"dense-{l}", KERNEL, level, system_inputs(n=4) | {"length": l}


def _ends_of_chunks() -> Iterator[Row]:
    """Whole chunks of a short convolution, and one step more: the last state then lies in two of them."""
    for l in (64, 128, 129, 256, 257, 512, 513, 1024, 1025):
        level: Level = "quick" if l in (64, 129) else "full"
        yield "causal_conv1d", f"length-{l}", LAST, level, conv_inputs(2, 3, l, 4)


def _ones() -> Iterator[Row]:
    """One row, one channel, one mode and one tap, in more than one step: axes that are squeezed away."""
    last = {"return_last_state": True}
    scan = scan_inputs(1, 1, 9, 1, initial_state=states(1, 1, 1))
    yield "selective_scan", "one-of-each", EDGE, "quick", scan
    yield "selective_scan", "one-group", EDGE, "quick", scan_inputs(2, 4, 9, 3, g_B=1)
    yield "selective_state_update", "one-group", EDGE, "quick", step_inputs(2, 4, 3, g=1)
    yield "selective_state_update", "one-state", EDGE, "quick", step_inputs(2, 4, 1)
    dual = ssd_inputs(1, 9, 1, 1, 1, initial_states=Draw((1, 1, 1, 1)))
    yield "ssd", "one-of-each", EDGE, "quick", dual
    yield "mamba3_siso", "one-of-each", EDGE, "quick", siso_inputs(1, 9, 1, 1, 1, a=0, initial=True)
    yield "mamba3_siso", "heads-of-one", EDGE, "quick", siso_inputs(2, 9, 3, 1, 3, initial=True)
    yield "mamba3_siso_step", "heads-of-one", EDGE, "quick", siso_step_inputs(2, 3, 1, 3)
    yield "causal_conv1d", "one-of-each", EDGE, "quick", conv_inputs(1, 1, 9, 4, initial=True)
    yield "causal_conv1d_update", "one-of-each", STEP_OUTPUT, "quick", conv_step_inputs(1, 1, 4)
    for name, l, k in (("one-of-each", 9, 9), ("one-step", 1, 9)):
        yield "causal_convolution", name, CONVOLUTION, "quick", {"u": Draw((1, 1, l)), "K": Draw((1, k))}
    dense = system_inputs(n=1) | {"u": Draw((1, 1, 9)), "initial_state": Draw((1, 1))}
    yield "ssm_recurrence", "one-of-each", RECURRENCE, "quick", dense | last
    yield "ssm_kernel", "one-of-each", KERNEL, "quick", system_inputs(n=1) | {"length": 9}
    first = {"initial_state": Draw((1, 1, 1))}
    yield "s4d", "one-of-each", S4D, "quick", s4d_inputs(1, 1, 9, 1, False) | first | last
    s5 = s5_inputs(1, 1, 9, 1, True) | {"initial_state": Draw((1, 1), complex=True)}
    yield "s5", "one-of-each", S5, "quick", s5 | last
    yield "h3", "one-of-each", H3, "quick", h3_inputs(1, 1, 9, 1, 1, True, s=1)
    yield "lssl", "one-of-each", LSSL, "quick", lssl_inputs(1, 1, 9, 1, 1) | first | last
    yield "s4d_kernel", "one-of-each", S4D_KERNEL, "quick", modal_inputs(1, 1, False, length=9)
    yield "s4_kernel", "one-of-each", S4_KERNEL, "quick", dplr_inputs(1, 1, False, 9)


def _systems() -> Iterator[Row]:
    """Systems of no other call: modes with several inputs and outputs, complex matrices, a shared B.

    And more inputs than states.
    """
    last = {"return_last_state": True}
    modes = diagonal_system(2, 3, n=4, m=2, p=3, complex_=True)
    yield "ssm_recurrence", "modes-of-two", RECURRENCE, "quick", modes | {"u": Draw((2, 2, 3, 2, 9))} | last
    yield "ssm_kernel", "modes-of-two", KERNEL, "quick", modes | {"length": 9}
    dense = {name: Draw(draw.shape, complex=True, parameters={"scale": 0.3}) for name, draw in _DENSE.items()}
    yield "ssm_recurrence", "dense-complex", RECURRENCE, "quick", dense | {"u": Draw((2, 2, 9))} | last
    yield "ssm_kernel", "dense-complex", KERNEL, "quick", dense | {"length": 9}
    more = {"A": _DENSE["A_bar"], "B": Draw((3, 7)), "delta": fixed(0.4)}
    yield "discretize_zoh", "more-inputs", ZOH, "quick", more
    yield "discretize_bilinear", "more-inputs", BILINEAR, "quick", more
    shared = system_inputs(n=3, m=2) | {"A_bar": system_inputs(2, n=3)["A_bar"], "u": Draw((2, 2, 2, 9))}
    yield "ssm_recurrence", "shared-input", RECURRENCE, "quick", shared | last


def _kinds() -> Iterator[Row]:
    """Complex modes with real vectors beside them, which stand for complex ones."""
    real = {"B": Draw((3, 4)), "C": Draw((3, 4))}
    last = {"return_last_state": True}
    yield "s4d", "real-BC", S4D, "quick", s4d_inputs(2, 3, 9, 4, True) | real | last
    s5 = s5_inputs(2, 3, 9, 4, True) | {"B": Draw((4, 3)), "C": Draw((3, 4))}
    yield "s5", "real-BC", S5, "quick", s5 | last
    yield "h3", "real-BC", H3, "quick", h3_inputs(2, 6, 9, 3, 4, True) | real
    modes = diagonal_system(3, n=4, complex_=True) | {"B_bar": Draw((3, 4, 1)), "C": Draw((3, 1, 4))}
    yield "ssm_recurrence", "real-BC", RECURRENCE, "quick", modes | {"u": Draw((2, 3, 1, 9))} | last
    yield "ssm_kernel", "real-BC", KERNEL, "quick", modes | {"length": 9}
    dense = {name: Draw(draw.shape, parameters={"scale": 0.3}) for name, draw in _DENSE.items()}
    dense |= {"A_bar": Draw((3, 3), complex=True, parameters={"scale": 0.3})}
    yield "ssm_recurrence", "dense-real-BC", RECURRENCE, "quick", dense | {"u": Draw((2, 2, 9))} | last
    yield "ssm_kernel", "dense-real-BC", KERNEL, "quick", dense | {"length": 9}
    A = Draw((3, 4), "s4d_lin", complex=True)
    system = {"A": A, "B": Draw((3, 4, 2)), "delta": _small_steps(3), "diagonal": True}
    matrix = {"A": Draw((3, 3), complex=True), "B": Draw((3, 2)), "delta": fixed(0.4)}
    for op, clause in (("discretize_zoh", ZOH), ("discretize_bilinear", BILINEAR)):
        yield op, "real-B", clause, "quick", system
        yield op, "dense-real-B", clause, "quick", matrix
    low_rank = {name: Draw((3, 4), parameters={"scale": 0.5}) for name in ("P", "Q")}
    yield "s4_kernel", "real-PQB", S4_KERNEL, "quick", dplr_inputs(
        3, 4, True, 9, paired=True, B=Draw((3, 4)), **low_rank
    )  # fmt: skip
    decays = Draw((3, 4), "log_uniform", parameters={"low": 0.5, "high": 4.0, "sign": -1.0})
    yield "s4_kernel", "real-modes", S4_KERNEL, "quick", dplr_inputs(3, 4, True, 9, Lambda=decays)


def _small_steps(*shape: int) -> Draw:
    return Draw(shape, "log_uniform", parameters={"low": 1e-2, "high": 0.5})


def _leading() -> Iterator[Row]:
    """Leading dimensions of one among larger ones: A is repeated along one of them, B along another."""
    dense = {"A": Draw((2, 1, 3, 3), "stable_matrix", parameters={"radius": 2.0}), "B": Draw((1, 3, 3, 2))}
    damped = {"low": -2.0, "high": -0.05}
    modes = {
        "A": Draw((2, 1, 4), "uniform", complex=True, parameters=damped),
        "B": Draw((1, 3, 4, 2), complex=True),
    }
    for op, clause in (("discretize_zoh", ZOH), ("discretize_bilinear", BILINEAR)):
        yield op, "systems-of-one", clause, "quick", dense | {"delta": _small_steps(3)}
        more = {"delta": _small_steps(2, 1), "diagonal": True}
        yield op, "diagonal-systems-of-one", clause, "quick", modes | more
    run = system_inputs(2, 1, n=3, m=2) | {"B_bar": Draw((1, 3, 3, 2)), "C": Draw((3, 2, 3))}
    fed = {"u": Draw((2, 2, 3, 2, 7)), "D": Draw((2, 1, 2, 2)), "return_last_state": True}
    yield "ssm_recurrence", "systems-of-one", RECURRENCE, "quick", run | fed
    yield "ssm_kernel", "systems-of-one", KERNEL, "quick", run | {"length": 7}
    run = diagonal_system(2, 1, n=4, complex_=True) | {"B_bar": Draw((1, 3, 4, 1), complex=True)}
    run |= {"C": Draw((3, 1, 4), complex=True)}
    fed = {"u": Draw((2, 2, 3, 1, 7)), "D": Draw((3, 1, 1)), "return_last_state": True}
    yield "ssm_recurrence", "diagonal-systems-of-one", RECURRENCE, "quick", run | fed
    yield "ssm_kernel", "diagonal-systems-of-one", KERNEL, "quick", run | {"length": 7}


def _nothings() -> Iterator[Row]:
    """No row, or no step, of layers so wide that memory for their gradients can be poisoned."""
    wide = 300
    yield "selective_scan", "no-batch-wide", EDGE, "quick", scan_inputs(0, wide, 5, 2, constant="BC")
    yield "selective_scan", "no-steps-wide", EDGE, "quick", scan_inputs(2, wide, 0, 2)
    yield "selective_state_update", "no-batch-wide", EDGE, "quick", step_inputs(0, wide, 2)
    none = fixed([], dtype="int32")
    for kind, inplace in (("pool", False), ("pool-inplace", True)):
        empty = step_inputs(0, 3, 2, slots=4, state_indices=none, inplace=inplace)
        yield "selective_state_update", f"no-batch-{kind}", EDGE, "full", empty
        empty = update_inputs(0, 3, 2, 2, slots=4, state_indices=none, inplace=inplace)
        yield "ssd_update", f"no-batch-{kind}", EDGE, "full", empty
        empty = conv_step_inputs(0, 3, 4, slots=4, state_indices=none, inplace=inplace)
        yield "causal_conv1d_update", f"no-batch-{kind}", EDGE, "full", empty
    yield "ssd", "no-batch-wide", EDGE, "quick", ssd_inputs(0, 5, wide, 1, 2)
    yield "ssd", "no-steps-wide", EDGE, "quick", ssd_inputs(2, 0, wide, 1, 2)
    yield "ssd_update", "no-batch-wide", EDGE, "quick", update_inputs(0, wide, 1, 2)
    yield "mamba3_siso", "no-batch-wide", EDGE, "quick", siso_inputs(0, 5, wide, 1, 2)
    yield "mamba3_siso", "no-steps-wide", EDGE, "quick", siso_inputs(2, 0, wide, 1, 2)
    yield "causal_conv1d", "no-batch-wide", EDGE, "quick", conv_inputs(0, wide, 5, 4)
    yield "causal_conv1d", "no-steps-wide", EDGE, "quick", conv_inputs(2, wide, 0, 4)
    yield "causal_convolution", "no-batch-wide", CONVOLUTION, "quick", {
        "u": Draw((0, 3, 5)), "K": Draw((3, wide)),
    }  # fmt: skip
    system = diagonal_system(wide, n=2) | {"u": Draw((0, wide, 1, 5)), "return_last_state": True}
    yield "ssm_recurrence", "no-batch-wide", RECURRENCE, "quick", system


def _grids() -> Iterator[Row]:
    """More rows, and more channels, than a grid's second axis has."""
    many = _GRID
    yield "selective_scan", "grid-of-rows", MANY, "full", scan_inputs(many, 1, 2, 1)
    yield "selective_scan", "grid-of-channels", MANY, "full", scan_inputs(1, many, 2, 1)
    yield "selective_state_update", "grid-of-rows", MANY, "full", step_inputs(many, 1, 1)
    yield "selective_state_update", "grid-of-channels", MANY, "full", step_inputs(1, many, 1)
    yield "ssd", "grid-of-rows", MANY, "full", ssd_inputs(many, 2, 1, 1, 1)
    yield "ssd", "grid-of-heads", MANY, "full", ssd_inputs(1, 2, many, 1, 1)
    yield "ssd_update", "grid-of-rows", MANY, "full", update_inputs(many, 1, 1, 1)
    yield "ssd_update", "grid-of-heads", MANY, "full", update_inputs(1, many, 1, 1)
    yield "mamba3_siso", "grid-of-rows", MANY, "full", siso_inputs(many, 2, 1, 1, 2)
    yield "mamba3_siso", "grid-of-heads", MANY, "full", siso_inputs(1, 2, many, 1, 2)
    yield "mamba3_siso_step", "grid-of-rows", MANY, "full", siso_step_inputs(many, 1, 1, 2)
    yield "causal_conv1d", "grid-of-rows", MANY, "full", conv_inputs(many, 1, 3, 2)
    yield "causal_conv1d", "grid-of-channels", MANY, "full", conv_inputs(1, many, 3, 2)
    yield "causal_conv1d_update", "grid-of-rows", MANY, "full", conv_step_inputs(many, 1, 2)
    yield "causal_conv1d_update", "grid-of-channels", MANY, "full", conv_step_inputs(1, many, 2)


def _recipes() -> Iterator[Recipe]:
    whole = (_chunks(), _whole_layers(), _ends_of_chunks())
    systems = (_systems(), _kinds(), _leading())
    for rows in (_squares(), _filters(), *whole, _ones(), *systems, _nothings(), _grids()):
        for op, name, clause, level, inputs in rows:
            yield Recipe(op, name, inputs, clause, level, "robustness", dtypes=("float32",))


TEMPLATES: Final = tuple(_recipes())
