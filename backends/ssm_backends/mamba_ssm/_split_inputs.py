"""What a Mamba-2 block is given: its sizes, from shapes that agree, and dtypes, by the block's own names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ssm_backends.errors import ArgumentError, DeviceError, DTypeError, ShapeError
from ssm_backends.mamba_ssm._inner_inputs import check_projections
from ssm_backends.mamba_ssm._tensors import check_count, check_number, only_tensors, shapes_of, sized

_SHAPES: Final = (
    "zxbcdt: b l q, A: h, dt_bias: h, D: h | h p, conv1d_weight: c w, conv1d_bias: c, seq_idx: b l, "
    "rmsnorm_weight: e, outproj_weight: m f, outproj_bias: m"
)
_REQUIRED: Final = ("zxbcdt", "conv1d_weight", "dt_bias", "A", "D")
_PROJECTIONS: Final = ("outproj_weight", "outproj_bias")


@dataclass(frozen=True)
class SplitSizes:
    """Channels: of the gated MLP (k), of all heads (hp), convolved (hp + 2gn), of a head (p); h and n."""

    mlp: int
    inner: int
    convolved: int
    width: int
    heads: int
    state: int


def split_sizes(headdim: int | None, ngroups: int, rmsnorm_eps: float, **given: Any) -> SplitSizes:
    """The sizes of a block, or what cannot be a block's refused by name, before any work.

    Raises
    ------
    DTypeError, DeviceError, ShapeError, ArgumentError
        Naming the argument, the rule, and what was given.
    """
    required = {name: given[name] for name in _REQUIRED}
    only_tensors(required, {name: x for name, x in given.items() if name not in required})
    states = given.pop("initial_states")  # which the scan judges
    bound = sized(shapes_of(given), _SHAPES)
    _check_counts(headdim, ngroups, given["D"])
    heads, convolved = bound["h"], bound["c"]
    width = given["D"].shape[1] if headdim is None else headdim
    inner = heads * width
    shared = convolved - inner  # of B and C. Where sizes are open, Dynamo traces no divmod
    state, more = shared // (2 * ngroups), shared % (2 * ngroups)
    if more or state < 1:
        raise ShapeError(
            f"`conv1d_weight` must have {inner} + 2 · {ngroups} n rows, for {heads} heads of {width} and "
            f"{ngroups} groups; got {tuple(given['conv1d_weight'].shape)}"
        )
    rest = bound["q"] - inner - convolved - heads
    mlp, more = rest // 2, rest % 2
    if more or mlp < 0:
        raise ShapeError(
            f"`zxbcdt` must have {inner + convolved + heads} columns, for z, what is convolved and dt, and "
            f"an even number more; got {tuple(given['zxbcdt'].shape)}"
        )
    _check_rest(given, inner, mlp, rmsnorm_eps)
    _check_devices(given | {"initial_states": states})
    return SplitSizes(mlp, inner, convolved, width, heads, state)


def _check_counts(headdim: int | None, ngroups: int, D: Any) -> None:
    check_count("ngroups", ngroups)
    if headdim is not None:
        check_count("headdim", headdim)
    if headdim is None and D.ndim == 1:
        raise ArgumentError("`headdim` must be given where `D` has one number a head; got None")
    if headdim is not None and D.ndim == 2 and D.shape[1] != headdim:
        raise ShapeError(f"`D` must have shape (h, p) with p = {headdim} (`headdim`); got {tuple(D.shape)}")


def _check_rest(given: dict[str, Any], inner: int, mlp: int, rmsnorm_eps: float) -> None:
    norm, weight = given["rmsnorm_weight"], given["outproj_weight"]
    if norm is not None and norm.shape != (inner,):
        raise ShapeError(f"`rmsnorm_weight` must have shape ({inner},); got {tuple(norm.shape)}")
    for name in ("rmsnorm_weight", *_PROJECTIONS):
        if given[name] is not None and not given[name].is_floating_point():
            raise DTypeError(f"`{name}` must have a real floating dtype; got {given[name].dtype}")
    if norm is not None:
        check_number("rmsnorm_eps", rmsnorm_eps)
    if weight is not None and weight.shape[1] != mlp + inner:
        raise ShapeError(f"`outproj_weight` must have {mlp + inner} columns; got {tuple(weight.shape)}")
    if weight is None and given["outproj_bias"] is not None:
        raise ArgumentError("`outproj_bias` must be given with `outproj_weight` alone; got no weight")
    check_projections(given, _PROJECTIONS, "zxbcdt")


def _check_devices(given: dict[str, Any]) -> None:
    zxbcdt = given["zxbcdt"]
    for name, x in given.items():
        if x is not None and x.device != zxbcdt.device:
            raise DeviceError(f"`{name}` must be on the device of `zxbcdt`, {zxbcdt.device}; got {x.device}")
