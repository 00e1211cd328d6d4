"""The gradient of Mamba-3's recurrence: the analytic adjoint, from states that are all kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ssm_spec._calls import arguments_of
from ssm_spec._functions import sigmoid
from ssm_spec._mamba3._inputs import STATES, Siso, read
from ssm_spec._mamba3._siso import OUTPUTS, Path, each_state, follow, mamba3_siso, outer, rotate, ungated
from ssm_spec._selective_scan._adjoint import gate_slope
from ssm_spec._selective_scan._value import gate
from ssm_spec._validate import Float, as_cotangent, check_cotangent_names, differentiated

DIFFERENTIABLE = (
    *("q", "k", "v", "adt", "dt", "trap", "q_bias", "k_bias", "angles", "D", "z"),
    *STATES,
)


@dataclass(frozen=True, eq=False)
class Cotangents:
    """∂L/∂y, (l, b, h, p), and ∂L/∂ the last θ, S, k̃ and v; zeros where none is given."""

    y: Float
    angle: Float
    S: Float
    k: Float
    v: Float


@dataclass(frozen=True, eq=False)
class Adjoint:
    """What every gradient is made of.

    Attributes
    ----------
    S, before
        (l, b, h, p, n): S_t and S_{t−1}, zero where a sequence starts anew.
    g
        (l, b, h, p): the cotangent of S_t q̃_t + D v_t.
    adjoint
        (l, b, h, p, n): Λ_t, that of S_t.
    decayed
        (b, h, p, n): α_0 Λ_0.
    """

    S: Float
    before: Float
    g: Float
    adjoint: Float
    decayed: Float


@arguments_of(mamba3_siso)
def mamba3_siso_vjp(
    cotangents: Mapping[str, ArrayLike | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Float]:
    """Gradients of ⟨cotangents, outputs⟩ by the analytic adjoint.

    With g = r silu(z), r the cotangent of y:

        Λ_t = g_t q̃_tᵀ + α_{t+1} Λ_{t+1};  dk̃_t = λΔ Λ_tᵀ v_t + ((1−λ)Δα)_{t+1} Λ_{t+1}ᵀ v_t;
        dv likewise, and D g;  dq̃ = Sᵀ g;  dθ = Σ dk̃₂ᵢ₊₁ k̃₂ᵢ − dk̃₂ᵢ k̃₂ᵢ₊₁, of q̃ too, summed from the
        end;  d(adt) = ⟨Λ, α S⁻⟩ + (1−λ)Δα ⟨Λ, v⁻ k̃⁻ᵀ⟩,

    each cut at a reset. The cotangents of the last states enter where the last step leaves them.

    Parameters
    ----------
    cotangents
        "y": (b, l, h, p), "angle_state": (b, h, a), "ssm_state": (b, h, p, n), "k_state": (b, h, n),
        "v_state": (b, h, p); None or missing means zero.
    wrt
        Names of inputs; by default every differentiable one that was given.
    inputs
        The arguments of `mamba3_siso`.

    Returns
    -------
    For each name the gradient, float64, in the input's shape.
    """
    siso, names = read(**inputs), differentiated(wrt, inputs, DIFFERENTIABLE)
    with np.errstate(all="ignore"):
        found = gradients(siso, read_cotangents(siso, cotangents))
    return {name: found[name] for name in names}


def read_cotangents(siso: Siso, cotangents: Mapping[str, object]) -> Cotangents:
    """Check the cotangents, and lay them out with time first."""
    check_cotangent_names(cotangents, OUTPUTS)
    l, b, h, p = siso.v.shape

    def take(name: str, shape: tuple[int, ...]) -> Float:
        given = as_cotangent(cotangents, name, shape)
        return np.zeros(shape) if given is None else given

    y = take("y", (b, l, h, p)).swapaxes(0, 1)
    angle, S, k, v = (take(name, getattr(siso, name).shape) for name in STATES)
    return Cotangents(y, angle, S, k, v)


def gradients(siso: Siso, cotangents: Cotangents) -> dict[str, Float]:
    """Every gradient, in the shape of its input."""
    path = follow(siso)
    back = adjoint_of(siso, path, cotangents)
    of_v, of_v_before = (_times(back.adjoint, k) for k in (path.k, path.k_before))
    of_k, of_k_before = (_times(back.adjoint.swapaxes(-1, -2), v) for v in (siso.v, path.v_before))
    late, early = path.late[..., None], path.early[..., None]
    dk, k_state = _with_next(siso, late * of_k, early * of_k_before, cotangents.k)
    dv, v_state = _with_next(siso, late * of_v, early * of_v_before, cotangents.v)
    dq = _times(back.S.swapaxes(-1, -2), back.g)
    a = siso.angles.shape[-1]
    turned = _of_angles(dk, path.k, a) + _of_angles(dq, path.q, a)
    dtheta, angle_state = sum_to_end(siso, turned, cotangents.angle)
    d_late, d_early = (of_v * siso.v).sum(-1), (of_v_before * path.v_before).sum(-1)
    share, rest, alpha = sigmoid(siso.trap), sigmoid(-siso.trap), np.exp(siso.adt)
    tanh = np.tanh(siso.angles)
    decay = (back.adjoint * (alpha[..., None, None] * back.before)).sum((-1, -2))
    step = share * d_late + rest * alpha * d_early + (np.pi * tanh * dtheta).sum(-1)
    found = {
        "v": dv + siso.D[:, None] * back.g,
        "adt": decay + path.early * d_early,
        "dt": step,
        "trap": share * rest * siso.dt * (d_late - alpha * d_early),
        "angles": siso.dt[..., None] * np.pi * (1.0 - tanh * tanh) * dtheta,
        "k": rotate(dk, -path.theta),
        "q": rotate(dq, -path.theta),
        "D": (back.g * siso.v).sum((0, 1, 3)),
        "angle_state": angle_state,
        "ssm_state": back.decayed,
        "k_state": k_state,
        "v_state": v_state,
    }
    if siso.z is not None:
        found["z"] = cotangents.y * gate_slope(siso.z) * ungated(siso, path, back.S)
    return in_shape(siso, found)


def in_shape(siso: Siso, found: Mapping[str, Float]) -> dict[str, Float]:
    """Gradients with time first in the shapes of the inputs, heads of a group summed, and of the biases."""
    shaped = dict(found)
    for name in ("k", "q"):
        l, b, h, n = found[name].shape
        shaped[f"{name}_bias"] = found[name].sum((0, 1))
        grouped = found[name].reshape(l, b, siso.groups, h // siso.groups, n)
        shaped[name] = grouped.sum(3).swapaxes(0, 1)
    for name in ("v", "angles", "z"):
        if name in found:
            shaped[name] = found[name].swapaxes(0, 1)
    for name in ("adt", "dt", "trap"):
        shaped[name] = found[name].transpose(1, 2, 0)
    return shaped


def adjoint_of(siso: Siso, path: Path, cotangents: Cotangents) -> Adjoint:
    """Forward once to keep every state, then Λ_t = g_t q̃_tᵀ + α_{t+1} Λ_{t+1} back in time."""
    l, b, h, p = siso.v.shape
    S = np.empty((l, b, h, p, siso.k.shape[-1]))
    for t, state in enumerate(each_state(siso, path)):
        S[t] = state
    before = np.where(siso.fresh[:, :, None, None, None], 0.0, np.concatenate([siso.ssm_state[None], S])[:l])
    g = cotangents.y if siso.z is None else cotangents.y * gate(siso.z)
    adjoint, carried, alpha = np.empty_like(S), cotangents.S, np.exp(siso.adt)[..., None, None]
    for t in reversed(range(l)):
        adjoint[t] = outer(g[t], path.q[t]) + carried
        carried = np.where(siso.fresh[t, :, None, None, None], 0.0, alpha[t] * adjoint[t])
    return Adjoint(S, before, g, adjoint, carried)


def _with_next(siso: Siso, own: Float, before: Float, last: Float) -> tuple[Float, Float]:
    """The gradient of a stream that step t reads at t and, as `before`, at t + 1; and of its initial state.

    `last` is the cotangent of the stream's last value.
    """
    given = np.where(siso.fresh[:, :, None, None], 0.0, before)
    following = np.concatenate([given, last[None]])
    return own + following[1:], following[0]


def sum_to_end(siso: Siso, terms: Float, last: Float) -> tuple[Float, Float]:
    """Σ of `terms`, (l, b, h, a), from each time to its sequence's end, `last` beyond it; and from t = 0."""
    sums, carried = np.empty_like(terms), last
    for t in reversed(range(len(terms))):
        sums[t] = carried + terms[t]
        carried = np.where(siso.fresh[t, :, None, None], 0.0, sums[t])
    return sums, carried


def _of_angles(cotangent: Float, turned: Float, a: int) -> Float:
    """∂/∂θ of ⟨cotangent, R(θ)x⟩ from R(θ)x: a turned pair moves at right angles to itself. (l, b, h, a)."""
    even, odd = slice(0, 2 * a, 2), slice(1, 2 * a, 2)
    return cotangent[..., odd] * turned[..., even] - cotangent[..., even] * turned[..., odd]


def _times(M: Float, x: Float) -> Float:
    """M x for each head."""
    product: Float = (M @ x[..., None])[..., 0]
    return product
