"""The process that holds a plugin: it loads it once, then answers one case after the other.

Run by the engine as ``python -m ssm_conformance.engine.worker``, never by hand.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from ssm_conformance.engine.answering import judge, load
from ssm_conformance.engine.protocol import receive, send

OUT_OF_MEMORY_SCORE: Final = Path("/proc/self/oom_score_adj")
"""Where Linux looks whom to end first when memory is short."""


def main() -> None:
    """Talk to the parent until it hangs up."""
    channel = Channel()
    with suppress(OSError):  # a system without that file, or one that does not let it be written
        OUT_OF_MEMORY_SCORE.write_text("1000")  # this process, not the one that holds the verdicts
    order = channel.next()
    backend, answer = load(order, alone=True)
    channel.answer(answer)
    while backend is not None:
        verdict, retire = judge(channel.next()["case"], backend, order, alone=True)
        channel.answer({"verdict": verdict.to_json(), "retire": retire})


class Channel:
    """The pipes to the parent, kept from the plugin: what it knows as stdin and stdout leads elsewhere.

    Standard error is the parent's log. The copies are not inherited by what the plugin starts.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        requests = os.fdopen(os.dup(0), "rb")
        self._answers = os.fdopen(os.dup(1), "wb")
        self._log = os.dup(2)
        self._nothing = os.open(os.devnull, os.O_RDONLY)
        self._inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        # In a thread, so that the end of the parent is the end of this process, even amid a case.
        threading.Thread(target=self._listen, args=(requests,), name="requests", daemon=True).start()
        self._reset()

    def next(self) -> dict[str, Any]:
        """Wait for a request, and start its clock."""
        request = self._inbox.get()
        self._reset()
        # The clock needs no interpreter: it ends what never gives the lock back, if no parent does.
        seconds = min(request["seconds"], threading.TIMEOUT_MAX)
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._log)
        return request

    def answer(self, message: Mapping[str, Any]) -> None:
        """Answer the last request. A copy of this process that a plugin forked ends here, unheard."""
        if os.getpid() != self._owner:
            os._exit(1)
        faulthandler.cancel_dump_traceback_later()
        send(self._answers, message)

    def _reset(self) -> None:
        """Whatever the plugin closed or switched off: it prints to the log, and a crash is told there."""
        for descriptor, source in ((0, self._nothing), (1, self._log), (2, self._log)):
            os.dup2(source, descriptor)
        faulthandler.enable(self._log)
        if hasattr(signal, "SIGUSR1"):  # the parent asks with it where a hanging case hangs
            faulthandler.register(signal.SIGUSR1, file=self._log, all_threads=True)

    def _listen(self, requests: IO[bytes]) -> None:
        while (message := receive(requests)) is not None:
            self._inbox.put(message)
        if hasattr(os, "killpg") and os.getpgrp() == self._owner:
            os.killpg(self._owner, signal.SIGKILL)  # what the plugin started goes too
        os._exit(0)


if __name__ == "__main__":
    main()
