"""A call captured in a CUDA graph, and replayed when other numbers lie in its buffers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from ssm_backends import outputs_of
from ssm_conformance.checks.accuracy import judge_gradients, judge_outputs
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.inputs import difference
from ssm_conformance.checks.pytorch import has_autograd, named, other_numbers, through
from ssm_conformance.checks.subject import Stored, Subject, Unobservable, backend_at_work

REPLAYS: Final = 2
"""Of one graph: what the first leaves behind, the second must not read."""
WARM_UP: Final = 3
"""Calls on a side stream before the capture: what is compiled or allocated once is not captured."""


def captured(subject: Subject) -> Finding:
    """The outputs, then the gradients, of replays on other numbers: right, and where claimed, bit by bit."""
    if not subject.arrays.device.startswith("cuda"):
        raise Unobservable(f"CUDA graphs need a GPU; the arrays live on {subject.arrays.device}")
    plain = through(subject, lambda fn: fn)
    other = other_numbers(plain)
    found = _outputs(plain, other)
    if not found.passed or not has_autograd(subject):
        return named(found, "replayed on other numbers")
    return named(_gradients(plain, other), "gradients replayed on other numbers")


def _outputs(plain: Subject, other: Subject) -> Finding:
    call = plain.into(plain.stored)
    with backend_at_work():
        replay, outputs = _capture(lambda: outputs_of(call, plain.op.fn(**call.inputs)))

    def again() -> dict[str, Stored]:
        _fill(plain, call.inputs, other.stored)
        return _replayed(other, replay, outputs)

    eager = other.forward(other.call) if plain.op.is_deterministic("forward") else {}
    return _judged(again, partial(judge_outputs, other), eager)


def _gradients(plain: Subject, other: Subject) -> Finding:
    call, cotangents = plain.into(plain.stored), plain.into_cotangents()
    with backend_at_work():
        replay, gradients = _capture(plain.backward(call, cotangents))

    def again() -> dict[str, Stored]:
        _fill(plain, call.inputs, other.stored)
        _fill(plain, cotangents, other.cotangents)
        return _replayed(other, replay, gradients)

    eager = other.gradients(other.call) if plain.op.is_deterministic("backward") else {}
    return _judged(again, partial(judge_gradients, other), eager)


def _judged(
    again: Callable[[], dict[str, Stored]],
    judge: Callable[[Mapping[str, Stored]], Finding],
    eager: Mapping[str, Stored],
) -> Finding:
    """Each replay, until one is wrong; against the same call without a graph, where there is one."""
    found = Finding()
    for turn in range(1, REPLAYS + 1):
        results = again()
        found = judge(results)
        if found.passed:
            found = _same(results, eager, found)
        if not found.passed:
            return found if turn == 1 else named(found, f"replay {turn} of one graph")
    return found


def _replayed(other: Subject, replay: Callable[[], None], results: Mapping[str, Any]) -> dict[str, Stored]:
    with backend_at_work():
        replay()
    return {name: other.out(x, f"`{name}`") for name, x in results.items()}


def _capture(run: Callable[[], dict[str, Any]]) -> tuple[Callable[[], None], dict[str, Any]]:
    """How to replay a run, and the arrays that every replay writes."""
    import torch

    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # PyTorch's
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = run()

    def replay() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return replay, results


def _fill(subject: Subject, buffers: Mapping[str, Any], stored: Mapping[str, Stored]) -> None:
    """Other numbers into the arrays that the graph reads."""
    for name, item in stored.items():
        buffers[name].detach().copy_(subject.arrays.from_numpy(item.array, item.dtype))


def _same(replayed: Mapping[str, Stored], eager: Mapping[str, Stored], found: Finding) -> Finding:
    """The finding, if the bits are those of a call without a graph."""
    differing = [difference(name, eager[name], replayed[name]) for name in eager]
    if not any(differing):
        return found
    return Finding(message=f"other bits than without a graph: {'; '.join(filter(None, differing))}")
