"""Whether a plugin's declarations hold to the contract, before any of them is believed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ssm_backends.arrays import Arrays
from ssm_backends.dtypes import REAL
from ssm_backends.errors import ContractError
from ssm_backends.schema import Operator
from ssm_backends.vocabulary import check_arithmetic

if TYPE_CHECKING:
    from ssm_backends.backend import Backend, Op

NAME: Final = re.compile(r"\w([\w.-]*\w)?", re.ASCII)
"""What may name a backend: it stands in commands, and names a folder of reports."""
RESERVED: Final = ("all",)
"""``ssm-spec conform all`` means every backend."""
PASSES: Final = ("forward", "backward")
ADAPTER: Final = tuple(sorted({*Arrays.__annotations__, *(n for n in vars(Arrays) if not n.startswith("_"))}))
"""What every array adapter must have."""


def check_backend(backend: Backend) -> None:
    """Refuse a name, a version, devices or adapters that the contract does not allow.

    Raises
    ------
    ContractError
        Naming the field, the rule, and what was given.
    """
    if not isinstance(backend.name, str) or not backend.name:
        raise ContractError(f"`name` must be a non-empty string; got {backend.name!r}")
    if not NAME.fullmatch(backend.name) or backend.name in RESERVED:
        raise ContractError(
            "`name` must consist of ASCII letters, digits, _, . and -, begin and end with none of . and -, "
            f"and not be {' or '.join(map(repr, RESERVED))}; got {backend.name!r}"
        )
    if not isinstance(backend.version, str):
        raise ContractError(f"`version` must be a string; got {backend.version!r}")
    if not _are_names(backend.devices) or not backend.devices:
        raise ContractError(
            f"`devices` must be a tuple of one or more kinds of device; got {backend.devices!r}"
        )
    if not backend.adapters:
        raise ContractError("`arrays` must hold at least one adapter; got ()")
    for adapter in backend.adapters:
        if isinstance(adapter, type):
            raise ContractError(
                f"`arrays` must be an adapter, {adapter.__name__}(…), not its class; got {adapter!r}"
            )
        lacking = [f"`{name}`" for name in ADAPTER if not hasattr(adapter, name)]
        if lacking:
            raise ContractError(
                f"`arrays` must have {', '.join(lacking)} (see ssm_backends.Arrays); got {adapter!r}"
            )
    if not isinstance(backend.ops, Mapping):
        raise ContractError(f"`ops` must map names of operators to Ops; got {backend.ops!r}")
    if not isinstance(backend.withheld, Mapping):
        raise ContractError(f"`withheld` must map names of operators to reasons; got {backend.withheld!r}")
    for name, why in backend.withheld.items():
        if not isinstance(why, str) or not why:
            raise ContractError(f"`withheld[{name!r}]` must say why, in a non-empty string; got {why!r}")
        if name in backend.ops:
            raise ContractError(f"`withheld` may not name what is in `ops`; got {name!r} in both")


def check_claims(operator: Operator, op: Op) -> None:
    """Refuse a claim that names what the operator does not have.

    Raises
    ------
    ContractError
        Naming the claim, the rule, and what was given.
    """
    if not callable(op.fn):
        raise ContractError(f"`fn` of {operator.name} must be callable; got {op.fn!r}")
    _check_names(operator, "dtypes", op.dtypes, REAL)
    if not op.dtypes:
        raise ContractError(f"`dtypes` of {operator.name} must name at least one dtype; got ()")
    if op.grad_dtypes is not None:
        _check_names(operator, "grad_dtypes", op.grad_dtypes, op.dtypes)
    if not _is_all(op.gradients):
        _check_names(operator, "gradients", op.gradients, operator.differentiable)
    if not _is_all(op.cotangents):
        _check_names(operator, "cotangents", op.cotangents, operator.output_names)
    _check_names(operator, "features", op.features, tuple(operator.features))
    _check_limits(operator, op.limits)
    _check_words(operator, "memory", op.memory, ("materialised", "fused"))
    _check_words(operator, "deterministic", op.deterministic, (True, False))
    for claim in ("vjp", "forward"):
        if getattr(op, claim) is not None and not callable(getattr(op, claim)):
            raise ContractError(f"`{claim}` of {operator.name} must be callable; got {getattr(op, claim)!r}")
    if op.forward is not None and op.vjp is None:
        raise ContractError(
            f"`forward` of {operator.name} saves for `vjp`, which must be given too; got None"
        )
    check_arithmetic(operator, op.arithmetic)


def _check_limits(operator: Operator, limits: Any) -> None:
    if not isinstance(limits, Mapping):
        raise ContractError(f"`limits` of {operator.name} must map symbols to sizes; got {limits!r}")
    _check_names(operator, "limits", tuple(limits), symbols(operator))
    for symbol, size in limits.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ContractError(f"`limits` of {operator.name}: {symbol} must be an integer ≥ 1; got {size!r}")


def _check_words(operator: Operator, claim: str, value: Any, words: tuple[Any, ...]) -> None:
    """One word, or one for each pass."""
    if isinstance(value, Mapping) and set(value) != set(PASSES):
        raise ContractError(f"`{claim}` of {operator.name} must have the keys {PASSES}; got {tuple(value)}")
    for word in value.values() if isinstance(value, Mapping) else (value,):
        if type(word) is not type(words[0]) or word not in words:
            raise ContractError(f"`{claim}` of {operator.name} must be one of {words}; got {word!r}")


def symbols(operator: Operator) -> tuple[str, ...]:
    """Every size symbol in the operator's shapes."""
    shapes = [form.shape for argument in operator.arguments for form in argument.forms]
    found = [symbol.partition("+")[0] for shape in shapes for symbol in shape.split()]
    return tuple(dict.fromkeys(symbol for symbol in found if symbol.isidentifier()))


def _check_names(operator: Operator, claim: str, names: Any, allowed: tuple[str, ...]) -> None:
    if isinstance(names, str) or not isinstance(names, tuple | list | frozenset | set):
        raise ContractError(f"`{claim}` of {operator.name} must be a tuple of names; got {names!r}")
    for name in names:
        if name not in allowed:
            known = ", ".join(allowed) or "nothing"
            raise ContractError(f"`{claim}` of {operator.name} may name {known}; got {name!r}")


def _is_all(names: Any) -> bool:
    return isinstance(names, str) and names == "all"


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(item, str) and item for item in value)
