"""The process that holds a plugin: it loads it once, then answers one case after the other.

Run by the engine as ``python -m ssm_conformance.engine.worker``, never by hand.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import threading
from typing import IO, Any

from ssm_conformance.engine.answering import judge, load
from ssm_conformance.engine.protocol import receive, send


def main() -> None:
    """Talk to the parent until it hangs up."""
    requests, answers = take_channel()
    faulthandler.enable()
    if hasattr(signal, "SIGUSR1"):  # the parent asks with it where a hanging case hangs
        faulthandler.register(signal.SIGUSR1, all_threads=True)
    inbox = listen(requests)
    order = inbox.get()
    backend, answer = load(order)
    send(answers, answer)
    while backend is not None:
        verdict, retire = judge(inbox.get()["case"], backend)
        send(answers, {"verdict": verdict.to_json(), "retire": retire})


def take_channel() -> tuple[IO[bytes], IO[bytes]]:
    """Keep the pipes to the parent for us; point what plugins know as stdin and stdout elsewhere.

    Standard error is the parent's log file already. The copies are not inherited by children.
    """
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def listen(requests: IO[bytes]) -> queue.SimpleQueue[dict[str, Any]]:
    """Read in a thread, so that the end of the parent is the end of this process, even amid a case."""
    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def read() -> None:
        while (message := receive(requests)) is not None:
            inbox.put(message)
        os._exit(0)

    threading.Thread(target=read, name="requests", daemon=True).start()
    return inbox


if __name__ == "__main__":
    main()
