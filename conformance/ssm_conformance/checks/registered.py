"""The operators that a call registers with PyTorch: their schemas and fake kernels say what they do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ssm_conformance.checks.pytorch import has_autograd, through
from ssm_conformance.checks.subject import Subject, backend_at_work

TESTS: Final = ("test_schema", "test_faketensor", "test_autograd_registration")
"""Of ``torch.library.opcheck``: the others compare numbers with a tolerance, which the bound does better."""
OWN: Final = ("aten", "prim", "prims", "rngprims", "inductor", "mkldnn", "onednn", "quantized")
"""Namespaces of PyTorch's own operators."""

Seen = Mapping[Any, tuple[tuple[Any, ...], dict[str, Any]]]


def registered(subject: Subject) -> str:
    """What ``torch.library.opcheck`` has to say of each operator that the call runs; "" if nothing."""
    from torch.library import opcheck

    for operator, (args, kwargs) in _operators(subject).items():
        with backend_at_work():
            outcomes = opcheck(operator, args, kwargs, test_utils=TESTS, raise_exception=False)
        for test, outcome in outcomes.items():
            if outcome != "SUCCESS":
                first = " ".join(str(outcome).split())
                return f"the operator {operator.name()} fails opcheck's {test}: {first[:400]}"
    return ""


def _operators(subject: Subject) -> Seen:
    """Each registered operator of the forward and backward pass, with what it was first called with."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_map

    seen: dict[Any, tuple[tuple[Any, ...], dict[str, Any]]] = {}

    def kept(x: Any) -> Any:
        """A copy: operators may write what they are given."""
        return x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, torch.Tensor) else x

    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch's
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func.namespace not in OWN and func not in seen:
                seen[func] = tree_map(kept, (args, kwargs or {}))
            return func(*args, **(kwargs or {}))

    plain = through(subject, lambda fn: fn)
    gradients = has_autograd(subject)
    with Recorder(), backend_at_work():  # type: ignore[no-untyped-call]  # the same
        if gradients:
            plain.backward(plain.call)()
        else:
            plain.op.fn(**plain.call.inputs)
    return seen
