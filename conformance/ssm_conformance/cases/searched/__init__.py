"""Calls that a search draws: for each operator what can be chosen, and a case from what was chosen."""

from ssm_conformance.cases.searched._space import Chosen, Space
from ssm_conformance.cases.searched._spaces import SPACES, found_case

__all__ = ["SPACES", "Chosen", "Space", "found_case"]
