"""The operators that a call registers with PyTorch: their schemas and fake kernels say what they do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ssm_conformance.checks.pytorch import has_autograd, through
from ssm_conformance.checks.subject import Subject, backend_at_work

TESTS: Final = ("test_schema", "test_faketensor", "test_autograd_registration")
"""Of ``torch.library.opcheck``: the others compare numbers with a tolerance, which the bound does better."""
OWN: Final = (
    *("aten", "prim", "prims", "rngprims", "debugprims", "higher_order", "_native", "flex_lib", "onnx"),
    *("inductor", "inductor_prims", "mkl", "mkldnn", "mkldnn_prepacked", "onednn"),
    *("quantized", "_quantized", "quantization", "sparse", "c10d", "_c10d_functional", "symm_mem"),
    *("profiler", "debug_mode_ops", "streams"),
)
"""Namespaces of PyTorch's own operators."""
KINDS: Final = 12
"""Of arguments, that one operator is checked with at most: each takes several runs of it."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Seen = Mapping[Any, Mapping[str, Arguments]]


def registered(subject: Subject) -> str:
    """What ``torch.library.opcheck`` has to say of each operator that the call runs; "" if nothing."""
    for operator, kinds in _operators(subject).items():
        for arguments in kinds.values():
            complaint = _complaint(operator, arguments)
            if complaint:
                return complaint
    return ""


def _complaint(operator: Any, arguments: Arguments) -> str:
    from torch.library import opcheck

    with backend_at_work():
        outcomes = opcheck(operator, *arguments, test_utils=TESTS, raise_exception=False)
    for test, outcome in outcomes.items():
        if outcome != "SUCCESS":
            first = " ".join(str(outcome).split())
            return f"the operator {operator.name()} fails opcheck's {test}: {first[:400]}"
    return ""


def _operators(subject: Subject) -> Seen:
    """Each registered operator of the forward and backward pass, with each kind of arguments it was given."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_map

    seen: dict[Any, dict[str, Arguments]] = {}

    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch's
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = (args, kwargs or {})
            if func.namespace not in OWN:
                kinds, kind = seen.setdefault(func, {}), repr(tree_map(_kind, given))
                if kind not in kinds and len(kinds) < KINDS:
                    kinds[kind] = tree_map(_copy, given)
            return func(*args, **(kwargs or {}))

    plain = through(subject, lambda fn: fn)
    gradients = has_autograd(subject)
    with Recorder(), backend_at_work():  # type: ignore[no-untyped-call]  # the same
        if gradients:
            plain.backward(plain.call)()
        else:
            plain.op.fn(**plain.call.inputs)
    return seen


def _kind(x: Any) -> Any:
    """What a schema or a fake kernel may depend on: of a tensor, all but its numbers."""
    import torch

    if not isinstance(x, torch.Tensor):
        return x
    return (x.dtype, tuple(x.shape), x.stride(), x.requires_grad, x.is_conj(), x.is_neg())


def _copy(x: Any) -> Any:
    """A copy of a tensor, with its strides: operators may write what they are given."""
    import torch

    if not isinstance(x, torch.Tensor):
        return x
    plain = x.detach()
    if x.layout == torch.strided and x.numel():
        extent = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
        plain = plain.as_strided((extent,), (1,)).clone().as_strided(x.shape, x.stride())
    return plain.requires_grad_(x.requires_grad)
