"""Real data for cases: recorded temperatures, and text as bytes, tokens and lines."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def signal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """Monthly sea surface temperatures in °C above 26: each channel reads them from its own month on."""
    return _windows(rng, shape, _temperatures() / 100.0 - 26.0)


def text(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """Real text, byte by byte, in [−1, 1): each channel reads it from its own place."""
    return _windows(rng, shape, _bytes() / 128.0 - 1.0)


def tokens(rng: np.random.Generator, shape: tuple[int, ...], start: int = 0) -> NDArray[Any]:
    """A stream of tokens, embedded: every channel of a row reads the same bytes, each its own column.

    Parameters
    ----------
    rng
        Draws the embedding: one row for each of 256 tokens.
    shape
        (b, d, l); row i begins where row i − 1 ends.
    start
        Where row 0 begins.
    """
    b, d, l = shape
    embedding = rng.standard_normal((256, d))
    return np.moveaxis(embedding[_stream(b, l, start)], -1, 1)


def lines(rng: np.random.Generator, shape: tuple[int, ...], start: int = 0) -> NDArray[Any]:
    """The number of the line of each token, (b, l), of the same stream as :func:`tokens`."""
    text = _bytes()
    ends = np.cumsum(text == ord("\n"))
    b, l = shape
    return ends[(start + np.arange(b * l).reshape(b, l)) % text.size]


def _stream(b: int, l: int, start: int) -> NDArray[np.int64]:
    text = _bytes().astype(np.int64)
    return text[(start + np.arange(b * l).reshape(b, l)) % text.size]


def _windows(rng: np.random.Generator, shape: tuple[int, ...], data: NDArray[Any]) -> NDArray[Any]:
    """A stretch of data for each row, from a place of its own."""
    rows = int(np.prod(shape[:-1]))
    starts = rng.integers(0, data.size, rows)
    index = (starts[:, None] + np.arange(shape[-1])) % data.size
    return np.asarray(data[index].reshape(shape))


@cache
def _temperatures() -> NDArray[np.float64]:
    path = files("ssm_conformance.cases") / "data" / "nino3.txt"
    rows = [line for line in path.read_text(encoding="ascii").splitlines() if not line.startswith("#")]
    return np.array(" ".join(rows).split(), dtype=np.float64)


@cache
def _bytes() -> NDArray[np.float64]:
    """The Zen of Python as the standard library ships it, still in its cipher; read, not imported."""
    spec = importlib.util.find_spec("this")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the standard library's module `this` has no source here")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    literal = next(
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    )
    return np.frombuffer(str(literal).encode("ascii"), dtype=np.uint8).astype(np.float64)
