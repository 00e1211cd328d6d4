"""The parent's end of one worker: it starts it, asks it, watches it, and ends it with all its children."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any, Final, Literal

from ssm_conformance.engine.limits import GIB, Limits
from ssm_conformance.engine.log import Log
from ssm_conformance.engine.protocol import ProtocolError, parse_answer, send
from ssm_conformance.engine.target import LoadError, Target
from ssm_conformance.engine.threads import thread_environment
from ssm_conformance.engine.tree import MARK, end_tree, held_by

Loss = Literal["crash", "timeout", "memory", "threads"]

LOADED: Final = ("claims", "devices", "at_import")
FAILED: Final = ("failure",)
JUDGED: Final = ("verdict", "retire")
"""The keys of what a worker answers; other lines are not from it."""

POLL: Final = 0.1
"""Seconds between two looks at a busy worker's clock and memory; an answer is taken at once."""


class WorkerLostError(RuntimeError):
    """The worker is gone: its case failed, and it must be replaced.

    Parameters
    ----------
    kind
        "crash", "timeout", "memory" or "threads".
    message
        The cause, in words.
    log
        The end of what it printed meanwhile.
    """

    def __init__(self, kind: Loss, message: str, log: str) -> None:
        super().__init__(message)
        self.kind: Loss = kind
        self.log = log


class WorkerProcess:
    """One spawned worker.

    Parameters
    ----------
    target
        What it loads.
    limits
        What it is allowed.
    workers
        How many share this machine.
    """

    def __init__(self, target: Target, limits: Limits, workers: int = 1) -> None:
        self._limits = limits
        self.share(workers)
        self._called: set[tuple[str, str]] = set()
        self._last = "it was loaded"
        self._mark = uuid.uuid4().hex
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-u", "-m", "ssm_conformance.engine.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | thread_environment(workers) | {MARK: self._mark},
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
        except OSError as error:  # no memory, or no process, is left on this machine
            raise LoadError("crash", f"no worker could be started: {error}") from error
        assert self._process.stderr is not None
        self._log = Log(self._process.stderr)
        self._inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.claims: dict[str, Any] = {}
        self.devices: list[str] = []
        self.at_import: list[str] = []
        self.answered = 0
        try:
            self._load(target)
        except BaseException:  # Ctrl-C too: no process is left behind
            self.stop()
            raise

    def judge(
        self, case_id: str, op: str, dtype: str, *, patient: bool = True, anew: bool = False
    ) -> tuple[dict[str, Any], str]:
        """Ask one case: the verdict as JSON data, and why the worker must be replaced ("" if not).

        Parameters
        ----------
        case_id, op, dtype
            The case, and what tells whether it is a first call.
        patient
            Whether a first call gets its longer limit.
        anew
            Whether the case gets it too, as its calls are of kinds that were not made before.

        Raises
        ------
        WorkerLostError
            If it crashed, or was stopped for its time, its memory or its threads.
        """
        first = patient and (anew or (op, dtype) not in self._called)
        self._called.add((op, dtype))
        answer = self._ask({"case": case_id}, self._limits.for_case(first), JUDGED)
        self._last = f"it had answered {case_id}"
        self.answered += 1
        if answer["verdict"]["id"] != case_id:
            message = f"the worker answered for {answer['verdict']['id']}: did the backend fork it?"
            raise WorkerLostError("crash", message, self._log.tail())
        return answer["verdict"], answer["retire"]

    def share(self, workers: int) -> None:
        """Say how many share this machine."""
        self._resident = self._limits.resident(workers)

    def stop(self) -> None:
        """End it and everything it started."""
        end_tree(self._process, self._mark)
        self._reader.join(10 * POLL)
        self._log.wait(10 * POLL)
        if self._process.stdin is not None:
            with suppress(OSError):  # what was not yet flushed has no reader any more
                self._process.stdin.close()
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()
        self._log.close()

    def _load(self, target: Target) -> None:
        order = {
            "load": target.to_json(),
            "path": sys.path,
            "gpu_fraction": self._limits.gpu_fraction,
        }
        try:
            answer = self._ask(order, self._limits.for_load(), LOADED, FAILED)
        except WorkerLostError as lost:
            what = f"backend {target.plugin.name!r}: loading {target.plugin.module}: {lost}"
            raise LoadError("timeout" if lost.kind == "timeout" else "crash", what, lost.log) from lost
        if "failure" in answer:
            failure = answer["failure"]
            self._log.wait(10 * POLL)  # the worker ends now, and its last words with it
            raise LoadError(failure["kind"], failure["message"], self._log.tail())
        self.claims, self.devices = answer["claims"], answer["devices"]
        self.at_import = answer["at_import"]

    def _ask(self, message: Mapping[str, Any], seconds: float, *forms: tuple[str, ...]) -> dict[str, Any]:
        self._log.mark()
        if self._process.poll() is not None:
            self._log.wait(10 * POLL)
            raise WorkerLostError("crash", f"{self._how_it_ended()} after {self._last}", self._log.tail())
        start = time.monotonic()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it dies just now: the silence below says how
            send(self._process.stdin, {**message, "seconds": seconds + self._limits.grace})
        while True:
            ended = self._process.poll() is not None
            try:
                line = self._inbox.get(timeout=POLL)
            except queue.Empty:
                if ended:  # though what it started may hold its pipe open
                    raise self._crash() from None
                self._watch(time.monotonic() - start, seconds)
                continue
            if not line.endswith(b"\n"):
                raise self._crash()
            try:
                return parse_answer(line, *forms)
            except ProtocolError as error:
                raise WorkerLostError(
                    "crash", f"the worker's pipe was written to by others: {error}", ""
                ) from error

    def _crash(self) -> WorkerLostError:
        message = self._how_it_ended()
        self._log.wait(10 * POLL)
        return WorkerLostError("crash", message, self._log.tail())

    def _watch(self, elapsed: float, seconds: float) -> None:
        if elapsed > seconds:
            self._ask_where()
            message = f"stopped after {elapsed:.0f} s: the time limit was {seconds:g} s"
            raise WorkerLostError("timeout", message, self._log.tail())
        held, threads = held_by(self._process.pid, self._resident)
        if held > self._resident:
            message = f"stopped at {held / GIB:.2f} GiB resident: the limit is {self._resident / GIB:.2f} GiB"
            raise WorkerLostError("memory", message, self._log.tail())
        if threads > self._limits.threads:
            message = f"stopped at {threads} threads: the limit is {self._limits.threads}"
            raise WorkerLostError("threads", message, self._log.tail())

    def _ask_where(self) -> None:
        """Have the worker print its stack: where it hangs is half of the finding."""
        if hasattr(signal, "SIGUSR1"):
            self._process.send_signal(signal.SIGUSR1)
            time.sleep(2 * POLL)

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(timeout=10 * POLL)
        except subprocess.TimeoutExpired:
            return "the worker closed its pipe and lived on"
        return f"the worker {ending(code)}"

    def _read(self) -> None:
        stream: IO[bytes] | None = self._process.stdout
        assert stream is not None
        for line in stream:
            self._inbox.put(line)
        self._inbox.put(b"")


def ending(code: int) -> str:
    """How a process came to its end, in words, from its exit status."""
    if code >= 0:
        return f"ended with exit status {code} instead of answering"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # most real-time signals have none
        name = f"signal {-code}"
    hint = "; is the machine out of memory, or was it killed by hand?" if -code == signal.SIGKILL else ""
    return f"was ended by {name} ({signal.strsignal(-code)}){hint}"
