"""What can be chosen for a call of one operator, and what was: few numbers and words, which are its id."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import gcd, prod
from typing import Any, Final

from ssm_conformance.case import Case, Check, Recipe
from ssm_conformance.draw import Draw

PREFIX: Final = "search-"
COUNTS: Final = (1, 2, 3, 4, 6, 12, 33)
"""Of channels or heads."""
ROWS: Final = (1, 2, 3)
"""Of a batch."""
STATES: Final = (1, 2, 3, 5, 16, 17)
LENGTHS: Final = (0, 1, 2, 3, 7, 16, 17, 33, 64, 65, 130, 257)
SHORT: Final = LENGTHS[:8]
"""Where a system may grow."""
NUMBERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "usual": {},
    "large": {"parameters": {"scale": 1e4}},
    "small": {"parameters": {"scale": 1e-4}},
    "steps": {"kind": "choice", "parameters": {"values": (-1.0, 0.0, 0.0, 1.0)}},
}
"""Name → how an input is drawn."""


@dataclass(frozen=True)
class Chosen:
    """One call of an operator, in few numbers and words.

    Attributes
    ----------
    numbers
        Sizes, and numbers of groups.
    names
        What is drawn how.
    words
        Options that are there.
    seed
        Of the stream of numbers.
    """

    numbers: Mapping[str, int]
    names: Mapping[str, str]
    words: frozenset[str] = frozenset()
    seed: int = 0

    def __getattr__(self, name: str) -> int:
        """One of the numbers."""
        try:
            return self.__dict__["numbers"][name]  # type: ignore[no-any-return]  # they are integers
        except KeyError:
            raise AttributeError(name) from None

    @property
    def size(self) -> tuple[int, ...]:
        """How large it is: of two failures the smaller one is told."""
        return (prod(1 + number for number in self.numbers.values()), len(self.words), self.seed)

    def draw(self, *shape: int, name: str = "u") -> Draw:
        """An input of a shape, drawn as was chosen."""
        return Draw(shape, **NUMBERS[self.names[name]])

    def instead(self, words: frozenset[str] | None = None, **numbers: int) -> Chosen:
        """The same with other numbers, and other words if they are given."""
        return replace(
            self, numbers={**self.numbers, **numbers}, words=self.words if words is None else words
        )


def divided(chosen: Chosen, whole: str, *parts: str) -> Chosen:
    """With numbers of groups that divide a number."""
    numbers = chosen.numbers
    shared = {part: gcd(numbers[part], numbers[whole]) for part in parts if numbers[part]}
    return replace(chosen, numbers={**numbers, **shared})


@dataclass(frozen=True)
class Space:
    """All calls of one operator that a search draws.

    Attributes
    ----------
    op, clause
        The operator, and the clause of the specification that it stands for.
    numbers, names
        What there is to choose from; the first of each is the simplest.
    words
        Options, each there or not.
    inputs
        The arguments of a call.
    settled
        What was chosen made a call of the operator: groups that divide, options that exclude each other.
    """

    op: str
    clause: str
    numbers: Mapping[str, tuple[int, ...]]
    inputs: Callable[[Chosen], dict[str, Any]]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    settled: Callable[[Chosen], Chosen] = field(default=lambda chosen: chosen)

    def name(self, chosen: Chosen) -> str:
        """All of a call, as the last part of a case's id."""
        parts = [f"{key}{chosen.numbers[key]}" for key in self.numbers]
        parts += [f"{key}.{chosen.names[key]}" for key in self.names]
        options = "".join(f"+{word}" for word in self.words if word in chosen.words)
        return f"{PREFIX}{'-'.join(parts)}-s{chosen.seed}{options}"

    def case(self, chosen: Chosen, dtype: str, check: Check) -> Case:
        """The case that asks for its values or its gradients.

        Raises
        ------
        ssm_backends.ShapeError
            If it is not a call of the operator.
        """
        seed = f"search {chosen.seed}"
        recipe = Recipe(self.op, self.name(chosen), self.inputs(chosen), self.clause, "full", check, seed)
        return Case(recipe, dtype, check, check, level="full")

    @cached_property
    def simplest(self) -> Chosen:
        """The first of everything, and no option."""
        return Chosen(
            {key: choices[0] for key, choices in self.numbers.items()},
            {key: choices[0] for key, choices in self.names.items()},
        )

    def within(self, features: frozenset[str]) -> Space:
        """The part of it that asks for no other features than these and the simplest call's.

        Each choice is tried by itself.
        """

        def needed(chosen: Chosen) -> frozenset[str]:
            return self.case(self.settled(chosen), "float32", "value").call().features

        simplest = self.simplest
        allowed = features | needed(simplest)

        def able(**change: Any) -> bool:
            return needed(replace(simplest, **change)) <= allowed

        return replace(
            self,
            numbers={
                key: tuple(n for n in choices if able(numbers={**simplest.numbers, key: n}))
                for key, choices in self.numbers.items()
            },
            names={
                key: tuple(name for name in choices if able(names={**simplest.names, key: name}))
                for key, choices in self.names.items()
            },
            words=tuple(word for word in self.words if able(words=frozenset({word}))),
        )

    def parsed(self, name: str) -> Chosen | None:
        """What was chosen, from the last part of an id; None if it is none."""
        numbers = [rf"{key}(?P<n_{key}>\d+)" for key in self.numbers]
        names = [rf"{key}\.(?P<w_{key}>\w+)" for key in self.names]
        pattern = PREFIX + "-".join([*numbers, *names]) + r"-s(?P<seed>\d+)(?P<words>(\+[\w-]+)*)"
        match = re.fullmatch(pattern, name)
        if match is None:
            return None
        found = match.groupdict()
        words = frozenset(found["words"].split("+")) - {""}
        named = {key: found[f"w_{key}"] for key in self.names}
        known = all(named[key] in choices for key, choices in self.names.items())
        if not known or not words <= set(self.words):
            return None
        return Chosen({key: int(found[f"n_{key}"]) for key in self.numbers}, named, words, int(found["seed"]))
