"""Optional arguments, each present and absent, and every pair of them together in some call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ssm_conformance.case import Level, Recipe
from ssm_conformance.cases._selective import GROUPS, OUTPUT, fixed, scan_inputs
from ssm_conformance.cases._step import step_inputs
from ssm_conformance.draw import Draw

PLAIN_OPTIONS: Final = ("D", "z", "bias", "softplus", "last")
"""The options of a scan that need no feature."""
SCAN_OPTIONS: Final[tuple[tuple[str, ...], ...]] = (
    ("", "initial"),
    ("", "seq_idx", "cu_seqlens"),
    ("", "zoh"),
    ("", "B-grouped", "B-constant"),
    ("", "C-grouped", "C-constant"),
    ("", "complex"),
)
"""Its other options: of each tuple one, "" for the plain one."""
STEP_OPTIONS: Final = (
    *("D", "z", "bias", "softplus", "zoh", "B-grouped", "C-grouped", "complex", "pool", "inplace"),
)
"""The options of a step."""

PLAIN_ROWS: Final = (
    "D z",
    "D bias softplus last",
    "bias",
    "z softplus last",
    "last",
    "D z bias softplus",
)
"""Calls in which every pair of the plain options occurs in every combination."""
SCAN_ROWS: Final = (
    "bias last zoh C-grouped",
    "D z bias softplus initial seq_idx B-constant complex",
    "D initial cu_seqlens zoh B-grouped C-constant complex",
    "z softplus last B-grouped C-constant",
    "last seq_idx zoh B-constant",
    "z softplus last initial cu_seqlens C-grouped complex",
    "D z bias softplus cu_seqlens zoh",
    "D z bias B-constant C-grouped complex",
    "bias softplus initial seq_idx C-constant",
    "D bias last seq_idx zoh B-grouped C-grouped",
    "D bias last initial zoh B-grouped complex",
    "D softplus last cu_seqlens B-constant C-constant",
)
"""The same for all options of a scan."""
_SOON: Final = (SCAN_ROWS[1], SCAN_ROWS[6], SCAN_ROWS[9])
"""Rows of which one has each option but a constant C: the level quick has them of whole blocks too."""
STEP_ROWS: Final = (
    "D z B-grouped complex",
    "bias softplus C-grouped pool inplace",
    "z bias softplus zoh B-grouped pool",
    "D zoh C-grouped complex inplace",
    "bias zoh B-grouped complex pool inplace",
    "z softplus zoh C-grouped",
    "D bias B-grouped C-grouped",
    "D z softplus zoh complex pool inplace",
)
"""The same for a step."""


def _options(
    inputs: dict[str, Any], words: list[str], d: int, time: tuple[int, ...], least: float
) -> dict[str, Any]:
    """What a scan and a step have in common: D, z, bias and softplus, each on its own."""
    del inputs["delta"]
    inputs["delta"] = Draw(time, "log_uniform", parameters={"low": 1e-3, "high": 0.3})
    if "bias" in words:
        inputs["delta_bias"] = Draw((d,), "uniform", parameters={"low": least, "high": 0.2})
    if "softplus" in words:
        inputs["delta_softplus"] = True
    if "zoh" in words:
        inputs["b_discretization"] = "zoh"
    return inputs


def _matrix(words: list[str], name: str, b: int, d: int, n: int, time: tuple[int, ...], g: int) -> Draw:
    complex_ = "complex" in words
    if f"{name}-constant" in words:
        return Draw((d, n), complex=complex_)
    groups = (g,) if f"{name}-grouped" in words else ()
    return Draw((b, *groups, n, *time), complex=complex_)


@dataclass(frozen=True)
class _Size:
    """How long and how wide a call is, where its packed sequences begin, and how its recipe is told apart.

    Attributes
    ----------
    kind
        In front of the options in its name.
    l
        Steps.
    first, second
        Where the second sequence begins in the first row and in the second, by index.
    offsets
        The first bounds of sequences by offsets; the last one is l.
    d, n
        Channels, a multiple of four, and states.
    least
        The least delta_bias: a step may be negative, and then the state grows.
    """

    kind: str
    l: int
    first: int
    second: int
    offsets: tuple[int, ...]
    d: int = 4
    n: int = 2
    least: float = -0.2


_SHORT: Final = _Size("", 11, 3, 6, (0, 4, 4))
_LONG: Final = _Size("long", 330, 256, 129, (0, 270, 270))
"""Past blocks of 64 and of 256."""
_WHOLE: Final = _Size("whole", 128, 64, 32, (0, 64, 64))
"""Whole blocks of any size up to 128, and sequences that begin with one."""
_WIDE: Final = _Size("wide", 7, 3, 5, (0, 4, 4), d=68, n=33)
"""More channels, and more states, than a block."""
_LARGE: Final = _Size("large", 150, 128, 65, (0, 70, 70), d=68, n=16, least=0.0)
"""More channels than a block, as many states as kernels are compiled for, and more steps than two blocks."""
_SINGLE: Final = _Size("single", 1, 0, 0, (0, 1, 1))
"""One step, for which a kernel may have a path of its own."""
_EMPTY: Final = _Size("empty", 0, 0, 0, (0, 0, 0))
TRIPLE: Final = _Size("triple", 70, 65, 33, (0, 40, 40))
"""Past a block of 64, of as little else as there can be."""
_SLOW: Final = {"low": 1e-2, "high": 1.0, "sign": -1.0}
"""Rates of decay that leave something of every state from block to block."""


def scan_with(row: str, size: _Size = _SHORT, level: Level = "quick") -> Recipe:
    """A call that has exactly the options named."""
    words = row.split()
    packed = "cu_seqlens" in words
    b, d, l, n, complex_ = 1 if packed else 2, size.d, size.l, size.n, "complex" in words
    inputs = scan_inputs(
        b, d, l, n, complex_=complex_, gate="z" in words, feedthrough="D" in words, softplus=False
    )
    inputs = _options(inputs, words, d, (b, d, l), size.least)
    if size is _LARGE and not complex_:
        inputs["A"] = Draw((d, n), "log_uniform", parameters=_SLOW)
    inputs["B"], inputs["C"] = (_matrix(words, name, b, d, n, (l,), g) for name, g in (("B", 2), ("C", 4)))
    inputs["return_last_state"] = "last" in words
    if packed:
        inputs["cu_seqlens"] = fixed([*size.offsets, l], dtype="int32")
    if "seq_idx" in words:
        first, second = size.first, size.second
        resets = [[0] * first + [1] * (l - first), [5] * second + [4] * (l - second)]
        inputs["seq_idx"] = fixed(resets, dtype="int32")
    if "initial" in words:
        inputs["initial_state"] = Draw((3 if packed else b, d, n), complex=complex_)
    name = "-".join(filter(None, [size.kind, "with", *words]))
    if size is _SHORT:
        return Recipe("selective_scan", name, inputs, OUTPUT, first=("float32",))
    dtypes = ("float32", "bfloat16") if size is _LARGE else ("float32",)
    return Recipe("selective_scan", name, inputs, OUTPUT, level, first=("float32",), dtypes=dtypes)


def step_with(row: str, size: _Size = _SHORT) -> Recipe:
    words = row.split()
    b, d, n = 3, size.d, size.n
    inputs = step_inputs(b, d, n, complex_="complex" in words, gate="z" in words, softplus=False)
    if "D" not in words:
        del inputs["D"]
    inputs = _options(inputs, words, d, (b, d), size.least)
    inputs["B"], inputs["C"] = (_matrix(words, name, b, d, n, (), g) for name, g in (("B", 2), ("C", 4)))
    if "pool" in words:
        inputs["state"] = Draw((5, d, n), complex="complex" in words)
        inputs["state_indices"] = fixed([3, -1, 0], dtype="int32")
    if "half" in words:
        inputs["state"] = Draw(inputs["state"].shape, dtype="bfloat16")
    if "inplace" in words:
        inputs["inplace"] = True
    name = "-".join(filter(None, [size.kind, "with", *words]))
    if size is _SHORT:
        return Recipe("selective_state_update", name, inputs, GROUPS, first=("float32",))
    return Recipe("selective_state_update", name, inputs, GROUPS, "full", dtypes=("float32",))


SCAN: Final = (
    *(scan_with(row) for row in (*PLAIN_ROWS, *SCAN_ROWS)),
    *(scan_with(row, _LONG, "full") for row in SCAN_ROWS),
    *(scan_with(row, _WHOLE, "quick" if row in _SOON else "full") for row in SCAN_ROWS),
    *(scan_with(row, _WIDE, "quick" if row in _SOON else "full") for row in (*PLAIN_ROWS, *SCAN_ROWS)),
    *(scan_with(row, size, "full") for size in (_SINGLE, _EMPTY) for row in SCAN_ROWS),
    *(scan_with(row, _LARGE, "quick" if row in _SOON else "full") for row in SCAN_ROWS),
)
STEP: Final = (*(step_with(row) for row in STEP_ROWS), *(step_with(row, _WIDE) for row in STEP_ROWS))
