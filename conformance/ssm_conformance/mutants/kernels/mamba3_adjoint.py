"""Honest gradients of Mamba-3, one step after the other back in time, and those of its single step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ssm_backends.dtypes import dtype_name
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.mamba3 import STATES, Siso, SisoStep


class Moment(NamedTuple):
    """One step as the forward pass left it: S q̃ + D v, q̃, and the four states before and after it."""

    y: Array
    query: Array
    before: list[Array]
    after: list[Array]


class SisoAdjoint(Siso):
    """The recurrence and its adjoint; every state is kept."""

    claims: ClassVar[Mapping[str, Any]] = {**Siso.claims, "gradients": "all"}

    def cut(self, fresh: Array | None, states: list[Array]) -> list[Array]:
        """What passes a reset, forward or back: nothing."""
        if fresh is None:
            return states
        return [np.where(fresh.reshape(-1, *[1] * (s.ndim - 1)), 0, s) for s in states]

    def cut_back(self, fresh: Array | None, states: list[Array]) -> list[Array]:
        """What passes a reset back in time."""
        return self.cut(fresh, states)

    def turned_back(self, cotangent: Array, theta: Array) -> Array:
        """R(−θ) of a cotangent, (b, h, n)."""
        return self.rotated(cotangent, -theta)

    def of_angles(self, cotangent: Array, turned: Array, a: int) -> Array:
        """dθ from the cotangent of what is turned, (b, h, a)."""
        even, odd = slice(0, 2 * a, 2), slice(1, 2 * a, 2)
        return np.asarray(cotangent[..., odd] * turned[..., even] - cotangent[..., even] * turned[..., odd])

    def carried_angle(self, dtheta: Array) -> Array:
        """What a step hands back of dθ: all of it."""
        return dtheta

    def of_before(self, early: Array, of_key: Array, of_value: Array) -> tuple[Array, Array]:
        """The cotangents of the step before's key and value, from those of early · value · key."""
        return early[..., None] * of_key, early[..., None] * of_value

    def of_weights(self, d_late: Array, d_early: Array) -> tuple[Array, Array]:
        """The cotangents of λΔ and (1 − λ)Δα, (b, h)."""
        return d_late, d_early

    def trail(self, p: Mapping[str, Array], index: Array | None) -> list[Moment]:
        """Every step of the forward pass."""
        states, moments = self.start(p), []
        for t in range(p["v"].shape[1]):
            before = self.cut(self.begins(index, t), states)
            y, states = self.one_step(p, t, before)
            query = self.rotated(self.of_heads(p["q"][:, t], p["q_bias"]), states[0])
            moments.append(Moment(y, query, before, states))
        return moments

    def vjp(
        self,
        cotangents: Mapping[str, Any],
        wrt: tuple[str, ...],
        saved: None,
        *,
        return_final_states: bool = False,
        **given: Any,
    ) -> dict[str, Any]:
        """Gradients, as the contract's ``vjp``."""
        with np.errstate(all="ignore"):
            p = self.inside(given)
            compute, index = str(p["v"].dtype), given.get("seq_idx")
            index = None if index is None else np.asarray(index)
            r = self.cotangent(cotangents, "y", p["v"], compute)
            zeros = self.start({name: p[name] for name in ("v", "q", "angles")})
            back = [self.cotangent(cotangents, *pair, compute) for pair in zip(STATES, zeros, strict=True)]
            total = {name: np.zeros_like(x) for name, x in p.items()}
            moments = self.trail(p, index)
            for t in reversed(range(len(moments))):
                g = r[:, t]
                if "z" in p:
                    z, share = p["z"][:, t], self.sigmoid(p["z"][:, t])
                    total["z"][:, t] = g * moments[t].y * (share * (1 + z * (1 - share)))
                    g = g * (z * share)
                back = self.cut_back(
                    self.begins(index, t), self.one_step_back(p, t, moments[t], g, back, total)
                )
            total |= dict(zip(STATES, back, strict=True))
        return {name: self.store(total[name], dtype_name(given[name])) for name in wrt}

    def one_step_back(
        self,
        p: Mapping[str, Array],
        t: int,
        moment: Moment,
        g: Array,
        back: list[Array],
        total: dict[str, Array],
    ) -> list[Array]:
        """Add one step's gradients, and turn the cotangents of the states after it into those before."""
        (_, S_before, key_before, value_before), (theta, S, key, value) = moment.before, moment.after
        dtheta, dS, dkey, dvalue = back
        step, decay, share = p["dt"][..., t], self.exp(p["adt"][..., t]), self.sigmoid(p["trap"][..., t])
        late, early, tanh = share * step, self.early(share, step, decay), np.tanh(p["angles"][:, t])
        dS = dS + g[..., None] * moment.query[..., None, :]
        dquery = (S * g[..., None]).sum(-2)
        of_value, of_key = (dS * key[..., None, :]).sum(-1), (dS * value[..., None]).sum(-2)
        dkey, dvalue = dkey + late[..., None] * of_key, dvalue + late[..., None] * of_value
        of_value_before = (dS * key_before[..., None, :]).sum(-1)
        of_key_before = (dS * value_before[..., None]).sum(-2)
        d_late, d_early = self.of_weights(
            (of_value * value).sum(-1), (of_value_before * value_before).sum(-1)
        )
        a = theta.shape[-1]
        dtheta = dtheta + self.of_angles(dkey, key, a) + self.of_angles(dquery, moment.query, a)
        decayed = (dS * (decay[..., None, None] * S_before)).sum((-1, -2))
        total["adt"][..., t] = decayed + early * d_early
        turning = (np.pi * tanh * dtheta).sum(-1)
        total["dt"][..., t] = share * d_late + (1 - share) * decay * d_early + turning
        total["trap"][..., t] = share * (1 - share) * (step * d_late - step * decay * d_early)
        total["angles"][:, t] = step[..., None] * np.pi * (1 - tanh * tanh) * dtheta
        for name, cotangent in (("k", dkey), ("q", dquery)):
            wide = self.turned_back(cotangent, theta)
            (b, h, n), groups = wide.shape, p[name].shape[2]
            total[name][:, t] = wide.reshape(b, groups, h // groups, n).sum(2)
            total[f"{name}_bias"] += wide.sum(0)
        total["v"][:, t] = dvalue + p["D"][:, None] * g if "D" in p else dvalue
        if "D" in p:
            total["D"] += (g * value).sum((0, 2))
        before = self.of_before(early, of_key_before, of_value_before)
        return [self.carried_angle(dtheta), decay[..., None, None] * dS, *before]


class SisoAdjointStep(SisoStep):
    """One step, and its gradients: those of the recurrence at length one."""

    claims: ClassVar[Mapping[str, Any]] = {**SisoStep.claims, "gradients": "all"}

    def __init__(self, whole: SisoAdjoint | None = None) -> None:
        self.adjoint = SisoAdjoint() if whole is None else whole
        super().__init__(self.adjoint)

    def vjp(
        self, cotangents: Mapping[str, Any], wrt: tuple[str, ...], saved: None, **given: Any
    ) -> dict[str, Any]:
        """Gradients, as the contract's ``vjp``."""
        y = cotangents.get("y")
        known = {**cotangents, "y": None if y is None else y[:, None]}
        found = self.adjoint.vjp(known, wrt, None, **self.in_time(given))
        return {name: self.without_time(name, x) for name, x in found.items()}
