"""Known-bad backends, and the honest ones that they are made from: the suite's own test.

Each mutant has exactly one defect, taken from a real kernel or a plausible slip, and names the
case that must reject it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ssm_backends import ArgumentError, Backend
from ssm_conformance.mutants.defects.alone import ALONE
from ssm_conformance.mutants.defects.apart import APART
from ssm_conformance.mutants.defects.beyond import BEYOND
from ssm_conformance.mutants.defects.convolution import CONVOLUTION
from ssm_conformance.mutants.defects.convolution_steps import CONVOLUTION_STEPS
from ssm_conformance.mutants.defects.crossed import CROSSED
from ssm_conformance.mutants.defects.customs import CUSTOMS
from ssm_conformance.mutants.defects.discretisation import DISCRETISATION
from ssm_conformance.mutants.defects.distance import DISTANCE
from ssm_conformance.mutants.defects.dual_steps import DUAL_STEPS
from ssm_conformance.mutants.defects.duality import DUALITY
from ssm_conformance.mutants.defects.edges import EDGES
from ssm_conformance.mutants.defects.ends import ENDS
from ssm_conformance.mutants.defects.engines import ENGINES
from ssm_conformance.mutants.defects.faults import FAULTS
from ssm_conformance.mutants.defects.few import FEW
from ssm_conformance.mutants.defects.functions import FUNCTIONS
from ssm_conformance.mutants.defects.further import FURTHER
from ssm_conformance.mutants.defects.generating import GENERATING
from ssm_conformance.mutants.defects.gradients import GRADIENTS
from ssm_conformance.mutants.defects.grids import GRIDS
from ssm_conformance.mutants.defects.guards import GUARDS
from ssm_conformance.mutants.defects.halves import HALVES
from ssm_conformance.mutants.defects.kinds import KINDS
from ssm_conformance.mutants.defects.large import LARGE
from ssm_conformance.mutants.defects.lasting import LASTING
from ssm_conformance.mutants.defects.layer_gradients import LAYER_GRADIENTS
from ssm_conformance.mutants.defects.layer_sizes import LAYER_SIZES
from ssm_conformance.mutants.defects.layers import LAYERS
from ssm_conformance.mutants.defects.mamba3 import MAMBA3
from ssm_conformance.mutants.defects.memory import MEMORY
from ssm_conformance.mutants.defects.modal import MODAL
from ssm_conformance.mutants.defects.narrow import NARROW
from ssm_conformance.mutants.defects.none_with_options import NONE_WITH_OPTIONS
from ssm_conformance.mutants.defects.nothing import NOTHING
from ssm_conformance.mutants.defects.numbers import NUMBERS
from ssm_conformance.mutants.defects.online_memory import ONLINE
from ssm_conformance.mutants.defects.optional import OPTIONAL
from ssm_conformance.mutants.defects.packed_rows import PACKED_ROWS
from ssm_conformance.mutants.defects.packing import PACKING
from ssm_conformance.mutants.defects.parameters import PARAMETERS
from ssm_conformance.mutants.defects.passes import PASSES
from ssm_conformance.mutants.defects.past_blocks import PAST_BLOCKS
from ssm_conformance.mutants.defects.pools import POOLS
from ssm_conformance.mutants.defects.pools_of_few import POOLS_OF_FEW
from ssm_conformance.mutants.defects.promises import PROMISES
from ssm_conformance.mutants.defects.pytorch import PYTORCH
from ssm_conformance.mutants.defects.relations import RELATIONS
from ssm_conformance.mutants.defects.resolved import RESOLVED
from ssm_conformance.mutants.defects.rounding import ROUNDING
from ssm_conformance.mutants.defects.sequences import SEQUENCES
from ssm_conformance.mutants.defects.short_convolution import SHORT_CONVOLUTION
from ssm_conformance.mutants.defects.some_alone import SOME_ALONE
from ssm_conformance.mutants.defects.steps import STEPS
from ssm_conformance.mutants.defects.stiff import STIFF
from ssm_conformance.mutants.defects.structure import STRUCTURE
from ssm_conformance.mutants.defects.sums import SUMS
from ssm_conformance.mutants.defects.system_sizes import SYSTEM_SIZES
from ssm_conformance.mutants.defects.systems import SYSTEMS
from ssm_conformance.mutants.defects.templates import TEMPLATES
from ssm_conformance.mutants.defects.tiles import TILES
from ssm_conformance.mutants.defects.triples import TRIPLES
from ssm_conformance.mutants.defects.typed import TYPED
from ssm_conformance.mutants.defects.unlike import UNLIKE
from ssm_conformance.mutants.defects.unusual import UNUSUAL
from ssm_conformance.mutants.defects.wholes import WHOLES
from ssm_conformance.mutants.honest import HONEST, Variant
from ssm_conformance.mutants.mutant import Mutant

__all__ = ["HONEST", "MUTANTS", "TABLES", "Mutant", "Variant", "backend"]

TABLES: Final = (
    STRUCTURE,
    SEQUENCES,
    EDGES,
    FUNCTIONS,
    ROUNDING,
    GRADIENTS,
    SUMS,
    PROMISES,
    RELATIONS,
    MEMORY,
    STEPS,
    DISCRETISATION,
    SYSTEMS,
    CONVOLUTION,
    SHORT_CONVOLUTION,
    CONVOLUTION_STEPS,
    LAYERS,
    LAYER_GRADIENTS,
    NARROW,
    MODAL,
    GENERATING,
    DUALITY,
    MAMBA3,
    ONLINE,
    APART,
    SOME_ALONE,
    CUSTOMS,
    PACKING,
    PACKED_ROWS,
    TILES,
    TEMPLATES,
    LAYER_SIZES,
    SYSTEM_SIZES,
    GRIDS,
    ENDS,
    HALVES,
    NOTHING,
    UNLIKE,
    DISTANCE,
    GUARDS,
    POOLS,
    DUAL_STEPS,
    ENGINES,
    LASTING,
    OPTIONAL,
    CROSSED,
    TRIPLES,
    WHOLES,
    LARGE,
    NUMBERS,
    BEYOND,
    KINDS,
    FURTHER,
    PARAMETERS,
    PAST_BLOCKS,
    RESOLVED,
    STIFF,
    ALONE,
    UNUSUAL,
    POOLS_OF_FEW,
    FEW,
    NONE_WITH_OPTIONS,
    TYPED,
    PYTORCH,
    PASSES,
    FAULTS,
)
"""Every table of mutants: one a kind of defect."""
MUTANTS: Final[Mapping[str, Mutant]] = {mutant.name: mutant for table in TABLES for mutant in table}
"""Name → mutant."""


def backend(name: str) -> Backend:
    """A mutant, or an honest implementation, as a backend.

    Parameters
    ----------
    name
        A key of ``MUTANTS`` or of ``HONEST``.

    Raises
    ------
    ArgumentError
        If there is none of that name.
    """
    if name in HONEST:
        return HONEST[name].backend()
    if name in MUTANTS:
        return MUTANTS[name].backend()
    raise ArgumentError(f"`name` must be one of {', '.join([*HONEST, *MUTANTS])}; got {name!r}")
