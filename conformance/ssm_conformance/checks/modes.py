"""PyTorch's modes: whether and how autograd records a call changes no value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from ssm_conformance.checks.accuracy import judge_outputs
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.pytorch import has_autograd, named, through
from ssm_conformance.checks.subject import Subject

Mode = Callable[[], AbstractContextManager[Any]]


def modes(subject: Subject) -> Finding:
    """The values where autograd records the call, where it may not, in inference, under other defaults."""
    found, recorded = Finding(), has_autograd(subject)
    for mode, records, words in _modes():
        if records and not recorded:
            continue
        inside = through(subject, partial(_under, mode, subject.wrt if records else ()))
        found = judge_outputs(inside, inside.forward(inside.call))
        if not found.passed:
            return named(found, words)
    return found


def _modes() -> Iterator[tuple[Mode, bool, str]]:
    """Mode, whether the inputs require a gradient, and how a message calls it."""
    import torch

    yield nullcontext, True, "with inputs that require a gradient"
    yield torch.no_grad, True, "with inputs that require a gradient, under torch.no_grad"
    yield torch.inference_mode, False, "under torch.inference_mode"
    yield _default_dtype, False, "with torch.set_default_dtype(torch.float64)"
    yield partial(torch.device, "meta"), False, "with a default device that is not that of the inputs"


@contextmanager
def _default_dtype() -> Iterator[None]:
    """float64 is what a tensor has that is made without a dtype."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _under(mode: Mode, wrt: tuple[str, ...], fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function in a mode, with leaves of its own."""

    def run(**inputs: Any) -> Any:
        with mode():
            leaves = {name: inputs[name].detach().requires_grad_() for name in wrt}
            return fn(**{**inputs, **leaves})

    return run
