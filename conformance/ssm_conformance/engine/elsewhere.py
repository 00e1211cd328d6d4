"""One case in a process of its own, that loads the plugin anew: its results, as hashes of their bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

FAULT: Final = 1
"""The exit status of a process that could not load the backend, or that the suite itself made an end of."""


class ElsewhereError(RuntimeError):
    """The other process could not ask; the message has the end of what it printed."""


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
        """Result → hash of its bits, with the arrays of a library.

        Raises
        ------
        CheckFailed
            If the backend fails there.
        ElsewhereError
            If it was not asked.
        """
        from ssm_conformance.checks.subject import CheckFailed
        from ssm_conformance.engine.process import ending

        done = subprocess.run(
            [sys.executable, "-P", "-m", "ssm_conformance.engine.elsewhere"],
            input=json.dumps({"order": dict(self.order), "case": case_id, "library": library}),
            capture_output=True,
            text=True,
            check=False,
        )
        printed = done.stderr[-2000:]
        if done.returncode == FAULT:
            raise ElsewhereError(printed)
        if done.returncode or not done.stdout:
            raise CheckFailed(f"another process {ending(done.returncode)}\n{printed}".strip())
        answer: dict[str, dict[str, str]] = json.loads(done.stdout)
        if "failed" in answer:
            raise CheckFailed(f"in another process: {answer['failed']}")
        return answer["hashes"]


def main() -> None:
    """Answer one question from standard input. What the plugin prints, at its exit too, goes elsewhere."""
    from ssm_conformance.cases import find_case
    from ssm_conformance.checks import hashes
    from ssm_conformance.checks.subject import CheckFailed
    from ssm_conformance.engine.answering import load

    question = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    backend, answer = load(question["order"])
    if backend is None:
        sys.exit(answer["failure"]["message"])
    case = find_case(question["case"])
    found: dict[str, Any]
    try:
        found = {"hashes": hashes(case, backend, question["library"])}
    except CheckFailed as failure:
        found = {"failed": str(failure)}
    with answers:
        json.dump(found, answers)


if __name__ == "__main__":
    main()
