"""Golden vectors: arguments and correctly rounded answers as files that any language can read."""

from ssm_spec.vectors._case import Case, Vector
from ssm_spec.vectors._checking import Difference, check
from ssm_spec.vectors._files import answered, cases, contents, export, load, remade, schema, shipped
from ssm_spec.vectors._version import DIGESTS, SPEC_VERSION, VECTORS_VERSION

__all__ = [
    "DIGESTS",
    "SPEC_VERSION",
    "VECTORS_VERSION",
    "Case",
    "Difference",
    "Vector",
    "answered",
    "cases",
    "check",
    "contents",
    "export",
    "load",
    "remade",
    "schema",
    "shipped",
]
