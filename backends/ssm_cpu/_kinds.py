"""The forms of a loop over time: one for each rule, and for each of B and C constant or not."""

from __future__ import annotations

from collections.abc import Callable

from ssm_cpu import _call as names
from ssm_cpu import _rooms as places
from ssm_cpu._blocks import Task, row_bytes, state_bytes
from ssm_cpu._emit import Function
from ssm_cpu._values import Int, Lanes


class Kind:
    """What one form of a loop over time is written for: the rule, and which of B and C are constant."""

    def __init__(self, zoh: bool, constant_B: bool, constant_C: bool) -> None:
        self.zoh = zoh
        self.constant_B = constant_B
        self.constant_C = constant_C

    def matrix(self, f: Function, row: Int, t: Int, constant: bool) -> Lanes:
        """B or C of one mode at one step."""
        parts = f.program.parts
        return f.load(row, parts) if constant else f.spread(row + t * (parts * f.program.width), parts)


def by_kind(task: Task, i: Int, j: Int, name: str, body: Callable[..., None], *arguments: Int) -> None:
    """Call the form of a loop that is asked for; its first arguments are mode j's rows of B and C."""
    f, call = task.f, task.call

    def row(fixed: bool, constant: int, variable: int) -> Int:
        if fixed:
            return task.states(constant, i) + j * state_bytes(f)
        return call.room(variable) + j * row_bytes(f)

    for zoh in (False, True):
        for fixed_B in (False, True):
            for fixed_C in (False, True):
                kind = Kind(zoh, fixed_B, fixed_C)
                flags = zip(
                    (names.ZOH, names.B_CONSTANT, names.C_CONSTANT), (zoh, fixed_B, fixed_C), strict=True
                )
                wanted = [call.number(flag).equals(int(value)) for flag, value in flags]
                with f.when(wanted[0] & wanted[1] & wanted[2]):
                    f.call(
                        f"{name}_{zoh:d}{fixed_B:d}{fixed_C:d}",
                        lambda f, *rest, kind=kind: body(kind, f, *rest),
                        row(fixed_B, places.CONST_B, places.ROWS_B),
                        row(fixed_C, places.CONST_C, places.ROWS_C),
                        *arguments,
                    )
