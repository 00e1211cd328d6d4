"""The suite against its own known-bad backends: who was rejected, by what, and what allclose says."""

from ssm_conformance.selftest.rows import Outcome, Row, row
from ssm_conformance.selftest.running import Pair, pairs, run
from ssm_conformance.selftest.tables import report

__all__ = ["Outcome", "Pair", "Row", "pairs", "report", "row", "run"]
