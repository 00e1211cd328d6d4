"""The safetensors format, written so that the same arrays give the same bytes in every version of anything.

Eight bytes with the header's length, a JSON header, the numbers, little-endian and row-major
(the format's own specification, huggingface/safetensors, "Format"). The public package does not
promise the order and spacing of its header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TYPES: Final = {"float64": "F64", "int64": "I64"}
"""How a NumPy type is called in a file. Complex numbers are stored as pairs (re, im) of F64."""
_ALIGNMENT: Final = 8


class FormatError(ValueError):
    """A file that is not in the safetensors format."""


def stored(array: Array) -> Array:
    """The array as it lies in the file: complex numbers as pairs in a last dimension of two."""
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag], axis=-1).astype("<f8")
    return array.astype("<i8" if array.dtype.kind in "iu" else "<f8")


def restored(array: Array, dtype: str) -> Array:
    """The array that was stored, of the dtype that the manifest names."""
    return array[..., 0] + 1j * array[..., 1] if dtype == "complex128" else array


def pack(tensors: Mapping[str, Array]) -> bytes:
    """A file that holds the arrays, in their order."""
    header, chunks, start = {}, [], 0
    for name, array in tensors.items():
        raw = stored(array)
        chunk = np.ascontiguousarray(raw).tobytes()
        header[name] = {
            "dtype": TYPES[raw.dtype.name],
            "shape": list(raw.shape),
            "data_offsets": [start, start + len(chunk)],
        }
        chunks.append(chunk)
        start += len(chunk)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return b"".join([len(text).to_bytes(8, "little"), text, *chunks])


def unpack(data: bytes) -> dict[str, Array]:
    """The arrays of a file, as stored.

    Raises
    ------
    FormatError
        If the header cannot be read, or does not fit the file.
    """
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + size])
        names = {text: kind for kind, text in TYPES.items()}
        body = data[8 + size :]
        arrays = {}
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            flat = np.frombuffer(body[start:end], dtype=np.dtype(names[entry["dtype"]]).newbyteorder("<"))
            arrays[name] = flat.reshape(entry["shape"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"the header does not describe the file: {error}") from error
    return arrays
