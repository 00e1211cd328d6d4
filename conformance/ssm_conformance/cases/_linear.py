"""Inputs of the linear time-invariant rooms: discretisation, recurrence, kernel, convolution, HiPPO."""

from __future__ import annotations

from typing import Any, Final

from ssm_backends.dtypes import HALF
from ssm_conformance.case import Check, Level, Recipe
from ssm_conformance.cases._selective import MIXED, fixed, wider
from ssm_conformance.draw import Draw

Row = tuple[str, Level, Check, dict[str, Any]]
"""Name, smallest level, word in the report, inputs."""

ZOH: Final = "zoh-1: Ā = exp(ΔA), B̄ = ∫₀^Δ exp(sA) ds B, valid for singular A and Δ = 0"
BILINEAR: Final = "bilinear-1: Ā = (I − αΔA)⁻¹(I + (1−α)ΔA), B̄ = (I − αΔA)⁻¹ΔB"
RECURRENCE: Final = "recurrence-1: h_k = Ā h_{k−1} + B̄ u_k, y_k = C h_k + D u_k: u_k reaches y_k"
KERNEL: Final = "kernel-1: K_j = C Āʲ B̄; 2 Re Σ C Āʲ B̄ for complex modes"
CONVOLUTION: Final = "conv-1: y_t = Σ_j K_j u_{t−j}"
LEGS: Final = "legs-1: A_nk = −√((2n+1)(2k+1)) for n > k, −(n+1) for n = k, 0 above; B_n = √(2n+1)"


def _matrix(*shape: int, radius: float = 1.0) -> Draw:
    return Draw(shape, "stable_matrix", parameters={"radius": radius})


def _modes(*shape: int, low: float = 1e-2, high: float = 5.0) -> Draw:
    return Draw(shape, "log_uniform", parameters={"low": low, "high": high, "sign": -1.0})


def _steps(*shape: int, low: float = 1e-3, high: float = 1.0) -> Draw:
    return Draw(shape, "log_uniform", parameters={"low": low, "high": high})


def _discretisations(op: str, clause: str) -> tuple[Recipe, ...]:
    """The same systems for both rules."""
    linear = Draw((3, 4), "s4d_lin", complex=True)
    systems: tuple[tuple[str, Level, dict[str, Any]], ...] = (
        ("dense", "smoke", {"A": _matrix(5, 5, radius=2.0), "B": Draw((5, 2)), "delta": _steps()}),
        ("legs", "smoke", {"A": Draw((8, 8), "legs"), "B": Draw((8, 1)), "delta": fixed(0.05)}),
        ("legs-32", "quick", {"A": Draw((32, 32), "legs"), "B": Draw((32, 1)), "delta": fixed(0.01)}),
        (
            "dense-per-channel",
            "quick",
            {"A": _matrix(3, 4, 4), "B": Draw((4, 1)), "delta": _steps(3)},
        ),
        # Systems in two dimensions, of which B and the steps have fewer.
        (
            "systems-in-two",
            "quick",
            {"A": _matrix(2, 3, 4, 4), "B": Draw((3, 4, 2)), "delta": _steps(2, 1)},
        ),
        ("singular", "quick", {"A": fixed([[0.0, 1.0], [0.0, 0.0]]), "B": Draw((2, 1)), "delta": fixed(0.7)}),
        ("no-step", "quick", {"A": _matrix(3, 3), "B": Draw((3, 1)), "delta": fixed(0.0)}),
        (
            "diagonal",
            "smoke",
            {"A": _modes(3, 5), "B": Draw((3, 5, 1)), "delta": _steps(3), "diagonal": True},
        ),
        (
            "diagonal-complex",
            "quick",
            {"A": linear, "B": Draw((3, 4, 2), complex=True), "delta": _steps(3), "diagonal": True},
        ),
        (
            "diagonal-near-zero",
            "quick",
            {
                "A": fixed([0.0, -1e-9, -1e-5, 1e-7, -1.0]),
                "B": Draw((5, 1)),
                "delta": _steps(6, low=1e-7, high=1e-2),
                "diagonal": True,
            },
        ),
        ("one-state", "quick", {"A": fixed([[-1.5]]), "B": Draw((1, 1)), "delta": fixed(0.3)}),
    )
    return tuple(Recipe(op, name, inputs, clause, level) for name, level, inputs in systems)


ZERO_ORDER_HOLD: Final = _discretisations("discretize_zoh", ZOH)
GENERALISED_BILINEAR: Final = (
    *_discretisations("discretize_bilinear", BILINEAR),
    *(
        Recipe(
            "discretize_bilinear",
            name,
            {"A": _matrix(4, 4), "B": Draw((4, 1)), "delta": fixed(0.2), "alpha": alpha},
            BILINEAR,
        )
        for name, alpha in (("forward-euler", 0.0), ("backward-euler", 1.0), ("third", 1 / 3))
    ),
)


def system_inputs(*s: int, n: int, m: int = 1, p: int = 1) -> dict[str, Any]:
    return {"A_bar": _matrix(*s, n, n, radius=0.9), "B_bar": Draw((*s, n, m)), "C": Draw((*s, p, n))}


def diagonal_system(*s: int, n: int, m: int = 1, p: int = 1, complex_: bool = False) -> dict[str, Any]:
    """A diagonal system that decays; complex modes, one of each conjugate pair, if asked for."""
    modes = {"low": -0.7, "high": 0.7}
    return {
        "A_bar": Draw((*s, n), "uniform", complex_, parameters=modes),
        "B_bar": Draw((*s, n, m), complex=complex_),
        "C": Draw((*s, p, n), complex=complex_),
        "diagonal": True,
    }


_SYSTEM_RECURRENCE_ROWS: Final[tuple[Row, ...]] = (
    ("siso", "smoke", "value", system_inputs(n=4) | {"u": Draw((2, 1, 23))}),
    (
        "mimo",
        "smoke",
        "value",
        system_inputs(n=5, m=3, p=2) | {"u": Draw((2, 3, 19)), "D": Draw((2, 3))},
    ),
    ("per-channel", "quick", "value", system_inputs(3, n=4) | {"u": Draw((2, 3, 1, 17))}),
    (
        "systems-in-two",
        "quick",
        "value",
        system_inputs(2, 3, n=3, m=2) | {"u": Draw((2, 2, 3, 2, 7)), "initial_state": Draw((2, 2, 3, 3))},
    ),
    (
        "initial",
        "quick",
        "value",
        system_inputs(3, n=4) | {"u": Draw((2, 3, 1, 17)), "initial_state": Draw((2, 3, 4))},
    ),
    ("diagonal", "smoke", "value", diagonal_system(3, n=4) | {"u": Draw((2, 3, 1, 29))}),
    (
        "diagonal-complex",
        "smoke",
        "value",
        diagonal_system(3, n=4, complex_=True)
        | {
            "u": Draw((2, 3, 1, 29)),
            "D": Draw((3, 1, 1)),
            "initial_state": Draw((2, 3, 4), complex=True),
        },
    ),
    ("text", "quick", "value", system_inputs(n=4) | {"u": Draw((1, 1, 200), "text")}),
    ("empty", "quick", "robustness", system_inputs(n=3) | {"u": Draw((2, 1, 0))}),
    (
        "empty-initial",
        "quick",
        "robustness",
        system_inputs(n=3) | {"u": Draw((2, 1, 0)), "initial_state": Draw((2, 3))},
    ),
    ("single", "quick", "robustness", system_inputs(n=3) | {"u": Draw((2, 1, 1))}),
    ("no-batch", "quick", "robustness", system_inputs(n=3) | {"u": Draw((0, 1, 7))}),
    ("long", "full", "value", diagonal_system(2, n=8) | {"u": Draw((1, 2, 1, 2053))}),
)
SYSTEM_RECURRENCE: Final = tuple(
    Recipe("ssm_recurrence", name, inputs | {"return_last_state": True}, RECURRENCE, level, check)
    for name, level, check, inputs in _SYSTEM_RECURRENCE_ROWS
)

_SYSTEM_KERNEL_ROWS: Final[tuple[Row, ...]] = (
    ("siso", "smoke", "value", system_inputs(n=4) | {"length": 21}),
    ("mimo", "quick", "value", system_inputs(n=5, m=2, p=3) | {"length": 13}),
    ("per-channel", "quick", "value", system_inputs(3, n=4) | {"length": 17}),
    ("systems-in-two", "quick", "value", diagonal_system(2, 3, n=4, complex_=True) | {"length": 9}),
    ("diagonal", "smoke", "value", diagonal_system(3, n=5) | {"length": 31}),
    ("diagonal-complex", "smoke", "value", diagonal_system(3, n=5, complex_=True) | {"length": 31}),
    ("empty", "quick", "robustness", system_inputs(n=3) | {"length": 0}),
    ("single", "quick", "robustness", system_inputs(n=3) | {"length": 1}),
    ("long", "full", "value", diagonal_system(4, n=16, complex_=True) | {"length": 1021}),
)
SYSTEM_KERNEL: Final = tuple(
    Recipe("ssm_kernel", name, inputs, KERNEL, level, check)
    for name, level, check, inputs in _SYSTEM_KERNEL_ROWS
)

_CONVOLUTIONS: Final[tuple[tuple[str, Level, Check, Draw, Draw], ...]] = (
    ("typical", "smoke", "value", Draw((2, 5, 37)), Draw((5, 37))),
    ("short-kernel", "smoke", "value", Draw((2, 3, 29)), Draw((3, 4))),
    ("long-kernel", "quick", "value", Draw((1, 3, 11)), Draw((3, 50))),
    ("text", "quick", "value", Draw((1, 4, 255), "text"), Draw((4, 255))),
    (
        "decaying-kernel",
        "quick",
        "value",
        Draw((1, 2, 128)),
        Draw((2, 128), "log_uniform", parameters={"low": 1e-6, "high": 1.0}),
    ),
    ("empty", "quick", "robustness", Draw((2, 3, 0)), Draw((3, 4))),
    ("single", "quick", "robustness", Draw((2, 3, 1)), Draw((3, 1))),
    ("no-batch", "quick", "robustness", Draw((0, 3, 5)), Draw((3, 5))),
    ("long", "full", "value", Draw((1, 2, 2053)), Draw((2, 2053))),
)
_BOTH: Final = {"u": Draw((2, 3, 21)), "K": Draw((3, 21))}
LONG_CONVOLUTION: Final = (
    *(
        Recipe("causal_convolution", name, {"u": u, "K": K}, CONVOLUTION, level, check)
        for name, level, check, u, K in _CONVOLUTIONS
    ),
    Recipe("causal_convolution", "mixed", wider(_BOTH, "K"), MIXED, dtypes=HALF),
)

_STATES: Final[tuple[tuple[int, Level], ...]] = (
    (1, "smoke"),
    (2, "quick"),
    (5, "smoke"),
    (64, "quick"),
    (257, "full"),
)
HIPPO: Final = tuple(Recipe("hippo_legs", f"n-{n}", {"n": n}, LEGS, level) for n, level in _STATES)
