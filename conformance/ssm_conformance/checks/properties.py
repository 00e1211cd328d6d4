"""What one part of a call may not do to another, bit by bit: causality, packing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ssm_conformance.checks.finding import Finding
from ssm_conformance.checks.perturb import Mask, changed, compared, in_time_order, selected, spoil
from ssm_conformance.checks.pieces import carried, outputs_over_time, streamed
from ssm_conformance.checks.sequences import spans
from ssm_conformance.checks.subject import NotAsked, Subject


def causality(subject: Subject) -> Finding:
    """What happens from t = k on, a NaN too, changes no output before k.

    The option ``cuts`` names the ks: the middle if it is absent, several others if it is empty.
    """
    length = subject.call.sizes["l"]
    cuts = subject.case.options.get("cuts", (length // 2,)) or sorted({1, length // 3, length - 1})
    comparisons = []
    for cut in cuts:
        late = np.arange(length) >= cut
        chosen = {name: _spread(late, axis) for name, axis in streamed(subject).items()}
        kept = {name: _spread(~late, axis) for name, axis in outputs_over_time(subject.case.operator).items()}
        comparisons.append((chosen, kept, f"from t = {cut} on"))
    return compared(subject, comparisons, _ways(subject))


def anticausality(subject: Subject) -> Finding:
    """What a cotangent holds before t = l/2, a NaN too, changes no gradient of what streams in later."""
    exact = subject.exact_gradients(subject.arithmetic())
    before = subject.gradients(subject.call)
    length = subject.call.sizes["l"]
    early = np.arange(length) < length // 2
    given = {
        name: _spread(early, axis)
        for name, axis in outputs_over_time(subject.case.operator).items()
        if name in subject.cotangents
    }
    kept = {name: _spread(~early, axis) for name, axis in streamed(subject).items() if name in before}
    if not (selected(given, subject.cotangents) and selected(kept, before)):
        raise NotAsked("no cotangent, or no gradient, of what runs in time is claimed")
    for how in _ways(subject):
        other = subject.put(subject.stored, cotangents=spoil(subject.cotangents, given, how))
        complaint = changed(subject, before, other.gradients(other.call), kept, exact, "backward")
        if complaint:
            return Finding(message=f"{how} in cotangents before t = {length // 2}: gradient of {complaint}")
    return Finding()


def packing(subject: Subject) -> Finding:
    """Nothing of one sequence reaches another: no number, not its initial state; no NaN in time order."""
    comparisons = []
    for which in (0, -1):
        own, states = _sequence(subject, which)
        chosen = _of_sequence(subject, own, states)
        kept = {name: ~_masks(own, rank, axis) for name, rank, axis in _outputs(subject)}
        if not which:
            kept |= _last_states(subject, states)
        comparisons.append((chosen, kept, f"in the {'last' if which else 'first'} sequence"))
    return compared(subject, comparisons, _ways(subject))


def packing_gradients(subject: Subject) -> Finding:
    """No gradient of one sequence depends on another: not on its inputs, its cotangents, a NaN in them."""
    exact = subject.exact_gradients(subject.arithmetic())
    before = subject.gradients(subject.call)
    for which in (0, -1):
        own, states = _sequence(subject, which)
        given = {name: _masks(own, rank, axis) for name, rank, axis in _outputs(subject)}
        for name in carried(subject.case.operator) if which else ():
            if name in subject.exact:
                given[name] = _rows(states, subject.exact[name].value.ndim)
        known = {name: mask for name, mask in given.items() if name in subject.cotangents}
        kept = {
            name: ~_masks(own, subject.stored[name].array.ndim, axis)
            for name, axis in streamed(subject).items()
            if name in before
        }
        if not selected(kept, before):
            raise NotAsked("no gradient of what runs in time is claimed")
        for how in _ways(subject):
            inputs = spoil(subject.stored, _of_sequence(subject, own, states), how)
            other = subject.put(inputs, cotangents=spoil(subject.cotangents, known, how))
            complaint = changed(subject, before, other.gradients(other.call), kept, exact, "backward")
            if complaint:
                word = "last" if which else "first"
                return Finding(message=f"{how} in the {word} sequence: gradient of {complaint}")
    return Finding()


def _ways(subject: Subject) -> tuple[str, ...]:
    """How the elements of another sequence are changed."""
    return ("other numbers", "nan") if in_time_order(subject) else ("other numbers",)


def _last_states(subject: Subject, first: Mask) -> dict[str, Mask]:
    """The last states that are not the first sequence's: by index each is its row's last sequence's.

    A sequence that is its row's only one is first and last; no case has one beside others.
    """
    rows = first if "cu_seqlens" in subject.stored else np.zeros_like(first)
    names = [name for name in carried(subject.case.operator) if name in subject.exact]
    return {name: ~_rows(rows, subject.exact[name].value.ndim) for name in names}


def _sequence(subject: Subject, which: int) -> tuple[Mask, Mask]:
    """The first or the last sequence of each row: its steps (b, l), and its rows of state (r).

    Of offsets, the first or the last sequence that is not empty.
    """
    sizes = subject.call.sizes
    own = np.zeros((sizes["b"], sizes["l"]), dtype=bool)
    whole = [span for span in spans(subject) if span.times.start < span.times.stop]
    if "cu_seqlens" in subject.stored:
        chosen = [whole[which]]
        rows = np.zeros(subject.stored["cu_seqlens"].array.size - 1, dtype=bool)
    else:
        chosen = [[s for s in whole if s.row == row][which] for row in range(sizes["b"])]
        rows = np.zeros(sizes["b"], dtype=bool)
    for span in chosen:
        own[span.row, span.times] = True
        state = span.last if which else span.initial
        if state is not None:
            rows[state] = True
    return own, rows


def _of_sequence(subject: Subject, own: Mask, states: Mask) -> dict[str, Mask]:
    """Input → the elements that belong to a sequence."""
    chosen = {
        name: _masks(own, subject.stored[name].array.ndim, axis) for name, axis in streamed(subject).items()
    }
    begins = own[:, 0].any() or "cu_seqlens" in subject.stored
    for name in carried(subject.case.operator).values() if begins else ():
        if name in subject.stored:
            chosen[name] = _rows(states, subject.stored[name].array.ndim)
    return chosen


def _outputs(subject: Subject) -> Iterator[tuple[str, int, int]]:
    """The outputs that have a time axis: name, rank, that axis."""
    for name, axis in outputs_over_time(subject.case.operator).items():
        yield name, subject.exact[name].value.ndim, axis


def _spread(times: Mask, axis: int) -> Mask:
    """(l) along an axis, counted from the end."""
    return times.reshape(-1, *[1] * (-axis - 1))


def _masks(own: Mask, rank: int, axis: int) -> Mask:
    """(b, l) over the other axes."""
    shape = [1] * rank
    shape[0], shape[axis] = own.shape
    return own.reshape(shape)


def _rows(rows: Mask, rank: int) -> Mask:
    """(r) over the other axes."""
    return rows.reshape(-1, *[1] * (rank - 1))
