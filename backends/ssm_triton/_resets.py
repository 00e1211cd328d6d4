"""Where packed sequences begin, as the kernels in Gluon read it: one bit for each step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import triton
import triton.language as tl
from torch import Tensor

from ssm_triton._inputs import FUSED, Inputs, strides
from ssm_triton._plan import Shape
from ssm_triton._tiles import resets
from ssm_triton.launching import launch

WORD = 32
"""Steps of a word, and of a block of those kernels."""
WORDS = 16
"""Words of a program."""


@dataclass(frozen=True)
class Resets:
    """The resets of a call, along one row of time for each element of the batch.

    Attributes
    ----------
    words
        (b, l / 32 rounded up), int32: bit k of word j is set if the state is cut off before step 32 j + k.
    row_of
        (l,), int32: the sequence of each step, of those that `cu_seqlens` tells apart; None without it.
    """

    words: Tensor
    row_of: Tensor | None


@triton.jit
def in_words(begins):
    """(W, 32) bits to W words."""
    return tl.sum(begins.to(tl.int32) << tl.arange(0, 32)[None, :], 1)


@triton.jit
def words_of_ids(seq_idx, words, length, count, seq_b, seq_l, W: tl.constexpr):
    """W words of one row, from the id of each step."""
    spans = tl.cdiv(count, W)
    row = (tl.program_id(0) // spans).to(tl.int64)
    j = (tl.program_id(0) % spans) * W + tl.arange(0, W)
    t = j[:, None] * 32 + tl.arange(0, 32)[None, :]
    begins = resets(seq_idx + row * seq_b, t, length, seq_l)
    tl.store(words + row * count + j, in_words(begins), mask=j < count)


@triton.jit(do_not_specialize=["rows", "bits"])
def words_of_offsets(cu_seqlens, words, row_of, length, count, rows, bits, W: tl.constexpr):
    """W words, and the sequence of each of their steps: the last one that begins at it or before.

    Those before it that begin there too have no step. `bits` are as many as the number of sequences has.
    """
    j = tl.program_id(0) * W + tl.arange(0, W)
    t = j[:, None] * 32 + tl.arange(0, 32)[None, :]
    row = tl.zeros((W, 32), tl.int32)
    for k in range(bits):
        later = row + (1 << (bits - 1 - k))
        first = tl.load(cu_seqlens + later, mask=later < rows, other=length)
        row = tl.where((later < rows) & (first <= t), later, row)
    begins = (tl.load(cu_seqlens + row) == t) & (t > 0) & (t < length)
    tl.store(words + j, in_words(begins), mask=j < count)
    tl.store(row_of + t, row, mask=t < length)


def in_one_row(shape: Shape) -> Shape:
    """The sizes with packed sequences one after another in a row of time."""
    return shape if shape.rows == shape.batch else replace(shape, rows=shape.batch)


def resets_of(x: Inputs) -> Resets | None:
    """Those of a call, if its sequences are packed."""
    if x.seq_idx is None and x.cu_seqlens is None:
        return None
    b, _, length = x.u.shape
    count = -(-length // WORD)
    programs = b * -(-count // WORDS)
    constants = {"W": WORDS, "num_warps": 4, "enable_fp_fusion": FUSED}
    words = torch.empty((b, count), dtype=torch.int32, device=x.u.device)
    row_of = None if x.cu_seqlens is None else torch.empty(length, dtype=torch.int32, device=x.u.device)
    if not programs:
        return Resets(words, row_of)
    if x.cu_seqlens is not None:
        rows = len(x.cu_seqlens) - 1
        launch(
            words_of_offsets, (programs,),
            [x.cu_seqlens, words, row_of], [length, count, rows, rows.bit_length()], **constants,
        )  # fmt: skip
    else:
        numbers = [length, count, *strides(x.seq_idx, 2)]
        launch(words_of_ids, (programs,), [x.seq_idx, words], numbers, **constants)
    return Resets(words, row_of)


def pointers(packed: Resets | None) -> tuple[Tensor | None, Tensor | None]:
    """As the kernels take them."""
    return (None, None) if packed is None else (packed.words, packed.row_of)


def keep_empty(out: Tensor, given: Tensor | None) -> None:
    """What goes through a sequence of no step is handed on, or is zero: here for all, before the kernels."""
    if given is None:
        out.zero_()
    else:
        out.copy_(given)
