"""The arguments of Mamba-3's recurrence: checked, and laid out with time first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssm_spec._errors import ShapeError
from ssm_spec._validate import Dimensions, Float, as_index_array, as_real_array, at_least_one

STATES = ("angle_state", "ssm_state", "k_state", "v_state")


@dataclass(frozen=True, eq=False)
class Siso:
    """The arguments with time first.

    Attributes
    ----------
    q, k
        (l, b, h, n): of each head, the bias added.
    v, z
        (l, b, h, p); z may be None.
    adt, dt, trap
        (l, b, h).
    angles
        (l, b, h, a).
    D
        (h,), zeros if not given.
    groups
        g, how many of them q and k had before each head was given its own.
    angle_state, ssm_state, k_state, v_state
        (b, h, a), (b, h, p, n), (b, h, n), (b, h, p), zeros if not given.
    fresh
        (l, b): True where a sequence starts anew, from zero states.
    """

    q: Float
    k: Float
    v: Float
    adt: Float
    dt: Float
    trap: Float
    angles: Float
    D: Float
    z: Float | None
    angle_state: Float
    ssm_state: Float
    k_state: Float
    v_state: Float
    fresh: NDArray[np.bool_]
    groups: int


def read(
    q: object,
    k: object,
    v: object,
    adt: object,
    dt: object,
    trap: object,
    q_bias: object,
    k_bias: object,
    angles: object,
    D: object = None,
    z: object = None,
    return_final_states: bool = False,
    *,
    angle_state: object = None,
    ssm_state: object = None,
    k_state: object = None,
    v_state: object = None,
    seq_idx: object = None,
) -> Siso:
    """Check the arguments of `mamba3_siso` against its rules."""
    del return_final_states  # every caller takes what it needs
    dims = Dimensions()

    def take(name: str, value: object, pattern: str) -> Float:
        array = as_real_array(name, value)
        dims.match(name, array, pattern)
        return array

    v_ = take("v", v, "b l h p")
    q_, k_ = take("q", q, "b l g n"), take("k", k, "b l g n")
    b, h, p, g, n = (dims[letter] for letter in "bhpgn")
    at_least_one("q", "g", g)
    at_least_one("q", "n", n)
    if h % g:
        raise ShapeError(f"`q` must have a number of groups that divides h = {h}; got g = {g}")
    rates, step, trap_ = (
        take(name, value, "b h l") for name, value in (("adt", adt), ("dt", dt), ("trap", trap))
    )
    angles_ = take("angles", angles, "b l h a")
    a = dims["a"]
    if 2 * a > n:
        raise ShapeError(f"`angles` must have a <= n/2 with n = {n}, from `q`; got a = {a}")
    q_bias_, k_bias_ = take("q_bias", q_bias, "h n"), take("k_bias", k_bias, "h n")

    def state(name: str, value: object, pattern: str, *shape: int) -> Float:
        return np.zeros(shape) if value is None else take(name, value, pattern)

    with np.errstate(all="ignore"):
        keys, queries = (
            np.repeat(array.swapaxes(0, 1), h // g, axis=2) + bias
            for array, bias in ((k_, k_bias_), (q_, q_bias_))
        )
    return Siso(
        q=queries,
        k=keys,
        v=v_.swapaxes(0, 1),
        adt=rates.transpose(2, 0, 1),
        dt=step.transpose(2, 0, 1),
        trap=trap_.transpose(2, 0, 1),
        angles=angles_.swapaxes(0, 1),
        D=np.zeros(h) if D is None else take("D", D, "h"),
        z=None if z is None else take("z", z, "b l h p").swapaxes(0, 1),
        angle_state=state("angle_state", angle_state, "b h a", b, h, a),
        ssm_state=state("ssm_state", ssm_state, "b h p n", b, h, p, n),
        k_state=state("k_state", k_state, "b h n", b, h, n),
        v_state=state("v_state", v_state, "b h p", b, h, p),
        fresh=_fresh(seq_idx, dims),
        groups=g,
    )


def _fresh(seq_idx: object, dims: Dimensions) -> NDArray[np.bool_]:
    """A reset is exactly where seq_idx[t] ≠ seq_idx[t−1]. (l, b)."""
    fresh = np.zeros((dims["l"], dims["b"]), dtype=bool)
    if seq_idx is not None:
        indices = as_index_array("seq_idx", seq_idx)
        dims.match("seq_idx", indices, "b l")
        fresh[1:] = (indices[:, 1:] != indices[:, :-1]).T
    return fresh
