"""One case in a process of its own, that loads the plugin anew: its results, as hashes of their bits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ElsewhereError(RuntimeError):
    """The other process did not answer; the message has the end of what it printed."""


@dataclass(frozen=True)
class Elsewhere:
    """Puts cases in a fresh process.

    Attributes
    ----------
    order
        What a worker is sent to load the plugin.
    """

    order: Mapping[str, Any]

    def __call__(self, case_id: str, library: str) -> dict[str, str]:
        """Result → hash of its bits, with the arrays of a library; ElsewhereError if there was no answer."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "ssm_conformance.engine.elsewhere"],
            input=json.dumps({"order": dict(self.order), "case": case_id, "library": library}),
            capture_output=True,
            text=True,
            check=False,
        )
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            raise ElsewhereError(f"exit status {done.returncode}: {done.stderr[-2000:]}")
        found: dict[str, str] = json.loads(lines[-1])
        return found


def main() -> None:
    """Answer one question from standard input."""
    from ssm_conformance.cases import find_case
    from ssm_conformance.checks import hashes
    from ssm_conformance.engine.answering import load

    question = json.load(sys.stdin)
    backend, answer = load(question["order"])
    if backend is None:
        sys.exit(answer["failure"]["message"])
    print(json.dumps(hashes(find_case(question["case"]), backend, question["library"])))


if __name__ == "__main__":
    main()
