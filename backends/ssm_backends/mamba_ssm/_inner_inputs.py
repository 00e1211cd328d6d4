"""What a Mamba block is given: shapes, devices and dtypes, judged by the block's own names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ssm_backends.errors import ArgumentError, DeviceError, DTypeError, ShapeError
from ssm_backends.mamba_ssm._tensors import only_tensors, shapes_of, sized

if TYPE_CHECKING:
    from torch import Tensor

_SHAPES: Final = (
    "A: d n, conv1d_weight: d 1 w, conv1d_bias: d, xz: b 2d l, delta_proj_weight: d r, x_proj_weight: q d, "
    "out_proj_weight: m d, out_proj_bias: m, D: d, delta_bias: d, dt_rms_weight: d"
)
_PROJECTIONS: Final = ("x_proj_weight", "delta_proj_weight", "out_proj_weight", "out_proj_bias")
_REQUIRED: Final = ("xz", "conv1d_weight", "x_proj_weight", "delta_proj_weight", "out_proj_weight", "A")
_ADDED: Final = ("B_proj_bias", "C_proj_bias", "b_rms_weight", "c_rms_weight", "dt_rms_weight")


def width_of(A: Tensor) -> int:
    """Columns that a projected B or C takes: real and imaginary part of a complex one."""
    return A.shape[1] * (2 if A.is_complex() else 1)


def check(**given: Any) -> None:
    """Refuse what cannot be a block's, by name, before any work.

    Raises
    ------
    DTypeError, DeviceError, ShapeError
        Naming the argument, the rule, and what was given.
    """
    required = {name: given[name] for name in _REQUIRED}
    only_tensors(required, {name: x for name, x in given.items() if name not in required})
    size = sized(shapes_of(given), _SHAPES)
    xz, A = given["xz"], given["A"]
    if size["2d"] != 2 * size["d"]:
        raise ShapeError(f"`xz` must have shape (b, 2d, l), d = {size['d']}; got {tuple(xz.shape)}")
    width, projected = width_of(A), (given["B"] is None) + (given["C"] is None)
    if size["q"] != size["r"] + width * projected:
        raise ShapeError(
            f"`x_proj_weight` must have {size['r'] + width * projected} rows, for Δ and what is projected of "
            f"B and C; got {tuple(given['x_proj_weight'].shape)}"
        )
    for name in ("B_proj_bias", "C_proj_bias", "b_rms_weight", "c_rms_weight"):
        x = given.get(name)
        if x is not None and tuple(x.shape) != (width,):
            raise ShapeError(f"`{name}` must have shape ({width},), as B and C have; got {tuple(x.shape)}")
    for name in "BC":
        if given[name] is not None and given.get(f"{name.lower()}_rms_weight") is not None:
            raise ArgumentError(
                f"`{name.lower()}_rms_weight` must be None where `{name}` is given, not projected; got both"
            )
    for name, x in given.items():
        if x is not None and x.device != xz.device:
            raise DeviceError(f"`{name}` must be on the device of `xz`, {xz.device}; got {x.device}")
    for name in (*_PROJECTIONS, *_ADDED):
        x = given.get(name)
        if x is not None and not x.is_floating_point():
            raise DTypeError(f"`{name}` must have a real floating dtype; got {x.dtype}")
    check_projections(given, _PROJECTIONS, "xz")


def check_projections(given: Mapping[str, Any], names: Iterable[str], primary: str) -> None:
    """What is multiplied is of one type, unless autocast casts it, as all but float64.

    Raises
    ------
    DTypeError
        Naming the first projection that has another.
    """
    multiplied = given[primary]
    for name in names:
        x = given.get(name)
        if x is not None and x.dtype != multiplied.dtype and not _are_cast(x, multiplied):
            raise DTypeError(
                f"`{name}` must have the dtype of `{primary}`, {multiplied.dtype}; got {x.dtype}"
            )


def _are_cast(x: Any, y: Any) -> bool:
    """Whether autocast makes one type of two."""
    import torch

    kind = x.device.type
    if torch.float64 in (x.dtype, y.dtype) or not _has_autocast(kind):
        return False
    return torch.is_autocast_enabled(kind)


def _has_autocast(kind: str) -> bool:
    import torch

    return torch.amp.is_autocast_available(kind)


# Up to PyTorch 2.10 a graph cannot ask.
_has_autocast._dynamo_marked_constant = True  # type: ignore[attr-defined] # torch.compiler.assume_constant_result
