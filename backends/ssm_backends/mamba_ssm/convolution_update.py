"""``causal_conv1d_update``, a function of the package causal-conv1d: the next steps, the state in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ssm_backends.errors import DeviceError, DTypeError, NotSupportedError, ShapeError
from ssm_backends.front.choice import serves_as_soon
from ssm_backends.front.kinds import Served, recall
from ssm_backends.mamba_ssm._known import call_as, known_kind
from ssm_backends.mamba_ssm._tensors import (
    of_dtype,
    only_pythons,
    only_tensors,
    shapes_of,
    sized,
    under_names,
)
from ssm_backends.operators import OPERATORS
from ssm_backends.slots import check_slots
from ssm_backends.transforms import is_traced
from ssm_backends.writable import check_writable

if TYPE_CHECKING:
    from torch import Tensor

_CONVOLUTION: Final = OPERATORS["causal_conv1d"]
_STEP: Final = OPERATORS["causal_conv1d_update"]
_NAMES: Final = {"state_indices": "conv_state_indices", "state": "conv_state"}
"""The operator's name of an argument → the drop-in's."""
_STEPS: Final = {2: "x: b d", 3: "x: b d l"}
_STATES: Final = {False: "conv_state: b d k", True: "conv_state: r d k"}
"""A state for each row; or, with indices, slots."""
_REST: Final = "weight: d w, bias: d, cache_seqlens: b, conv_state_indices: b"


def causal_conv1d_update(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    cache_seqlens: Tensor | None = None,
    conv_state_indices: Tensor | None = None,
) -> Tensor:
    """The next steps of :func:`causal_conv1d_fn`, by the best backend. The inputs are kept in `conv_state`.

    b batch, d channels, l steps, w taps, k inputs that are kept.

    Parameters
    ----------
    x
        (b, d), one step, or (b, d, l); float32, bfloat16, float16 or float64.
    conv_state
        (b, d, k), x's dtype, k ≥ w − 1: the last k inputs, newest last. It is written in place.
        With `conv_state_indices` a pool of slots (r, d, k).
    weight
        (d, w), x's dtype or float32; the last tap multiplies the newest input.
    bias
        (d,), x's dtype or float32.
    activation
        None, or "silu", also called "swish".
    cache_seqlens
        (b,), int32 or int64: how many inputs each row has had. `conv_state` is then a ring: the input of
        time t is kept at t mod k, and no other place is written.
    conv_state_indices
        (b,), int32 or int64: each row's slot in `conv_state`; −1 skips the row, and its output is 0.

    Returns
    -------
    y, of x's shape and dtype.

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        Naming the argument, the rule and what was given.
    NotSupportedError
        If a gradient may be asked for, since a step in place has none; or if no backend serves the call here.
    """
    only_pythons(activation=activation)
    given = (x, conv_state, weight, bias, cache_seqlens, conv_state_indices)
    kind = known_kind("causal_conv1d_update", None, (*given, activation))
    known = None if kind is None else recall(kind)
    if known is None:
        _check(*given)
    _check_places(conv_state, conv_state_indices)
    if _is_one_call(known, *given):
        inputs = {
            "x": x if x.ndim == 2 else x[..., 0], "state": conv_state, "weight": weight, "bias": bias,
            "activation": activation, "state_indices": conv_state_indices, "inplace": True,
        }  # fmt: skip
        step: Tensor
        step, _ = call_as(kind, known, _NAMES, _STEP, inputs)
        return step if x.ndim == 2 else step.unsqueeze(-1)

    def filtered(line: Tensor) -> Tensor:
        inputs = {"x": line, "weight": weight, "bias": bias, "activation": activation}
        y: Tensor = call_as(kind, known, _NAMES, _CONVOLUTION, inputs)
        return y

    steps = x if x.ndim == 3 else x.unsqueeze(-1)
    kept = weight.shape[1] - 1
    if conv_state_indices is None:
        y, after = _advance(steps, conv_state, cache_seqlens, kept, filtered)
        conv_state.copy_(after)
    else:
        y = _advance_slots(steps, conv_state, cache_seqlens, conv_state_indices, kept, filtered)
    # One step is a view, whose dimensions join as x's do.
    return y[..., -1] if x.ndim == 2 else y[..., y.shape[-1] - steps.shape[-1] :].contiguous()


def _is_one_call(
    known: Served | None,
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    times: Tensor | None,
    slots: Tensor | None,
) -> bool:
    """Whether the operator of one step serves: one step, no ring, and nobody who filters comes before it."""
    if known is not None:
        return "state" in known[1]
    if times is not None or (x.ndim == 3 and x.shape[-1] != 1):
        return False
    import torch

    needed = {
        "compile": torch.compiler.is_compiling(),
        "inplace": True,
        "half_state": x.element_size() == 2,
        "long_state": conv_state.shape[-1] >= weight.shape[1],
        "mixed_dtypes": weight.dtype != x.dtype or (bias is not None and bias.dtype != x.dtype),
        "state_indices": slots is not None,
    }
    step = tuple([name for name, is_needed in needed.items() if is_needed])
    filtering = tuple([name for name in ("mixed_dtypes", "compile") if needed[name]])
    # In a graph a size may be open: what no backend serves there is told when the operator is called.
    sizes = () if needed["compile"] else (("v", weight.shape[1] - 1), ("k", conv_state.shape[-1]))
    ways = (_STEP.name, step, sizes), (_CONVOLUTION.name, filtering, sizes)
    return serves_as_soon(*ways, "torch", str(x.device), str(x.dtype).rpartition(".")[2])


def _advance(
    x: Tensor, state: Tensor, times: Tensor | None, v: int, filtered: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """The outputs of inputs that are kept, at least v, and of the steps x (b, d, l); the state after them.

    `filtered` is given the line of them all. What comes out for those that are kept is not looked at.
    """
    import torch

    k, l = state.shape[-1], x.shape[-1]
    if times is None:
        line = torch.cat([state, x], dim=-1)
        read = line if k <= v + 1 else line[..., k - v :]  # one output more takes less time than a view
        return filtered(read), line[..., l:]
    first = max(l - k, 0)  # of one place written twice, PyTorch does not say which stays
    before = state.gather(-1, _places(times, -v, 0, state))
    after = state.scatter(-1, _places(times, first, l, state), x[..., first:])
    return filtered(torch.cat([before, x], dim=-1)), after


def _places(times: Tensor, first: int, end: int, ring: Tensor) -> Tensor:
    """Where a ring (b, d, k) keeps the inputs from `first` to `end`, counted from each row's time."""
    import torch

    steps = torch.arange(first, end, device=ring.device)
    return ((times[:, None] + steps) % ring.shape[-1])[:, None].expand(-1, ring.shape[1], -1)


def _advance_slots(
    x: Tensor,
    pool: Tensor,
    times: Tensor | None,
    slots: Tensor,
    v: int,
    filtered: Callable[[Tensor], Tensor],
) -> Tensor:
    """As :func:`_advance`, of rows whose states are slots of a pool (r, d, k), which is written in place.

    A skipped row repeats the first one that is served, and writes the same bits: the host, which would have
    to wait for a GPU, need not know which rows are skipped.
    """
    import torch

    if 0 in (len(x), len(pool)):
        _advance(x[:0], pool[:0], None, v, filtered)  # which refuses what it would with rows
        return torch.zeros_like(x)
    skipped = slots < 0
    repeated = torch.where(skipped, (~skipped).int().argmax(), torch.arange(len(slots), device=slots.device))
    x, times = x[repeated], None if times is None else times[repeated]
    slots = slots[repeated].clamp(min=0).long()
    before = pool[slots]
    y, after = _advance(x, before, times, v, filtered)
    pool[slots] = torch.where(skipped.all(), before, after)
    return torch.where(skipped[:, None, None], 0, y)


def _check(x: Any, conv_state: Any, weight: Any, bias: Any, times: Any, slots: Any) -> None:
    """Refuse what no step can be made of, and a gradient to come."""
    indices = {"cache_seqlens": times, "conv_state_indices": slots}
    only_tensors({"x": x, "conv_state": conv_state, "weight": weight}, {"bias": bias, **indices})
    _check_sizes(x, conv_state, {"weight": weight, "bias": bias, **indices})
    of_dtype(x, conv_state=conv_state)
    _check_indices(x, indices)
    _refuse_gradients(x=x, conv_state=conv_state, weight=weight, bias=bias)


def _check_sizes(x: Tensor, conv_state: Tensor, rest: dict[str, Any]) -> None:
    if x.ndim not in _STEPS:
        raise ShapeError(f"`x` must have shape (b, d) or (b, d, l); got {tuple(x.shape)}")
    pooled = rest["conv_state_indices"] is not None
    shapes = f"{_STEPS[x.ndim]}, {_STATES[pooled]}, {_REST}"
    size = sized(shapes_of({"x": x, "conv_state": conv_state, **rest}), shapes)
    ring = rest["cache_seqlens"] is not None
    least = max(size["w"] - 1, 1) if ring else size["w"] - 1
    if size["k"] < least:
        raise ShapeError(
            f"`conv_state` must keep at least {least} inputs, for {size['w']} taps"
            f"{' in a ring' if ring else ''}; got {tuple(conv_state.shape)}"
        )


def _check_indices(x: Tensor, indices: dict[str, Any]) -> None:
    import torch

    for name, given in indices.items():
        if given is not None and given.dtype not in (torch.int32, torch.int64):
            raise DTypeError(f"`{name}` must have dtype int32 or int64; got {given.dtype}")
        if given is not None and given.device != x.device:
            raise DeviceError(f"`{name}` must be on the device of `x`, {x.device}; got {given.device}")


def _refuse_gradients(**given: Tensor | None) -> None:
    import torch

    wanted = [name for name, x in given.items() if x is not None and x.requires_grad]
    if wanted and torch.is_grad_enabled():
        listed = ", ".join(f"`{name}`" for name in wanted)
        raise NotSupportedError(
            f"causal_conv1d_update writes `conv_state` in place: no gradient in {listed} "
            "(none is asked for under torch.no_grad())"
        )


def _check_places(conv_state: Tensor, slots: Tensor | None) -> None:
    """Refuse a state that cannot be written, and slots that are none where the host may read them."""
    import torch

    if torch.compiler.is_compiling():
        return
    check_writable("conv_state", conv_state)
    if slots is not None and slots.device.type == "cpu" and not is_traced(slots):
        under_names(_NAMES, check_slots, slots.tolist(), len(conv_state))
