"""One step of SSD, as a decoder takes it, on states of its own or in a pool: SSD at length one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import ArrayLike

from ssm_spec._calls import arguments_of, operator
from ssm_spec._pool import Pooled, participants, written
from ssm_spec._roundoff import Arithmetic, Bounded
from ssm_spec._ssd._public import ssd, ssd_bounds, ssd_vjp, ssd_vjp_bounds
from ssm_spec._validate import (
    Array,
    Dimensions,
    Float,
    as_real_array,
    check_cotangent_names,
    differentiated,
)

OUTPUTS = ("y", "state")
DIFFERENTIABLE = ("state", "x", "dt", "A", "B", "C", "D", "z", "dt_bias")
_BY_ROW = ("x", "dt", "B", "C", "z")


@operator
def ssd_update(
    state: ArrayLike,
    x: ArrayLike,
    dt: ArrayLike,
    A: ArrayLike,
    B: ArrayLike,
    C: ArrayLike,
    D: ArrayLike | None = None,
    z: ArrayLike | None = None,
    dt_bias: ArrayLike | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    *,
    state_indices: ArrayLike | None = None,
    inplace: bool = False,
) -> tuple[Array, Array]:
    """S = exp(ΔA) S⁻ + Δ x Bᵀ; y = (S C + D x) · silu(z): one step of `ssd`.

    Dao and Gu, "Transformers are SSMs" (2024), eq. (2) with scalar A.

    (C1) l steps equal one `ssd` of length l: the same limits of Δ, and its final state.

    Parameters
    ----------
    state
        (b, h, p, n), or a pool (slots, h, p, n) with `state_indices`; real.
    x, z
        (b, h, p), real.
    dt
        (b, h), real.
    A, dt_bias
        (h,), real; A at least single precision.
    B, C
        (b, g, n), real.
    D
        (h,) or (h, p), real.
    dt_softplus
        Δ = log(1 + exp(dt + dt_bias)) instead of dt + dt_bias.
    dt_limit
        (low, high), low <= high.
    state_indices
        (b,), integers: the slot of each row, each at most once; −1 skips the row, whose y is 0.
    inplace
        Write the new state into `state`, rounded to its dtype, and return that array.

    Returns
    -------
    y, (b, h, p) float64, and the new state in the shape of `state`; slots that no row names keep theirs.
    """
    step = _read(state, x, dt, A, B, C, D, z, dt_bias, dt_softplus, dt_limit, state_indices)
    place = written(state) if inplace else None
    both = ssd(**step.ssd, return_final_states=True)
    assert isinstance(both, tuple)
    y, final = both
    return step.pooled.outputs(y[:, 0], final, place)


@arguments_of(ssd_update)
def ssd_update_vjp(
    cotangents: Mapping[str, ArrayLike | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Float]:
    """Gradients of ⟨cotangents, outputs⟩; slots that no row names hand their cotangent through.

    Parameters
    ----------
    cotangents
        "y": (b, h, p), "state": the state's shape; None or missing means zero.
    wrt
        Names of inputs; by default every differentiable one that was given.
    inputs
        The arguments of `ssd_update`; `inplace` changes nothing here.

    Returns
    -------
    For each name the gradient, float64, in the input's shape.
    """
    step, names = _read_inputs(inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    given, passed = step.cotangents(cotangents)
    found = ssd_vjp(given, [_in_ssd(name) for name in names], **step.ssd)
    return {name: step.pooled.gradient(name, _now(name, found[_in_ssd(name)]), passed) for name in names}


@arguments_of(ssd_update)
def ssd_update_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to "y" and "state"; slots left alone have bound 0.

    Parameters
    ----------
    arithmetic
        The facts about the implementation.
    inputs
        The arguments of `ssd_update`; `inplace` changes nothing here.
    """
    step = _read_inputs(inputs)
    found = ssd_bounds(arithmetic=arithmetic, **step.ssd)
    return step.pooled.output_bounds(found["y"].map(lambda part: part[:, 0]), found["final_states"])


@arguments_of(ssd_update)
def ssd_update_vjp_bounds(
    cotangents: Mapping[str, ArrayLike | None],
    wrt: Iterable[str] | None = None,
    *,
    arithmetic: Arithmetic,
    **inputs: Any,
) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to the gradients of `ssd_update_vjp`.

    Parameters
    ----------
    cotangents, wrt, inputs
        As for `ssd_update_vjp`.
    arithmetic
        The facts about the implementation.

    Returns
    -------
    For each gradient its value, bound, the oracle's own bound, and where it is judged; of the state, the
    bound of a slot left alone is what flushing may lose of its cotangent.
    """
    step, names = _read_inputs(inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    given, passed = step.cotangents(cotangents)
    found = ssd_vjp_bounds(given, [_in_ssd(name) for name in names], arithmetic=arithmetic, **step.ssd)
    now = {name: found[_in_ssd(name)].map(partial(_now, name)) for name in names}
    return {
        name: step.pooled.gradient_bounds(name, part, passed, arithmetic.eta) for name, part in now.items()
    }


@dataclass(frozen=True, eq=False)
class _Step:
    """A step as SSD of length one over the rows that take part: which those are, and its arguments."""

    pooled: Pooled
    ssd: dict[str, Any]

    def cotangents(self, cotangents: Mapping[str, object]) -> tuple[dict[str, Array | None], Array]:
        """Those of SSD, and the state's, which slots left alone hand through."""
        check_cotangent_names(cotangents, OUTPUTS)
        given, passed = self.pooled.cotangents(cotangents, self.ssd["x"].shape[2:])
        y = given["y"]
        return {"y": None if y is None else y[:, None], "final_states": given["state"]}, passed


def _read(
    state: object,
    x: object,
    dt: object,
    A: object,
    B: object,
    C: object,
    D: object = None,
    z: object = None,
    dt_bias: object = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    state_indices: object = None,
) -> _Step:
    """Check what differs from `ssd`; that checks the rest."""
    dims = Dimensions()
    streams = {"x": x, "dt": dt, "B": B, "C": C} | ({} if z is None else {"z": z})
    patterns = {"x": "b h p", "dt": "b h", "B": "b g n", "C": "b g n", "z": "b h p"}
    arrays = {name: as_real_array(name, value) for name, value in streams.items()}
    for name, array in arrays.items():
        dims.match(name, array, patterns[name])
    state_ = as_real_array("state", state)
    dims.match("state", state_, "b h p n" if state_indices is None else "slots h p n")
    taken = participants(state_indices, dims)
    constants = {"A": A, "D": D, "dt_bias": dt_bias, "dt_softplus": dt_softplus, "dt_limit": dt_limit}
    rows = {name: array[taken.rows][:, None] for name, array in arrays.items()}
    return _Step(Pooled(state_, taken, _BY_ROW), rows | constants | {"initial_states": state_[taken.slots]})


def _read_inputs(inputs: Mapping[str, Any]) -> _Step:
    return _read(**{name: value for name, value in inputs.items() if name != "inplace"})


def _now(name: str, part: Array) -> Array:
    """The one step there is, of what has time."""
    now: Array = part[:, 0] if name in _BY_ROW else part
    return now


def _in_ssd(name: str) -> str:
    return "initial_states" if name == "state" else name
