"""One mode of sixteen channels over one tile, backward in time: the inner loops of the backward kernel."""

from __future__ import annotations

from ssm_cpu._emit import Function, Variable
from ssm_cpu._kinds import Kind
from ssm_cpu._modes import Mode
from ssm_cpu._values import Int, Lanes, fma, real_fma


def retreat(
    kind: Kind, f: Function, Bs: Int, Cs: Int, xs: Int, gs: Int, us: Int, qs: Int, vs: Int, ss: Int, es: Int,
    decays: Int, states: Int, holds: Int, record: Int, first: Int, carry: Int, sum_A: Int, sum_B: Int,
    sum_C: Int, steps: Int, fresh: Int,
) -> None:  # fmt: skip
    """Add what one mode gives to the gradients of its inputs, and carry conj(a)λ to the tile before.

    Parameters
    ----------
    kind
        The rule, and which of B and C are constant.
    f
        The function under construction.
    Bs, Cs
        B and C: lanes if constant, else a row over the tile.
    xs, gs, us, qs
        Tiles of Δ, of what B is multiplied by, of u, and of γq.
    vs, ss, es
        Tiles of sums over modes: the output, ∂/∂(what B is multiplied by, less Δ for euler), ∂/∂Δ.
    decays, states, holds
        Room for a, h and the hold at each step; h has one more, the state before the tile.
    record, first
        The mode; the state saved before the tile.
    carry
        conj(a_{t+1})λ_{t+1}, and after the call that of the tile's first step.
    sum_A, sum_B, sum_C
        Gradients of the matrices: of A and constant ones, one state; of others, one for each step.
    steps, fresh
        Of the tile; 0 if the state before it is not used, else −1.
    """
    mode = Mode.recall(f, record)
    _sweep(kind, f, mode, Bs, Cs, xs, gs, vs, decays, states, holds, first, steps, fresh)
    parts, vector = f.program.parts, f.program.vector
    state = parts * vector
    below = Variable(f, f.load(carry, parts))
    total = Variable(f, f.load(sum_A, parts))
    with f.loop(steps) as k:
        t = steps - 1 - k
        x, g, q = (f.load(tile + t * vector) for tile in (xs, gs, qs))
        a, h, before = (f.load(p + t * state, parts) for p in (decays, states + state, states))
        b = kind.matrix(f, Bs, t, kind.constant_B)
        c = kind.matrix(f, Cs, t, kind.constant_C)
        adjoint = fma(q, c.conj(), below.lanes)
        _add(f, sum_C, t, kind.constant_C, q, h.conj())
        past, carried = Variable(f, a * before), Variable(f, a.conj() * adjoint)
        with f.when(t.equals(fresh)):
            past.set(f.zeros(parts))
            carried.set(f.zeros(parts))
        dp = adjoint * past.lanes.conj()
        slope = real_fma(dp, mode.A.conj(), f.load(es + t * vector))
        dA = fma(x, dp, total.lanes)
        if kind.zoh:
            w = f.load(holds + t * state, parts)
            _add(f, sum_B, t, kind.constant_B, g * adjoint, w.conj())
            driven = (w * b).conj()
            slope = fma(g, real_fma(adjoint, (a * b).conj(), f.zeros()), slope)
            dA = fma(g * adjoint, (b * mode.hold_slope(x, a, w)).conj(), dA)
        else:
            _add(f, sum_B, t, kind.constant_B, g, adjoint)
            driven = b.conj()
        f.store(ss + t * vector, real_fma(adjoint, driven, f.load(ss + t * vector)))
        f.store(es + t * vector, slope)
        total.set(dA)
        below.set(carried.lanes)
    f.store(carry, below.lanes)
    f.store(sum_A, total.lanes)


def _add(f: Function, sums: Int, t: Int, constant: bool, a: Lanes, b: Lanes) -> None:
    """Add a·b to the one sum of a constant matrix, or to that of step t."""
    parts = f.program.parts
    place = sums if constant else sums + t * (parts * f.program.vector)
    f.store(place, fma(a, b, f.load(place, parts)))


def _sweep(
    kind: Kind, f: Function, mode: Mode, Bs: Int, Cs: Int, xs: Int, gs: Int, vs: Int, decays: Int,
    states: Int, holds: Int, first: Int, steps: Int, fresh: Int,
) -> None:  # fmt: skip
    """Forward once more: keep a, h and the hold of each step; add to the output before D and the gate."""
    parts, vector = f.program.parts, f.program.vector
    state = parts * vector
    h = Variable(f, f.zeros(parts))
    with f.when(fresh.differs(0)):
        h.set(f.load(first, parts))
    f.store(states, h.lanes)
    with f.loop(steps) as t:
        x = f.load(xs + t * vector)
        a = mode.decay(x)
        f.store(decays + t * state, a)
        held = f.load(gs + t * vector) * kind.matrix(f, Bs, t, kind.constant_B)
        if kind.zoh:
            w = mode.hold(x, a)
            f.store(holds + t * state, w)
            held = w * held
        before = h.lanes
        h.set(held)
        with f.when(t.differs(fresh)):
            h.set(fma(a, before, held))
        f.store(states + (t + 1) * state, h.lanes)
        c = kind.matrix(f, Cs, t, kind.constant_C)
        f.store(vs + t * vector, real_fma(c, h.lanes, f.load(vs + t * vector)))
