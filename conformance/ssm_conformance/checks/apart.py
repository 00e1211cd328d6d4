"""One at a time: an array that alone lies elsewhere, a gradient asked for alone, a lone cotangent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ssm_backends import Layout
from ssm_conformance.checks.accuracy import judge_backward, judge_gradients, judge_outputs
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.pytorch import named
from ssm_conformance.checks.subject import Stored, Subject


def layouts_apart(subject: Subject) -> Finding:
    """Each array, then each cotangent, lies alone out of order among contiguous ones.

    Arrays that lie alike hide a kernel that reads one by the strides of another.
    """
    found = Finding()
    for name, layouts in _one_by_one(subject.stored):
        call = subject.into(subject.stored, layouts)
        found = judge_outputs(subject, subject.forward(call))
        if found.passed and subject.takes_gradients:
            found = judge_backward(subject, call)
        if not found.passed:
            return named(found, f"`{name}` alone is not contiguous")
    for name, layouts in _one_by_one(subject.cotangents) if subject.takes_gradients else ():
        found = judge_backward(subject, subject.call, subject.into_cotangents(layouts))
        if not found.passed:
            return named(found, f"the cotangent of `{name}` alone is not contiguous")
    return found


def gradients_apart(subject: Subject) -> Finding:
    """The gradient of each input alone, and those of each output's cotangent alone."""
    found = Finding()
    for name in subject.wrt:
        lone = replace(subject, op=replace(subject.op, gradients=(name,)))
        found = judge_gradients(subject, lone.gradients(subject.call), (name,))
        if not found.passed:
            return named(found, f"asked for alone: `{name}`")
    for name, cotangent in subject.cotangents.items():
        lone = replace(subject, given_cotangents={name: cotangent})
        found = judge_gradients(lone, lone.gradients(lone.call))
        if not found.passed:
            return named(found, f"the cotangent of `{name}` alone")
    return found


def _one_by_one(arrays: Mapping[str, Stored]) -> Iterator[tuple[str, dict[str, Layout]]]:
    """Each array that can lie otherwise, and how: every stride is another than a contiguous one's."""
    for name, item in arrays.items():
        rank = item.array.ndim
        if rank and item.array.size > 1:
            order = (*range(rank - 2), rank - 1, rank - 2) if rank > 1 else None
            yield name, {name: Layout(order=order, step=2, pad=1)}
