"""The Mamba family on a tape of 300-bit balls, naively from the definitions: no code of the oracle's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import add
from typing import Any

import flint
import numpy as np
from numpy.typing import NDArray

from ssm_spec import Bounded

from . import scan_exact
from .scan_exact import Ball, Node, ball

Array = NDArray[Any]
BITS = 300


def leaves(inputs: Mapping[str, Any]) -> dict[str, Array]:
    """The floating-point inputs as nodes, on an empty tape."""
    flint.ctx.prec = BITS
    Node.tape.clear()
    node = np.frompyfunc(lambda x: Node(ball(x), real=True), 1, 1)
    arrays = {k: v for k, v in inputs.items() if isinstance(v, np.ndarray) and v.dtype.kind == "f"}
    return {name: np.asarray(node(array), object).reshape(array.shape) for name, array in arrays.items()}


def total(nodes: Iterable[Node]) -> Node:
    """The sum, zero if there is nothing to sum."""
    return reduce(add, nodes, Node(Ball(0), real=True))


def conv(inputs: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Leaves, and y (b, d, l) and last_state (b, d, w − 1) of `causal_conv1d` as nodes."""
    x = leaves(inputs)
    y, last = conv_nodes(x, inputs.get("seq_idx"), silu=inputs.get("activation") is not None)
    return x, {"y": y, "last_state": last}


def conv_nodes(x: Mapping[str, Array], seq: Array | None, *, silu: bool) -> tuple[Array, Array]:
    """The convolution of nodes."""
    (b, d, l), w = x["x"].shape, x["weight"].shape[1]
    y, last = np.empty((b, d, l), object), np.empty((b, d, w - 1), object)

    def at(i: int, c: int, t: int, now: int) -> Node:
        """x_t, as the sequence of time `now` sees it; t < 0 is in the initial state."""
        if seq is not None and any(seq[i, s] != seq[i, s - 1] for s in range(max(t + 1, 1), now + 1)):
            return Node(Ball(0), real=True)
        if t >= 0:
            node: Node = x["x"][i, c, t]
            return node
        return x["initial_state"][i, c, t + w - 1] if "initial_state" in x else Node(Ball(0), real=True)

    for i, c in np.ndindex(b, d):
        for t in range(l):
            p = total(x["weight"][c, j] * at(i, c, t - w + 1 + j, t) for j in range(w))
            p = p + x["bias"][c] if "bias" in x else p
            y[i, c, t] = p.silu() if silu else p
        for j in range(w - 1):
            last[i, c, j] = at(i, c, l - w + 1 + j, l - 1)
    return y, last


def gradients(
    x: dict[str, Array], outputs: Mapping[str, Array], cotangents: Mapping[str, Array]
) -> dict[str, Array]:
    """Of Σ ⟨cotangents, outputs⟩, by walking the tape backwards."""
    return scan_exact.differentiate(x, [(outputs[name], r) for name, r in cotangents.items()])


def worst(bounded: Bounded, exact: Array, *, balls: bool = False) -> float:
    """The largest |value − exact| in units of the oracle's own bound; NaN counts as infinite."""
    values = exact if balls else scan_exact.values(exact)
    assert bounded.value.shape == exact.shape
    assert bounded.bound.shape == bounded.own.shape == bounded.judged.shape == exact.shape
    if exact.size == 0:
        return 0.0
    error = scan_exact.distance(bounded.value, values, real=True)
    with np.errstate(all="ignore"):
        ratio = np.where(error == 0, 0.0, error / bounded.own)
    return float(np.where(np.isnan(ratio), np.inf, ratio).max())


def ssd(inputs: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Leaves, and y (b, l, h, p) and final_states (b, h, p, n) of `ssd` as nodes."""
    x = leaves(inputs)
    b, l, h, p = inputs["x"].shape
    g, n = inputs["B"].shape[2:]
    low, high = inputs.get("dt_limit", (0.0, float("inf")))
    seq, D = inputs.get("seq_idx"), x.get("D")
    y, final = np.empty((b, l, h, p), object), np.empty((b, h, p, n), object)
    for i, k in np.ndindex(b, h):
        group = k // (h // g)
        steps = []
        for t in range(l):
            step = x["dt"][i, t, k]
            step = step + x["dt_bias"][k] if "dt_bias" in x else step
            steps.append(clamped(step.softplus() if inputs.get("dt_softplus") else step, low, high))
        for j in range(p):
            zero = [Node(Ball(0), real=True)] * n
            S = list(x["initial_states"][i, k, j]) if "initial_states" in x else zero
            for t in range(l):
                if seq is not None and t > 0 and seq[i, t] != seq[i, t - 1]:
                    S = zero
                a, drive = (steps[t] * x["A"][k]).exp(), steps[t] * x["x"][i, t, k, j]
                S = [a * S[m] + drive * x["B"][i, t, group, m] for m in range(n)]
                out = total(S[m] * x["C"][i, t, group, m] for m in range(n))
                if D is not None:
                    out = out + (D[k] if D.ndim == 1 else D[k, j]) * x["x"][i, t, k, j]
                y[i, t, k, j] = out * x["z"][i, t, k, j].silu() if "z" in x else out
            final[i, k, j] = S
    return x, {"y": y, "final_states": final}


def clamped(node: Node, low: float, high: float) -> Node:
    """The node itself between the limits, both included; beyond them a constant."""
    value = node.value.real
    if value < low:
        return Node(ball(low), real=True)
    return Node(ball(high), real=True) if value > high else node


def block(inputs: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Leaves, and y (b, l, e), conv_state (b, d, w − 1) and ssm_state (b, d, n) of `mamba_block` as nodes."""
    v = leaves(inputs)
    b, l = inputs["x"].shape[:2]
    d, n = inputs["A_log"].shape
    r = inputs["dt_proj_weight"].shape[1]

    def project(W: Array, x: Array) -> Array:
        out = np.empty((b, len(W), l), object)
        for i, k, t in np.ndindex(out.shape):
            out[i, k, t] = total(W[k, j] * x[i, j, t] for j in range(W.shape[1]))
        return out

    inner = project(v["in_proj"], v["x"].transpose(0, 2, 1))
    taps = {"x": inner[:, :d], "weight": v["conv1d_weight"]}
    names = {"bias": "conv1d_bias", "initial_state": "conv_state"}
    taps |= {new: v[old] for new, old in names.items() if old in v}
    c, conv_state = conv_nodes(taps, None, silu=True)
    low = project(v["x_proj"], c)
    delta = project(v["dt_proj_weight"], low[:, :r])
    gated, ssm_state = np.empty((b, d, l), object), np.empty((b, d, n), object)
    rates = [[v["A_log"][k, m].exp().scaled(-1) for m in range(n)] for k in range(d)]
    for i, k in np.ndindex(b, d):
        h = list(v["ssm_state"][i, k]) if "ssm_state" in v else [Node(Ball(0), real=True)] * n
        for t in range(l):
            step = (delta[i, k, t] + v["dt_proj_bias"][k]).softplus()
            drive = step * c[i, k, t]
            h = [(step * rates[k][m]).exp() * h[m] + drive * low[i, r + m, t] for m in range(n)]
            out = total(low[i, r + n + m, t] * h[m] for m in range(n)) + v["D"][k] * c[i, k, t]
            gated[i, k, t] = out * inner[i, d + k, t].silu()
        ssm_state[i, k] = h
    y = project(v["out_proj"], gated).transpose(0, 2, 1)
    return v, {"y": y, "conv_state": conv_state, "ssm_state": ssm_state}


def siso(inputs: Mapping[str, Any]) -> dict[str, Array]:
    """y and the four states of `mamba3_siso` as balls."""
    flint.ctx.prec = BITS
    v = {k: np.frompyfunc(ball, 1, 1)(x) for k, x in inputs.items() if x is not None and x.dtype.kind == "f"}
    (b, l, h, p), (g, n), a = v["v"].shape, v["q"].shape[2:], v["angles"].shape[3]
    seq = inputs.get("seq_idx")
    shapes = {"angle_state": (a,), "ssm_state": (p, n), "k_state": (n,), "v_state": (p,)}
    states = {name: np.full((b, h, *shape), Ball(0), object) for name, shape in shapes.items()}
    y = np.empty((b, l, h, p), object)
    for i, k in np.ndindex(b, h):
        angle, S, key, value = (v.get(name, states[name])[i, k] for name in shapes)
        for t in range(l):
            if seq is not None and t > 0 and seq[i, t] != seq[i, t - 1]:
                angle, S, key, value = (0 * x for x in (angle, S, key, value))
            step, share = v["dt"][i, k, t], 1 / (1 + (-v["trap"][i, k, t]).exp())
            pi = Ball(flint.arb.pi())
            turns = [step * pi * v["angles"][i, t, k, j].tanh() for j in range(a)]
            angle = angle + np.array(turns, object)
            turned = {}
            for name in ("k", "q"):
                x = list(v[name][i, t, k // (h // g)] + v[f"{name}_bias"][k])
                for j, theta in enumerate(angle):
                    cos, sin = theta.cos(), theta.sin()
                    even, odd = x[2 * j], x[2 * j + 1]
                    x[2 * j], x[2 * j + 1] = even * cos - odd * sin, even * sin + odd * cos
                turned[name] = np.array(x, object)
            alpha, now = v["adt"][i, k, t].exp(), v["v"][i, t, k]
            S = alpha * S + np.outer((1 - share) * step * alpha * value, key)
            S = S + np.outer(share * step * now, turned["k"])
            key, value = turned["k"], now
            out = S @ turned["q"] + (v["D"][k] * now if "D" in v else 0 * now)
            gate = [x / (1 + (-x).exp()) for x in v["z"][i, t, k]] if "z" in v else [Ball(1)] * p
            y[i, t, k] = out * np.array(gate, object)
        for name, state in zip(shapes, (angle, S, key, value), strict=True):
            states[name][i, k] = state
    return {"y": y, **states}
