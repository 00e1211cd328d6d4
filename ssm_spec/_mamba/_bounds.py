"""What honest arithmetic may do to a Mamba block's outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ssm_spec._calls import arguments_of
from ssm_spec._mamba._block import mamba_block
from ssm_spec._mamba._propagate import linear, propagate, summed
from ssm_spec._mamba._stages import Block, Stages, follow, read
from ssm_spec._roundoff import ORACLE, Arithmetic, Bounded
from ssm_spec._selective_scan._classes import alternatives
from ssm_spec._validate import Float


@dataclass(frozen=True, eq=False)
class Errors:
    """The errors of the three outputs, and the largest number that feeds each; y is (b, e, l)."""

    y: Float
    conv_state: Float
    ssm_state: Float
    peaks: tuple[Float, Float, Float]


@arguments_of(mamba_block)
def mamba_block_bounds(*, arithmetic: Arithmetic, **inputs: Any) -> dict[str, Bounded]:
    """What arithmetic of the declared kind may do to "y", "conv_state" and "ssm_state".

    Parameters
    ----------
    arithmetic
        The facts about the implementation; `evaluation` is that of the scan, `operands` the type
        of the projections' operands.
    inputs
        The arguments of `mamba_block`; `return_states` changes nothing.

    Returns
    -------
    For each output its value, bound, the oracle's own bound, and where it is judged.
    """
    block = read(**inputs)
    with np.errstate(all="ignore"):
        stages = follow(block)
        own = _errors(block, stages, ORACLE)
        found = [_errors(block, stages, order) for order in alternatives(arithmetic)]
        values = {"y": stages.y, "conv_state": stages.conv_state, "ssm_state": stages.ssm_state}
        out = {}
        for i, (name, value) in enumerate(values.items()):
            bound = np.max([getattr(one, name) for one in found], axis=0)
            peak = np.max([one.peaks[i] for one in found], axis=0)
            judged = (peak < arithmetic.largest) & (np.abs(value) + bound < arithmetic.largest)
            out[name] = Bounded(value, bound, getattr(own, name), judged)
    return {**out, "y": out["y"].map(lambda part: part.swapaxes(1, 2))}


def _errors(block: Block, stages: Stages, arithmetic: Arithmetic) -> Errors:
    """Follow one order of evaluation to the outputs."""
    way = propagate(block, stages, arithmetic)
    projected = summed(block.out_proj, stages.gated, way.gated)
    projected = np.maximum(
        projected, np.max(np.abs(stages.gated) + way.gated, axis=1, keepdims=True, initial=0.0)
    )
    conv_used = way.conv.seen_last(way.line_used[..., way.conv.length :])
    return Errors(
        linear(block.out_proj, stages.gated, way.gated, arithmetic),
        way.conv.seen_last(way.line[..., way.conv.length :]) + arithmetic.eta,
        way.state,
        (np.maximum(way.used[:, None], projected), conv_used, way.state_used),
    )
