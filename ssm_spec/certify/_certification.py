"""The certification: the oracle's values and gradients, each held to its own stated bound by enclosures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_spec._errors import DomainError
from ssm_spec._references import REFERENCES
from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec.certify._draws import DRAWS, draw
from ssm_spec.certify._enclose import LEAST_BITS, Enclosure, enclose, enclose_vjp
from ssm_spec.certify._source import REGIMES

Array = NDArray[Any]

F64: Final = Arithmetic(compute="float64")
MOST_BITS: Final = 2**15
_TIME: Final[Mapping[str, tuple[str, int]]] = {
    **dict.fromkeys(("ssm_recurrence", "causal_convolution", "continuous_response"), ("u", -1)),
    **dict.fromkeys(("s4d", "lssl", "s5", "selective_scan"), ("u", -1)),
    **dict.fromkeys(("ssm_associative_scan", "causal_conv1d"), ("x", -1)),
    **dict.fromkeys(("ssd", "mamba_block"), ("x", 1)),
    "hippo_legs_compress": ("f", -1),
    "h3": ("q", -1),
    "mamba3_siso": ("v", 1),
}
"""Which dimension of which argument is time."""


@dataclass
class Tally:
    """What was found of one or more outputs or gradients.

    Attributes
    ----------
    ratios
        |err| / own of every element that was held to its bound, array by array.
    excused
        Elements outside float64's range, which are not.
    """

    ratios: list[NDArray[np.float64]] = field(default_factory=list)
    excused: int = 0

    @property
    def elements(self) -> int:
        """How many elements were held to their bounds."""
        return sum(ratio.size for ratio in self.ratios)

    @property
    def worst(self) -> float:
        """The largest ratio; 0 if there is none."""
        return max((float(ratio.max(initial=0.0)) for ratio in self.ratios), default=0.0)

    def quantile(self, share: float) -> float:
        """The ratio that so large a share of the elements does not exceed; 0 if there are none."""
        every = np.concatenate([ratio.reshape(-1) for ratio in self.ratios] or [np.zeros(0)])
        return float(np.quantile(every, share)) if every.size else 0.0


@dataclass(frozen=True)
class Finding:
    """An element that is not shown to lie within its bound.

    Attributes
    ----------
    op, name, regime, seed, number
        The operator, the output ("y") or gradient ("d u"), and what `draw` makes the case from.
    index
        Where the element stands.
    value, error, own
        The oracle's value, the least distance from the exact number, and the oracle's own bound.
    proven
        True: the element violates its bound. False: no precision decided it.
    """

    op: str
    name: str
    regime: str
    seed: int
    number: int
    index: tuple[int, ...]
    value: str
    error: float
    own: float
    proven: bool


@dataclass
class Certification:
    """All that was found.

    Attributes
    ----------
    seed
        Where the cases come from.
    tallies
        By operator and output.
    cases, refused
        How many draws of an operator were held, and how many the oracle refused, as it does singular systems.
    lengths
        The least and the largest l of an operator.
    findings
        Every element that is not shown to lie within its bound.
    """

    seed: int
    tallies: dict[str, dict[str, Tally]] = field(default_factory=dict)
    cases: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    lengths: dict[str, list[int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def elements(self) -> int:
        """How many elements were held to their bounds."""
        return sum(tally.elements for row in self.tallies.values() for tally in row.values())

    def hold(self, op: str, number: int) -> None:
        """Draw one case, and hold its outputs and gradients to their bounds; count it if it is refused."""
        regime, inputs = draw(op, self.seed, number)
        try:
            values = _values(op, inputs)
        except DomainError:  # nothing forbids a draw to be singular
            self.refused[op] = self.refused.get(op, 0) + 1
            return
        self.cases[op] = self.cases.get(op, 0) + 1
        length = _length(op, inputs)
        known = self.lengths.setdefault(op, [length, length])
        known[:] = [min(known[0], length), max(known[1], length)]
        row = self.tallies.setdefault(op, {})
        rng = np.random.default_rng([self.seed, number])
        for name, bounded, away in _questions(op, inputs, values, rng):
            used = bounded.judged & np.isfinite(bounded.own)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.where(away.far == 0, 0.0, away.far / bounded.own)
            tally = row.setdefault(name, Tally())
            tally.ratios.append(ratio[used])
            tally.excused += int(np.sum(~used))
            for index in np.argwhere(used & ~(ratio <= 1)):
                i = tuple(int(k) for k in index)
                value, near, own = str(bounded.value[i]), float(away.near[i]), float(bounded.own[i])
                finding = Finding(op, name, regime, self.seed, number, i, value, near, own, near > own)
                self.findings.append(finding)


@dataclass(frozen=True)
class Distance:
    """How far the oracle's values lie from the exact ones: at most `far`, at least `near`."""

    far: NDArray[np.float64]
    near: NDArray[np.float64]


def certify(
    elements: int, seed: int = 0, progress: Callable[[Certification], None] = lambda _: None
) -> Certification:
    """Hold operators in turn to enclosures, in every regime, until so many elements have been held.

    Parameters
    ----------
    elements
        The least number of elements to hold; the rounds end whole, every regime for every operator.
    seed
        Where the cases come from.
    progress
        Called after each case.
    """
    found, number = Certification(seed), 0
    while found.elements < elements or number % len(REGIMES):
        for op in DRAWS:
            found.hold(op, number)
            progress(found)
        number += 1
    return found


def _questions(
    op: str, inputs: Mapping[str, Any], values: Mapping[str, Array], rng: np.random.Generator
) -> Iterator[tuple[str, Bounded, Distance]]:
    """Each output and gradient of the oracle with its bounds and its distance from the exact numbers."""
    reference = REFERENCES[op]
    bounds = reference.bounds(arithmetic=F64, **inputs)
    # Rectangles around complex numbers grow by up to √2 a turn: half a bit a step, forward and back.
    bits = LEAST_BITS + (_length(op, inputs) if any(map(np.iscomplexobj, inputs.values())) else 0)
    questions = {name: (values[name], bounded) for name, bounded in bounds.items()}
    held = _settled(questions, bits, lambda n: enclose(op, bits=n, **inputs))
    for name, distance in held.items():
        yield name, bounds[name], distance
    if reference.vjp is None or reference.vjp_bounds is None:
        return
    cotangents = {name: _cotangent(rng, value) for name, value in values.items()}
    gradients = reference.vjp(cotangents, **inputs)
    slopes = reference.vjp_bounds(cotangents, arithmetic=F64, **inputs)
    questions = {name: (gradients[name], bounded) for name, bounded in slopes.items()}
    held = _settled(questions, bits, lambda n: enclose_vjp(op, cotangents, bits=n, **inputs))
    for name, distance in held.items():
        yield f"d {name}", slopes[name], distance


def _settled(
    questions: Mapping[str, tuple[Array, Bounded]], bits: int, evaluate: Callable[[int], dict[str, Enclosure]]
) -> dict[str, Distance]:
    """The distances, at the least precision that says of every element whether it keeps its bound."""
    while True:
        enclosures = evaluate(bits)
        found = {
            name: Distance(enclosures[name].farthest(value), enclosures[name].nearest(value))
            for name, (value, _) in questions.items()
        }
        bits *= 2
        if bits > MOST_BITS or all(_decided(found[k], bounded) for k, (_, bounded) in questions.items()):
            return found


def _decided(distance: Distance, bounded: Bounded) -> bool:
    """Whether each judged element is outside its bound, or its error is known to 0.01 of it."""
    with np.errstate(invalid="ignore"):  # an infinite value is infinitely far from both ends
        known = (distance.far - distance.near <= 0.01 * bounded.own) | (distance.near > bounded.own)
    return bool(np.all(known | (distance.far == 0) | ~bounded.judged | ~np.isfinite(bounded.own)))


def _values(op: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """What the public function returns, by the names of its outputs."""
    reference = REFERENCES[op]
    arguments = signature(reference.value).parameters
    flags = {name: True for name in arguments if name.startswith("return_")}
    found = reference.value(**inputs, **flags)
    arrays = found if isinstance(found, tuple) else (found,)
    return dict(zip(reference.outputs, arrays, strict=True))


def _cotangent(rng: np.random.Generator, value: Array) -> Array:
    r = rng.standard_normal(value.shape)
    return r + 1j * rng.standard_normal(value.shape) if np.iscomplexobj(value) else r


def _length(op: str, inputs: Mapping[str, Any]) -> int:
    """l; 1 where nothing is a sequence."""
    if "length" in inputs:
        return int(inputs["length"])
    name, axis = _TIME.get(op, ("", 0))
    return int(inputs[name].shape[axis]) if name else 1
