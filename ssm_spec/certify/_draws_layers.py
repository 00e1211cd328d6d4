"""Wild arguments for responses, memories, and the layers and kernels of the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import numpy as np

from ssm_spec.certify._source import Draw, Inputs

_RULES: Final = ("zoh", "bilinear", "forward_euler", "backward_euler")


def _associative(draw: Draw) -> Inputs:
    s, n, l, dense = draw.size(1, 2), draw.size(1, 2, 4), draw.length(), draw.flip()
    a = [draw.discrete(*((s, n, n) if dense else (s, n)), diagonal=not dense) for _ in range(l)]
    return {
        "a": np.stack(a, axis=-1),
        "x": draw.general(s, n, l) if draw.flip() else draw.real(s, n, l),
        "evaluation": str(draw.rng.choice(["sequential", "hillis-steele", "blelloch", "chunked"])),
    }


def _continuous(draw: Draw) -> Inputs:
    b, s, m, l = draw.size(1, 2), draw.size(1, 3), draw.size(1, 2), draw.length()
    inputs = _system(draw, s, m) | {"u": draw.real(b, s, m, l), "delta": draw.steps(s)}
    if draw.flip():
        p, n = inputs["C"].shape[1:]
        inputs |= {"D": draw.real(s, p, m), "initial_state": draw.general(b, s, n)}
    return inputs


def _impulse(draw: Draw) -> Inputs:
    return _system(draw, draw.size(1, 3), draw.size(1, 2)) | {"times": np.array([0.0, *draw.steps(4)])}


def _step(draw: Draw) -> Inputs:
    inputs = _impulse(draw)
    p, m = inputs["C"].shape[-2], inputs["B"].shape[-1]
    return inputs | ({"D": draw.real(p, m)} if draw.flip() else {})


def _system(draw: Draw, s: int, m: int) -> Inputs:
    """A, B and C of systems in continuous time."""
    n, p, diagonal = draw.size(1, 2, 5), draw.size(1, 2), draw.flip()
    return {
        "A": draw.modes(s, n) if diagonal else draw.matrix(s, n, n),
        "B": draw.general(s, n, m),
        "C": draw.general(s, p, n),
        "diagonal": diagonal,
    }


def _compress(draw: Draw) -> Inputs:
    return {
        "f": draw.real(draw.size(1, 2), draw.length()),
        "n": draw.size(1, 4, 9, 20),
        "method": "exact" if draw.flip() else "bilinear",
        "prefixes": draw.flip(),
    }


def _reconstruct(draw: Draw) -> Inputs:
    points = np.concatenate(([0.0, 0.5, 1.0, 2.0**-1074], draw.rng.random(9)))
    return {"c": draw.real(draw.size(1, 3), int(draw.rng.choice([1, 2, 9, 40]))), "points": points}


def _s4d(draw: Draw) -> Inputs:
    b, d, n, l = draw.size(1, 2), draw.size(1, 3), draw.size(1, 2, 5), draw.length()
    inputs = _modes(draw, d, n) | {"u": draw.real(b, d, l)}
    if draw.flip():
        inputs |= {"D": draw.real(d), "initial_state": draw.general(b, d, n)}
    return inputs


def _s4d_kernel(draw: Draw) -> Inputs:
    return _modes(draw, draw.size(1, 3), draw.size(1, 2, 5)) | {"length": draw.length()}


def _modes(draw: Draw, *shape: int) -> Inputs:
    """Diagonal systems side by side."""
    return {
        "delta": draw.steps(*shape[:-1]),
        "A": draw.modes(*shape),
        "B": draw.general(*shape),
        "C": draw.general(*shape),
        "discretization": _rule(draw),
    }


def _rule(draw: Draw) -> str:
    return "zoh" if draw.flip() else str(draw.rng.choice(_RULES))


def _s4_kernel(draw: Draw) -> Inputs:
    d, n = draw.size(1, 2), draw.size(1, 2, 4)
    whole = replace(draw, complex=True)
    Lambda = whole.modes(d, n) - 1e-3
    P = whole.general(d, n) / np.sqrt(n)
    names = {"delta": draw.steps(d), "Lambda": Lambda, "P": P, "Q": P}
    return names | {
        "B": whole.general(d, n),
        "C": whole.general(d, n),
        "length": draw.length(),
        "paired": draw.flip(),
    }


def _lssl(draw: Draw) -> Inputs:
    draw = replace(draw, complex=False)
    b, d, n, m, l = draw.size(1, 2), draw.size(1, 2), draw.size(1, 2, 5), draw.size(1, 2), draw.length()
    inputs = {
        "u": draw.real(b, d, l),
        "delta": draw.steps(d),
        "A": draw.matrix(d, n, n),
        "B": draw.real(d, n),
        "C": draw.real(d, m, n),
        "discretization": _rule(draw),
    }
    if draw.flip():
        inputs |= {"D": draw.real(d, m), "initial_state": draw.real(b, d, n)}
    return inputs


def _s5(draw: Draw) -> Inputs:
    b, h, p, l = draw.size(1, 2), draw.size(1, 3), draw.size(1, 2, 6), draw.length()
    inputs = {
        "u": draw.real(b, h, l),
        "delta": draw.steps(p),
        "A": draw.modes(p),
        "B": draw.general(p, h),
        "C": draw.general(h, p),
        "discretization": _rule(draw),
    }
    if draw.flip():
        inputs |= {"D": draw.real(h), "initial_state": draw.general(b, p)}
    return inputs


def _h3(draw: Draw) -> Inputs:
    b, h, width, n, l = draw.size(1, 2), draw.size(1, 2), draw.size(1, 3), draw.size(1, 3), draw.length()
    d = h * width
    inputs = _modes(draw, h, n) | {name: draw.real(b, d, l) for name in ("q", "k", "v")}
    inputs |= {"shift": draw.real(d, draw.size(1, 2, 5)), "shift_D": draw.real(d)}
    if draw.flip():
        inputs |= {"D": draw.real(h), "out_proj": draw.real(draw.size(1, 3), d)}
    return inputs


LAYERS: Final[Mapping[str, Callable[[Draw], Inputs]]] = MappingProxyType(
    {
        "ssm_associative_scan": _associative,
        "continuous_response": _continuous,
        "impulse_response": _impulse,
        "step_response": _step,
        "hippo_legs_compress": _compress,
        "hippo_legs_reconstruct": _reconstruct,
        "s4d": _s4d,
        "s4d_kernel": _s4d_kernel,
        "s4_kernel": _s4_kernel,
        "lssl": _lssl,
        "s5": _s5,
        "h3": _h3,
    }
)
"""How the arguments of each operator are drawn."""
