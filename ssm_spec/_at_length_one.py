"""A decoder's step as an operator over time at length one: its bounds, its gradients and theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec._validate import Array, as_cotangent, check_cotangent_names, differentiated

Cotangents = Mapping[str, object]
Names = Iterable[str] | None


@dataclass(frozen=True, kw_only=True)
class AtLengthOne:
    """How one step is posed.

    Attributes
    ----------
    read
        From the arguments of the step to those of the operator over time.
    differentiable
        The step's inputs that have a gradient.
    time
        Where the operator's arrays have time, the axis; by the step's names.
    outputs
        Each output of the step, and the input that has its shape.
    inputs_over_time, outputs_over_time
        What the operator calls an input or an output of the step, where it is another name.
    """

    read: Callable[..., dict[str, Any]]
    differentiable: tuple[str, ...]
    time: Mapping[str, int]
    outputs: Mapping[str, str]
    inputs_over_time: Mapping[str, str] = field(default_factory=dict)
    outputs_over_time: Mapping[str, str] = field(default_factory=dict)

    def bounds(
        self, bounds: Callable[..., dict[str, Bounded]], inputs: Mapping[str, Any], arithmetic: Arithmetic
    ) -> dict[str, Bounded]:
        """The bounds of the outputs, from the operator's."""
        found = bounds(arithmetic=arithmetic, **self.read(**inputs))
        over_time = {name: self.outputs_over_time.get(name, name) for name in self.outputs}
        return {name: found[there].map(partial(self._now, name)) for name, there in over_time.items()}

    def vjp(
        self, vjp: Callable[..., dict[str, Array]], given: Cotangents, wrt: Names, inputs: Mapping[str, Any]
    ) -> dict[str, Array]:
        """The gradients, from the operator's."""
        found = self._differentiated(vjp, given, wrt, inputs)
        return {name: self._now(name, gradient) for name, gradient in found.items()}

    def vjp_bounds(
        self,
        vjp_bounds: Callable[..., dict[str, Bounded]],
        given: Cotangents,
        wrt: Names,
        inputs: Mapping[str, Any],
        arithmetic: Arithmetic,
    ) -> dict[str, Bounded]:
        """The bounds of the gradients, from the operator's."""
        found = self._differentiated(partial(vjp_bounds, arithmetic=arithmetic), given, wrt, inputs)
        return {name: bounded.map(partial(self._now, name)) for name, bounded in found.items()}

    def _differentiated(
        self,
        differentiate: Callable[..., dict[str, Any]],
        given: Cotangents,
        wrt: Names,
        inputs: Mapping[str, Any],
    ) -> dict[str, Any]:
        """What the operator finds for each input of the step that is asked for."""
        over_time, names = self.read(**inputs), differentiated(wrt, inputs, self.differentiable)
        there = {name: self.inputs_over_time.get(name, name) for name in names}
        found = differentiate(self._cotangents(over_time, given), there.values(), **over_time)
        return {name: found[there[name]] for name in names}

    def _cotangents(self, over_time: Mapping[str, Any], given: Cotangents) -> dict[str, Array | None]:
        """Those of the step, checked, as those of the operator."""
        check_cotangent_names(given, self.outputs)
        found = {}
        for name, like in self.outputs.items():
            alike = over_time[self.inputs_over_time.get(like, like)]
            cotangent = as_cotangent(given, name, self._now(like, alike).shape)
            if cotangent is not None and name in self.time:
                cotangent = np.expand_dims(cotangent, self.time[name])
            found[self.outputs_over_time.get(name, name)] = cotangent
        return found

    def _now(self, name: str, array: Array) -> Array:
        """The one step there is, of what has time."""
        return array.take(0, self.time[name]) if name in self.time else array
