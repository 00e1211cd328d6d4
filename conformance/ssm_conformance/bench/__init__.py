"""Time and memory of backends side by side, against floors that are measured in the same run."""

from ssm_conformance.bench.problem import PASSES, Pass, Problem, Shape, default_problems
from ssm_conformance.bench.rivals import Rival, rivals
from ssm_conformance.bench.run import Bench, Row

__all__ = ["PASSES", "Bench", "Pass", "Problem", "Rival", "Row", "Shape", "default_problems", "rivals"]
