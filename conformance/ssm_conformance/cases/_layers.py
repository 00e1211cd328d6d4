"""Inputs of the linear layers, S4D, LSSL, S5 and H3, of the kernels of S4, and of HiPPO's other matrices."""

from __future__ import annotations

from typing import Any, Final

from ssm_backends.dtypes import HALF
from ssm_conformance.case import Check, Level, Recipe
from ssm_conformance.cases._selective import MIXED, fixed, modes, wider
from ssm_conformance.draw import Draw

Row = tuple[str, Level, Check, dict[str, Any]]
"""Name, smallest level, word in the report, inputs."""

S4D: Final = "s4d-1: a complex A holds one mode of each conjugate pair, and y = 2 Re(C h) + D u"
S4D_KERNEL: Final = "s4d-kernel-1: a complex A holds one mode of each conjugate pair, and K = 2 Re Σ"
S4_KERNEL: Final = "s4-1: A = diag(Λ) − P Q* with Q conjugated; C is not"
LSSL: Final = "lssl-1: channel i runs its own system; its m outputs stand side by side, unmixed"
S5: Final = "s5-1: y = 2 Re(C h) + D u for complex A, C h + D u for real A; one step size a mode"
H3: Final = "h3-2: k'_i v_j enters the diagonal system of its head for every i and j; q_i gates it"
HIPPO: Final = {
    "hippo_legt": "legt-1: A_nk = −√((2n+1)(2k+1))/θ · {1 for k ≤ n; (−1)^(n−k) for k > n}",
    "hippo_lagt": "lagt-1: A_nk = −1 for n ≥ k, 0 for n < k; B_n = 1",
    "hippo_fout": "fout-1: B = 2β, A = R − 2ββᵀ",
}


def _steps(*shape: int) -> Draw:
    return Draw(shape, "log_uniform", parameters={"low": 1e-2, "high": 0.5})


def _decays(*shape: int) -> Draw:
    return Draw(shape, "log_uniform", parameters={"low": 0.05, "high": 4.0, "sign": -1.0})


def _modes(*shape: int, complex_: bool) -> Draw:
    """Real decays, or S4D-Lin's modes."""
    return Draw(shape, "s4d_lin", complex=True) if complex_ else _decays(*shape)


def lssl_inputs(b: int, d: int, l: int, n: int, m: int, u: str = "normal") -> dict[str, Any]:
    return {
        "u": Draw((b, d, l), u),
        "delta": _steps(d),
        "A": Draw((d, n, n), "stable_matrix", parameters={"radius": 2.0}),
        "B": Draw((d, n)),
        "C": Draw((d, m, n)),
        "D": Draw((d, m)),
    }


_LSSL_ROWS: Final[tuple[Row, ...]] = (
    ("typical", "smoke", "value", lssl_inputs(2, 3, 19, 4, 2)),
    ("zoh", "quick", "value", lssl_inputs(2, 3, 19, 4, 2) | {"discretization": "zoh"}),
    ("forward-euler", "quick", "value", lssl_inputs(1, 2, 13, 3, 1) | {"discretization": "forward_euler"}),
    ("backward-euler", "quick", "value", lssl_inputs(1, 2, 13, 3, 1) | {"discretization": "backward_euler"}),
    ("initial", "quick", "value", lssl_inputs(2, 3, 17, 4, 2) | {"initial_state": Draw((2, 3, 4))}),
    ("text", "quick", "value", lssl_inputs(1, 2, 120, 4, 1, "text")),
    ("empty", "quick", "robustness", lssl_inputs(2, 3, 0, 4, 2)),
    ("single", "quick", "robustness", lssl_inputs(2, 3, 1, 4, 2)),
    ("no-batch", "quick", "robustness", lssl_inputs(0, 3, 7, 4, 2)),
    # A matrix at random has modes that grow: over many steps they leave the range of float32.
    ("long", "full", "value", lssl_inputs(1, 2, 1021, 8, 1) | {"A": Draw((2, 8, 8), "legs")}),
)


def s5_inputs(b: int, h: int, l: int, p: int, complex_: bool) -> dict[str, Any]:
    return {
        "u": Draw((b, h, l)),
        "delta": _steps(p),
        "A": _modes(p, complex_=complex_),
        "B": Draw((p, h), complex=complex_),
        "C": Draw((h, p), complex=complex_),
        "D": Draw((h,)),
    }


_S5_ROWS: Final[tuple[Row, ...]] = (
    ("typical", "smoke", "value", s5_inputs(2, 3, 23, 5, False)),
    ("complex", "smoke", "value", s5_inputs(2, 3, 23, 5, True)),
    ("bilinear", "quick", "value", s5_inputs(2, 2, 17, 4, True) | {"discretization": "bilinear"}),
    ("forward-euler", "quick", "value", s5_inputs(1, 2, 11, 3, False) | {"discretization": "forward_euler"}),
    ("backward-euler", "quick", "value", s5_inputs(1, 2, 11, 3, True) | {"discretization": "backward_euler"}),
    ("initial", "quick", "value", s5_inputs(2, 3, 17, 4, False) | {"initial_state": Draw((2, 4))}),
    (
        "initial-complex",
        "quick",
        "value",
        s5_inputs(2, 3, 17, 4, True) | {"initial_state": Draw((2, 4), complex=True)},
    ),
    ("empty", "quick", "robustness", s5_inputs(2, 3, 0, 4, True)),
    ("single", "quick", "robustness", s5_inputs(2, 3, 1, 4, True)),
    ("no-batch", "quick", "robustness", s5_inputs(0, 3, 7, 4, False)),
    ("long", "full", "value", s5_inputs(1, 4, 1021, 8, True)),
)


def h3_inputs(
    b: int, d: int, l: int, h: int, n: int, complex_: bool, s: int = 4, **more: Any
) -> dict[str, Any]:
    return {
        "q": Draw((b, d, l)),
        "k": Draw((b, d, l)),
        "v": Draw((b, d, l)),
        "shift": Draw((d, s)),
        "shift_D": Draw((d,)),
        "delta": _steps(h),
        "A": _modes(h, n, complex_=complex_),
        "B": Draw((h, n), complex=complex_),
        "C": Draw((h, n), complex=complex_),
    } | more


def _rule(rule: str) -> dict[str, Any]:
    return {"discretization": rule}


_PROJECTED: Final = {"D": Draw((2,)), "out_proj": Draw((5, 6))}
_H3_ROWS: Final[tuple[Row, ...]] = (
    ("typical", "smoke", "value", h3_inputs(2, 6, 19, 2, 4, False) | _PROJECTED),
    ("complex", "smoke", "value", h3_inputs(2, 6, 19, 2, 4, True) | _PROJECTED),
    ("plain", "quick", "value", h3_inputs(1, 4, 17, 4, 3, False)),
    ("one-head", "quick", "value", h3_inputs(1, 3, 13, 1, 4, True)),
    ("bilinear", "quick", "value", h3_inputs(1, 4, 17, 2, 3, True, A=modes(2, 3)) | _rule("bilinear")),
    (
        "forward-euler",
        "quick",
        "value",
        h3_inputs(1, 2, 11, 2, 3, False) | _rule("forward_euler"),
    ),
    (
        "backward-euler",
        "quick",
        "value",
        h3_inputs(1, 2, 11, 2, 3, True) | _rule("backward_euler"),
    ),
    ("long-shift", "quick", "value", h3_inputs(1, 2, 7, 2, 3, False, s=11)),
    ("empty", "quick", "robustness", h3_inputs(2, 4, 0, 2, 3, True)),
    ("single", "quick", "robustness", h3_inputs(2, 4, 1, 2, 3, True)),
    ("no-batch", "quick", "robustness", h3_inputs(0, 4, 7, 2, 3, False)),
    ("long", "full", "value", h3_inputs(1, 4, 509, 2, 8, True)),
)


def modal_inputs(d: int, n: int, complex_: bool, **more: Any) -> dict[str, Any]:
    """The parameters of S4D."""
    return {
        "delta": _steps(d),
        "A": _modes(d, n, complex_=complex_),
        "B": Draw((d, n), complex=complex_),
        "C": Draw((d, n), complex=complex_),
    } | more


def s4d_inputs(b: int, d: int, l: int, n: int, complex_: bool, **more: Any) -> dict[str, Any]:
    return {"u": Draw((b, d, l)), "D": Draw((d,))} | modal_inputs(d, n, complex_) | more


_S4D_KERNEL_ROWS: Final[tuple[Row, ...]] = (
    ("typical", "smoke", "value", modal_inputs(3, 4, False, length=23)),
    ("complex", "smoke", "value", modal_inputs(3, 4, True, length=23)),
    (
        "real-BC",
        "quick",
        "value",
        modal_inputs(2, 3, True, length=17, A=modes(2, 3), B=Draw((2, 3)), C=Draw((2, 3))),
    ),
    ("bilinear", "quick", "value", modal_inputs(3, 4, True, length=19, A=modes(3, 4)) | _rule("bilinear")),
    ("forward-euler", "quick", "value", modal_inputs(2, 3, False, length=11) | _rule("forward_euler")),
    ("backward-euler", "quick", "value", modal_inputs(2, 3, True, length=11) | _rule("backward_euler")),
    ("one-mode", "quick", "value", modal_inputs(2, 1, True, length=30)),
    ("empty", "quick", "robustness", modal_inputs(3, 4, True, length=0)),
    ("single", "quick", "robustness", modal_inputs(3, 4, True, length=1)),
    ("no-channels", "quick", "robustness", modal_inputs(0, 4, True, length=5)),
    ("long", "full", "value", modal_inputs(4, 16, True, length=1021)),
)
_S4D_ROWS: Final[tuple[Row, ...]] = (
    ("typical", "smoke", "value", s4d_inputs(2, 3, 23, 4, False)),
    ("complex", "smoke", "value", s4d_inputs(2, 3, 23, 4, True)),
    ("bilinear", "quick", "value", s4d_inputs(2, 2, 17, 4, True) | _rule("bilinear")),
    ("forward-euler", "quick", "value", s4d_inputs(1, 2, 11, 3, False) | _rule("forward_euler")),
    ("backward-euler", "quick", "value", s4d_inputs(1, 2, 11, 3, True) | _rule("backward_euler")),
    ("initial", "quick", "value", s4d_inputs(2, 3, 17, 4, False, initial_state=Draw((2, 3, 4)))),
    (
        "initial-complex",
        "quick",
        "value",
        s4d_inputs(2, 3, 17, 4, True, A=modes(3, 4), initial_state=Draw((2, 3, 4), complex=True)),
    ),
    # Past chunks of 64, with a state that must be carried on.
    ("longer", "quick", "value", s4d_inputs(1, 2, 150, 3, True, initial_state=Draw((1, 2, 3), complex=True))),
    ("text", "quick", "value", s4d_inputs(1, 2, 120, 4, True, u=Draw((1, 2, 120), "text"))),
    ("empty", "quick", "robustness", s4d_inputs(2, 3, 0, 4, True)),
    ("single", "quick", "robustness", s4d_inputs(2, 3, 1, 4, True)),
    ("no-batch", "quick", "robustness", s4d_inputs(0, 3, 7, 4, False)),
    ("long", "full", "value", s4d_inputs(1, 4, 1021, 8, True)),
)


def dplr_inputs(d: int, n: int, complex_: bool, length: int, **more: Any) -> dict[str, Any]:
    """A stable normal part less a small rank-one part."""
    low_rank = {name: Draw((d, n), complex=complex_, parameters={"scale": 0.5}) for name in ("P", "Q")}
    rest = {name: Draw((d, n), complex=complex_) for name in ("B", "C")}
    return (
        {"delta": _steps(d), "Lambda": _modes(d, n, complex_=complex_), "length": length}
        | low_rank
        | rest
        | more
    )


def legs_inputs(d: int, n: int, length: int) -> dict[str, Any]:
    """S4 as it is used: LegS of 2n states in the basis of its modes, steps from 0.001 to 0.1."""
    low_rank = {name: Draw((d, n), "legs_low_rank", complex=True) for name in ("P", "Q")}
    return (
        dplr_inputs(d, n, True, length, paired=True)
        | low_rank
        | {
            "delta": Draw((d,), "log_uniform", parameters={"low": 1e-3, "high": 1e-1}),
            "Lambda": Draw((d, n), "legs_modes", complex=True),
            "B": Draw((d, n), "legs_low_rank", complex=True, parameters={"scale": 2.0**0.5}),
        }
    )


_S4_ROWS: Final[tuple[Row, ...]] = (
    ("typical", "smoke", "value", dplr_inputs(3, 4, True, 23)),
    ("paired", "smoke", "value", dplr_inputs(3, 4, True, 23, paired=True)),
    ("real", "quick", "value", dplr_inputs(2, 3, False, 17)),
    ("paired-real", "quick", "value", dplr_inputs(2, 2, False, 13, paired=True)),
    ("one-state", "quick", "value", dplr_inputs(2, 1, True, 30)),
    (
        "no-low-rank",
        "quick",
        "value",
        dplr_inputs(2, 4, True, 19, P=fixed(0.0, (2, 4)), Lambda=modes(2, 4)),
    ),
    ("modes", "quick", "value", dplr_inputs(3, 3, True, 15, paired=True, Lambda=modes(3, 3))),
    ("empty", "quick", "robustness", dplr_inputs(3, 4, True, 0)),
    ("single", "quick", "robustness", dplr_inputs(3, 4, True, 1)),
    ("no-channels", "quick", "robustness", dplr_inputs(0, 4, True, 5)),
    ("legs", "quick", "value", legs_inputs(3, 16, 100)),
    ("long", "full", "value", dplr_inputs(2, 8, True, 255, paired=True)),
)

LAYERS: Final = (
    *(
        Recipe("s4d_kernel", name, inputs, S4D_KERNEL, level, check)
        for name, level, check, inputs in _S4D_KERNEL_ROWS
    ),
    *(Recipe("s4_kernel", name, inputs, S4_KERNEL, level, check) for name, level, check, inputs in _S4_ROWS),
    *(
        Recipe("s4d", name, inputs | {"return_last_state": True}, S4D, level, check)
        for name, level, check, inputs in _S4D_ROWS
    ),
    *(
        Recipe("lssl", name, inputs | {"return_last_state": True}, LSSL, level, check)
        for name, level, check, inputs in _LSSL_ROWS
    ),
    *(
        Recipe("s5", name, inputs | {"return_last_state": True}, S5, level, check)
        for name, level, check, inputs in _S5_ROWS
    ),
    *(Recipe("h3", name, inputs, H3, level, check) for name, level, check, inputs in _H3_ROWS),
    Recipe("h3", "mixed", wider(h3_inputs(2, 4, 13, 2, 3, False), "k", "v"), MIXED, dtypes=HALF),
)

_SIZES: Final[tuple[tuple[int, Level], ...]] = ((2, "smoke"), (6, "quick"), (64, "quick"), (256, "full"))
MATRICES: Final = (
    *(Recipe(op, f"n-{n}", {"n": n}, clause, level) for op, clause in HIPPO.items() for n, level in _SIZES),
    Recipe("hippo_legt", "window", {"n": 9, "theta": 0.3}, HIPPO["hippo_legt"], "quick"),
)

COMPRESS: Final = "compress-1: c₁ = f₁ e₀, then one step of c′ = (A c + B f)/t for each sample"
COMPRESS_RULE: Final = "compress-2: 'exact' holds the sample over (k − 1, k]; 'bilinear' is Tustin's rule"
_COMPRESS_ROWS: Final[tuple[tuple[str, Level, Check, str, dict[str, Any]], ...]] = (
    ("typical", "smoke", "value", COMPRESS, {"f": Draw((2, 3, 23)), "n": 5}),
    ("prefixes", "smoke", "value", COMPRESS, {"f": Draw((2, 19)), "n": 4, "prefixes": True}),
    ("bilinear", "smoke", "value", COMPRESS_RULE, {"f": Draw((2, 17)), "n": 6, "method": "bilinear"}),
    ("one-signal", "quick", "value", COMPRESS, {"f": Draw((31,)), "n": 8}),
    ("one-coefficient", "quick", "value", COMPRESS, {"f": Draw((2, 12)), "n": 1}),
    ("signal", "quick", "value", COMPRESS, {"f": Draw((1, 80), "signal"), "n": 8}),
    (
        "bilinear-prefixes",
        "quick",
        "value",
        COMPRESS_RULE,
        {"f": Draw((1, 2, 40)), "n": 7, "method": "bilinear", "prefixes": True},
    ),
    ("empty", "quick", "robustness", COMPRESS, {"f": Draw((2, 0)), "n": 3}),
    ("single", "quick", "robustness", COMPRESS, {"f": Draw((2, 1)), "n": 3}),
    ("no-signals", "quick", "robustness", COMPRESS, {"f": Draw((0, 5)), "n": 3}),
    ("long", "full", "value", COMPRESS, {"f": Draw((1, 130)), "n": 10}),
)
MEMORY: Final = tuple(
    Recipe("hippo_legs_compress", name, inputs, clause, level, check)
    for name, level, check, clause, inputs in _COMPRESS_ROWS
)
