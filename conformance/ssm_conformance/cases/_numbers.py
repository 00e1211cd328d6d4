"""Numbers at which a formula divides, branches or clamps: zeros, steps of any sign, modes that grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf
from typing import Any, Final

from ssm_conformance.case import Check, Recipe
from ssm_conformance.cases._dual_step import update_inputs
from ssm_conformance.cases._duality import VALUE as SSD
from ssm_conformance.cases._duality import ssd_inputs
from ssm_conformance.cases._layers import (
    COMPRESS,
    COMPRESS_RULE,
    H3,
    HIPPO,
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
from ssm_conformance.cases._linear import BILINEAR, ZOH
from ssm_conformance.cases._mamba3 import STEP as SISO_STEP
from ssm_conformance.cases._mamba3 import VALUE as SISO
from ssm_conformance.cases._mamba3 import siso_inputs
from ssm_conformance.cases._mamba3 import step_inputs as siso_step_inputs
from ssm_conformance.cases._selective import OUTPUT, STATE, fixed, scan_inputs
from ssm_conformance.cases._selective import ZOH as SCAN_ZOH
from ssm_conformance.cases._step import step_inputs
from ssm_conformance.draw import Draw

Row = tuple[str, str, Check, str, dict[str, Any]]
"""Operator, name, word in the report, clause, inputs."""

_SINGLE: Final = ("float32",)
_DECAYS: Final = ("A", "adt")
_STEPS: Final = (0.0, -0.3, 0.2, 0.05)
_TINY: Final = {"low": 1e-5, "high": 0.3}
_STRONG: Final = (1e-3, 1.0, 50.0, 200.0)
_BELOW: Final = (-6.0, -5.0, -4.5, -1.0)
"""Rates at which the bilinear rule has an ā below zero, with Δ = 0.5, and one at which it has not."""
_SOME_ZERO: Final = {"values": (0.0, 0.0, 1.0, -0.5)}
_NEAR: Final = (0.0, -1e-9 + 3e-9j, -1e-5 + 2e-6j, 1e-4j, -1e-3 + 5e-3j)
"""Complex modes at which exp(Δλ) − 1 loses its digits."""


def _zeroed(inputs: dict[str, Any]) -> dict[str, Any]:
    """The call with zeros among all its numbers; what decays stays so."""
    values = {name: (0.0, -0.5) if name in _DECAYS else (0.0, 1.0, 0.0, -0.5) for name in inputs}
    return {
        name: Draw(x.shape, "choice", parameters={"values": values[name]})
        if isinstance(x, Draw) and not x.index
        else x
        for name, x in inputs.items()
    }


def _modes_at(values: Any, *shape: int) -> Draw:
    """Given complex numbers, broadcast to a shape."""
    return Draw(shape, "fixed", complex=True, parameters={"values": values})


def _sign(*shape: int) -> Draw:
    """Steps of either sign, and none."""
    return Draw(shape, "choice", parameters={"values": _STEPS})


def _zeros() -> Iterator[Row]:
    """A padded step has a Δ of zero; what divides by one of its factors is 0/0 there."""
    yield "mamba3_siso", "zeros", "extreme", SISO, _zeroed(siso_inputs(2, 9, 2, 2, 4, initial=True))
    yield "mamba3_siso_step", "zeros", "extreme", SISO_STEP, _zeroed(siso_step_inputs(7, 2, 2, 4))
    plain = {"dt_bias", "dt_softplus"}
    dual = {name: x for name, x in ssd_inputs(2, 9, 3, 2, 2).items() if name not in plain}
    yield "ssd", "zeros", "extreme", SSD, _zeroed(dual)
    update = {name: x for name, x in update_inputs(7, 3, 2, 2).items() if name not in plain}
    yield "ssd_update", "zeros", "extreme", SSD, _zeroed(update)
    step = step_inputs(7, 3, 2, softplus=False)
    yield "selective_state_update", "zeros", "extreme", OUTPUT, _zeroed(step)


def _idle() -> Iterator[Row]:
    """Whole chunks of steps that are zero, in some channels and heads: the state stays, and is read."""
    steps = [[0.0 if 60 <= t < 200 else 0.05 for t in range(210)], [0.1] * 210]
    scan = scan_inputs(1, 2, 210, 2, softplus=False, delta=fixed(steps, (1, 2, 210)))
    yield "selective_scan", "idle-chunks", "extreme", STATE, scan
    dual = ssd_inputs(1, 210, 2, 2, 2, softplus=False, dt=fixed(list(zip(*steps, strict=True)), (1, 210, 2)))
    yield "ssd", "idle-chunks", "extreme", SSD, dual


def _signs() -> Iterator[Row]:
    """Without a softplus or a limit a step may have any sign."""
    siso = siso_inputs(2, 9, 2, 2, 4, dt=_sign(2, 2, 9))
    yield "mamba3_siso", "any-sign", "extreme", SISO, siso
    yield "mamba3_siso_step", "any-sign", "extreme", SISO_STEP, siso_step_inputs(7, 2, 2, 4, dt=_sign(7, 2))
    step = step_inputs(7, 3, 2, softplus=False, delta=_sign(7, 3))
    yield "selective_state_update", "any-sign", "extreme", STATE, step
    free = update_inputs(7, 3, 2, 2, softplus=False, dt=_sign(7, 3), dt_limit=(-inf, inf))
    yield "ssd_update", "any-sign", "extreme", SSD, free
    for complex_ in (False, True):
        name = "any-sign-complex" if complex_ else "any-sign"
        yield "s4d", name, "extreme", S4D, s4d_inputs(2, 4, 9, 2, complex_, delta=fixed(_STEPS))
        yield "s5", name, "extreme", S5, s5_inputs(2, 3, 9, 4, complex_) | {"delta": fixed(_STEPS)}
        kernel = modal_inputs(4, 2, complex_, length=9, delta=fixed(_STEPS))
        yield "s4d_kernel", name, "extreme", S4D_KERNEL, kernel
        yield "h3", name, "extreme", H3, h3_inputs(2, 4, 9, 4, 2, complex_, delta=fixed(_STEPS))
        modes = Draw((4, 3), "s4d_lin" if complex_ else "s4d_real", complex=complex_)
        diagonal = {
            "A": modes,
            "B": Draw((4, 3, 2), complex=complex_),
            "delta": fixed(_STEPS),
            "diagonal": True,
        }
        yield "discretize_zoh", name, "extreme", ZOH, diagonal
        yield "discretize_bilinear", name, "extreme", BILINEAR, diagonal | {"alpha": 1 / 3}
    dense = {"A": Draw((4, 3, 3), "legs"), "B": Draw((4, 3, 2)), "delta": fixed(_STEPS)}
    yield "discretize_zoh", "any-sign-dense", "extreme", ZOH, dense
    yield "discretize_bilinear", "any-sign-dense", "extreme", BILINEAR, dense | {"alpha": 1 / 3}
    for rule in ("bilinear", "zoh"):
        lssl = lssl_inputs(2, 4, 9, 3, 2) | {"delta": fixed(_STEPS), "discretization": rule}
        yield "lssl", f"any-sign-{rule}", "extreme", LSSL, lssl


def _modes() -> Iterator[Row]:
    """Complex modes near zero, complex modes that grow, and matrices that are complex or large."""
    near = _modes_at(_NEAR, 5)
    tiny = Draw((3,), "log_uniform", parameters=_TINY)
    yield "s5", "near-zero-complex", "extreme", S5, s5_inputs(2, 3, 9, 5, True) | {"A": near}
    channels = _modes_at(_NEAR, 3, 5)
    s4d = s4d_inputs(2, 3, 9, 5, True, A=channels, delta=tiny)
    yield "s4d", "near-zero-complex", "extreme", S4D, s4d
    kernel = modal_inputs(3, 5, True, length=9, A=channels, delta=tiny)
    yield "s4d_kernel", "near-zero-complex", "extreme", S4D_KERNEL, kernel
    heads = _modes_at(_NEAR, 2, 5)
    yield "h3", "near-zero-complex", "extreme", H3, h3_inputs(2, 4, 9, 2, 5, True, A=heads)
    system = {"A": channels, "B": Draw((3, 5, 1), complex=True), "delta": tiny, "diagonal": True}
    yield "discretize_zoh", "diagonal-near-zero-complex", "extreme", ZOH, system
    standing = scan_inputs(1, 3, 9, 3, complex_=True, softplus=False, b_discretization="zoh")
    waves = {"A": _modes_at((1j, -2j, 0.5j), 3, 3)}
    yield "selective_scan", "zoh-standing", "extreme", SCAN_ZOH, standing | waves
    growing = {"low": -0.5, "high": 0.8}
    for op, clause, shape, inputs in (
        ("s4d", S4D, (3, 4), s4d_inputs(2, 3, 9, 4, True)),
        ("s5", S5, (4,), s5_inputs(2, 3, 9, 4, True)),
        ("s4d_kernel", S4D_KERNEL, (3, 4), modal_inputs(3, 4, True, length=9)),
        ("h3", H3, (2, 4), h3_inputs(2, 4, 9, 2, 4, True)),
        ("selective_scan", STATE, (3, 4), scan_inputs(2, 3, 9, 4, complex_=True, softplus=False)),
    ):
        modes = Draw(shape, "uniform", complex=True, parameters=growing)
        yield op, "growing-complex", "extreme", clause, inputs | {"A": modes}
    step = step_inputs(2, 3, 4, complex_=True, softplus=False)
    modes = Draw((3, 4), "uniform", complex=True, parameters=growing)
    yield "selective_state_update", "growing-complex", "extreme", STATE, step | {"A": modes}
    near_step = step_inputs(2, 3, 5, complex_=True, gate=False, softplus=False, b_discretization="zoh")
    still = {"state": _modes_at(0.0, 2, 3, 5), "D": fixed(0.0, (3,))}
    near_step |= {"A": channels, "delta": Draw((2, 3), "log_uniform", parameters=_TINY)} | still
    yield "selective_state_update", "zoh-near-zero-complex", "extreme", SCAN_ZOH, near_step
    gone = scan_inputs(2, 3, 12, 4, complex_=True, softplus=False) | {"delta": fixed(0.4, (2, 3, 12))}
    gone |= {"A": _modes_at([complex(-rate, 5.0) for rate in _STRONG], 3, 4)}
    yield "selective_scan", "strong-decay-complex", "extreme", STATE, gone
    dense = {"A": Draw((3, 3), complex=True), "B": Draw((3, 2), complex=True), "delta": fixed(0.4)}
    yield "discretize_zoh", "dense-complex", "value", ZOH, dense
    yield "discretize_bilinear", "dense-complex", "value", BILINEAR, dense
    large = {"A": Draw((8, 8), "legs"), "B": Draw((8, 1)), "delta": fixed([3.0, 20.0])}
    yield "discretize_zoh", "large-norm", "extreme", ZOH, large


def _stiff() -> Iterator[Row]:
    """Modes that are gone within two steps, beside slow ones; a rule of which ā is below zero."""
    for complex_ in (False, True):
        name = "strong-decay-complex" if complex_ else "strong-decay"
        rates = [complex(-rate, 5.0) if complex_ else -rate for rate in _STRONG]
        modes = {"A": Draw((3, 4), "fixed", complex_, parameters={"values": rates})}
        modes |= {"delta": fixed((0.4, 0.1, 0.02))}
        yield "s4d", name, "extreme", S4D, s4d_inputs(2, 3, 12, 4, complex_) | modes
        yield "s4d_kernel", name, "extreme", S4D_KERNEL, modal_inputs(3, 4, complex_, length=12) | modes
        yield "h3", name, "extreme", H3, h3_inputs(2, 3, 12, 3, 4, complex_) | modes
        modes = {"A": Draw((4,), "fixed", complex_, parameters={"values": rates}), "delta": fixed(0.4, (4,))}
        yield "s5", name, "extreme", S5, s5_inputs(2, 3, 12, 4, complex_) | modes
    below: dict[str, Any] = {"A": fixed(_BELOW, (3, 4)), "delta": fixed(0.5, (3,))}
    below |= {"discretization": "bilinear"}
    yield "s4d", "below-zero", "extreme", S4D, s4d_inputs(2, 3, 12, 4, False) | below
    yield "s4d_kernel", "below-zero", "extreme", S4D_KERNEL, modal_inputs(3, 4, False, length=12) | below
    yield "h3", "below-zero", "extreme", H3, h3_inputs(2, 3, 12, 3, 4, False) | below
    below |= {"A": fixed(_BELOW), "delta": fixed(0.5, (4,))}
    yield "s5", "below-zero", "extreme", S5, s5_inputs(2, 3, 12, 4, False) | below


def _nothing_in() -> Iterator[Row]:
    """Zeros among what streams in and among vectors: what takes a logarithm or a quotient of them is NaN."""
    for op, clause, inputs, names in (
        ("s4d", S4D, s4d_inputs(2, 3, 9, 4, True), ("u", "B", "C")),
        ("s5", S5, s5_inputs(2, 3, 9, 4, True), ("u", "B", "C")),
        ("lssl", LSSL, lssl_inputs(2, 3, 9, 4, 2), ("u", "B", "C")),
        ("h3", H3, h3_inputs(2, 4, 9, 2, 4, True), ("q", "k", "v", "shift", "B")),
        ("s4_kernel", S4_KERNEL, dplr_inputs(3, 4, True, 9), ("P", "Q", "B", "C")),
    ):
        zeroed = {name: replace(inputs[name], kind="choice", parameters=_SOME_ZERO) for name in names}
        yield op, "zeros", "extreme", clause, inputs | zeroed


def _memory() -> Iterator[Row]:
    """Few samples with all prefixes, and more samples than eight bits of a number count exactly."""
    op = "hippo_legs_compress"
    for l, name in ((0, "empty"), (1, "single")):
        yield op, f"{name}-prefixes", "robustness", COMPRESS, {"f": Draw((2, l)), "n": 3, "prefixes": True}
    given = {"f": Draw((2, 1)), "n": 3, "method": "bilinear"}
    yield op, "single-bilinear", "robustness", COMPRESS_RULE, given
    yield op, "one-signal-prefixes", "value", COMPRESS, {"f": Draw((15,)), "n": 34, "prefixes": True}
    given = {"f": Draw((2, 12)), "n": 1, "method": "bilinear"}
    yield op, "one-coefficient-bilinear", "value", COMPRESS_RULE, given
    given = {"f": Draw((2, 20)), "n": 34, "method": "bilinear"}
    yield op, "states-34-bilinear", "value", COMPRESS_RULE, given


def _recipes() -> Iterator[Recipe]:
    for rows in (_zeros(), _idle(), _signs(), _modes(), _stiff(), _nothing_in(), _memory()):
        for op, name, check, clause, inputs in rows:
            yield Recipe(op, name, inputs, clause, "quick", check, dtypes=_SINGLE)
    late = {"f": Draw((1, 600)), "n": 4}
    yield Recipe("hippo_legs_compress", "late", late, COMPRESS, "full", dtypes=("float32", "bfloat16"))
    # More samples than tables of Ā are made for.
    beyond = {"f": Draw((1, 1100)), "n": 3}
    for name, more, clause in (
        ("beyond-1024", {}, COMPRESS),
        ("beyond-1024-prefixes", {"prefixes": True}, COMPRESS),
        ("beyond-1024-bilinear", {"method": "bilinear", "prefixes": True}, COMPRESS_RULE),
    ):
        yield Recipe("hippo_legs_compress", name, beyond | more, clause, "full", dtypes=_SINGLE)
    for op in ("hippo_legt", "hippo_lagt"):
        for n in (1, 7):
            yield Recipe(op, f"n-{n}", {"n": n}, HIPPO[op], dtypes=_SINGLE)
    yield Recipe("hippo_legt", "long-window", {"n": 8, "theta": 5.0}, HIPPO["hippo_legt"], dtypes=_SINGLE)


NUMBERS: Final = tuple(_recipes())
