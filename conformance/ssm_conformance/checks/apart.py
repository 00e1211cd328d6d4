"""One at a time: an array that alone lies elsewhere, a gradient asked for alone, a lone cotangent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations

from ssm_backends import Call, Layout
from ssm_conformance.checks.accuracy import judge_backward, judge_gradients, judge_outputs
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.pieces import axes
from ssm_conformance.checks.pytorch import named
from ssm_conformance.checks.subject import Stored, Subject, told_of
from ssm_conformance.checks.vacuous import some


def layouts_apart(subject: Subject) -> Finding:
    """Each array, then each cotangent, lies alone out of order, and alone off the grid of aligned addresses.

    Arrays that lie alike hide a kernel that reads one by the strides, or the alignment, of another.
    """
    found = Finding()
    for name, layouts, how in some(_one_by_one(subject.stored), "array of two elements"):
        call = subject.into(subject.stored, layouts)
        with told_of(f"`{name}` alone {how}"):
            found = judge_outputs(subject, subject.forward(call))
            if found.passed and subject.takes_gradients:
                found = judge_backward(subject, call)
        if not found.passed:
            return named(found, f"`{name}` alone {how}")
    for name, layouts, how in _one_by_one(subject.cotangents) if subject.takes_gradients else ():
        with told_of(f"the cotangent of `{name}` alone {how}"):
            found = judge_backward(subject, subject.call, subject.into_cotangents(layouts))
        if not found.passed:
            return named(found, f"the cotangent of `{name}` alone {how}")
    return found


def gradients_apart(subject: Subject) -> Finding:
    """The gradients of some inputs, and those of some outputs' cotangents.

    Of each input alone, of every two, of all but each, of the parameters and of what is no parameter; of each
    cotangent alone and, where there are more than two, of all but it.
    """
    found = Finding()
    for names, words in some((*_parts(subject.wrt), *_kinds(subject)), "gradient"):
        lone = replace(subject, op=replace(subject.op, gradients=names))
        with told_of(words):
            found = judge_gradients(subject, lone.gradients(_own(subject)), names)
        if not found.passed:
            return named(found, words)
    for names, words in some(_given(tuple(subject.cotangents)), "cotangent"):
        lone = replace(subject, given_cotangents={name: subject.cotangents[name] for name in names})
        with told_of(words):
            found = judge_gradients(lone, lone.gradients(_own(lone)))
        if not found.passed:
            return named(found, words)
    return found


def _own(subject: Subject) -> Call:
    """The call; one of its own where it writes its state, which the next would begin from."""
    return subject.into(subject.stored) if subject.case.written else subject.call


def _parts(wrt: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each input alone, all but each, and every two, with how a message says it."""
    for name in wrt:
        yield (name,), f"asked for alone: `{name}`"
        others = tuple(other for other in wrt if other != name)
        if len(others) > 1:
            yield others, f"asked for all but `{name}`"
    for one, other in combinations(wrt, 2) if len(wrt) > 3 else ():  # of three two are all but one
        yield (one, other), f"asked for alone: `{one}` and `{other}`"


def _kinds(subject: Subject) -> Iterator[tuple[tuple[str, ...], str]]:
    """The parameters, which have no rows, and the rest: the others of a layer may be frozen."""
    symbols = axes(subject)
    for words, rows in (("the parameters", False), ("what is no parameter", True)):
        names = tuple(name for name in subject.wrt if bool({"b", "r"} & set(symbols[name])) is rows)
        if 1 < len(names) < len(subject.wrt) - 1:  # one alone, and all but one, are asked for
            yield names, f"asked for alone: {words}"


def _given(outputs: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The cotangent of each output alone, and of more than two those of all but each."""
    for name in outputs:
        yield (name,), f"the cotangent of `{name}` alone"
        others = tuple(other for other in outputs if other != name)
        if len(others) > 1:
            yield others, f"the cotangents of all but `{name}`"


def _one_by_one(arrays: Mapping[str, Stored]) -> Iterator[tuple[str, dict[str, Layout], str]]:
    """Each array that can lie otherwise, how, and how a message says it.

    Out of order, where every stride is another than a contiguous one's; and contiguous, but one element
    late, where what is read by several elements at once begins elsewhere.
    """
    for name, item in arrays.items():
        rank = item.array.ndim
        if rank and item.array.size > 1:
            order = (*range(rank - 2), rank - 1, rank - 2) if rank > 1 else None
            yield name, {name: Layout(order=order, step=2, pad=1)}, "is not contiguous"
            yield name, {name: Layout(offset=1)}, "begins one element after an aligned address"
