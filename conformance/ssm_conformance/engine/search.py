"""Calls that nobody wrote down: drawn by hypothesis within the claims, made small where they fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Literal

from ssm_backends import claims_from_data
from ssm_conformance.case import Case
from ssm_conformance.cases.searched import SPACES, Chosen, Space
from ssm_conformance.engine.run import Selection
from ssm_conformance.planning import reason_not_asked
from ssm_conformance.verdict import Verdict

Lane = tuple[str, str, Literal["value", "gradient"]]
"""Operator, dtype, check."""
ROUND: Final = 25
"""Calls that are drawn before the next lane has its turn."""


@dataclass
class Search:
    """Goes through a backend's claims until the time is over.

    Attributes
    ----------
    claims
        As ``ssm_backends.claims_as_data`` gives them.
    judge
        Puts one case.
    seconds
        How long.
    selection
        Which operators, dtypes and checks; all of those that are searched, if empty.
    calls
        How many were judged so far.
    """

    claims: Mapping[str, Any]
    judge: Callable[[Case], Verdict]
    seconds: float
    selection: Selection = field(default_factory=Selection)
    calls: int = 0

    def __iter__(self) -> Iterator[Verdict]:
        """The failures that are found, the smallest of each lane."""
        end, lanes = time.monotonic() + self.seconds, self._lanes()
        for number in count():
            if not lanes or time.monotonic() >= end:
                return
            lane = lanes.pop(0)
            found = self._round(lane, number, end)
            if found is None:
                lanes.append(lane)
            else:
                yield found

    def _lanes(self) -> list[Lane]:
        claimed = claims_from_data(self.claims)
        chosen = self.selection
        dtypes = {
            op: dict.fromkeys(dtype for item in claimed.get(op, ()) for dtype in item.dtypes) for op in SPACES
        }
        return [
            (op, dtype, check)
            for dtype in dict.fromkeys(dtype for found in dtypes.values() for dtype in found)
            for check in CHECKS
            for op in SPACES
            if dtype in dtypes[op]
            if check == "value" or any(item.gradients for item in claimed[op])
            if (not chosen.ops or op in chosen.ops)
            and (not chosen.dtypes or dtype in chosen.dtypes)
            and (not chosen.checks or check in chosen.checks)
        ]

    def _round(self, lane: Lane, number: int, end: float) -> Verdict | None:
        """Draw some calls in one lane; the smallest failure, if there is any."""
        import hypothesis
        from hypothesis import HealthCheck, Phase, given, settings

        op, dtype, check = lane
        implementations = claims_from_data(self.claims)[op]
        features = frozenset(feature for item in implementations for feature in item.features)
        failures: dict[str, tuple[tuple[int, ...], Verdict]] = {}

        @hypothesis.seed(number)
        @settings(
            max_examples=ROUND,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            verbosity=hypothesis.Verbosity.quiet,
        )
        @given(_calls(SPACES[op].within(features)))
        def attempt(drawn: Chosen) -> None:
            case = SPACES[op].case(drawn, dtype, check)
            if case.id not in failures:
                if time.monotonic() >= end:
                    return
                hypothesis.assume(any(reason_not_asked(case, item) is None for item in implementations))
                verdict = self.judge(case)
                self.calls += 1
                if verdict.status != "fail":
                    return
                failures[case.id] = (drawn.size, verdict)
            raise _FoundError(case.id)

        with suppress(_FoundError, hypothesis.errors.Flaky, hypothesis.errors.Unsatisfiable):
            attempt()
        smallest = min(failures.values(), key=lambda item: item[0], default=None)
        return None if smallest is None else smallest[1]


CHECKS: Final[tuple[Literal["value", "gradient"], ...]] = ("value", "gradient")
"""What is asked of each call."""


class _FoundError(Exception):
    """Tells hypothesis that a call fails."""


def _calls(space: Space) -> Any:
    """The strategy: calls out of a space, small ones first."""
    from hypothesis import strategies as st

    @st.composite
    def calls(draw: Any) -> Chosen:
        return space.settled(
            Chosen(
                {key: draw(st.sampled_from(choices)) for key, choices in space.numbers.items()},
                {key: draw(st.sampled_from(choices)) for key, choices in space.names.items()},
                frozenset(word for word in space.words if draw(st.booleans())),
                draw(st.integers(0, 999)),
            )
        )

    return calls()
