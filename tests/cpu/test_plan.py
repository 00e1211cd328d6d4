"""How a call is cut: every channel once, and as many blocks as a trace counts on."""

from __future__ import annotations

import numpy as np
import pytest

from ssm_cpu._call import STEPS
from ssm_cpu._plan import blocks_in_all, blocks_of, channels_in_chunk, chunk_table, packed_rows, slots_of
from ssm_cpu._values import LANES

CHANNELS = [(0, (1, 1)), (1, (1, 1)), (17, (1, 1)), (96, (1, 1)), (12, (3, 2)), (80, (2, 4)), (150, (1, 3))]


@pytest.mark.parametrize(("d", "groups"), CHANNELS)
@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_chunks_are_every_channel_once_and_of_one_group(d: int, groups: tuple[int, int], rows: int) -> None:
    most = channels_in_chunk(rows, d)
    assert most % LANES == 0
    table = chunk_table(d, groups, most)
    spans = [range(first, first + count) for first, count, *_ in table.tolist()]
    assert [channel for span in spans for channel in span] == list(range(d))
    for span, (_, count, *shared, _) in zip(spans, table.tolist(), strict=True):
        assert 0 < count <= most
        assert all({i // (d // g) for i in span} == {of} for g, of in zip(groups, shared, strict=True))
    blocks = [-(-len(span) // LANES) for span in spans]
    assert table[:, 4].tolist() == np.cumsum([0, *blocks])[:-1].tolist()
    assert blocks_of(d, groups, most) == (sum(blocks), max(blocks, default=0))
    assert blocks_in_all(d, groups) == sum(blocks)


def test_a_state_is_saved_for_each_tile_of_steps() -> None:
    assert [slots_of(length) for length in (0, 1, STEPS, STEPS + 1, 2 * STEPS)] == [0, 1, 1, 2, 2]
    rows = packed_rows([0, 0, 1, STEPS + 2], STEPS + 2)
    assert rows.tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 1, STEPS + 2, 1]]
    assert packed_rows([0], 0).shape == (0, 4)
