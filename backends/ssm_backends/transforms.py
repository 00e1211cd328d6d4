"""What PyTorch's transforms ask of an operator that has a backward pass and nothing else.

PyTorch does not see into such an operator. A tangent of forward mode it drops there without a word, so that
the derivative would be zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, NoReturn

from ssm_backends.errors import NotSupportedError

if TYPE_CHECKING:
    from torch import Tensor


def may_be_differentiated(op: str, inputs: Mapping[str, Tensor | None]) -> bool:
    """Whether autograd may ask for a gradient of a call.

    Parameters
    ----------
    op
        Name of the operator.
    inputs
        Its arrays by name; None where one is not given.

    Raises
    ------
    NotSupportedError
        If forward mode would ask for a derivative: naming the argument.
    """
    import torch

    if in_forward_mode():
        refuse_tangents(op, {name: x for name, x in inputs.items() if x is not None})
    if not torch.is_grad_enabled() or _within_a_jit_trace():  # which checks itself without gradients
        return False
    given = {name: x for name, x in inputs.items() if x is not None}
    if not _within_a_transform():
        return any(x.requires_grad for x in given.values())
    if torch.compiler.is_compiling():  # a trace does not see what stands behind a tensor
        return True
    return any(layer.requires_grad for x in given.values() for layer in _layers(x))


def in_forward_mode() -> bool:
    """Whether a tensor may have a tangent."""
    import torch

    return torch.autograd.forward_ad._current_level >= 0


def refuse_tangents(op: str, given: Mapping[str, Tensor]) -> None:
    """Refuse an input with a tangent; one within ``torch.func`` may have one wherever forward mode is on.

    Parameters
    ----------
    op
        Name of the operator.
    given
        Its arrays by name.

    Raises
    ------
    NotSupportedError
        Naming the first such argument.
    """
    import torch
    from torch.autograd import forward_ad

    if not in_forward_mode():
        return
    for name, x in given.items():
        hidden = torch.compiler.is_compiling() or _is_wrapped(x)
        if hidden or forward_ad.unpack_dual(x).tangent is not None:  # type: ignore[no-untyped-call] # PyTorch's
            raise NotSupportedError(
                f"`{name}` must come without a tangent: {op} of this backend has no derivative in forward "
                "mode; got one from torch.func.jvp, jacfwd, linearize or forward_ad.make_dual"
            )


def refuse_transforms(op: str, given: Mapping[str, Tensor]) -> None:
    """Refuse what a kernel that is given addresses would miss: it is no operator of PyTorch's at all.

    Parameters
    ----------
    op
        Name of the operator.
    given
        Its arrays by name.

    Raises
    ------
    NotSupportedError
        Naming the first argument that has a tangent, or no numbers in memory, or is followed by a trace.
    """
    refuse_tangents(op, given)
    traced = _within_a_mode("PROXY") or _within_a_jit_trace()
    hidden = traced or _within_a_transform()
    for name, x in given.items():
        if _is_dispatched(x) or (hidden and (traced or _is_wrapped(x))):
            raise NotSupportedError(
                f"`{name}` must be read where it lies in memory: PyTorch does not see what {op} of this "
                "backend does; got a tensor of torch.func, make_fx, torch.jit.trace, or FakeTensorMode, "
                "or of a class of its own"
            )


def refuse_twice(op: str) -> Callable[..., NoReturn]:
    """What a backward pass registers as its own: it has none, and PyTorch's own words name no call.

    Parameters
    ----------
    op
        Name of the operator.
    """

    def refuse(ctx: Any, *cotangents: Any) -> NoReturn:
        raise NotSupportedError(
            f"{op} of this backend has one derivative, its backward pass; got a gradient of that gradient, "
            "which was recorded with create_graph=True"
        )

    return refuse


def is_bare(given: Iterable[Tensor | None]) -> bool:
    """Whether a call may go past PyTorch's dispatcher: no trace, mode or transform is to see it.

    Parameters
    ----------
    given
        Its arrays; None where one is not given.
    """
    import torch

    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
        return False
    if _within_a_transform() or _within_a_jit_trace():
        return False
    return {torch.Tensor, torch.nn.Parameter, NoneType}.issuperset(map(type, given))


def is_watched() -> bool:
    """Whether a mode is shown each function that is called: an operator is one, a computation is many.

    A default device is such a mode, and has nothing to see: whatever is made here names its own.
    """
    import torch

    if not torch._C._is_torch_function_mode_enabled():
        return False
    from torch.utils._device import DeviceContext

    modes = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call] # PyTorch's
    return not all(isinstance(mode, DeviceContext) for mode in modes)


def may_be_kept() -> bool:
    """Whether a mode is shown the result of each operation, and may keep it: nothing is written into it then.

    A checkpoint whose policy keeps some results is such a mode.
    """
    import torch

    return not torch.compiler.is_compiling() and torch._C._len_torch_dispatch_stack() > 0


def is_traced(x: Tensor) -> bool:
    """Whether a trace records what is done with a tensor, which may have no numbers: the host must not ask.

    Parameters
    ----------
    x
        Any of a call's.
    """
    import torch

    if torch.compiler.is_compiling() or _is_dispatched(x):
        return True
    return _within_a_mode("PROXY") or _within_a_mode("FAKE") or _within_a_jit_trace()


def _is_dispatched(x: Tensor) -> bool:
    """Whether a tensor's class sees each operator itself: a fake tensor's, say."""
    import torch

    return type(x).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__


def _within_a_mode(kind: str) -> bool:
    """Whether PyTorch hands every operator to a trace ("PROXY"), or to what knows shapes alone ("FAKE")."""
    import torch

    return torch._C._get_dispatch_mode(getattr(torch._C._TorchDispatchModeKey, kind)) is not None


def _is_wrapped(x: Tensor) -> bool:
    """Whether a transform of ``torch.func`` stands between a tensor and its numbers."""
    import torch

    return torch._C._functorch.is_functorch_wrapped_tensor(x)


def is_one_of_many(x: Tensor | None) -> bool:
    """Whether autograd asks for gradients of many cotangents at once: this is one of them, or of them.

    It has a way of its own for it, which takes neither ``out=`` nor a ``torch.autograd.Function``.
    """
    import torch

    return x is not None and torch._C._functorch.is_legacy_batchedtensor(x)


def innermost(x: Tensor) -> Tensor:
    """The tensor that transforms wrap: its numbers for all of a batch."""
    *_, inner = _layers(x)
    return inner


def _layers(x: Tensor) -> Iterator[Tensor]:
    """A tensor, and those that transforms wrap in it."""
    import torch

    yield x
    while _is_wrapped(x):
        x = torch._C._functorch.get_unwrapped(x)
        yield x


def _within_a_transform() -> bool:
    import torch

    return torch._C._functorch.peek_interpreter_stack() is not None


def is_within_a_gradient() -> bool:
    """Whether ``torch.func.grad``, ``vjp`` or ``jacrev`` is."""
    import torch

    return torch._C._functorch.TransformType.Grad in _transforms()


def is_derived() -> bool:
    """Whether a trace takes a derivative of the call: a gradient of ``torch.func``, or forward mode."""
    return is_within_a_gradient() or in_forward_mode()


def is_followed_by_transforms() -> bool:
    """Whether transforms are at work that take a ``torch.autograd.Function``: "functionalize" does not."""
    import torch

    found = _transforms()
    return bool(found) and torch._C._functorch.TransformType.Functionalize not in found


def _transforms() -> list[Any]:
    """The kinds of the transforms at work."""
    import torch

    return [transform.key() for transform in torch._C._functorch.get_interpreter_stack() or ()]


def _within_a_jit_trace() -> bool:
    import torch

    return torch._C._get_tracing_state() is not None


# PyTorch calls them when it traces, and guards the graph by the transforms that it is traced within.
for _question in (_within_a_transform, is_within_a_gradient, _within_a_jit_trace):
    _question._dynamo_marked_constant = True  # type: ignore[attr-defined] # torch.compiler.assume_constant_result
