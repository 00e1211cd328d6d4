"""Which calls are waited for as if they compiled, and which are not."""

from __future__ import annotations

from dataclasses import dataclass, field

from ssm_conformance.cases import find_case
from ssm_conformance.engine import Limits
from ssm_conformance.engine.process import WorkerProcess
from ssm_conformance.engine.seat import WorkerSeat
from ssm_conformance.engine.target import module_target

from .conftest import BAD, RIGHT, Write


@dataclass(frozen=True, kw_only=True)
class Noting(Limits):
    """Limits that note who was waited for longer."""

    longer: list[bool] = field(default_factory=list)

    def for_case(self, first: bool) -> float:
        self.longer.append(first)
        return super().for_case(first)


def test_the_first_call_of_an_operator_and_dtype_may_compile(write_plugin: Write) -> None:
    limits = Noting(load=60.0)
    worker = WorkerProcess(module_target(write_plugin("fine")), limits)
    try:
        for name, dtype in ((RIGHT, "float32"), (RIGHT, "float32"), (BAD, "float64")):
            worker.judge(name, "causal_convolution", dtype)
        worker.judge(RIGHT, "causal_convolution", "float32", anew=True)
        worker.judge(RIGHT, "causal_convolution", "float32", anew=True, patient=False)
    finally:
        worker.stop()
    assert limits.longer == [True, False, True, True, False]
    assert worker.answered == 5


def test_what_hung_once_is_not_waited_for_again_as_if_it_compiled(write_plugin: Write) -> None:
    limits = Noting(load=60.0, seconds=0.2, first_call=2.0)
    seat = WorkerSeat(module_target(write_plugin("hanging", "time.sleep(60)")), limits)
    try:
        found = [seat.judge(find_case(BAD)) for _ in range(2)]
    finally:
        seat.stop()
    assert [verdict.message[-24:] for verdict in found] == [
        "the time limit was 0.4 s",
        "the time limit was 0.2 s",
    ]
    assert limits.longer == [True, False]
