"""Options at values that no other call has, and that a kernel may compare with one value too few."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any, Final

from ssm_backends.dtypes import HALF
from ssm_conformance.case import Level, Recipe
from ssm_conformance.cases._convolution_step import IN_PLACE as WRITTEN
from ssm_conformance.cases._convolution_step import POOL
from ssm_conformance.cases._dual_step import IN_PLACE as HEADS_WRITTEN
from ssm_conformance.cases._dual_step import SLOTS as HEADS_POOL
from ssm_conformance.cases._dual_step import update_inputs
from ssm_conformance.cases._duality import LIMITS, ssd_inputs
from ssm_conformance.cases._duality import WIDER as OF_HEADS
from ssm_conformance.cases._selective import MIXED, fixed, halves, wider
from ssm_conformance.cases._selective import WIDER as STREAMS
from ssm_conformance.cases._short_convolution import OUTPUT, STEP_OUTPUT, WIDER, conv_inputs
from ssm_conformance.cases._short_convolution import step_inputs as conv_step_inputs
from ssm_conformance.cases._step import IN_PLACE, SLOTS, step_inputs
from ssm_conformance.draw import Draw

Row = tuple[str, str, str, dict[str, Any]]
"""Operator, name, clause, inputs."""

_ONE_SIDED: Final = {"lower-limit": (0.1, inf), "upper-limit": (-inf, 0.1)}
_SLOTS: Final = {"first-skipped": [-1, 4, 0], "in-order": [0, 1, 2], "in-turn": [1, 2, 3]}
"""A batch whose first row is padding; slots that a slice of the pool would be, from its beginning or not."""
_POOL: Final[dict[str, Any]] = {"slots": 6, "state_indices": fixed([4, -1, 0], dtype="int32")}


def _limits() -> Iterator[Row]:
    """A limit of the steps on one side, the other of which is infinite; some steps are beyond it."""
    for name, limits in _ONE_SIDED.items():
        given: dict[str, Any] = {"softplus": False, "dt_limit": limits}
        yield "ssd", name, LIMITS, ssd_inputs(2, 13, 3, 2, 3, dt=_steps(2, 13, 3), **given)
        yield "ssd_update", name, LIMITS, update_inputs(3, 4, 2, 3, dt=_steps(3, 4), **given)


def _steps(*shape: int) -> Draw:
    return Draw(shape, "log_uniform", parameters={"low": 1e-2, "high": 1.0})


def _pools() -> Iterator[Row]:
    for name, slots in _SLOTS.items():
        given: dict[str, Any] = {"slots": 6, "state_indices": fixed(slots, dtype="int32")}
        for kind, inplace in (("pool", False), ("pool-inplace", True)):
            given = given | ({"inplace": True} if inplace else {})
            step, conv = step_inputs(3, 4, 2, **given), conv_step_inputs(3, 4, 4, **given)
            heads = update_inputs(3, 4, 2, 2, **given)
            yield "selective_state_update", f"{kind}-{name}", IN_PLACE if inplace else SLOTS, step
            yield "causal_conv1d_update", f"{kind}-{name}", WRITTEN if inplace else POOL, conv
            yield "ssd_update", f"{kind}-{name}", HEADS_WRITTEN if inplace else HEADS_POOL, heads


def _swish() -> Iterator[Row]:
    """The other name of SiLU, in calls for which a kernel may have a path of its own."""
    swish: dict[str, Any] = {"activation": "swish"}
    yield "causal_conv1d", "swish-initial", OUTPUT, conv_inputs(2, 3, 11, 4, initial=True, **swish)
    yield "causal_conv1d", "swish-packed", OUTPUT, conv_inputs(2, 3, 11, 4, seq_idx=halves(2, 11), **swish)
    yield "causal_conv1d_update", "swish-pool", STEP_OUTPUT, conv_step_inputs(3, 3, 4, **_POOL, **swish)
    longer = conv_step_inputs(2, 3, 4, k=5, inplace=True, **swish)
    yield "causal_conv1d_update", "swish-longer-inplace", STEP_OUTPUT, longer


def _mixed() -> Iterator[Row]:
    """Some streams, or the filter, in float32 where states lie in a pool, as models are served."""
    yield "selective_state_update", "mixed-pool", MIXED, wider(step_inputs(3, 4, 2, **_POOL), *STREAMS)
    yield "causal_conv1d_update", "mixed-pool", MIXED, wider(conv_step_inputs(3, 4, 4, **_POOL), *WIDER)
    yield "ssd_update", "mixed-pool", MIXED, wider(update_inputs(3, 4, 2, 2, **_POOL), *OF_HEADS)


def _recipe(op: str, name: str, clause: str, inputs: dict[str, Any]) -> Recipe:
    level: Level = "full" if name.startswith("pool-inplace") or "in-turn" in name else "quick"
    return Recipe(op, name, inputs, clause, level, dtypes=("float32",))


UNUSUAL: Final = (
    *(_recipe(*row) for rows in (_limits(), _pools(), _swish()) for row in rows),
    *(Recipe(op, name, inputs, clause, dtypes=HALF, first=HALF[:1]) for op, name, clause, inputs in _mixed()),
)
