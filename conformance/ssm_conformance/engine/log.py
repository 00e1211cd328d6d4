"""What a worker prints: its last words are kept in memory, however much it prints, and no disk is used."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from typing import IO, Final

KEPT: Final = 2**16
"""Bytes of a worker's output that are remembered."""
TAIL: Final = 4000
"""Bytes of it that go into the message of its end."""
OURS: Final = re.compile(
    r"ssm_conformance[./\\](?!mutants)|ssm_backends[/\\]registry|[/\\]pluggy[/\\]|"
    r"<frozen (runpy|importlib)|importlib[/\\]__init__|^Extension modules:"
)
"""Lines of a stack that say nothing of the backend."""


class Log:
    """The readable end of the pipe that a worker, and all that it starts, print to.

    Parameters
    ----------
    stream
        The pipe. It is read to its end in a thread of its own, so that no writer waits.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._text = b""
        self._total = self._mark = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def mark(self) -> None:
        """From here on: :meth:`tail` goes no further back."""
        with self._lock:
            self._mark = self._total

    def tail(self) -> str:
        """The end of what was printed since the mark."""
        with self._lock:
            size = min(self._total - self._mark, TAIL)
            text = self._text[len(self._text) - min(size, len(self._text)) :]
        return "\n".join(_of_the_backend(text.decode(errors="replace").splitlines())).strip()

    def wait(self, seconds: float) -> None:
        """Give what was printed last the time to arrive: until the pipe ends, or for some seconds."""
        self._reader.join(seconds)

    def close(self) -> None:
        """Forget the pipe, if nobody holds its other end any more."""
        if not self._reader.is_alive():
            self._stream.close()

    def _read(self) -> None:
        while chunk := os.read(self._stream.fileno(), KEPT):
            with self._lock:
                self._total += len(chunk)
                self._text = (self._text + chunk)[-KEPT:]


def _of_the_backend(lines: list[str]) -> Iterator[str]:
    """The lines without the frames of our own: of each its place, its source, and the marks below that."""
    ours = False
    for line in lines:
        if not (ours and line.startswith("    ")):
            ours = OURS.search(line) is not None
            if not ours:
                yield line
