"""How many workers judge, and what they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from ssm_conformance.engine import session
from ssm_conformance.engine.limits import Limits, cores
from ssm_conformance.engine.session import open_session
from ssm_conformance.engine.target import Target


@dataclass
class Seated:
    """A seat that only says where it would sit."""

    target: Any
    limits: Limits
    workers: int
    devices: list[str] = field(default_factory=list)

    def share(self, workers: int) -> None:
        self.workers = workers


def _opened(monkeypatch: pytest.MonkeyPatch, device: str, workers: Any) -> tuple[int, Seated]:
    def sit(target: Target, limits: Limits, workers: int) -> Seated:
        return Seated(target, limits, workers, [device])

    monkeypatch.setattr(session, "WorkerSeat", sit)
    opened = open_session(None, Limits(), workers)  # type: ignore[arg-type] # nothing is loaded
    return opened.workers, opened.first  # type: ignore[return-value] # it is the one above


def test_auto_is_one_worker_a_core_and_one_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _opened(monkeypatch, "cpu", "auto")[0] == cores()
    workers, seat = _opened(monkeypatch, "cuda:0", "auto")
    assert workers == seat.workers == 1
    assert seat.limits == Limits()


def test_workers_that_are_asked_for_share_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    workers, seat = _opened(monkeypatch, "cuda:0", 4)
    assert workers == seat.workers == 4
    assert seat.limits.gpu_fraction == Limits().gpu_fraction / 4
