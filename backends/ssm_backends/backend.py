"""What a plugin hands over: its operators, each with what it claims, and how to speak to its arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any, Final, Literal

from ssm_backends._claims import check_backend, check_claims
from ssm_backends.arrays import Arrays
from ssm_backends.errors import ContractError
from ssm_backends.operators import OPERATORS
from ssm_backends.schema import Operator

CONTRACT: Final = 1
"""Version of the contract between the suite and a backend."""

MemoryClass = Literal["materialised", "fused"]


@dataclass(frozen=True)
class Op:
    """One implementation of one operator, and what it claims. Every claim is tested strictly.

    Attributes
    ----------
    fn
        Called with keyword arguments under the operator's own names; an argument at its
        default is left out. Returns its output, or a tuple of them in order where there are several.
    dtypes
        Names of the dtypes of the operator's primary argument that it serves. A narrower call whose
        parameters are float64 is computed in that, and so needs it among them too.
    grad_dtypes
        Those in which it also has gradients; all of ``dtypes`` if None.
    gradients
        Names of the arguments it is differentiable in, or "all". Empty: no gradient.
    cotangents
        Names of the outputs whose cotangent it takes, or "all".
    features
        What it serves beyond the plain call; names from the operator's ``features``.
    limits
        Symbol → the largest size it serves, as in ``{"n": 256}``.
    memory
        "materialised" or "fused" (at most one saved state in eight steps), or a mapping
        with the keys "forward" and "backward".
    deterministic
        Whether results are the same bits from run to run; or such a mapping.
    arithmetic
        Facts from ``ssm_backends.vocabulary``, for all dtypes or by dtype.
    vjp
        ``vjp(cotangents, wrt, saved, **inputs)`` returns a mapping with exactly the names in
        ``wrt``; for a library without autograd. It wins over autograd where both are.
        ``cotangents`` maps output name → array, or None for zero.
    forward
        ``forward(**inputs)`` returns (outputs, saved) where something is saved for ``vjp``.
    """

    fn: Callable[..., Any]
    _: KW_ONLY
    dtypes: tuple[str, ...]
    grad_dtypes: tuple[str, ...] | None = None
    gradients: tuple[str, ...] | Literal["all"] = ()
    cotangents: tuple[str, ...] | Literal["all"] = "all"
    features: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    memory: MemoryClass | Mapping[str, MemoryClass] = "materialised"
    deterministic: bool | Mapping[str, bool] = False
    arithmetic: Mapping[str, Any] = field(default_factory=dict)
    vjp: Callable[..., Mapping[str, Any]] | None = None
    forward: Callable[..., tuple[Any, Any]] | None = None

    def differentiable(self, operator: Operator) -> tuple[str, ...]:
        """The arguments it claims a gradient for, in the operator's order."""
        if self.gradients == "all":
            return operator.differentiable
        return tuple(name for name in operator.differentiable if name in self.gradients)

    def takes_cotangents(self, operator: Operator) -> tuple[str, ...]:
        """The outputs whose cotangent it takes, in the operator's order."""
        if self.cotangents == "all":
            return operator.output_names
        return tuple(name for name in operator.output_names if name in self.cotangents)

    def memory_class(self, direction: Literal["forward", "backward"]) -> MemoryClass:
        """The claimed law of growth of one pass."""
        return self.memory if isinstance(self.memory, str) else self.memory[direction]

    def is_deterministic(self, direction: Literal["forward", "backward"]) -> bool:
        """Whether one pass claims the same bits from run to run."""
        return self.deterministic if isinstance(self.deterministic, bool) else self.deterministic[direction]


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Everything a plugin hands over, in one hook call.

    Attributes
    ----------
    name
        The name of its entry point.
    version
        Of the implementation.
    arrays
        How the suite talks to its library; several, if it takes arrays of several.
    ops
        Operator name → Op, or several Ops: the first whose claims accept a call serves it.
    devices
        Kinds of device it can run on: "cpu", "cuda", …
    withheld
        Operators that it has and does not claim here → why, and what would change it: one sentence, told to
        whoever asks for them.
    contract
        The version of the contract it was written for.
    """

    name: str
    version: str
    arrays: Arrays | tuple[Arrays, ...]
    ops: Mapping[str, Op | tuple[Op, ...]]
    devices: tuple[str, ...] = ("cpu",)
    withheld: Mapping[str, str] = field(default_factory=dict)
    contract: int = CONTRACT

    def __post_init__(self) -> None:
        if self.contract != CONTRACT:
            raise ContractError(
                f"`contract` must be {CONTRACT}, the version of this package; got {self.contract!r}"
            )
        check_backend(self)
        for field_ in ("ops", "withheld"):
            for name in getattr(self, field_):
                if name not in OPERATORS:
                    raise ContractError(f"`{field_}` may name {', '.join(OPERATORS)}; got {name!r}")
        for name, implementations in self.ops.items():
            for op in _several(implementations):
                if not isinstance(op, Op):
                    raise ContractError(
                        f"`ops[{name!r}]` must be an Op or a tuple of Ops; got {type(op).__name__}"
                    )
                check_claims(OPERATORS[name], op)
                self._check_gradients(name, op)

    def _check_gradients(self, name: str, op: Op) -> None:
        """Refuse gradients of arrays that nothing differentiates; another library may have its ways."""
        of_numpy = {arrays.name for arrays in self.adapters} == {"numpy"}
        if of_numpy and op.vjp is None and op.differentiable(OPERATORS[name]):
            raise ContractError(
                f"`gradients` of {name} must be () where arrays are NumPy's and the Op has no `vjp`: nothing "
                f"takes them; got {op.gradients!r}"
            )

    def implementations(self, operator: str) -> tuple[Op, ...]:
        """The Ops that may serve an operator, in the order of preference; empty if there are none."""
        return _several(self.ops.get(operator, ()))

    def not_claimed(self, operator: str) -> str:
        """Why it has no Op for an operator."""
        return self.withheld.get(operator, f"{operator} is not claimed")

    @property
    def adapters(self) -> tuple[Arrays, ...]:
        """Its array adapters, always as a tuple."""
        return self.arrays if isinstance(self.arrays, tuple) else (self.arrays,)


def _several(implementations: Op | tuple[Op, ...]) -> tuple[Op, ...]:
    return implementations if isinstance(implementations, tuple) else (implementations,)


def claims_as_data(backend: Backend) -> dict[str, Any]:
    """All claims of a backend as JSON-ready data, without its functions."""
    functions = ("fn", "vjp", "forward")
    return {
        "name": backend.name,
        "version": backend.version,
        "contract": backend.contract,
        "devices": list(backend.devices),
        "arrays": [adapter.name for adapter in backend.adapters],
        "ops": {
            name: [
                {f.name: _plain(getattr(op, f.name)) for f in fields(op) if f.name not in functions}
                | {"has_vjp": op.vjp is not None, "has_forward": op.forward is not None}
                for op in backend.implementations(name)
            ]
            for name in backend.ops
        },
        "withheld": dict(backend.withheld),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple | list | set | frozenset) else value


def claims_from_data(data: Mapping[str, Any]) -> dict[str, tuple[Op, ...]]:
    """The Ops of :func:`claims_as_data`, for reading: their functions cannot be called.

    Parameters
    ----------
    data
        As that function returns it, possibly through JSON.
    """
    return {name: tuple(_claimed(item) for item in items) for name, items in data["ops"].items()}


def _claimed(item: Mapping[str, Any]) -> Op:
    names = {f.name for f in fields(Op)}
    claims: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in item.items() if key in names
    }
    return Op(
        _elsewhere,
        vjp=_elsewhere if item["has_vjp"] else None,
        forward=_elsewhere if item["has_forward"] else None,
        **claims,
    )


def _elsewhere(*_: Any, **__: Any) -> Any:
    raise RuntimeError("these claims were read as data; the functions are in the plugin's own process")
