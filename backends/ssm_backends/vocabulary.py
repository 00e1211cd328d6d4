"""The closed vocabulary of facts that a claim may state about its arithmetic.

A fact describes what a kernel does. It is never a number chosen to pass: no entry here is a tolerance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ssm_backends.dtypes import REAL
from ssm_backends.errors import ContractError
from ssm_backends.schema import Operator

WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "evaluation": ("sequential", "scan", "right_fold", "chunk", "matmul_chunk", "fft"),
    "softplus": ("log1p", "naive"),
    "decayed_state": ("direct", "subtractive"),
    "saved_gate": ("compute", "io"),
    "operands": ("compute", "bfloat16", "float16", "tf32"),
}
"""Fact → the words it may take.

evaluation
    Order in time. "sequential": one step after the other. "scan": any bracketing of the
    associative operator, sequential included.
    "right_fold": with "fold_depth". "chunk": decays inside a chunk from differences of a
    cumulative sum, with "chunk". "matmul_chunk": the same by matrix products. "fft".
softplus
    "log1p", or "naive": log(exp(x) + 1).
decayed_state
    a_t h_{t−1} for the gradients: "direct", or "subtractive", as h_t − b_t u_t.
saved_gate
    Type in which the output before the gate is kept for the backward pass.
operands
    Type to which the operands of a matrix product are rounded.
"""
INTEGERS: Final[Mapping[str, tuple[int, int]]] = {"chunk": (1, 1024), "fold_depth": (1, 2**31)}
"""Fact → the range of its value. "chunk": length of a chunk. "fold_depth": the most
nodes of the evaluation tree that share one right end."""
BELONGS: Final[Mapping[str, tuple[str, ...]]] = {
    "chunk": ("chunk", "matmul_chunk"),
    "fold_depth": ("right_fold",),
}
"""Fact → the orders of evaluation that it describes: neither is given without the other."""


def check_arithmetic(operator: Operator, facts: Any) -> None:
    """Refuse a declaration outside the vocabulary, and one that says nothing.

    Parameters
    ----------
    operator
        The operator it is about.
    facts
        Fact → word or number, or dtype → such a mapping.

    Raises
    ------
    ContractError
        Naming the fact, what it may be, and what was given.
    """
    _check_words(operator, facts)
    for dtype in REAL:
        _check_company(operator, facts_for(facts, dtype))


def _check_words(operator: Operator, facts: Any) -> None:
    if not isinstance(facts, Mapping):
        raise ContractError(f"`arithmetic` of {operator.name} must map facts to words; got {facts!r}")
    for key, value in facts.items():
        if key in REAL and isinstance(value, Mapping):
            _check_words(operator, value)
        elif key in WORDS:
            if value not in WORDS[key]:
                raise ContractError(
                    f"`arithmetic`: {key} must be one of {', '.join(WORDS[key])}; got {value!r}"
                )
        elif key in INTEGERS:
            low, high = INTEGERS[key]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ContractError(f"`arithmetic`: {key} must lie in {low}..{high}; got {value!r}")
        else:
            known = ", ".join([*WORDS, *INTEGERS, *REAL])
            raise ContractError(f"`arithmetic` knows {known}; got {key!r}")


def _check_company(operator: Operator, facts: Mapping[str, Any]) -> None:
    """A number belongs to an order of evaluation, and that order to the number."""
    evaluation = facts.get("evaluation", "none")
    for number, orders in BELONGS.items():
        if (evaluation in orders) != (number in facts):
            raise ContractError(
                f"`arithmetic` of {operator.name}: {number} belongs to the evaluation {' or '.join(orders)}, "
                f"and that to it; got evaluation {evaluation} and {number} {facts.get(number, 'none')}"
            )


def facts_for(facts: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """The facts that hold for one dtype: the general ones, then those stated for it."""
    general = {key: value for key, value in facts.items() if key not in REAL}
    return general | dict(facts.get(dtype, {}))
