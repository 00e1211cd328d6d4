"""What the suite says about one case, as data that crosses processes and goes into reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

Status = Literal["pass", "fail", "error", "not_claimed", "unavailable"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
"""pass and fail judge the backend; error: it could not be judged; not_claimed and
unavailable: there was nothing to judge, or no instrument to judge it with."""
JUDGED: Final[tuple[Status, ...]] = ("pass", "fail")
"""The statuses that say something about the backend."""
EDGES: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0, 10.0)
"""Upper edges of the bins in which ``details["headroom"]`` counts elements by their ratio of error
to bound; one more bin holds what exceeds the last, and NaN."""

_SHOWN: Final = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n\r"
}
"""Control characters, which a terminal would obey, as they are written in Python."""

LIKELY: Final = "; likely mistake: "
"""In a message, what stands between the elements that are wrong and the one mistake that explains them."""

LEFT: Final = "state is left from one call to the next, memory is read that nobody wrote, or threads race"
"""What explains that the same call gives another result."""

LACKS: Final = "lacks"
MEMORY: Final = "memory"
"""In the details of an unavailable verdict: it was memory that was missing."""


@dataclass(frozen=True)
class OutputRatio:
    """The worst element of one output.

    Attributes
    ----------
    name
        The output, or the argument whose gradient it is.
    ratio
        Error over bound of that element; above 1 it fails. May be infinite or NaN.
    where
        Its index; None where the output has no elements.
    """

    name: str
    ratio: float
    where: tuple[int, ...] | None


@dataclass(frozen=True)
class Verdict:
    """What one case found.

    Attributes
    ----------
    id, op, dtype, check
        The case's identity and the three things that it is filtered by.
    status
        One of :data:`STATUSES`.
    ratio
        The worst of ``outputs``; None where the check is not a ratio.
    outputs
        One entry for each output or gradient.
    message
        What is wrong, in words; "" for a pass.
    expected
        The reason why this case is known to fail; None if it is not.
    rerun
        The command that runs this case alone.
    seconds
        How long it took.
    details
        JSON-ready extras: the clause, the worst element, the memory fit, declared facts …
    """

    id: str
    op: str
    dtype: str
    check: str
    status: Status
    ratio: float | None = None
    outputs: tuple[OutputRatio, ...] = ()
    message: str = ""
    expected: str | None = None
    rerun: str = ""
    seconds: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"`status` must be one of {', '.join(STATUSES)}; got {self.status!r}")
        object.__setattr__(self, "message", plain(self.message))

    @property
    def judged(self) -> bool:
        """Whether it says something about the backend."""
        return self.status in JUDGED

    @property
    def wants_room(self) -> bool:
        """Whether memory was missing that others may have held."""
        return self.status == "unavailable" and self.details.get(LACKS) == MEMORY

    @property
    def unexpected(self) -> bool:
        """Whether it speaks against the backend: an unannounced failure, or an announced one that passed."""
        return self.status == ("fail" if self.expected is None else "pass")

    def to_json(self) -> dict[str, Any]:
        """The verdict as strict JSON data: non-finite numbers are the strings "inf", "-inf", "nan"."""
        return {
            "id": self.id,
            "op": self.op,
            "dtype": self.dtype,
            "check": self.check,
            "status": self.status,
            "ratio": plain(self.ratio),
            "outputs": [
                {"name": o.name, "ratio": plain(o.ratio), "where": plain(o.where)} for o in self.outputs
            ],
            "message": self.message,
            "expected": self.expected,
            "rerun": self.rerun,
            "seconds": round(self.seconds, 6),
            "details": plain(self.details),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """The verdict of :meth:`to_json`."""
        ratio = data["ratio"]
        return cls(
            id=data["id"],
            op=data["op"],
            dtype=data["dtype"],
            check=data["check"],
            status=data["status"],
            ratio=None if ratio is None else float(ratio),
            outputs=tuple(_output(item) for item in data["outputs"]),
            message=data["message"],
            expected=data["expected"],
            rerun=data["rerun"],
            seconds=data["seconds"],
            details=data["details"],
        )


def _output(data: Mapping[str, Any]) -> OutputRatio:
    where = data["where"]
    return OutputRatio(data["name"], float(data["ratio"]), None if where is None else tuple(where))


def plain(value: Any) -> Any:
    """A value as strict JSON data: plain numbers, non-finite ones as strings, the rest through ``str``.

    Strings show control characters instead of holding them: they may be a plugin's, and go to terminals.

    Parameters
    ----------
    value
        Numbers, strings, None, and mappings and sequences of them, nested as you like.
    """
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays, without importing NumPy
        value = value.tolist()
    if isinstance(value, str):  # half of a surrogate pair could be written to no file and no terminal
        return value.encode("utf-8", "backslashreplace").decode("utf-8").translate(_SHOWN)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return str(value)


def told_apart(message: str) -> list[str]:
    """The lines of a message; the mistake that the first one ends with has a line of its own."""
    first, *rest = message.splitlines() or [""]
    said, _, likely = first.partition(LIKELY)
    return [line for line in (said, likely and f"likely mistake: {likely}", *rest) if line]
