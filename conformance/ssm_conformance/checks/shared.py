"""One array for several arguments: a call may be given the same tensor twice."""

from __future__ import annotations

from ssm_backends import validate
from ssm_conformance.checks.accuracy import judge_backward, judge_outputs
from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.subject import NotAsked, Subject


def shared(subject: Subject) -> Finding:
    """The values, and each argument's own gradient, where arguments are one array.

    The option ``alike`` names them: tuples of arguments of one shape.
    """
    one_of = {
        name: names[0]
        for names in subject.case.options["alike"]
        for name in names
        if name in subject.stored and names[0] in subject.stored
    }
    stored = {name: subject.stored[one_of.get(name, name)] for name in subject.stored}
    if all(name == first for name, first in one_of.items()):
        raise NotAsked("no two arguments of this call are alike")
    alike = subject.put(stored, cotangents=subject.cotangents)
    arrays = alike.into(stored).inputs
    together = {name: arrays[one_of.get(name, name)] for name in stored}
    call = validate(alike.case.operator, **together, **alike.case.plain)
    found = judge_outputs(alike, alike.forward(call))
    return judge_backward(alike, call) if found.passed and alike.takes_gradients else found
