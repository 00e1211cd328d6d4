"""The golden cases of the selective scan and of its single step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ssm_spec.vectors._case import Case
from ssm_spec.vectors._dice import Array, Dice

Layout = Literal["constant", "plain", "two groups", "three groups"]


def scan_cases() -> Iterator[Case]:
    """Every case, in order."""
    yield Shape(2, 3, 7, 2).case("plain", "scan-3", "scan-4")
    yield Shape(1, 1, 1, 1).case("one", "scan-3", initial=True)
    yield Shape(2, 2, 0, 3).case("no-step", "common-2", initial=True)
    yield Shape(2, 6, 5, 3, B="two groups", C="three groups").case("groups", "scan-6")
    yield Shape(2, 4, 5, 3, B="constant", C="two groups").case("constant-B", "scan-6")
    yield Shape(1, 3, 5, 2, C="constant").case("constant-C", "scan-6", gate=True)
    yield Shape(2, 3, 11, 2).case("softplus-bias-gate", "scan-1", "scan-4", softplus=True, gate=True, D=True)
    yield Shape(1, 2, 17, 2).case("negative-steps", "scan-1", signed=True)
    yield Shape(1, 2, 16, 2).case("extreme-steps", "scan-1", softplus=True, extreme=True)
    yield Shape(2, 3, 7, 2).case("zoh", "scan-2", zoh=True, still=True)
    yield Shape(2, 4, 7, 2, complex_=True, B="two groups").case("complex", "scan-5", initial=True, D=True)
    yield Shape(1, 3, 7, 3, complex_=True, C="constant").case("complex-zoh", "scan-2", "scan-5", zoh=True)
    yield Shape(2, 2, 13, 2).case("initial-state", "scan-7", initial=True, gate=True)
    yield Shape(2, 2, 13, 2).case("seq-idx", "scan-8", initial=True, resets=True)
    yield Shape(1, 2, 13, 2).case("cu-seqlens", "scan-9", initial=True, offsets=(0, 4, 4, 5, 13))
    everything: dict[str, Any] = dict.fromkeys(("softplus", "gate", "D", "initial", "resets", "zoh"), True)
    yield Shape(2, 6, 19, 3, complex_=True, B="three groups", C="two groups").case(
        "everything", "scan-1", "scan-2", "scan-5", "scan-6", "scan-8", **everything
    )
    yield Shape(1, 2, 259, 2).case("long", "scan-3", softplus=True, initial=True)
    yield Shape(2, 3, 23, 2).case("float64", "scan-3", exact_in="float64", softplus=True, gate=True, D=True)


def step_cases() -> Iterator[Case]:
    """Every case, in order."""
    for complex_ in (False, True):
        kind = "complex" if complex_ else "real"
        shape = Shape(3, 4, 1, 5, complex_=complex_, B="two groups")
        scan = shape.case(kind, "step-1", op="selective_state_update", softplus=True, gate=True, D=True)
        yield _step(scan, Dice(f"step {kind}"), shape, 3)
    shape = Shape(4, 2, 1, 3)
    scan = shape.case("pool", "step-1", "step-2", op="selective_state_update", zoh=True)
    yield _step(scan, Dice("step pool"), shape, 6, np.array([5, -1, 0, 3]))


def _step(scan: Case, dice: Dice, shape: Shape, slots: int, indices: Array | None = None) -> Case:
    """One step from a scan of length one."""
    arrays = {k: v[..., 0] if k in ("u", "delta", "B", "C", "z") else v for k, v in scan.arrays.items()}
    state = (slots, shape.d, shape.n)
    arrays["state"] = dice.general(*state, complex_=shape.complex_)
    if indices is not None:
        arrays["state_indices"] = indices
    cotangents = {"y": dice.real(shape.b, shape.d), "state": dice.general(*state, complex_=shape.complex_)}
    return Case(
        op=scan.op,
        name=scan.name,
        clause=scan.clause,
        arrays=arrays,
        parameters=scan.parameters,
        cotangents=cotangents,
    )


@dataclass(frozen=True)
class Shape:
    """Sizes of a scan, the layouts of its B and C, and whether it is complex."""

    b: int
    d: int
    l: int
    n: int
    complex_: bool = False
    B: Layout = "plain"
    C: Layout = "plain"

    def case(
        self,
        name: str,
        *clause: str,
        op: str = "selective_scan",
        exact_in: str = "bfloat16",
        softplus: bool = False,
        signed: bool = False,
        extreme: bool = False,
        still: bool = False,
        gate: bool = False,
        D: bool = False,
        zoh: bool = False,
        initial: bool = False,
        resets: bool = False,
        offsets: tuple[int, ...] = (),
    ) -> Case:
        """The case with the arguments asked for.

        `signed` steps have either sign; `extreme` ones reach far into both tails of softplus;
        `still` puts in rates and steps of zero.
        """
        dice, stream = Dice(f"{op} {name}", exact_in), (self.b, self.d, self.l)
        arrays: dict[str, Any] = {
            "u": dice.real(*stream),
            "delta": dice.real(*stream) if softplus or signed else dice.positive(*stream, low=-5, high=0),
            "A": dice.modes(self.d, self.n, complex_=self.complex_),
            "B": self._projection(dice, self.B),
            "C": self._projection(dice, self.C),
        }
        if extreme:
            arrays["delta"] = np.resize([-744.0, -120.0, -40.0, -17.0, 0.0, 20.0, 88.0, 1024.0], stream)
        if still:
            arrays["A"][:, 0], arrays["delta"][..., 2] = 0.0, 0.0
        if softplus and not extreme:
            arrays["delta_bias"] = dice.real(self.d)
        if D:
            arrays["D"] = dice.real(self.d)
        if gate:
            arrays["z"] = dice.real(*stream, high=3)
        rows = len(offsets) - 1 if offsets else self.b
        if initial:
            arrays["initial_state"] = dice.general(rows, self.d, self.n, complex_=self.complex_)
        if resets:
            arrays["seq_idx"] = np.cumsum(dice.integers(self.b, self.l, below=4) == 0, axis=1)
        if offsets:
            arrays["cu_seqlens"] = np.array(offsets)
        parameters: dict[str, Any] = {"delta_softplus": True} if softplus else {}
        return Case(
            op=op,
            name=name,
            clause=clause,
            arrays=arrays,
            parameters=parameters | ({"b_discretization": "zoh"} if zoh else {}),
            exact_in=exact_in,
            cotangents={
                "y": dice.real(*stream),
                "last_state": dice.general(rows, self.d, self.n, complex_=self.complex_),
            },
        )

    def _projection(self, dice: Dice, layout: Layout) -> Array:
        """B or C."""
        groups = {"two groups": (2,), "three groups": (3,)}.get(layout, ())
        shape = (self.d, self.n) if layout == "constant" else (self.b, *groups, self.n, self.l)
        return dice.general(*shape, complex_=self.complex_)
