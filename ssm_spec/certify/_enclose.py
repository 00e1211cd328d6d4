"""Rigorous enclosures of every operator's values and gradients, and the floats nearest to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_spec._errors import DomainError
from ssm_spec._references import REFERENCES
from ssm_spec.certify import (
    _balls,
    _blocks,
    _continuous,
    _hippo,
    _layers,
    _linear,
    _mamba,
    _mamba3,
    _memory,
    _nplr,
    _scan,
)
from ssm_spec.certify._balls import Balls, Float, exact, imaginary_part, precision, real_part
from ssm_spec.certify._tape import Variable, constant, differentiate

Array = NDArray[Any]

DEFINITIONS: Final[Mapping[str, Callable[..., dict[str, Variable]]]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            _linear.discretize_zoh,
            _linear.discretize_bilinear,
            _linear.ssm_recurrence,
            _linear.ssm_kernel,
            _linear.causal_convolution,
            _linear.ssm_associative_scan,
            _continuous.continuous_response,
            _continuous.impulse_response,
            _continuous.step_response,
            _hippo.hippo_legs,
            _hippo.hippo_legt,
            _hippo.hippo_lagt,
            _hippo.hippo_fout,
            _nplr.hippo_legs_nplr,
            _nplr.s4d_legs,
            _hippo.s4d_inv,
            _hippo.s4d_lin,
            _memory.hippo_legs_compress,
            _memory.hippo_legs_reconstruct,
            _layers.s4d,
            _layers.s4d_kernel,
            _layers.s4_kernel,
            _layers.lssl,
            _layers.s5,
            _layers.h3,
            _scan.selective_scan,
            _scan.selective_state_update,
            _mamba.causal_conv1d,
            _mamba.causal_conv1d_update,
            _mamba.ssd,
            _mamba.ssd_update,
            _blocks.mamba_block,
            _blocks.mamba_step,
            _mamba3.mamba3_siso,
            _mamba3.mamba3_siso_step,
        )
    }
)
"""The operators that can be certified: name -> definition on the tape."""

LEAST_BITS: Final = 128
MOST_BITS: Final = 2**15
_SPARE: Final = 64


class UndecidedError(ArithmeticError):
    """More bits did not decide a rounding: the exact number lies on, or too near to, a tie."""


@dataclass(frozen=True)
class Enclosure:
    """An array that is known to lie in balls.

    Attributes
    ----------
    balls
        One ball of python-flint for each element: `arb`, or `acb` for a complex array.
    complex
        Whether the array is complex. The two ends are then those of its real and imaginary parts.
    bits
        The precision that the balls were computed with.
    """

    balls: Balls
    complex: bool
    bits: int

    @cached_property
    def lower(self) -> Array:
        """The largest floats below every ball, float64 or complex128."""
        return self._parts(_balls.lower_end)

    @cached_property
    def upper(self) -> Array:
        """The smallest floats above every ball, float64 or complex128."""
        return self._parts(_balls.upper_end)

    def farthest(self, value: Array) -> Float:
        """An upper bound on |value − exact| of each element; 0 means below half the least float."""
        with precision(self.bits + _SPARE):
            return _balls.farthest(self.balls, value)

    def nearest(self, value: Array) -> Float:
        """A lower bound on |value − exact| of each element."""
        with precision(self.bits + _SPARE):
            return _balls.nearest(self.balls, value)

    def rounded(self) -> Array | None:
        """The floats nearest to the exact numbers; None if some ball holds the border of two."""
        parts = (real_part(self.balls), imaginary_part(self.balls)) if self.complex else (self.balls,)
        with precision(self.bits + _SPARE):  # else the ends would be rounded outwards once more
            found = [_balls.rounded(part) for part in parts]
        if not all(decided.all() for _, decided in found):
            return None
        return found[0][0] + 1j * found[1][0] if self.complex else found[0][0]

    def _parts(self, end: Callable[[Balls], Float]) -> Array:
        with precision(self.bits + _SPARE):
            real = end(real_part(self.balls))
            return real + 1j * end(imaginary_part(self.balls)) if self.complex else real


def enclose(op: str, /, *, bits: int = 256, **inputs: Any) -> dict[str, Enclosure]:
    """Enclose every output of an operator, computed from its definition in balls.

    Parameters
    ----------
    op
        A name in `DEFINITIONS`.
    bits
        The precision of midpoints. A recurrence over l steps of complex numbers loses up to half
        a bit a step.
    inputs
        The operator's arguments, as the oracle takes them; finite numbers.

    Returns
    -------
    For each output, by name, an `Enclosure` of its shape.
    """
    inputs.pop("inplace", None)  # where a result is stored changes no number, and inputs are not written
    _check(op, inputs)
    REFERENCES[op].value(**inputs)  # refuses bad arguments, with the errors that users know
    with precision(bits):
        _, outputs = _evaluate(op, inputs)
        return {name: Enclosure(output.value, output.complex, bits) for name, output in outputs.items()}


def enclose_vjp(
    op: str,
    cotangents: Mapping[str, ArrayLike | None],
    wrt: Iterable[str] | None = None,
    /,
    *,
    bits: int = 256,
    **inputs: Any,
) -> dict[str, Enclosure]:
    """Enclose the gradients of L = Σ Re⟨cotangents, outputs⟩, by reverse mode over the definition.

    Parameters
    ----------
    op, bits, inputs
        As for `enclose`.
    cotangents
        For each output its cotangent, of its shape; None or missing means zero.
    wrt
        Names of inputs; by default every differentiable one that was given.

    Returns
    -------
    For each name an `Enclosure` of ∂L/∂Re + i ∂L/∂Im; of ∂L/∂x for a real input.
    """
    inputs.pop("inplace", None)
    _check(op, inputs)
    vjp = REFERENCES[op].vjp
    if vjp is None:
        raise DomainError(f"`op` must have a gradient; got {op!r}")
    names = tuple(vjp(cotangents, wrt, **inputs))  # refuses bad arguments
    with precision(bits):
        leaves, outputs = _evaluate(op, inputs)
        given = [(outputs[name], exact(r)) for name, r in cotangents.items() if r is not None]
        gradients = differentiate(leaves, given)
        return {name: Enclosure(gradients[name], leaves[name].complex, bits) for name in names}


def correctly_rounded(op: str, /, **inputs: Any) -> dict[str, Array]:
    """The float64 (complex128) numbers nearest to the exact outputs, by doubling the precision.

    Raises
    ------
    UndecidedError
        If an exact number lies on the border of two floats and no precision shows it.
    """
    return _until_decided(op, lambda bits: enclose(op, bits=bits, **inputs))


def correctly_rounded_vjp(
    op: str, cotangents: Mapping[str, ArrayLike | None], wrt: Iterable[str] | None = None, /, **inputs: Any
) -> dict[str, Array]:
    """The floats nearest to the exact gradients; arguments as for `enclose_vjp`."""
    return _until_decided(op, lambda bits: enclose_vjp(op, cotangents, wrt, bits=bits, **inputs))


def _until_decided(op: str, evaluate: Callable[[int], dict[str, Enclosure]]) -> dict[str, Array]:
    bits = LEAST_BITS
    while bits <= MOST_BITS:
        found = {name: enclosure.rounded() for name, enclosure in evaluate(bits).items()}
        decided = {name: array for name, array in found.items() if array is not None}
        if len(decided) == len(found):
            return decided
        bits *= 2
    undecided = sorted(set(found) - set(decided))
    raise UndecidedError(f"`{op}`: {', '.join(undecided)} cannot be rounded with {MOST_BITS} bits")


def _evaluate(op: str, inputs: Mapping[str, Any]) -> tuple[dict[str, Variable], dict[str, Variable]]:
    """The differentiable inputs as leaves of a tape, and the outputs."""
    named = REFERENCES[op].differentiable
    leaves = {name: constant(inputs[name]) for name in named if inputs.get(name) is not None}
    options = {name: value for name, value in inputs.items() if name not in named}
    return leaves, DEFINITIONS[op](**leaves, **options)


def _check(op: str, inputs: Mapping[str, Any]) -> None:
    if op not in DEFINITIONS:
        raise DomainError(f"`op` must be one of {', '.join(DEFINITIONS)}; got {op!r}")
    for name, value in inputs.items():
        # A tuple is an interval, whose ends may be infinite.
        if isinstance(value, tuple) or np.asarray(value).dtype.kind not in "fc":
            continue
        if not np.all(np.isfinite(np.asarray(value))):
            raise DomainError(f"`{name}` must be finite: balls hold numbers; got infinities or NaN")
