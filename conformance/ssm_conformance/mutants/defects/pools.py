"""Mutants of states in a pool: rows and slots meet in a product with zeros and ones, which a NaN passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_backends.dtypes import dtype_name
from ssm_conformance.mutants.defects.gradients import GroupsByProduct
from ssm_conformance.mutants.kernels.adjoint import Honest
from ssm_conformance.mutants.kernels.bits import Array
from ssm_conformance.mutants.kernels.convolution_step import ShortConvolutionStep
from ssm_conformance.mutants.kernels.step import Step
from ssm_conformance.mutants.mutant import Mutant


def _by_product(rows: Array) -> Array:
    """Rows as a product of ones and zeros with all of them puts each in its place."""
    with np.errstate(invalid="ignore"):
        return np.asarray(rows + 0 * rows.sum(0, keepdims=True))


class _SlotsByProduct(Step):
    """New states are put into the pool by a matrix product: always, or where they are written in place."""

    def __init__(self, in_place_alone: bool) -> None:
        super().__init__(Honest())
        self.in_place_alone = in_place_alone

    def __call__(self, *, state_indices: Any = None, inplace: bool = False, **given: Any) -> tuple[Any, Any]:
        y, new = super().__call__(state_indices=state_indices, inplace=inplace, **given)
        taken = inplace or not self.in_place_alone
        if taken and state_indices is not None and isinstance(new, np.ndarray):
            slots = state_indices[state_indices >= 0]
            new[slots] = _by_product(new[slots])
        return y, new


class _RowsByProduct(Step):
    """The outputs of the rows that step are put among the others by a matrix product."""

    def __call__(self, *, state_indices: Any = None, **given: Any) -> tuple[Any, Any]:
        y, new = super().__call__(state_indices=state_indices, **given)
        if state_indices is not None and isinstance(y, np.ndarray):
            steps = state_indices >= 0
            y[steps] = _by_product(y[steps])
        return y, new


class _SlotGradientsByProduct(Step):
    """The states' gradients are put into the pool's by a matrix product."""

    def placed(self, name: str, found: Array, given: Any, rows: Array, slots: Array, r_state: Array) -> Any:
        mixed = _by_product(found) if name == "state" and len(r_state) > len(rows) else found
        return super().placed(name, mixed, given, rows, slots, r_state)


class _SlotsByProductOfConvolution(ShortConvolutionStep):
    """The new states are put into the pool by a matrix product, where they lie there in 16 bits."""

    def rows_and_slots(self, state_indices: Array | None, b: int) -> tuple[Array, Array]:
        rows, self.slots = super().rows_and_slots(state_indices, b)
        self.pooled = state_indices is not None
        return rows, self.slots

    def held(self, state: Any, new: Array, inplace: bool) -> Any:
        if self.pooled and dtype_name(state) == "bfloat16":
            new[self.slots] = _by_product(new[self.slots])
        return super().held(state, new, inplace)


class _SkippedCotangentTimesZero(ShortConvolutionStep):
    """The gradient of the bias sums over all rows: of a skipped one, zero times its cotangent."""

    def vjp(self, cotangents: Mapping[str, Any], *args: Any, state_indices: Any = None, **given: Any) -> Any:
        found = super().vjp(cotangents, *args, state_indices=state_indices, **given)
        r = cotangents.get("y")
        if state_indices is not None and "bias" in found and isinstance(r, np.ndarray):
            found["bias"] = found["bias"] + 0 * r[state_indices < 0].sum(0)
        return found


def _mutant(name: str, summary: str, case: str, kernel: Any) -> Mutant:
    return Mutant(name, None, summary, f"extreme/confinement-{case}", kernel, only=("float32",))


POOLS: Final = (
    _mutant(
        "step-slots-by-product", "New states are put into the pool by a product with zeros and ones.", "pool",
        _SlotsByProduct(in_place_alone=False),
    ),
    _mutant(
        "step-slots-by-product-in-place", "The same where the pool is written in place alone.",
        "pool-inplace-skipping", _SlotsByProduct(in_place_alone=True),
    ),
    _mutant(
        "step-rows-by-product", "Rows that step are put among the others by a product with zeros and ones.",
        "pool", _RowsByProduct(Honest()),
    ),
    _mutant(
        "step-slot-gradients-by-product",
        "Gradients of states are put into the pool's by a product with zeros and ones.", "gradients-pool",
        _SlotGradientsByProduct(Honest()),
    ),
    _mutant(
        "step-groups-by-product",
        "The gradients of B and C add zero times the sum of all groups.", "gradients-fours-pool",
        Step(GroupsByProduct()),
    ),
    _mutant(
        "conv1d-step-slots-by-product",
        "A pool in bfloat16 is written by a product with zeros and ones.", "served",
        _SlotsByProductOfConvolution(),
    ),
    _mutant(
        "conv1d-step-skipped-cotangent-times-zero",
        "The gradient of the bias adds zero times the cotangent of a skipped row.", "gradients-pool",
        _SkippedCotangentTimesZero(),
    ),
)  # fmt: skip
"""Defects of pools."""
