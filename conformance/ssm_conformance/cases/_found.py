"""Cases that a search finds: their id says all about them, so that any process can make them again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ssm_backends import ArgumentError
from ssm_conformance.case import Case, Check, Recipe
from ssm_conformance.cases._selective import fixed, scan_inputs
from ssm_conformance.cases._step import step_inputs
from ssm_conformance.draw import Draw

PREFIX: Final = "search-"
OPS: Final = ("selective_scan", "selective_state_update")
"""The operators that are searched."""
WORDS: Final = (
    *("D", "z", "bias", "softplus", "last", "initial", "seq_idx", "cu_seqlens", "zoh", "complex"),
    *("B-constant", "C-constant"),
)
"""Options, each there or not."""
INPUTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "usual": {},
    "large": {"parameters": {"scale": 1e4}},
    "small": {"parameters": {"scale": 1e-4}},
    "steps": {"kind": "choice", "parameters": {"values": (-1.0, 0.0, 0.0, 1.0)}},
}
"""Name → how u is drawn."""
DELTAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "usual": {"parameters": {"scale": 0.5}},
    "small": {"kind": "uniform", "parameters": {"low": -26.0, "high": -12.0}},
    "large": {"kind": "uniform", "parameters": {"low": 15.0, "high": 40.0}},
    "far": {
        "kind": "choice",
        "parameters": {"values": (-1e4, -88.0, -20.0, 0.0, 20.0, 88.0)},
    },
}
"""Name → how delta is drawn before softplus; without softplus it is a positive step."""
MODES: Final[Mapping[str, tuple[float, float]]] = {
    "usual": (0.5, 16.0),
    "weak": (1e-4, 1e-2),
    "strong": (10.0, 1e3),
    "mixed": (1e-4, 1e3),
}
"""Name → the least and the largest −A."""
_NAME: Final = re.compile(
    r"b(?P<b>\d+)-d(?P<d>\d+)-l(?P<l>\d+)-n(?P<n>\d+)-gB(?P<b_groups>\d+)-gC(?P<c_groups>\d+)"
    r"-u\.(?P<u>\w+)-delta\.(?P<delta>\w+)-A\.(?P<A>\w+)-s(?P<seed>\d+)(?P<words>(\+[\w-]+)*)"
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """One call of a scan, or of a step, in few numbers and words.

    Attributes
    ----------
    b, d, l, n
        Sizes; a step has no l.
    b_groups, c_groups
        Groups of B and C; 0 for none.
    u, delta, A
        How they are drawn: names in ``INPUTS``, ``DELTAS`` and ``MODES``.
    seed
        Of the stream of numbers.
    words
        Options out of ``WORDS``.
    """

    b: int
    d: int
    l: int
    n: int
    b_groups: int = 0
    c_groups: int = 0
    u: str = "usual"
    delta: str = "usual"
    A: str = "usual"
    seed: int = 0
    words: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """All of it, as the last part of a case's id."""
        options = "".join(f"+{word}" for word in WORDS if word in self.words)
        return (
            f"{PREFIX}b{self.b}-d{self.d}-l{self.l}-n{self.n}-gB{self.b_groups}-gC{self.c_groups}"
            f"-u.{self.u}-delta.{self.delta}-A.{self.A}-s{self.seed}{options}"
        )

    @property
    def size(self) -> tuple[int, ...]:
        """How large it is: of two failures the smaller one is told."""
        return (self.b * self.d * self.l * self.n, len(self.words), self.seed)

    def case(self, op: str, dtype: str, check: Check) -> Case:
        """The case that asks for its values or its gradients.

        Raises
        ------
        ssm_backends.ShapeError
            If it is not a call of the operator.
        """
        inputs = self._scan() if op == "selective_scan" else self._step()
        recipe = Recipe(op, self.name, inputs, CLAUSE, "full", check, seed=f"search {self.seed}")
        return Case(recipe, dtype, check, check, level="full")

    def _scan(self) -> dict[str, Any]:
        time = (self.b, self.d, self.l)
        inputs = scan_inputs(
            *(*time, self.n),
            g_B=self.b_groups or None,
            g_C=self.c_groups or None,
            constant="".join(name for name in "BC" if f"{name}-constant" in self.words),
            complex_="complex" in self.words,
            softplus=False,
        )
        inputs = self._common(inputs, time)
        inputs["return_last_state"] = "last" in self.words
        rows = self.b
        if "cu_seqlens" in self.words:
            cuts = sorted({0, self.l // 3, self.l // 2, self.l})
            inputs["cu_seqlens"] = fixed([*cuts[:1], *cuts], dtype="int32")
            rows = len(cuts)
        if "seq_idx" in self.words:
            index = [[t // (self.l // (2 + row) + 1) for t in range(self.l)] for row in range(self.b)]
            inputs["seq_idx"] = fixed(index, (self.b, self.l), dtype="int32")
        if "initial" in self.words:
            inputs["initial_state"] = Draw((rows, self.d, self.n), complex="complex" in self.words)
        return inputs

    def _step(self) -> dict[str, Any]:
        inputs = step_inputs(self.b, self.d, self.n, complex_="complex" in self.words, softplus=False)
        for name, groups in (("B", self.b_groups), ("C", self.c_groups)):
            shape = (self.b, groups, self.n) if groups else (self.b, self.n)
            inputs[name] = Draw(shape, complex="complex" in self.words)
        return self._common(inputs, (self.b, self.d))

    def _common(self, inputs: dict[str, Any], time: tuple[int, ...]) -> dict[str, Any]:
        softplus, (low, high) = "softplus" in self.words, MODES[self.A]
        inputs["u"] = Draw(time, **INPUTS[self.u])
        inputs["delta"] = (
            Draw(time, **DELTAS[self.delta])
            if softplus
            else Draw(time, "log_uniform", parameters={"low": 1e-3, "high": 0.3})
        )
        modes = {"low": low, "high": high, "sign": -1.0}
        inputs["A"] = Draw((self.d, self.n), "log_uniform", "complex" in self.words, parameters=modes)
        for word, name in (("D", "D"), ("z", "z")):
            inputs.pop(name, None)
            if word in self.words:
                inputs[name] = Draw(time if name == "z" else (self.d,))
        if "bias" in self.words:
            inputs["delta_bias"] = Draw((self.d,), "uniform", parameters={"low": -0.2, "high": 0.2})
        if softplus:
            inputs["delta_softplus"] = True
        if "zoh" in self.words:
            inputs["b_discretization"] = "zoh"
        return inputs


CLAUSE: Final = "scan-4: y_t = (γ Re Σ_n C_t h_t + D u_t) · silu(z_t)"


def found_case(case_id: str) -> Case:
    """The case of an id that a search printed.

    Raises
    ------
    ArgumentError
        If it is not such an id.
    """
    op, check, dtype, name = (*case_id.split("/", 3), "", "", "")[:4]
    match = _NAME.fullmatch(name.removeprefix(PREFIX))
    known = op in OPS and check in ("value", "gradient") and name.startswith(PREFIX)
    if not known or match is None:
        raise ArgumentError(f"`case` must be the id of a case; got {case_id!r}")
    fields: dict[str, Any] = match.groupdict()
    words = frozenset(fields.pop("words").split("+")) - {""}
    named = {key: fields[key] if key in ("u", "delta", "A") else int(fields[key]) for key in fields}
    try:
        case = Found(words=words, **named).case(op, dtype, check)  # type: ignore[arg-type]  # one of two words
        case.call()
    except (KeyError, ValueError, TypeError) as error:
        raise ArgumentError(f"`case` must be the id of a case; got {case_id!r}: {error}") from error
    return case
