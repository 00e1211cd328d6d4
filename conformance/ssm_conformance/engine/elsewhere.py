"""One case in a process of its own, that loads the plugin anew: its results, as hashes of their bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ElsewhereError(RuntimeError):
    """The other process could not load the backend, or the suite itself is at fault there."""


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
            errors="replace",  # what a backend prints may be no text
            check=False,
        )
        printed = done.stderr[-2000:]
        if done.returncode or not done.stdout:
            raise CheckFailed(f"another process {ending(done.returncode)}\n{printed}".strip())
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError as error:
            got = done.stdout[:80]
            raise CheckFailed(f"another process answered {got!r}: did the backend fork it?") from error
        if "fault" in answer:
            raise ElsewhereError(f"{answer['fault']}\n{printed}".strip())
        if "failed" in answer:
            raise CheckFailed(f"in another process: {answer['failed']}")
        hashes: dict[str, str] = answer["hashes"]
        return hashes


def main() -> None:
    """Answer one question from standard input. What the plugin prints, at its exit too, goes elsewhere.

    Whatever the suite does is an answer: an exit without one is the backend's, with any status.
    """
    question = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        found = _found(question)
    except Exception as error:  # the suite's own
        traceback.print_exc()
        found = {"fault": f"{type(error).__name__}: {error}"}
    with answers:
        json.dump(found, answers)


def _found(question: Mapping[str, Any]) -> dict[str, Any]:
    from ssm_conformance.cases import find_case
    from ssm_conformance.checks import hashes
    from ssm_conformance.checks.subject import CheckFailed
    from ssm_conformance.engine.answering import load

    backend, answer = load(question["order"])
    if backend is None:
        return {"fault": answer["failure"]["message"]}
    try:
        return {"hashes": hashes(find_case(question["case"]), backend, question["library"])}
    except CheckFailed as failure:
        return {"failed": str(failure)}


if __name__ == "__main__":
    main()
