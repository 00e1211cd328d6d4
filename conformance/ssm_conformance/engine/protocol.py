"""How parent and worker talk: one JSON object a line, over a pipe that nothing else writes to.

Parent to worker: first ``{"load": target, "path": […], "gpu_fraction": …}``, then ``{"case": id}``
as often as it likes, each with "seconds", after which the worker ends itself if nobody has stopped it;
the end of the stream ends the worker.
Worker to parent, one answer each: ``{"claims": …, "devices": […], "at_import": […]}`` or
``{"failure": {"kind": …, "message": …}}``; then ``{"verdict": …, "retire": …}``, where
``retire`` says why this process must not be used again, or is "".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any


class ProtocolError(RuntimeError):
    """What arrived on the pipe is not a message."""


def send(stream: IO[bytes], message: Mapping[str, Any]) -> None:
    """Write one message and flush it."""
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


def receive(stream: IO[bytes]) -> dict[str, Any] | None:
    """Wait for one message; None at the end of the stream."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None  # the end; half a line is what a dying process leaves
    return parse(line)


def parse(line: bytes) -> dict[str, Any]:
    """One line as a message."""
    try:
        message = json.loads(line)
    except ValueError as error:
        raise ProtocolError(f"not a message: {line[:80]!r}") from error
    if not isinstance(message, dict):
        raise ProtocolError(f"not a message: {line[:80]!r}")
    return message


def parse_answer(line: bytes, *forms: tuple[str, ...]) -> dict[str, Any]:
    """One line as a worker's answer, which has the keys of one of these forms and no others."""
    message = parse(line)
    if set(message) not in map(set, forms):
        raise ProtocolError(f"not an answer: {line[:80]!r}")
    return message
