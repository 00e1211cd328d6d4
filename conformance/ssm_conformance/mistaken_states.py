"""Mistakes that backward passes make of the state, made on purpose beside the oracle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_conformance.mistaken_steps import step_and_slope

Array = NDArray[Any]
Outputs = dict[str, Array]
Inputs = Mapping[str, Any]

AFTER: Final = "h_t stands where h_{t-1} belongs"
UNDECAYED: Final = "h_t stands where a_t h_{t-1} belongs"
MOST: Final = 2**22
"""Numbers in the states of all steps, of which several arrays are held; smaller calls tell it too."""


def states_after(
    op: str, inputs: Inputs, cotangents: Inputs, right: Mapping[str, Array]
) -> Iterator[tuple[str, Outputs]]:
    """What Δ and A get through ΔA is Σ λ_t conj(a_t h_{t−1}): the same sum of another state.

    `right` has the gradients as they should be, in which that sum is replaced.
    """
    asked = [name for name in ("delta", "A", "delta_bias") if name in right]
    if op != "selective_scan" or inputs.get("cu_seqlens") is not None or not asked:
        return
    if inputs["u"].size * inputs["A"].shape[-1] > MOST:
        return
    for mistake, moved in _moved(inputs, cotangents).items():
        yield mistake, {name: right[name] + moved[name] for name in asked}


def _moved(inputs: Inputs, cotangents: Inputs) -> dict[str, Outputs]:
    """By how much gradients are off, for each state that stands there; not finite where states are not."""
    found = {}
    (step, slope), A = step_and_slope(inputs), inputs["A"]
    with np.errstate(over="ignore", invalid="ignore"):
        a = np.exp(step[:, :, None] * A[..., None])
        before, after = _states(inputs, step, a)
        adjoint = _adjoints(inputs, cotangents, a)
        for mistake, more in ((AFTER, a * (after - before)), (UNDECAYED, after - a * before)):
            power = adjoint * np.conj(more)
            of_step = slope * np.einsum("bdnl,dn->bdl", power, np.conj(A)).real
            of_A = np.einsum("bdnl,bdl->dn", power, step)
            found[mistake] = {"delta": of_step, "A": of_A, "delta_bias": of_step.sum((0, 2))}
    return found


def _states(inputs: Inputs, step: Array, a: Array) -> tuple[Array, Array]:
    """The state before each step, zero where a sequence begins, and the state after it: (b, d, n, l)."""
    A, begins, first = inputs["A"][..., None], _begins(inputs), inputs.get("initial_state")
    held = step[:, :, None] + 0 * A
    if inputs.get("b_discretization") == "zoh":
        held = np.where(A == 0, held, np.expm1(held * A) / np.where(A == 0, 1, A))
    drive = held * _of_channels(inputs, "B") * inputs["u"][:, :, None]
    before, after = np.zeros_like(drive), np.zeros_like(drive)
    h = np.zeros(drive.shape[:3]) if first is None else first
    for t in range(drive.shape[-1]):
        before[..., t] = np.where(begins[:, t], 0, h)
        h = after[..., t] = a[..., t] * before[..., t] + drive[..., t]
    return before, after


def _adjoints(inputs: Inputs, cotangents: Inputs, a: Array) -> Array:
    """λ_t = γ q_t conj(C_t) + conj(a_{t+1}) λ_{t+1}, cut where a sequence begins: (b, d, n, l)."""
    z, r, last = inputs.get("z"), cotangents.get("y"), cotangents.get("last_state")
    q = np.zeros(inputs["u"].shape) if r is None else np.asarray(r)
    q = q if z is None else q * z * np.exp(-np.logaddexp(0, -z))
    read = (2 if np.iscomplexobj(a) else 1) * q[:, :, None] * np.conj(_of_channels(inputs, "C"))
    begins, found = _begins(inputs), np.zeros_like(a * read)
    later = np.zeros(a.shape[:3]) if last is None else last
    for t in reversed(range(a.shape[-1])):
        found[..., t] = read[..., t] + later
        later = np.where(begins[:, t], 0, np.conj(a[..., t]) * found[..., t])
    return np.asarray(found)


def _of_channels(inputs: Inputs, name: str) -> Array:
    """B or C, of each channel: (b, d, n, l), or what broadcasts to it."""
    M, d = np.asarray(inputs[name]), inputs["u"].shape[1]
    if M.ndim == 2:
        return M[None, :, :, None]
    grouped = M if M.ndim == 4 else M[:, None]
    return np.repeat(grouped, d // grouped.shape[1], axis=1)


def _begins(inputs: Inputs) -> Array:
    """Where a sequence begins after another: (b, l, 1, 1)."""
    b, _, l = inputs["u"].shape
    given = inputs.get("seq_idx")
    ids = np.zeros((b, l), dtype=np.int64) if given is None else np.asarray(given)
    return np.asarray(np.diff(ids, axis=1, prepend=ids[:, :1]) != 0)[..., None, None]
