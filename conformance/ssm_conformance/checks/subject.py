"""What a check holds in its hands: one claimed implementation, and the case's inputs in its library."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ssm_spec
from ssm_backends import (
    Arrays,
    Backend,
    Call,
    DeviceError,
    DTypeError,
    Layout,
    NotSupportedError,
    Op,
    outputs_of,
    refusal,
    run_forward,
    run_vjp,
    validate,
)
from ssm_backends.dtypes import COMPLEX_OF, dtype_name, is_complex
from ssm_backends.raised import in_words, shortened
from ssm_backends.vocabulary import facts_for
from ssm_conformance.case import Case
from ssm_conformance.checks.oracle import once
from ssm_conformance.draw import Draw
from ssm_conformance.manners import manners_kept
from ssm_conformance.storage import store, widen


class NotAsked(Exception):  # noqa: N818  it is a verdict, not an error of the suite
    """The backend does not claim what the question needs besides the case's own call."""


class Unobservable(Exception):  # noqa: N818  it is a verdict, not an error of the suite
    """There is no instrument for the question here; the message says which is missing."""


class NoRoom(Unobservable):
    """There is no memory for the question's arrays while others share it."""


class CheckFailed(Exception):  # noqa: N818  it is a verdict, not an error of the suite
    """The backend does not do what the case asks; the message says what it did."""


@contextmanager
def backend_at_work() -> Iterator[None]:
    """What a backend raises on a claimed call is its failure, with where it came from.

    What it changes in this process is put back at once: the oracle computes next.
    """
    try:
        with manners_kept():
            yield
    except (CheckFailed, Unobservable):
        raise
    except NotSupportedError as error:
        raise CheckFailed(f"a claimed call was refused: {error}") from error
    except Exception as error:  # the backend's own, whatever it is
        where = shortened(traceback.format_exc(limit=-3))
        raise CheckFailed(f"raised {in_words(error)}\n{where}") from error


@contextmanager
def told_of(circumstance: str) -> Iterator[None]:
    """What fails says under which circumstance it did."""
    try:
        yield
    except CheckFailed as failure:
        raise CheckFailed(f"{circumstance}: {failure}") from failure


@dataclass(frozen=True)
class Stored:
    """An array as the suite holds it: NumPy storage and the dtype's name."""

    array: NDArray[Any]
    dtype: str

    @property
    def index(self) -> bool:
        """Whether it holds integers."""
        return self.dtype.startswith("int")

    @property
    def exact(self) -> NDArray[Any]:
        """The numbers it stands for, float64 or complex128."""
        return widen(self.array, self.dtype)

    def take(self, key: Any) -> Stored:
        """A part of it, contiguous."""
        return Stored(np.ascontiguousarray(self.array[key]), self.dtype)


@dataclass(frozen=True)
class Subject:
    """One implementation under one case.

    Attributes
    ----------
    case
        The question.
    backend, op, arrays
        Who answers, and in which library.
    given, given_cotangents
        Arrays in place of those that the case draws.
    elsewhere
        Case id and library → what another process gets, each result as a hash; None if none can be had.
    """

    case: Case
    backend: Backend
    op: Op
    arrays: Arrays
    given: Mapping[str, Stored] | None = None
    given_cotangents: Mapping[str, Stored] | None = None
    elsewhere: Callable[[str, str], Mapping[str, str]] | None = None

    @cached_property
    def stored(self) -> dict[str, Stored]:
        """The case's arrays, rounded to their dtypes: these numbers are what is meant."""
        if self.given is not None:
            return dict(self.given)
        dtypes = self.case.dtypes()
        return {
            name: self.draw(draw, dtypes[name], *self._stream, name) for name, draw in self.case.draws.items()
        }

    @property
    def _stream(self) -> tuple[str, str]:
        """Where its numbers come from: all questions that are put to one recipe share them."""
        return self.case.op, self.case.recipe.seed or self.case.recipe.name

    @staticmethod
    def draw(draw: Draw, dtype: str, *key: str) -> Stored:
        """Draw an array from the stream of that name and round it to its dtype."""
        values = draw.values(*key)
        return Stored(values if draw.index else store(values, dtype), dtype)

    def under(
        self,
        stored: Mapping[str, Stored],
        plain: Mapping[str, Any] | None = None,
        cotangents: Mapping[str, Stored] | None = None,
    ) -> Subject:
        """The same implementation under another call of the operator, whether it claims it or not.

        Parameters
        ----------
        stored
            Its arrays.
        plain
            Its other arguments; the case's if None.
        cotangents
            Output name → cotangent; drawn if None.
        """
        inputs = dict(self.case.plain if plain is None else plain) | {
            name: Draw(item.array.shape, complex=np.iscomplexobj(item.array), dtype=item.dtype)
            for name, item in stored.items()
        }
        case = replace(self.case, recipe=replace(self.case.recipe, inputs=inputs))
        return replace(self, case=case, given=stored, given_cotangents=cotangents)

    def put(
        self,
        stored: Mapping[str, Stored],
        plain: Mapping[str, Any] | None = None,
        cotangents: Mapping[str, Stored] | None = None,
    ) -> Subject:
        """The same under another call that some Op of the backend claims; arguments as for ``under``.

        Raises
        ------
        NotAsked
            If the backend's claims do not cover it.
        """
        asked = self.under(stored, plain, cotangents)
        reasons = []
        for op in self.backend.implementations(self.case.op):
            reason = refusal(op, asked.case.call())
            if reason is None:
                return replace(asked, op=op)
            reasons.append(reason)
        raise NotAsked("; ".join(reasons))

    def into(self, stored: Mapping[str, Stored], layouts: Mapping[str, Layout] | None = None) -> Call:
        """The call with its arrays in the backend's library.

        Parameters
        ----------
        stored
            Argument name → array.
        layouts
            Argument name → how it lies in memory; contiguous where absent.
        """
        layouts = layouts or {}
        moved = {
            name: self.arrays.from_numpy(item.array, item.dtype, layouts.get(name))
            for name, item in stored.items()
        }
        return validate(self.case.operator, **moved, **self.case.plain)

    @cached_property
    def call(self) -> Call:
        """The case's call, contiguous."""
        return self.into(self.stored)

    def forward(self, call: Call) -> dict[str, Stored]:
        """Run it; the outputs by name."""
        return self._outputs(call, lambda: self.op.fn(**call.inputs))

    def forward_saving(self, call: Call) -> dict[str, Stored]:
        """The outputs by name as ``forward`` gives them, which saves for ``vjp``; {} without one.

        A call that writes its state is made anew: gradients start from the state before it.
        """
        if self.op.forward is None:
            return {}
        if self.case.written:
            call = self.into(self.stored)
        return self._outputs(call, lambda: run_forward(self.op, call)[0])

    def _outputs(self, call: Call, run: Callable[[], Any]) -> dict[str, Stored]:
        with backend_at_work():
            outputs = outputs_of(call, run())
            self.arrays.synchronize()
        return {name: self.out(x, f"`{name}`") for name, x in outputs.items()}

    @cached_property
    def wrt(self) -> tuple[str, ...]:
        """The arguments of this call whose gradient is claimed."""
        return tuple(name for name in self.op.differentiable(self.case.operator) if name in self.case.draws)

    @cached_property
    def cotangents(self) -> dict[str, Stored]:
        """One cotangent for each returned output that the claim takes one for."""
        if self.given_cotangents is not None:
            return dict(self.given_cotangents)
        claimed = self.op.takes_cotangents(self.case.operator)
        draws = {
            name: (Draw(shape, complex=is_complex(dtype)), dtype)
            for name, (shape, dtype) in self.output_types().items()
            if name in claimed
        }
        return {
            name: self.draw(
                draw.positive() if self.case.recipe.one_sign else draw,
                dtype, *self._stream, f"cotangent of {name}",
            )
            for name, (draw, dtype) in draws.items()
        }  # fmt: skip

    def output_types(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and dtype that each returned output must have."""
        compute = "float64" if self.call.compute == "float64" else "float32"
        roles = {output.name: output.role for output in self.case.operator.outputs}
        types = {}
        for name, bounded in self.exact.items():
            if np.iscomplexobj(bounded.value):
                dtype = COMPLEX_OF[compute]
            elif roles[name] == "state" and name in self.stored:  # it may be kept in 16 bits
                dtype = self.stored[name].dtype
            elif roles[name] == "io":
                dtype = self.call.dtype
            else:
                dtype = compute
            types[name] = (bounded.value.shape, dtype)
        return types

    @property
    def periods(self) -> dict[str, float]:
        """What some outputs mean the same modulo, by name."""
        return {output.name: output.period for output in self.case.operator.outputs if output.period}

    @property
    def claims_gradients(self) -> bool:
        """Whether the call has a gradient that is claimed in the case's dtype, and a cotangent for it."""
        allowed = self.op.dtypes if self.op.grad_dtypes is None else self.op.grad_dtypes
        taken = set(self.op.takes_cotangents(self.case.operator)) & set(self.case.returned)
        return bool(self.wrt and taken) and self.case.dtype in allowed

    @property
    def takes_gradients(self) -> bool:
        """Whether it is claimed and there is a way to take it: the Op's own, or the library's."""
        return self.claims_gradients and (self.op.vjp is not None or self.arrays.autograd)

    def gradients(self, call: Call, cotangents: Mapping[str, Any] | None = None) -> dict[str, Stored]:
        """Gradients of the claimed arguments; arguments as for :meth:`backward`."""
        return self.finish(self.backward(call, cotangents))

    def backward(
        self, call: Call, cotangents: Mapping[str, Any] | None = None
    ) -> Callable[[], dict[str, Any]]:
        """The forward and backward pass of a call, ready to run: gradients in the library's arrays.

        Parameters
        ----------
        call
            The call.
        cotangents
            Output name → array of the library; the case's, contiguous, if None.
        """
        moved = self.into_cotangents() if cotangents is None else cotangents
        return lambda: run_vjp(self.op, self.arrays, call, moved, self.wrt)

    def into_cotangents(self, layouts: Mapping[str, Layout] | None = None) -> dict[str, Any]:
        """The case's cotangents in the backend's library, in the layouts of some of them."""
        layouts = layouts or {}
        return {
            name: self.arrays.from_numpy(item.array, item.dtype, layouts.get(name))
            for name, item in self.cotangents.items()
        }

    def finish(self, run: Callable[[], dict[str, Any]]) -> dict[str, Stored]:
        """Run what :meth:`backward` made ready; the gradients by name."""
        with backend_at_work():
            gradients = run()
            self.arrays.synchronize()
        return {name: self.out(x, f"the gradient of `{name}`") for name, x in gradients.items()}

    def out(self, x: Any, what: str) -> Stored:
        """One array of the backend's library, as the suite holds it; `what` it is, for a complaint."""
        if not (hasattr(x, "shape") and hasattr(x, "dtype")):
            raise CheckFailed(f"{what} must be an array; got {type(x).__name__}")
        try:
            return Stored(self.arrays.to_numpy(x), dtype_name(x))
        except (DeviceError, DTypeError) as error:
            raise CheckFailed(f"{what}: {error}") from error

    def arithmetic(self, declared: bool = True) -> ssm_spec.Arithmetic:
        """The arithmetic that the verdict is about: with the declared facts, or without."""
        facts = facts_for(self.op.arithmetic, self.case.dtype) if declared else {}
        compute: Any = self.call.compute
        storage: Any = self.call.dtype
        return ssm_spec.Arithmetic(compute=compute, io=storage, **facts)

    @cached_property
    def oracle_inputs(self) -> dict[str, Any]:
        """The inputs as the oracle takes them: exact numbers, integer arrays as they are."""
        arrays = {name: item.array if item.index else item.exact for name, item in self.stored.items()}
        return arrays | self.case.plain

    @cached_property
    def exact(self) -> Mapping[str, ssm_spec.Bounded]:
        """The oracle's value and bound of each output that the call returns."""
        return self.exact_outputs(self.arithmetic())

    def exact_outputs(self, arithmetic: ssm_spec.Arithmetic) -> Mapping[str, ssm_spec.Bounded]:
        """The same under a given arithmetic."""
        question = (self.case.op, "outputs", arithmetic)
        return once(question, self.oracle_inputs, lambda: self._exact_outputs(arithmetic))

    def _exact_outputs(self, arithmetic: ssm_spec.Arithmetic) -> dict[str, ssm_spec.Bounded]:
        bounded = ssm_spec.REFERENCES[self.case.op].bounds(arithmetic=arithmetic, **self.oracle_inputs)
        return {name: value for name, value in bounded.items() if name in self.case.returned}

    def exact_gradients(self, arithmetic: ssm_spec.Arithmetic) -> Mapping[str, ssm_spec.Bounded]:
        """The oracle's gradients and their bounds under a given arithmetic."""
        question = (self.case.op, "gradients", self.wrt, arithmetic)
        cotangents = {f"cotangent of {name}": item.exact for name, item in self.cotangents.items()}
        arrays = self.oracle_inputs | cotangents
        return once(question, arrays, lambda: self._exact_gradients(arithmetic))

    def _exact_gradients(self, arithmetic: ssm_spec.Arithmetic) -> dict[str, ssm_spec.Bounded]:
        vjp_bounds = ssm_spec.REFERENCES[self.case.op].vjp_bounds
        if vjp_bounds is None:
            raise AssertionError(f"{self.case.op} has no gradient")
        cotangents = {name: item.exact for name, item in self.cotangents.items()}
        return vjp_bounds(cotangents, self.wrt, arithmetic=arithmetic, **self.oracle_inputs)
