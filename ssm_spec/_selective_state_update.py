"""One step of the selective scan, on states of its own or in a pool: a scan of length one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_spec._calls import arguments_of, operator
from ssm_spec._errors import DTypeError
from ssm_spec._pool import Pooled, participants, written
from ssm_spec._roundoff import Arithmetic, Bounded, ComplexArithmetic
from ssm_spec._selective_scan import (
    selective_scan,
    selective_scan_bounds,
    selective_scan_vjp,
    selective_scan_vjp_bounds,
)
from ssm_spec._validate import (
    Dimensions,
    as_array,
    as_real_array,
    check_cotangent_names,
    differentiated,
)

Array = NDArray[Any]

OUTPUTS = ("y", "state")
DIFFERENTIABLE = ("state", "u", "delta", "A", "B", "C", "D", "z", "delta_bias")
_BY_ROW = ("u", "delta", "B", "C", "z")


@operator
def selective_state_update(
    state: ArrayLike,
    u: ArrayLike,
    delta: ArrayLike,
    A: ArrayLike,
    B: ArrayLike,
    C: ArrayLike,
    D: ArrayLike | None = None,
    z: ArrayLike | None = None,
    delta_bias: ArrayLike | None = None,
    delta_softplus: bool = False,
    *,
    b_discretization: str = "euler",
    state_indices: ArrayLike | None = None,
    inplace: bool = False,
) -> tuple[Array, Array]:
    """h = exp(ΔA) h⁻ + b̄ u; y = (γ Re Σ_n C h + D u) · silu(z): one step of `selective_scan`.

    Gu and Dao, "Mamba" (2023), eq. (2) and (4); the names are those of its code.

    Parameters
    ----------
    state
        (b, d, n), or a pool (slots, d, n) with `state_indices`; real, or complex where A is.
    u, delta, z
        (b, d), real.
    A
        (d, n), real or complex, at least single precision.
    B, C
        (b, n) or (b, g, n), real, or complex where A is; a constant one is passed with g = d.
    D, delta_bias
        (d,), real.
    delta_softplus
        Δ = log(1 + exp(delta + delta_bias)) instead of delta + delta_bias.
    b_discretization
        "euler": b̄ = ΔB; "zoh": b̄ = expm1(ΔA)/A · B.
    state_indices
        (b,), integers: the slot of each row, each at most once; −1 skips the row, whose y is 0.
    inplace
        Write the new state into `state`, rounded to its dtype, and return that array.

    Returns
    -------
    y, (b, d) float64, and the new state in the shape of `state`; slots that no row names keep theirs.
    """
    step = _read(state, u, delta, A, B, C, D, z, delta_bias, delta_softplus, b_discretization, state_indices)
    place = written(state) if inplace else None
    if inplace and step.real_state and step.pooled.state.dtype.kind == "c":
        raise DTypeError("`state` must be complex where `A` is and `inplace` is set; got a real one")
    y, last = selective_scan(**step.scan, return_last_state=True)
    return step.pooled.outputs(y[..., 0], last, place)


@arguments_of(selective_state_update)
def selective_state_update_vjp(
    cotangents: Mapping[str, ArrayLike | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Gradients of L = Re⟨cotangents, outputs⟩; slots that no row names hand their cotangent through.

    Parameters
    ----------
    cotangents
        "y": (b, d), "state": the state's shape; None or missing means zero.
    wrt
        Names of inputs; by default every differentiable one that was given.
    inputs
        The arguments of `selective_state_update`; `inplace` changes nothing here.

    Returns
    -------
    For each name, ∂L/∂Re + i ∂L/∂Im in the input's shape; the real part for a real input.
    """
    step, names = _read_inputs(inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    given, passed = step.cotangents(cotangents)
    found = selective_scan_vjp(given, [_in_scan(name) for name in names], **step.scan)
    return {name: step.gradient(name, found[_in_scan(name)], passed) for name in names}


@arguments_of(selective_state_update)
def selective_state_update_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to "y" and "state"; slots left alone have bound 0.

    Parameters
    ----------
    arithmetic
        The facts about the implementation.
    inputs
        The arguments of `selective_state_update`; `inplace` changes nothing here.
    """
    step = _read_inputs(inputs)
    found = selective_scan_bounds(arithmetic=arithmetic, **step.scan)
    return step.pooled.output_bounds(found["y"].map(_now), found["last_state"])


@arguments_of(selective_state_update)
def selective_state_update_vjp_bounds(
    cotangents: Mapping[str, ArrayLike | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to the gradients of `selective_state_update_vjp`.

    Parameters
    ----------
    cotangents, wrt, inputs
        As for `selective_state_update_vjp`.
    arithmetic
        The facts about the implementation.

    Returns
    -------
    For each gradient its value, bound, the oracle's own bound, and where it is judged; of the state, the
    bound of a slot left alone is what flushing may lose of its cotangent.
    """
    step, names = _read_inputs(inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    given, passed = step.cotangents(cotangents)
    found = selective_scan_vjp_bounds(
        given, [_in_scan(name) for name in names], arithmetic=arithmetic, **step.scan
    )
    kind = arithmetic if step.real_state else ComplexArithmetic.of(arithmetic)
    return {name: step.gradient_bounds(name, found[_in_scan(name)], passed, kind.eta) for name in names}


@dataclass(frozen=True, eq=False)
class _Step:
    """A step as a scan of length one over the rows that take part.

    `pooled` says which those are; `scan` has the arguments of the scan; `real_state` is whether the state was
    given as real numbers.
    """

    pooled: Pooled
    real_state: bool
    scan: dict[str, Any]

    def cotangents(self, cotangents: Mapping[str, object]) -> tuple[dict[str, Array | None], Array]:
        """The scan's cotangents, and the state's, which slots left alone hand through."""
        check_cotangent_names(cotangents, OUTPUTS)
        given, passed = self.pooled.cotangents(cotangents, self.scan["u"].shape[1:2])
        y = given["y"]
        return {"y": None if y is None else y[..., None], "last_state": given["state"]}, passed

    def gradient(self, name: str, part: Array, passed: Array) -> Array:
        """One gradient of the scan, in the shape of the step's input, and as real as that."""
        out = self.pooled.gradient(name, _now(part) if name in _BY_ROW else part, passed)
        return out.real if name == "state" and self.real_state else out

    def gradient_bounds(self, name: str, part: Bounded, passed: Array, eta: float) -> Bounded:
        """The same of value and bounds."""
        part = part.map(_now) if name in _BY_ROW else part
        out = self.pooled.gradient_bounds(name, part, passed, eta)
        return out.map(np.real) if name == "state" and self.real_state else out


def _read(
    state: object,
    u: object,
    delta: object,
    A: object,
    B: object,
    C: object,
    D: object = None,
    z: object = None,
    delta_bias: object = None,
    delta_softplus: bool = False,
    b_discretization: str = "euler",
    state_indices: object = None,
) -> _Step:
    """Check what differs from a scan; the scan checks the rest."""
    dims = Dimensions()
    streams = {"u": as_real_array("u", u), "delta": as_real_array("delta", delta)}
    if z is not None:
        streams["z"] = as_real_array("z", z)
    for name, array in streams.items():
        dims.match(name, array, "b d")
    dims.match("A", as_array("A", A), "d n")
    projections = {"B": as_array("B", B), "C": as_array("C", C)}
    for name, array in projections.items():
        dims.match(name, array, "b n", "b g n", free="g")
    state_ = as_array("state", state)
    dims.match("state", state_, "b d n" if state_indices is None else "slots d n")
    complex_a = np.asarray(A).dtype.kind == "c"
    if state_.dtype.kind == "c" and not complex_a:
        raise DTypeError(f"`state` must be real where `A` is real; got {np.asarray(state).dtype}")
    taken = participants(state_indices, dims)
    real_state = state_.dtype.kind == "f"
    state_ = state_.astype(np.complex128) if complex_a else state_
    scan = {name: array[taken.rows][..., None] for name, array in (streams | projections).items()}
    return _Step(
        Pooled(state_, taken, _BY_ROW),
        real_state,
        scan
        | {
            "A": A,
            "D": D,
            "delta_bias": delta_bias,
            "delta_softplus": delta_softplus,
            "initial_state": state_[taken.slots],
            "b_discretization": b_discretization,
        },
    )


def _read_inputs(inputs: Mapping[str, Any]) -> _Step:
    return _read(**{name: value for name, value in inputs.items() if name != "inplace"})


def _now(part: Array) -> Array:
    """The one step there is, of what has time."""
    now: Array = part[..., 0]
    return now


def _in_scan(name: str) -> str:
    return "initial_state" if name == "state" else name
