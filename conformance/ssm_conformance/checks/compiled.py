"""A call under ``torch.compile``: one graph, with honest operators, right for other numbers and sizes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from ssm_conformance.checks.accuracy import judge_gradients, judge_outputs
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.other_sizes import FEWER, doubled, one_row, shorter
from ssm_conformance.checks.pytorch import Function, has_autograd, named, other_numbers, through
from ssm_conformance.checks.registered import registered
from ssm_conformance.checks.subject import CheckFailed, Subject

OPEN_IN: Final = "float32"
OPEN: Final = (
    *("selective_scan", "selective_state_update", "ssd", "ssd_update"),
    *("causal_conv1d", "causal_conv1d_update", "causal_convolution", "hippo_legs_compress"),
    *("ssm_recurrence", "ssm_kernel", "lssl", "s5"),
)
"""What is asked with every size open from the start, and in which dtype.

Such a trace is the same in each dtype. It takes a few seconds, but where a call is made of many of PyTorch's
own operations, as H3 and Mamba-3 may be, up to a minute.
"""


@dataclass
class Tracing:
    """One function traced whole, and how often it was.

    Attributes
    ----------
    graphs
        How many there are so far.
    """

    graphs: int = 0

    def trace(self, fn: Function, dynamic: bool | None = None) -> Function:
        """The function as one graph; CheckFailed where it is not one.

        Parameters
        ----------
        fn
            The function.
        dynamic
            Whether its sizes are open from the first call on; None: each when it first changes.
        """
        import torch
        from torch._dynamo import lookup_backend
        from torch._dynamo.exc import TorchDynamoException

        compile_graph = lookup_backend("aot_eager")

        def counted(graph: Any, inputs: Any) -> Any:
            self.graphs += 1
            return compile_graph(graph, inputs)

        torch._dynamo.reset()  # graphs of earlier cases count against the limit of one function
        whole = torch.compile(fn, fullgraph=True, dynamic=dynamic, backend=counted)

        def run(**inputs: Any) -> Any:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of PyTorch about its own tracing
                    return whole(**inputs)
            except TorchDynamoException as error:
                raise CheckFailed(
                    f"torch.compile(fullgraph=True) does not trace the call: {_reason(error)}"
                ) from error

        return run


def compiled(subject: Subject) -> Finding:
    """The operators it registers, then values and gradients of the traced call.

    Once more with other numbers, for which nothing may be traced again, with fewer steps, and one row alone.
    Some with every size open from the start: the call, and one of twice as many rows, channels and states.
    The graph runs PyTorch's own operators ("aot_eager"): what a compiler makes of them is the compiler's.
    """
    complaint = registered(subject)
    if complaint:
        return Finding(message=complaint)
    tracing = Tracing()
    gradients = has_autograd(subject)
    found, before = Finding(), 0
    for calls, which, may_trace in _calls(subject, tracing):
        found = named(_judged(calls, gradients), f"compiled, {which}")
        if not found.passed:
            return found
        if tracing.graphs > before and not may_trace:
            return Finding(message="a second call, of the same shapes and dtypes, was traced again")
        before = tracing.graphs
    return replace(found, details=dict(found.details) | {"graphs": tracing.graphs})


def _reason(error: Exception) -> str:
    """What stands in the way of one graph: the first line, its explanation, and where it is in the code."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    places = [line for line in lines if line.startswith("File ")]
    said = [line for line in lines[1:] if line.startswith("Explanation: ")]
    return f"{type(error).__name__}: {'; '.join([*lines[:1], *said[:1], *places[-1:]])}"


def _calls(subject: Subject, tracing: Tracing) -> Iterator[tuple[Subject, str, bool]]:
    """The case's call, the same with other numbers, and of other sizes; whether it may be traced anew."""
    whole = through(subject, tracing.trace)
    yield whole, "the first call", True
    yield other_numbers(whole), "other numbers", False
    for another, which in ((shorter(whole), f"{FEWER} steps fewer"), (one_row(whole), "one row")):
        if another:
            yield replace(another, op=whole.op), which, True
    if subject.case.op not in OPEN or subject.case.dtype != OPEN_IN:
        return
    if twice := doubled(subject):
        whole = through(subject, partial(tracing.trace, dynamic=True))
        yield whole, "dynamic=True", True
        yield replace(twice, op=whole.op), "dynamic=True, twice as many rows, channels and states", True


def _judged(subject: Subject, gradients: bool) -> Finding:
    found = judge_outputs(subject, subject.forward(subject.call))
    if found.passed and gradients:
        return judge_gradients(subject, subject.gradients(subject.call))
    return found
