"""Calling a backend: what is not valid raises a typed error, what is not claimed NotSupportedError."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssm_backends.arrays import Arrays
from ssm_backends.backend import Backend, Op
from ssm_backends.errors import ArgumentError, ContractError, NotSupportedError
from ssm_backends.schema import Operator
from ssm_backends.validation import Call, find, validate


def refusal(op: Op, call: Call) -> str | None:
    """Why an Op's claims do not cover a call; None if they do."""
    if call.dtype not in op.dtypes:
        return f"dtype {call.dtype} is not among {', '.join(op.dtypes)}"
    if call.compute == "float64" and "float64" not in op.dtypes:
        return f"it is computed in float64, which is not among {', '.join(op.dtypes)}"
    missing = call.features - set(op.features)
    if missing:
        return f"features not claimed: {', '.join(sorted(missing))}"
    for symbol, limit in op.limits.items():
        if call.sizes.get(symbol, 0) > limit:
            return f"{symbol} = {call.sizes[symbol]} is above the limit {limit}"
    return None


def select(backend: Backend, call: Call) -> Op:
    """The first Op whose claims accept the call, or NotSupportedError with each one's reason."""
    name = call.operator.name
    reasons = []
    for op in backend.implementations(name):
        reason = refusal(op, call)
        if reason is None:
            return op
        reasons.append(reason)
    why = "; ".join(reasons) or backend.not_claimed(name)
    raise NotSupportedError(f"backend {backend.name!r} does not support this call of {name}: {why}")


def bind(operator: Operator, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Positional and keyword arguments as one mapping by name."""
    positional = [argument.name for argument in operator.arguments if not argument.keyword_only]
    if len(args) > len(positional):
        raise TypeError(f"{operator.name} takes {len(positional)} positional arguments; got {len(args)}")
    bound = dict(zip(positional[: len(args)], args, strict=True))
    for name in kwargs:
        if name in bound:
            raise TypeError(f"`{name}` of {operator.name} was given twice")
    return {**bound, **kwargs}


def call(backend: Backend, op: str, *args: Any, **kwargs: Any) -> Any:
    """Call an operator of a backend through its claims.

    Parameters
    ----------
    backend
        The backend.
    op
        Name of the operator.
    *args, **kwargs
        Its arguments, as in the operator's signature.

    Returns
    -------
    What the operator returns: one array, or a tuple in the order of its outputs.

    Raises
    ------
    ShapeError, DTypeError, DeviceError, ArgumentError
        If the call is not valid.
    NotSupportedError
        If it is valid and not claimed.
    """
    if not isinstance(backend, Backend):
        raise ArgumentError(f"`backend` must be a Backend, as `load` gives it; got {backend!r}")
    operator = find(op)
    valid = validate(operator, **bind(operator, args, kwargs))
    return select(backend, valid).fn(**valid.inputs)


def outputs_of(call: Call, result: Any) -> dict[str, Any]:
    """A result as a mapping output name → array.

    ContractError if the count is not the operator's, or one output comes in a tuple: whoever calls a backend
    through the front door is handed what it returns.
    """
    expected = [
        output.name
        for output in call.operator.outputs
        if output.when is None or call.inputs.get(output.when, False)
    ]
    given = result if isinstance(result, tuple | list) else (result,)
    if len(given) != len(expected):
        outputs = f"{len(expected)} output{'s' if len(expected) > 1 else ''} ({', '.join(expected)})"
        kind = type(result).__name__
        got = f"a {kind} of {len(given)}" if given is result else f"one {kind}"
        raise ContractError(f"{call.operator.name} must return {outputs}; got {got}")
    if len(expected) == 1 and given is result:
        raise ContractError(
            f"{call.operator.name} must return `{expected[0]}` itself; got a {type(result).__name__} of it"
        )
    return dict(zip(expected, given, strict=True))


def run_vjp(
    op: Op, arrays: Arrays, call: Call, cotangents: Mapping[str, Any], wrt: tuple[str, ...]
) -> dict[str, Any]:
    """Gradients of one claimed call, through the Op's own ``vjp`` or the library's autograd.

    Parameters
    ----------
    op, arrays
        The implementation, and the adapter of its library.
    call
        A valid call that the Op's claims accept.
    cotangents
        Output name → array, or None for zero.
    wrt
        Names of the arguments to differentiate in.

    Returns
    -------
    Argument name → gradient, exactly for the names in ``wrt``.
    """
    if op.vjp is None:
        primals = {name: call.inputs[name] for name in wrt}
        fixed = {name: value for name, value in call.inputs.items() if name not in wrt}
        return dict(
            arrays.vjp(lambda **given: outputs_of(call, op.fn(**fixed, **given)), primals, cotangents)
        )
    saved = None if op.forward is None else run_forward(op, call)[1]
    complete = {name: cotangents.get(name) for name in call.operator.output_names}
    gradients = op.vjp(complete, wrt, saved, **call.inputs)
    if not isinstance(gradients, Mapping):
        raise ContractError(
            f"`vjp` of {call.operator.name} must return a mapping by argument; got {type(gradients).__name__}"
        )
    missing, more = sorted(set(wrt) - set(gradients)), sorted(set(gradients) - set(wrt))
    if missing or more:
        said = [f"none came for {_quoted(missing)}"] if missing else []
        said += [f"one of {_quoted(more)} came, which was not asked for"] if more else []
        raise ContractError(
            f"`vjp` of {call.operator.name} must return the gradients of `wrt` alone and wholly: "
            f"{'; '.join(said)}"
        )
    return dict(gradients)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def run_forward(op: Op, call: Call) -> tuple[Any, Any]:
    """The outputs of one claimed call, and what is saved for the backward pass.

    Parameters
    ----------
    op
        An implementation with a ``forward``.
    call
        A valid call that its claims accept.
    """
    if op.forward is None:
        raise ContractError(f"the Op of {call.operator.name} has no `forward`")
    given = op.forward(**call.inputs)
    if not isinstance(given, tuple) or len(given) != 2:
        raise ContractError(
            f"`forward` of {call.operator.name} must return (outputs, saved); got {type(given).__name__}"
        )
    return given
