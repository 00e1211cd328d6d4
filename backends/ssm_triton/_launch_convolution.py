"""Launches of the short convolution: tiles by rule, strides, and what the kernels are compiled for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssm_triton._convolution import convolve
from ssm_triton._convolution_backward import convolve_backward, sum_spans
from ssm_triton._inputs import FUSED
from ssm_triton._plan import PROCESSORS, power_of_two
from ssm_triton.launching import launch

AT_ONCE = 64
"""Spans that are added up at once."""
MANY = 2 * 32 * PROCESSORS
"""Programs of one warp below which each takes four tiles, not up to 64: a multiprocessor runs 32 of them."""
ENOUGH = 8 * PROCESSORS
"""Warps below which a lane walks less far: two for each scheduler."""
SHORT = 256
"""Steps of the backward pass, where channels lie side by side, up to which programs have fewer lanes."""


def compute_dtype(x: Tensor) -> torch.dtype:
    """float64 for float64, float32 for the rest."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def empty_state(x: Tensor, weight: Tensor) -> Tensor:
    """Room for the last state (b, d, w − 1) in the compute type."""
    return x.new_empty((x.shape[0], x.shape[1], weight.shape[1] - 1), dtype=compute_dtype(x))


def empty_gradients(x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None) -> list[Tensor]:
    """Room for the gradients of x, in its layout, and of the others; empty for what was not given."""
    others = (x.new_empty(0) if given is None else given.new_empty(given.shape) for given in (bias, initial))
    return [torch.empty_like(x), weight.new_empty(weight.shape), *others]


def _steps(x: Tensor | None, rank: int) -> tuple[int, ...]:
    """Strides of x, or zeros in its place."""
    return (0,) * rank if x is None else x.stride()


def run_forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    seq_idx: Tensor | None,
    silu: bool,
    last: bool,
) -> tuple[Tensor, Tensor | None]:
    """y in x's layout, and the last state if it is asked for."""
    y, state = torch.empty_like(x), empty_state(x, weight) if last else None
    # Four steps before the first one, where a state after few steps holds inputs of the state before them.
    first = -1 if last and x.shape[2] < weight.shape[1] - 1 else 0
    grid, sizes, tile = _grid(x, first)
    if grid:
        launch(
            convolve, (grid,),
            [x, weight, bias, initial, seq_idx, y, state],
            [*sizes, *x.stride(), *_steps(initial, 3), *_steps(seq_idx, 2), *y.stride()],
            LAST=last and weight.shape[1] > 1, **_flags(x, weight, bias, initial, seq_idx, silu), **tile,
        )  # fmt: skip
    return y, state


def run_backward(
    dy: Tensor,
    dlast: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    seq_idx: Tensor | None,
    silu: bool,
) -> list[Tensor]:
    """The gradients of x, weight, bias and the initial state, each like what it is of; empty for none."""
    w = weight.shape[1]
    dx, dweight, dbias, dinitial = out = empty_gradients(x, weight, bias, initial)
    grid, sizes, tile = _grid(x, 0 if initial is None else -1, backward=True)
    dim, spans = sizes[0], sizes[3] * x.shape[0]
    pieces = x.new_empty((spans, w + 1, dim), dtype=compute_dtype(x))
    if grid:
        launch(
            convolve_backward, (grid,),
            [x, weight, bias, initial, seq_idx, dy, dlast, dx, dinitial, pieces],
            [*sizes, *x.stride(), *_steps(initial, 3), *_steps(seq_idx, 2), *dy.stride(), *_steps(dlast, 3),
             *dx.stride()],
            LAST=dlast is not None and w > 1, TIME_DY=dy.stride(2) == 1,
            **_flags(x, weight, bias, initial, seq_idx, silu), **tile,
        )  # fmt: skip
    DT = 16
    if dim:
        launch(
            sum_spans, (-(-dim // DT) * (w + (bias is not None)),),
            [pieces, dweight, dbias], [dim, spans], W=w, HAS_BIAS=bias is not None, J=AT_ONCE, DT=DT,
            num_warps=4, enable_fp_fusion=FUSED,
        )  # fmt: skip
    return out


def _grid(x: Tensor, first: int, backward: bool = False) -> tuple[int, tuple[int, ...], dict[str, Any]]:
    """Programs; sizes, tiles and spans as the kernels take them; and what a program takes.

    `first` is the first step, in fours: so a kernel knows that a lane's four are aligned.
    """
    b, d, length = x.shape
    steps = length - 4 * first
    tile = _backward_tile(x, steps) if backward else _forward_tile(x, steps)
    tiles, spans = -(-d // tile["DT"]), -(-steps // (tile["T"] * tile.get("EACH", 1)))
    return b * tiles * spans, (d, length, tiles, spans, first), tile


def _forward_tile(x: Tensor, steps: int) -> dict[str, Any]:
    """Long where steps lie next to each other, wide where channels do, for an access is of those."""
    if x.stride(2) == 1:
        fours = _fours(x)
        T = min(power_of_two(max(steps, 4 * fours)), 1024)
        return {"T": T, "DT": min(1024 // T, power_of_two(x.shape[1])), "WALK": fours, "num_warps": 2}
    if x.itemsize == 2:
        return _walking(x, steps, lanes=256, warps=2)
    DT = min(power_of_two(x.shape[1]), 64)
    return {"T": min(power_of_two(max(steps, 4)), 2048 // DT), "DT": DT, "WALK": 1, "num_warps": 4}


def _backward_tile(x: Tensor, steps: int) -> dict[str, Any]:
    """The same; where steps lie next to each other one warp takes four tiles, or up to 64 of very many."""
    half = x.itemsize == 2
    if x.stride(2) != 1:
        lanes, warps = (64, 1) if steps <= SHORT else (256, 2 if half else 4)
        return _walking(x, steps, lanes, warps) | {"EACH": 1} | ({"maxnreg": 128} if half else {})
    fours = _fours(x)
    T = min(power_of_two(max(steps, 4 * fours)), 128 * fours)
    DT = min(128 * fours // T, power_of_two(x.shape[1]))
    each = 64
    while each > 4 and x.shape[0] * -(-x.shape[1] // DT) * -(-steps // (T * each)) < MANY:
        each //= 2
    return {"T": T, "DT": DT, "WALK": fours, "EACH": min(each, power_of_two(-(-steps // T))), "num_warps": 1}


def _fours(x: Tensor) -> int:
    """How many times four steps a lane has at once, where they lie next to each other: in 16 bytes."""
    return 2 if x.itemsize == 2 else 1


def _walking(x: Tensor, steps: int, lanes: int, warps: int) -> dict[str, int]:
    """Lanes that walk through time, sixteen times four steps; less, where warps or steps would be few."""
    DT = min(power_of_two(x.shape[1]), 64)
    T = min(4 * lanes // DT, power_of_two(max(steps, 4)))
    programs = x.shape[0] * -(-x.shape[1] // DT)
    walk = 16
    while walk > 1 and (T * (walk // 2) >= steps or programs * -(-steps // (T * walk)) * warps < ENOUGH):
        walk //= 2
    return {"T": T * walk, "DT": DT, "WALK": walk, "num_warps": warps}


def _flags(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None, seq_idx: Tensor | None, silu: bool
) -> dict[str, Any]:
    return {
        "W": weight.shape[1],
        "SILU": silu,
        "HAS_BIAS": bias is not None,
        "INITIAL": initial is not None and weight.shape[1] > 1,
        "RESET": seq_idx is not None,
        "WIDE": x.dtype == torch.float64,
        "TIME": x.stride(2) == 1,
        "enable_fp_fusion": FUSED,
    }
