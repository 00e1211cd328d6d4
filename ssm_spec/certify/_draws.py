"""Wild arguments for the basic linear operators, the initialisations and the selective scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_spec.certify._draws_family import FAMILY
from ssm_spec.certify._draws_layers import LAYERS
from ssm_spec.certify._source import REGIMES, Draw, Inputs, Regime

Array = NDArray[Any]


def _discretize(draw: Draw) -> Inputs:
    s, n, m, diagonal = draw.size(1, 5, 16), draw.size(1, 3, 8, 17), draw.size(1, 2), draw.flip()
    return {
        "A": draw.modes(s, n) if diagonal else draw.matrix(s, n, n),
        "B": draw.general(s, n, m),
        "delta": draw.steps(s),
        "diagonal": diagonal,
    }


def _bilinear(draw: Draw) -> Inputs:
    return _discretize(draw) | {"alpha": float(draw.rng.choice([0.0, 0.3, 0.5, 1.0]))}


def _recurrence(draw: Draw) -> Inputs:
    b, s, n, m, p = draw.size(1, 2), draw.size(1, 4), draw.size(1, 2, 5), draw.size(1, 2), draw.size(1, 2)
    diagonal = draw.flip()
    inputs = {
        "A_bar": draw.discrete(*((s, n) if diagonal else (s, n, n)), diagonal=diagonal),
        "B_bar": draw.general(s, n, m),
        "C": draw.general(s, p, n),
        "u": draw.real(b, s, m, draw.length()),
        "diagonal": diagonal,
    }
    if draw.flip():
        inputs |= {"D": draw.real(s, p, m), "initial_state": draw.general(b, s, n)}
    return inputs


def _kernel(draw: Draw) -> Inputs:
    s, n, diagonal = draw.size(1, 5), draw.size(1, 2, 5), draw.flip()
    return {
        "A_bar": draw.discrete(*((s, n) if diagonal else (s, n, n)), diagonal=diagonal),
        "B_bar": draw.general(s, n, 1),
        "C": draw.general(s, draw.size(1, 2), n),
        "length": draw.length(),
        "diagonal": diagonal,
    }


def _convolution(draw: Draw) -> Inputs:
    d, l = draw.size(1, 3), draw.length()
    k = int(draw.rng.choice([1, max(l // 2, 1), l, l + 3]))
    return {"u": draw.real(draw.size(1, 2), d, l), "K": draw.real(d, k)}


def _order(draw: Draw) -> Inputs:
    return {"n": int(draw.rng.choice([1, 2, 7, 16, 33, 64]))}


def _even_order(draw: Draw) -> Inputs:
    return {"n": int(draw.rng.choice([2, 4, 14, 34, 64]))}


def _window(draw: Draw) -> Inputs:
    return _order(draw) | {"theta": float(draw.steps())}


def _scan(draw: Draw) -> Inputs:
    b, d, n, l = draw.size(1, 2), draw.size(1, 2, 6), draw.size(2, 3, 5), draw.length()
    inputs = _channels(draw, b, d, n, (l,)) | {
        "B": _projection(draw, b, d, n, l),
        "C": _projection(draw, b, d, n, l),
    }
    if draw.flip():
        inputs["initial_state"] = draw.general(b, d, n)
    if draw.flip(0.3):
        inputs["seq_idx"] = np.cumsum(draw.rng.random((b, l)) < 0.1, axis=1)
    elif b == 1 and draw.flip(0.3):
        inner = np.sort(draw.rng.integers(0, l + 1, 2))
        inputs["cu_seqlens"] = np.array([0, *inner, l])
        if "initial_state" in inputs:
            inputs["initial_state"] = draw.general(3, d, n)
    return inputs


def _update(draw: Draw) -> Inputs:
    b, d, n, g = draw.size(1, 3), draw.size(2, 6, 16), draw.size(2, 5, 16), draw.size(1, 2)
    inputs = _channels(draw, b, d, n, ()) | {"B": draw.general(b, g, n), "C": draw.general(b, n)}
    slots, more = draw.slots(b)
    return inputs | more | {"state": draw.general(slots, d, n)}


def _channels(draw: Draw, b: int, d: int, n: int, time: tuple[int, ...]) -> Inputs:
    """What the scan and its step share."""
    softplus = draw.flip()
    inputs = {
        "u": draw.real(b, d, *time),
        "delta": draw.raw_steps(softplus, b, d, *time),
        "A": draw.modes(d, n),
        "delta_softplus": softplus,
        "b_discretization": "zoh" if draw.flip() else "euler",
    }
    if draw.flip():
        inputs |= {"D": draw.real(d), "z": draw.real(b, d, *time) * 5.0}
    if softplus and draw.flip():
        inputs["delta_bias"] = draw.rng.standard_normal(d)
    return inputs


def _projection(draw: Draw, b: int, d: int, n: int, l: int) -> Array:
    """B or C: constant, one group, or several."""
    g = 2 if d % 2 == 0 else 1
    shapes = ((d, n), (b, n, l), (b, g, n, l))
    return draw.general(*shapes[draw.rng.integers(3)])


DRAWS: Final[Mapping[str, Callable[[Draw], Inputs]]] = MappingProxyType(
    {
        "discretize_zoh": _discretize,
        "discretize_bilinear": _bilinear,
        "ssm_recurrence": _recurrence,
        "ssm_kernel": _kernel,
        "causal_convolution": _convolution,
        "hippo_legs": _order,
        "selective_scan": _scan,
        "selective_state_update": _update,
        "hippo_legt": _window,
        "hippo_lagt": _order,
        "hippo_fout": _even_order,
        "s4d_inv": _even_order,
        "s4d_lin": _even_order,
        "hippo_legs_nplr": _even_order,
        "s4d_legs": _even_order,
        **LAYERS,
        **FAMILY,
    }
)
"""How the arguments of each operator are drawn."""


def draw(op: str, seed: int, number: int) -> tuple[Regime, Inputs]:
    """The arguments of one case: its regime goes around with its number."""
    regime = REGIMES[number % len(REGIMES)]
    rng = np.random.default_rng([seed, number, *op.encode()])
    return regime, DRAWS[op](Draw(rng, regime, bool(rng.random() < 0.4)))
