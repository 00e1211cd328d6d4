"""A plugin package to start from: it installs, lints and conforms, and its scan is there to be replaced."""

from ssm_conformance.scaffold.names import Names, ScaffoldError, names_for
from ssm_conformance.scaffold.writing import scaffold

__all__ = ["Names", "ScaffoldError", "names_for", "scaffold"]
