"""The recurrence of one block: the tree that a GPU takes is the sequence that a CPU takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ssm_torch.blockwise import recurrence
from ssm_torch.blockwise.recurrence import Resets, run_backward, run_forward

from .problems import draw_call, judged

DEVICES = {"sequence": (), "tree": ("cpu",)}


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrence, "TREE_DEVICES", DEVICES["tree"])


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 8, 16, 29, 64])
def test_the_tree_is_exact_where_no_step_rounds(
    length: int, backwards: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = torch.Generator().manual_seed(length)
    a, x = torch.randint(-1, 2, (2, length, 2, 1, 1, 3), generator=rng).double()
    mask = torch.rand((length, 2, 1, 1, 1), generator=rng) < 0.3
    a.masked_fill_(mask, 0)
    past = torch.ones((2, 1, 1, 3), dtype=torch.float64)
    found = {}
    for name, devices in DEVICES.items():
        monkeypatch.setattr(recurrence, "TREE_DEVICES", devices)
        states = x.clone()
        handed_on = (run_backward if backwards else run_forward)(a.clone(), states, past, Resets(mask))
        found[name] = (states, handed_on)
    assert torch.equal(found["tree"][0], found["sequence"][0])
    assert not backwards or torch.equal(found["tree"][1], found["sequence"][1])


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("form", DEVICES)
def test_nothing_crosses_a_reset_not_even_a_nan(
    form: str, backwards: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrence, "TREE_DEVICES", DEVICES[form])
    mask = torch.zeros((16, 1, 1, 1, 1), dtype=torch.bool)
    mask[6] = True
    lost = slice(6, 16) if backwards else slice(0, 6)
    a, x = torch.rand((2, 16, 1, 1, 1, 2), dtype=torch.float64)
    a[lost], x[lost] = torch.nan, torch.nan
    run = run_backward if backwards else run_forward
    run(a.masked_fill_(mask, 0), x, torch.full((1, 1, 1, 2), torch.nan), Resets(mask))
    kept = x[:6] if backwards else x[6:]
    assert kept.isfinite().all()


@pytest.mark.parametrize(
    "options",
    [{}, {"resets": True}, {"kind": torch.complex64}, {"groups": (2, 3)}, {"offsets": (0, 3, 3, 40, 77)}],
    ids=str,
)
def test_a_scan_by_the_tree_conforms(tree: None, options: dict[str, Any]) -> None:
    judged(draw_call(1, 6, 77, 3, **options))
